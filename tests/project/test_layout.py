"""Code lies in rooms, tests in folders that mirror them, and all can be collected together."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import REPOSITORY, TESTS

#: Parts of the code whose rooms have a folder of tests each.
MIRRORED = ("host", "partitioner", "sim")


def test_names_of_python_files_are_unique() -> None:
    """Tests and helpers are imported by their file's name: the second of two would be the first."""
    names = Counter(path.stem for path in TESTS.rglob("*.py"))
    shared = {name for name, number in names.items() if number > 1}
    assert shared <= {"conftest", "__init__"}


def test_nothing_imports_a_conftest() -> None:
    """There are several: which of them has the name depends on the folders that pytest is given."""
    files = {path: set(_imports(path)) for path in TESTS.rglob("*.py")}
    assert len(files) > 150
    assert [path for path, modules in files.items() if "conftest" in modules] == []


@pytest.mark.parametrize("part", MIRRORED)
def test_folders_are_rooms_of_the_code(part: str) -> None:
    folders = {path.parent.relative_to(TESTS) for path in (TESTS / part).rglob("*.py")}
    assert len(folders) > 3
    assert [str(path) for path in sorted(folders) if not (REPOSITORY / path).is_dir()] == []


def test_no_test_of_the_host_lies_outside_a_room() -> None:
    assert list((TESTS / "host").glob("test_*.py")) == []


@pytest.mark.parametrize("part", ["host", "rtl"])
def test_no_module_lies_outside_a_room(part: str) -> None:
    assert [path.name for path in (REPOSITORY / part).glob("*.py")] == ["__init__.py"]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
