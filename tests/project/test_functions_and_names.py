"""Functions of all Python in the tree have at most 80 lines, and no variable a name of no thing."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator

import pytest
from support.paths import REPOSITORY

LINES = 80
NAMES = frozenset({"found", "one", "flow"})


def test_functions_are_short_and_variables_named_after_things() -> None:
    sources = _sources()
    assert len(sources) > 600
    assert {name.partition("/")[0] for name in sources} >= {"host", "partitioner", "sim", "tests"}
    assert [
        f"{name}:{line}: {fault}" for name, text in sources.items() for line, fault in faults(text)
    ] == []


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "found: int",
        "x, *found = y",
        "found += 1",
        "for found in y: pass",
        "[0 for found in y]",
        "if (found := y): pass",
        "with y as found: pass",
        "import y as found",
        "from y import x as found",
        "def f(found): pass",
        "def f(*found): pass",
        "def f(*, found=0): pass",
        "lambda found: 0",
        "self.found = y",
        "class A:\n    found: int",
        "def found(): pass",
        "try: pass\nexcept y as found: pass",
        "match y:\n    case {'a': found}: pass",
        "match y:\n    case [*found]: pass",
        "match y:\n    case {**found}: pass",
    ],
)
def test_every_way_to_bind_a_name_is_seen(code: str) -> None:
    assert [fault for _, fault in faults(code)] == ["the name `found`"]
    assert list(faults(code.replace("found", "operator_"))) == []


@pytest.mark.parametrize("head", ["def f():", "async def f():", "class A:\n  def f(self):"])
def test_the_81st_line_is_one_too_many(head: str) -> None:
    longest = head + "\n    x = 0" * (LINES - 1)
    assert list(faults(longest)) == []
    assert [fault for _, fault in faults(longest + "\n    x = 0")] == ["`f` has 81 lines"]


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the fault of every long function and of every forbidden name bound."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if lines > LINES:
                yield node.lineno, f"`{node.name}` has {lines} lines"
        for name in NAMES.intersection(_bound(node)):
            yield getattr(node, "lineno", 0), f"the name `{name}`"


def _bound(node: ast.AST) -> Iterator[str | None]:
    """Yield the names that `node` itself gives to something."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.arg(arg=name) | ast.alias(asname=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name):
            yield name
        case ast.MatchMapping(rest=name):
            yield name


def _sources() -> dict[str, str]:
    """Return the text of every Python file of the tree, by its name; files not yet added too."""
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "-c", "-o", "--exclude-standard", "*.py"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    paths = {name: REPOSITORY / name for name in listed if name}
    return {
        name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()
    }
