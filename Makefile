# The front door: everything is done by Python; see README.md.
MODEL ?= bert
SEQ ?= 16
PLATFORM ?= htg-z920
OUT ?= out/$(MODEL)-$(SEQ)-$(PLATFORM)
ARGS ?=
PYTHON ?= python3
PYTEST_ARGS ?=

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup sim test test-full lint clean

help: ## list what can be made
	@echo "make TARGET [MODEL=$(MODEL)] [SEQ=$(SEQ)] [PLATFORM=$(PLATFORM)] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: .venv/ready ## .venv with the pinned dependencies and the `pimloop` command

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

sim: setup ## run MODEL on the simulated platform, check it, write a report to OUT
	@$(BIN)/pimloop sim $(MODEL) --seq $(SEQ) --platform $(PLATFORM) --out $(OUT) $(ARGS)

test: setup ## the test suite (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not full" $(PYTEST_ARGS)

test-full: setup ## the heavier checks too
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup ## ruff, mypy, Verilator -Wall, Yosys, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m rtl.generate --check
	$(BIN)/python -m rtl.lint

clean: ## remove what was built and simulated; .venv stays
	rm -rf build out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
