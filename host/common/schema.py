"""Values with unit and source: the schema of a platform file's sections, and reading one.

A section is a frozen dataclass whose fields are declared with `number` and `choice`; in the file
each is a table `{ value, unit, source }`. `pimloop.host.platforms.platform` puts the sections
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from pimloop.errors import PimloopError


class PlatformError(PimloopError):
    """A platform does not exist or its file is wrong."""


@dataclass(frozen=True)
class PlatformValue:
    """A value of a platform as its file has it, or as a run changed it."""

    key: str  # section.key
    value: Any
    unit: str  # "" for a word or a switch
    source: str
    replaced: Any = None  # the file's value, where `--set` changed it
    others: tuple[float, ...] = ()  # the same of other sources (`constant`)


@dataclass(frozen=True)
class Constant:
    """A constant on which sources may disagree, exactly as the file writes it."""

    value: Fraction
    others: tuple[Fraction, ...] = ()  # of other sources, in the order in which `source` names them


def number(
    unit: str,
    low: float = 0,
    *,
    high: float = float("inf"),
    power_of_two: bool = False,
    otherwise: int | None = None,
) -> Any:
    """Declare a numeric value: its unit, smallest and largest value.

    A file may leave it out where there is a value `otherwise` (`with_defaults`).
    """
    limits = {"low": low, "high": high, "power_of_two": power_of_two}
    return field(metadata={"unit": unit, "otherwise": otherwise} | limits)


def choice(*values: object) -> Any:
    """Declare a value out of a fixed set."""
    return field(metadata={"unit": "", "choices": values})


def constant(unit: str, low: float = 0) -> Any:
    """Declare a `Constant`: its unit and smallest value; `others` in the file are optional."""
    return field(metadata={"unit": unit, "low": low, "spread": True})


#: Source of a value that a file leaves out.
DEFAULT_SOURCE = "default: the file does not say"


def with_defaults(kind: type[Any], table: Any) -> Any:
    """Return a section as its file has it, and what it leaves out and may leave out."""
    if not isinstance(table, dict):
        return table
    missing = {
        item.name: {
            "value": item.metadata["otherwise"],
            "unit": item.metadata["unit"],
            "source": DEFAULT_SOURCE,
        }
        for item in fields(kind)
        if item.name not in table and item.metadata.get("otherwise") is not None
    }
    return table | missing


Section = TypeVar("Section")


def parse_section(
    kind: type[Section], table: Any, path: Path, name: str, joint: str = "."
) -> Section:
    """Return the checked section `name` of the file `path`.

    Parameters
    ----------
    kind
        The section's dataclass.
    table
        What the file has.
    path, name, joint
        For messages: a key is the section's name, the joint and the field's name.

    Raises
    ------
    PlatformError
        For a key that is missing or unknown, a wrong unit or a wrong value; names file and key.
    """
    if not isinstance(table, dict):
        raise PlatformError(f"{path}: {name} must be a table, not {table!r}")
    declared = fields(kind)  # type: ignore[arg-type]
    check_keys(table, {field.name for field in declared}, path, f"{name}{joint}")
    values = {
        field.name: _value(
            table[field.name], field.type, field.metadata, path, f"{name}{joint}{field.name}"
        )
        for field in declared
    }
    return kind(**values)


def check_keys(
    table: dict[str, Any],
    expected: set[str],
    path: Path,
    prefix: str,
    optional: frozenset[str] = frozenset(),
) -> None:
    """Raise PlatformError for a key that is missing, or neither expected nor optional."""
    for key in sorted(expected - table.keys()):
        raise PlatformError(f"{path}: the key {prefix}{key} is missing")
    known = expected | optional
    for key in sorted(table.keys() - known):
        raise PlatformError(
            f"{path}: the key {prefix}{key} is unknown; known here: {', '.join(sorted(known))}"
        )


def _value(entry: Any, kind: Any, metadata: Mapping[str, Any], path: Path, key: str) -> Any:
    """Return the checked value of one `{ value, unit, source }` table."""
    unit = metadata["unit"]
    keys = {"value", "source"} | ({"unit"} if unit else set())
    if not isinstance(entry, dict):
        raise PlatformError(
            f"{path}: {key} must be a table with {', '.join(sorted(keys))}, not {entry!r}"
        )
    optional = frozenset({"others"}) if "spread" in metadata else frozenset[str]()
    check_keys(entry, keys, path, f"{key}.", optional)
    if unit and entry["unit"] != unit:
        raise PlatformError(f"{path}: {key}.unit must be {unit!r}, not {entry['unit']!r}")
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise PlatformError(f"{path}: {key}.source must say where the value comes from")
    value = entry["value"]
    if "choices" in metadata:
        return _chosen(value, str(kind), metadata["choices"], path, key)
    if "spread" in metadata:
        return _constant(entry, metadata["low"], path, key)
    whole = kind in (int, "int")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        expected = "a whole number" if whole else "a number"
        raise PlatformError(f"{path}: {key}.value must be {expected}, not {value!r}")
    if not metadata["low"] <= value < float("inf"):
        raise PlatformError(f"{path}: {key}.value must be at least {metadata['low']}, not {value}")
    high = metadata.get("high", float("inf"))
    if value > high:
        raise PlatformError(f"{path}: {key}.value must be at most {high}, not {value}")
    if metadata.get("power_of_two") and int(value) & (int(value) - 1):
        raise PlatformError(f"{path}: {key}.value must be a power of two, not {value}")
    return value if whole else float(value)


def _constant(entry: dict[str, Any], low: float, path: Path, key: str) -> Constant:
    others = entry.get("others", [])
    if not isinstance(others, list):
        raise PlatformError(f"{path}: {key}.others must be a list of numbers, not {others!r}")
    exact = []
    for name, value in [("value", entry["value"]), *(("others", other) for other in others)]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PlatformError(f"{path}: {key}.{name} must be a number, not {value!r}")
        if not low <= value < float("inf"):
            raise PlatformError(f"{path}: {key}.{name} must be at least {low}, not {value}")
        exact.append(Fraction(str(value)))
    return Constant(exact[0], tuple(exact[1:]))


def _chosen(value: Any, kind: str, choices: tuple[Any, ...], path: Path, key: str) -> Any:
    several = kind.startswith("tuple")
    if several and not isinstance(value, list):
        raise PlatformError(f"{path}: {key}.value must be a list, not {value!r}")
    for item in value if several else [value]:
        # 1 == True in Python: a whole number is no switch.
        if not any(item == choice and type(item) is type(choice) for choice in choices):
            allowed = ", ".join(repr(choice) for choice in choices)
            raise PlatformError(f"{path}: {key}.value: {item!r} is not one of {allowed}")
    return tuple(value) if several else value


def file_values(data: dict[str, Any], original: dict[str, Any]) -> tuple[PlatformValue, ...]:
    """Return the values of a valid file, and what those changed for this run were."""
    return tuple(
        PlatformValue(
            f"{section}.{key}",
            entry["value"],
            str(entry.get("unit", "")),
            str(entry["source"]),
            original[section][key]["value"] if entry != original[section][key] else None,
            tuple(entry.get("others", ())),
        )
        for section, table in data.items()
        if isinstance(table, dict)
        for key, entry in table.items()
    )
