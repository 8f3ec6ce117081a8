"""Draws single-line faults at random and runs fast tests on each: what they let pass is shown.

    python tests/mutants/sample.py host/pim/driver/products.py --count 30 \\
        --tests tests/host/pim/driver/test_driver.py

A survivor is a missing test, or a change that changes nothing (an error text, a faster way to the
same result). `--write FOLDER` keeps the caught ones as patches for `tests/mutants/python`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from forks import REPOSITORY, Forks, Outcome

_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "rows": "columns",
    "columns": "rows",
    "first": "count",
    "count": "first",
    "step_a": "step_b",
    "step_b": "step_a",
    "stride_a": "stride_b",
    "stride_b": "stride_a",
    "map_a": "map_b",
    "map_b": "map_a",
    "a": "b",
    "b": "a",
    "start": "end",
    "end": "start",
    "source": "destination",
    "destination": "source",
    "left": "width",
    "width": "left",
    "own": "shared",
    "shared": "own",
    "BF16_BYTES": "F32_BYTES",
    "F32_BYTES": "BF16_BYTES",
    "upper": "lower",
    "lower": "upper",
    "predicted_us": "executed_us",
    "executed_us": "predicted_us",
    "nbytes": "size",
}


@dataclass(frozen=True)
class Change:
    """One single-line fault."""

    line: int
    before: str
    after: str
    text: str  # of the whole module


def changes(path: Path) -> list[Change]:
    """Return every fault this tool knows to make in a module."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    by_line: dict[tuple[int, str], Change] = {}
    for node, replacements in _places(ast.parse(text)):
        if node.lineno != node.end_lineno:
            continue
        line = lines[node.lineno - 1]
        encoded = line.encode()
        for replacement in replacements:
            after = (
                encoded[: node.col_offset] + replacement.encode() + encoded[node.end_col_offset :]
            ).decode()
            if after == line:
                continue
            whole = "".join([*lines[: node.lineno - 1], after, *lines[node.lineno :]])
            try:
                compile(whole, str(path), "exec")
            except SyntaxError:
                continue
            by_line[node.lineno, after] = Change(node.lineno, line, after, whole)
    return list(by_line.values())


def _places(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, list[str]]]:
    """Yield places with what can stand there instead; not in texts, annotations and errors."""
    for node in _mutable(tree):
        if isinstance(node, ast.expr):
            yield node, [ast.unparse(ast.fix_missing_locations(new)) for new in _instead(node)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node, ["pass"]
        elif isinstance(node, ast.AugAssign):
            other = {ast.Add: "-=", ast.Sub: "+=", ast.BitOr: "&=", ast.Mult: "+="}
            sign = other.get(type(node.op))
            target, value = ast.unparse(node.target), ast.unparse(node.value)
            yield node, [f"{target} = {value}", *([f"{target} {sign} {value}"] if sign else [])]
        elif isinstance(node, ast.Continue | ast.Break):
            yield node, ["pass"]


def _mutable(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(
                child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert
            ):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue
            yield child
            yield from _mutable(child)


def _instead(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp):
        if type(node.op) in _BINARY:
            yield ast.BinOp(node.left, _BINARY[type(node.op)](), node.right)
        yield node.left
        yield node.right
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield ast.Compare(node.left, [_COMPARE[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.Compare):
        for i in range(len(node.ops)):
            ops = list(node.ops)
            ops[i] = _COMPARE[type(ops[i])]()
            yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Constant):
        yield from map(ast.Constant, _constants(node.value))
    elif isinstance(node, ast.Name):
        if node.id in _NAMES and isinstance(node.ctx, ast.Load):
            yield ast.Name(_NAMES[node.id], ast.Load())
    elif isinstance(node, ast.Attribute):
        if node.attr in _NAMES and isinstance(node.ctx, ast.Load):
            yield ast.Attribute(node.value, _NAMES[node.attr], ast.Load())
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        starred = any(isinstance(argument, ast.Starred) for argument in node.args[:2])
        if len(node.args) > 1 and not starred and name not in ("min", "max"):
            yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
        if len(node.args) == 1 and name in ("abs", "sorted", "reversed", "round", "set"):
            yield node.args[0]


def _constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, *([value * 10] if value > 1 else [])]
    if isinstance(value, float):
        return [value * 10, value + 1]
    return []


def main() -> int:
    """Run the command; 1 when a fault survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="+", help="paths relative to the repository")
    parser.add_argument("--tests", nargs="+", required=True, help="what pytest is given")
    parser.add_argument("--count", type=int, default=20, help="faults of each module (0: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=20, help="seconds of CPU for one fault")
    parser.add_argument("--line", type=int, help="only faults of this line")
    parser.add_argument("-k", help="pytest's selection by name")
    parser.add_argument("--write", type=Path, help="folder for patches of the faults caught")
    options = parser.parse_args()
    tests = [*options.tests, "-m", "not full", *(["-k", options.k] if options.k else [])]
    drawn: list[tuple[str, Change]] = []
    for module in options.modules:
        candidates = changes(REPOSITORY / module)
        if options.line:
            candidates = [change for change in candidates if change.line == options.line]
        random.Random(f"{options.seed} {module}").shuffle(candidates)
        chosen = candidates[: options.count or None]
        print(f"{module}: {len(chosen)} of {len(candidates)} faults")
        drawn += [(module, change) for change in sorted(chosen, key=lambda fault: fault.line)]

    warm: SimpleQueue[Forks] = SimpleQueue()
    pool = [Forks() for _ in range(options.workers)]
    for forks in pool:
        warm.put(forks)

    def run(fault: tuple[str, Change]) -> tuple[Outcome, float]:
        forks = warm.get()
        begin = time.monotonic()
        try:
            outcome = forks.run({fault[0]: fault[1].text}, tests, cpu_seconds=options.timeout)
        finally:
            warm.put(forks)
        return outcome, time.monotonic() - begin

    survived = 0
    with ThreadPoolExecutor(options.workers) as threads:
        for (module, change), (outcome, seconds) in zip(
            drawn, threads.map(run, drawn), strict=True
        ):
            if outcome.failed:
                verdict = f"caught by {outcome.failed[0]}"
                if options.write:
                    _write(options.write, module, change, outcome.failed[0])
            elif outcome.broken:
                verdict = "broken: " + " ".join(outcome.broken.split())[-100:]
            else:
                verdict = "SURVIVED"
                survived += 1
            print(
                f"{module}:{change.line} {verdict} ({seconds:.1f} s)\n"
                f"  - {change.before.strip()}\n  + {change.after.strip()}",
                flush=True,
            )
    for forks in pool:
        forks.__exit__(None, None, None)
    print(f"{survived} of {len(drawn)} faults survived")
    return 1 if survived else 0


def _write(folder: Path, module: str, change: Change, test: str) -> None:
    """Write a patch; the text says the lines, to be replaced by what the fault is."""
    before = (REPOSITORY / module).read_text(encoding="utf-8").splitlines(keepends=True)
    after = change.text.splitlines(keepends=True)
    diff = "".join(difflib.unified_diff(before, after, f"a/{module}", f"b/{module}", n=3))
    folder.mkdir(parents=True, exist_ok=True)
    head = f"{change.before.strip()} becomes {change.after.strip()}.\ncaught by: {test}\n"
    name = f"{Path(module).stem}_{change.line}.patch"
    (folder / name).write_text(head + diff, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
