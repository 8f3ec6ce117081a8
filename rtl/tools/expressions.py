"""conditions.toml, checked before it is written as SystemVerilog or evaluated in Python.

An expression must mean the same in both languages: names, whole numbers, + - * / % &, comparisons,
&& and ||. `==` binds tighter than `&` in SystemVerilog and looser in Python, so `&` needs
parentheses.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from pimloop.rtl.tables.conditions import TIMINGS, in_python
from pimloop.rtl.tables.source import RTL
from pimloop.rtl.tools.schema import ConditionsFile, TableError, read_table

_ALLOWED = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.BinOp, ast.Add, ast.Sub, ast.Mult),
    *(ast.FloorDiv, ast.Mod, ast.BitAnd, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt),
    *(ast.GtE, ast.Name, ast.Load, ast.Constant),
)
_HOW = "use names, whole numbers, + - * / % &, comparisons, && and ||"


def check_conditions(parameters: Collection[str]) -> None:
    """Check conditions.toml against the parameters that `pim_top` has.

    Raises
    ------
    TableError
        A key, type or expression is wrong, or a name is unknown where it stands.
    """
    table = read_table(RTL / "conditions.toml", ConditionsFile)
    known = set(parameters)
    for name, expression in table["derived"].items():
        entry = f"derived {name}"
        if name in known or not (name.isascii() and name.isidentifier() and name[0].isupper()):
            raise _wrong(entry, "is no new name; use letters and digits, a capital first")
        _check(entry, expression, known)
        known.add(name)
    for index, row in enumerate(table["condition"], 1):
        entry = f"condition number {index}"
        each = row.get("each")
        listed = each if isinstance(each, list) else []
        unknown = [name for name in listed if name not in parameters]
        if unknown:
            raise _wrong(entry, f"`each` names {unknown[0]}, which is no parameter of pim_top")
        extra = {"EACH"} if each else set()
        _check(entry, row["holds"], known | extra | ({"MOST"} if each == TIMINGS else set()))


def _check(entry: str, expression: str, known: Collection[str]) -> None:
    text = in_python(expression)
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        raise _wrong(entry, f"{expression!r} is no expression; {_HOW}") from None
    for node in ast.walk(tree):
        number = isinstance(node, ast.Constant) and type(node.value) is int
        chained = isinstance(node, ast.Compare) and len(node.ops) > 1
        if not isinstance(node, _ALLOWED) or chained or isinstance(node, ast.Constant) > number:
            raise _wrong(entry, f"{expression!r} means something else in SystemVerilog; {_HOW}")
        if isinstance(node, ast.Name) and node.id not in known:
            raise _wrong(
                entry, f"{node.id} is no parameter of pim_top and no value derived before; mend it"
            )
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                if isinstance(side, ast.BinOp) and isinstance(side.op, ast.BitAnd):
                    before = text[: side.col_offset].rstrip()
                    after = text[side.end_col_offset :].lstrip()
                    if not (before.endswith("(") and after.startswith(")")):
                        raise _wrong(entry, f"put the & of {expression!r} in parentheses")


def _wrong(entry: str, text: str) -> TableError:
    return TableError(f"conditions.toml: {entry}: {text}")
