# The front door: everything is done by Python; see README.md.
MODEL ?= bert
SEQ ?= 16
# Lengths that ARGS gives are not contradicted by the default of SEQ.
BOUND = $(and $(filter file,$(origin SEQ)),$(filter --axis% --shape% --inputs%,$(ARGS)))
PLATFORM ?= htg-z920
# Default: out/<model>-<tokens>-<platform>.
OUT ?=
ARGS ?=
PYTHON ?= python3
PYTEST_ARGS ?=
# Test files run side by side, in the order of their names, each in one process: fixtures once.
WORKERS ?= 2

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Hundreds of processes import the project: its modules are compiled once, whatever is set.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup dev sim test test-full style lint formal coverage synth soc clean

help: ## list what can be made
	@echo "make TARGET [MODEL=$(MODEL)] [SEQ=$(SEQ)] [PLATFORM=$(PLATFORM)] [ARGS=...]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: .venv/ready ## .venv with the pinned dependencies and the `pimloop` command

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

dev: .venv/ready-dev ## what tests, lint, proofs and coverage need beside it

.venv/ready-synth: .venv/ready-dev
.venv/ready-%: .venv/ready requirements-%.txt
	$(INSTALL) -r requirements-$*.txt
	@touch $@

sim: setup ## profile, partition and execute MODEL on the simulated platform; report in OUT
	@$(BIN)/pimloop sim "$(MODEL)" $(if $(BOUND),,--seq "$(SEQ)") --platform "$(PLATFORM)" $(if $(OUT),--out "$(OUT)") $(ARGS)

test: dev ## the test suite (about 20 minutes on 2 cores)
	$(PYTEST) -m "not full" $(PYTEST_ARGS)

test-full: dev ## the heavier checks too (about two hours)
	$(PYTEST) $(PYTEST_ARGS)

style: dev ## ruff, mypy, import directions, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pimloop.rtl.tools.generate --check
	$(BIN)/python -m pimloop.host.report.schemas --check

lint: style ## what `style` checks, and Verilator -Wall, slang, Yosys, records of the RTL
	$(BIN)/python -m pimloop.rtl.tools.lint
	$(BIN)/python -m pimloop.sim.device.lanes
	$(BIN)/python -m pimloop.sim.device.moves

formal: dev ## prove the scheduler, the bus handshakes and the descriptor fetch
	$(BIN)/python -m pimloop.rtl.tools.formal $(ARGS)

coverage: dev ## line, toggle and functional coverage of rtl/; report in out/coverage
	$(BIN)/python -m pimloop.sim.check.coverage $(ARGS)

synth: .venv/ready-synth ## synthesise for UltraScale+ and ECP5; tables in docs/synthesis.md
	$(BIN)/python -m pimloop.rtl.tools.synth $(ARGS)

soc: .venv/ready-soc ## the C driver on a soft CPU in a simulated LiteX SoC: one product, every bit checked
	$(BIN)/python -m pimloop.host.execution.soc 4 64 96 $(ARGS)

clean: ## remove what was built and simulated; .venv stays
	rm -rf build out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
