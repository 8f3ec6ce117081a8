"""Version, licence, citation, hooks and CI agree with each other and with the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pimloop import __version__
from pimloop.sim.paths import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
PAPER_DOI = "10.1145/3628599"


def make_targets() -> set[str]:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def called_targets(text: str) -> set[str]:
    """Return the targets of `make TARGET ...` in a shell command or between backquotes."""
    calls = re.findall(r"(?:^|`|&& |\| )make ((?:[a-z][a-z-]* ?)+)", text, re.MULTILINE)
    return {target for call in calls for target in call.split()}


def load(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))


def test_the_version_stands_in_one_place():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "pimloop.__version__"}
    assert str(load("CITATION.cff")["version"]) == __version__


def test_the_command_prints_the_version():
    run = subprocess.run(
        [sys.executable, "-m", "pimloop", "--version"],
        capture_output=True, text=True, check=True, timeout=60, cwd=REPOSITORY,
    )  # fmt: skip
    assert run.stdout.split()[:2] == ["pimloop", __version__]


def test_the_licence_is_the_same_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == load("CITATION.cff")["license"] == "Apache-2.0"
    assert project["license-files"] == ["LICENSE"]
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_paper_is_cited():
    (paper,) = load("CITATION.cff")["references"]
    assert paper["doi"] == PAPER_DOI
    assert PAPER_DOI in (REPOSITORY / "docs" / "board.md").read_text(encoding="utf-8")


def test_hooks_and_ci_call_make_targets_alone():
    hooks = [
        hook["entry"] for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    steps = [
        step["run"]
        for path in WORKFLOWS
        for job in load(str(path.relative_to(REPOSITORY)))["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    commands = hooks + [step for step in steps if not step.startswith("sudo apt-get ")]
    assert all(command.startswith("make ") for command in commands)
    ci = {target for step in steps for target in called_targets(step)}
    assert {"lint", "test"} <= ci
    script = called_targets((REPOSITORY / ".ci" / "run").read_text(encoding="utf-8"))
    assert ci == script  # the public workflow checks what every submission must pass
    assert {target for hook in hooks for target in called_targets(hook)} == {"style", "lint"}


@pytest.mark.parametrize(
    "path", ["CONTRIBUTING.md", "README.md", ".ci/run", ".pre-commit-config.yaml", *WORKFLOWS],
    ids=lambda path: Path(path).name,
)  # fmt: skip
def test_the_make_targets_that_are_named_exist(path):
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    named = called_targets(re.sub(r"(?:entry|run): ", "\n", text))
    assert named
    assert named <= make_targets()


def test_the_files_that_contributing_names_exist():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = re.findall(r"`([\w./-]+/[\w./-]*)`", text) + re.findall(r"\]\(([\w./-]+)\)", text)
    assert names
    assert [name for name in names if not (REPOSITORY / name).exists()] == []
