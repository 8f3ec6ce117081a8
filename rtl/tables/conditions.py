"""What the parameters of `pim_top` must satisfy, evaluated before anything is built.

The table is `conditions.toml`; `python -m pimloop.rtl.tools.generate` makes the elaboration checks
of the RTL (`pim_conditions.sv`) from the same text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType

from pimloop.rtl.tables.source import RTL, load_timing

_TABLE = RTL / "conditions.toml"
#: What `each` says for all parameters of timing.toml that have a range.
TIMINGS = "timings"

_NAME = re.compile(r"\b[A-Z]\w*\b")


@dataclass(frozen=True)
class Condition:
    """One row of the table, for one parameter where the row has several."""

    holds: str  # expression, in SystemVerilog's operators
    text: str  # why


@dataclass(frozen=True)
class Broken:
    """A condition that does not hold."""

    condition: Condition
    parameters: tuple[str, ...]  # it depends on, those it names itself first
    values: Mapping[str, int]  # of every parameter and derived value in it

    def message(self, keys: Mapping[str, str] | None = None) -> str:
        """Return what is wrong, what must hold, and the values.

        Parameters
        ----------
        keys
            What to call each parameter, by its name in `pim_top`; else that name.
        """
        keys = keys or {}

        def named(match: re.Match[str]) -> str:
            name = match[0]
            if name in self.parameters:
                return keys.get(name, name)
            return str(self.values.get(name, name))

        text = _NAME.sub(named, self.condition.text)
        rule = _NAME.sub(named, self.condition.holds)
        given = ", ".join(f"{keys.get(n, n)} = {self.values[n]}" for n in self.parameters)
        return f"{text} ({rule} must hold; {given})"


@cache
def derived() -> dict[str, str]:
    """Return the expressions of the derived values by name, in order."""
    return dict(tomllib.loads(_TABLE.read_text(encoding="utf-8"))["derived"])


@cache
def conditions() -> tuple[Condition, ...]:
    """Return the rows of the table in order; a row for `each` parameter is one for each."""
    rows = tomllib.loads(_TABLE.read_text(encoding="utf-8"))["condition"]
    return tuple(
        Condition(_of(row["holds"], name, most), _of(row["text"], name, most))
        for row in rows
        for name, most in _each(row.get("each", [""]))
    )


def _each(names: str | list[str]) -> list[tuple[str, str]]:
    """Return the parameters that a row is about, each with its largest value."""
    if names == TIMINGS:
        return [(row["parameter"], str(row["most"])) for row in load_timing() if "most" in row]
    return [(name, "") for name in names]


def _of(text: str, name: str, most: str) -> str:
    return text.replace("EACH", name).replace("MOST", most)


class _Values(dict[str, int]):
    """Parameters; derived values are computed when they are asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = value = int(eval(_code(derived()[name]), {"__builtins__": {}}, self))
        return value


@cache
def _code(expression: str) -> CodeType:
    return compile(in_python(expression), str(_TABLE), "eval")


def in_python(expression: str) -> str:
    """Return an expression of the table with Python's operators.

    >>> in_python("TRefi == 0 || TRefi / 2 > TRfc")
    'TRefi == 0  or  TRefi // 2 > TRfc'
    """
    return expression.replace("&&", " and ").replace("||", " or ").replace("/", "//")


def first_broken(parameters: Mapping[str, int]) -> Broken | None:
    """Return the first condition that parameters of `pim_top` break, None when all hold.

    Parameters
    ----------
    parameters
        Every parameter of `pim_top` by its name.
    """
    values = _Values(parameters)
    for condition in conditions():
        if not eval(_code(condition.holds), {"__builtins__": {}}, values):
            names = _parameters(condition.holds)
            return Broken(condition, names, dict(values))
    return None


def _parameters(expression: str) -> tuple[str, ...]:
    """Return the parameters an expression depends on, those it names itself first."""
    names: dict[str, None] = {}
    inner: list[str] = []
    for name in _NAME.findall(expression):
        if name in derived():
            inner.append(derived()[name])
        else:
            names[name] = None
    for part in inner:
        names |= dict.fromkeys(_parameters(part))
    return tuple(names)
