"""What may stand in the tables of rtl/: keys, types and ranges of every entry.

`read_table` reads one and refuses what its type does not have, in one line. Whether entries fit
each other is checked by `pimloop.rtl.tools.interface` (isa.toml, timing.toml) and by
`pimloop.rtl.tools.expressions` (conditions.toml).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pimloop.errors import PimloopError

#: Words of a descriptor and of a completion record.
WORDS = 16

# What becomes a comment and a cell of a Markdown table, and text of a SystemVerilog message.
_Doc = Annotated[str, Meta(pattern=r"\A[^\r\n|]+\Z")]
_Message = Annotated[str, Meta(pattern=r'\A[^\r\n"\\%]+\Z')]
_Expression = Annotated[str, Meta(pattern=r"\A[^\r\n]+\Z")]
_Byte = Annotated[int, Meta(ge=0, le=0xFF)]
_Word = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
_Offset = Annotated[int, Meta(ge=0, le=0xFFC, multiple_of=4)]
_Clocks = Annotated[int, Meta(ge=0, le=0xFFFF)]
_Low = Annotated[int, Meta(ge=0, le=31)]
_Width = Annotated[int, Meta(ge=1, le=32)]


class TableError(PimloopError):
    """A table of rtl/ is wrong; the message names file, entry and key, and what to do."""


class _Entry(Struct, forbid_unknown_fields=True):
    """An entry of a table: no other keys."""


class Field(_Entry):
    """Bits of a register or of a word."""

    name: str
    low: _Low
    width: _Width
    doc: _Doc


class Register(_Entry):
    name: str
    offset: _Offset
    access: Literal["ro", "rw", "wo", "w1c"]
    doc: _Doc | None = None
    reset: _Word | None = None
    fields: Annotated[list[Field], Meta(min_length=1)] | None = None


class Counter(_Entry):
    name: str
    doc: _Doc
    detail: _Doc | None = None
    field: str | None = None
    record: _Doc | None = None


class Word(_Entry):
    """A word of a descriptor."""

    name: str
    word: Annotated[int, Meta(ge=0, lt=WORDS)]
    doc: _Doc
    fields: Annotated[list[Field], Meta(min_length=1)] | None = None


class Option(_Entry):
    """Bits of the control word."""

    name: str
    low: _Low
    width: _Width
    doc: _Doc
    classes: Annotated[list[str], Meta(min_length=1)] | None = None


class Class(_Entry):
    name: str
    doc: _Doc
    computes: bool = False
    vector: bool = False


class Opcode(_Entry):
    name: str
    value: _Byte
    class_: str = msgspec.field(name="class")
    doc: _Doc
    lane: str | None = None


class Enum(_Entry):
    name: str
    values: Annotated[list[tuple[str, _Byte, _Doc]], Meta(min_length=1)]


class Lane(_Entry):
    name: str
    doc: _Doc


class IsaFile(_Entry):
    """isa.toml."""

    id: _Word
    version: _Word
    counters: _Offset
    register: Annotated[list[Register], Meta(min_length=1)]
    counter: Annotated[list[Counter], Meta(min_length=1)]
    descriptor: Annotated[list[Word], Meta(min_length=1)]
    control: Annotated[list[Option], Meta(min_length=1)]
    class_: Annotated[list[Class], Meta(min_length=1)] = msgspec.field(name="class")
    opcode: Annotated[list[Opcode], Meta(min_length=1)]
    enum: list[Enum]
    lane: Annotated[list[Lane], Meta(min_length=2)]


class Time(_Entry):
    name: str
    ddr4_2400: _Clocks
    doc: _Doc
    most: Annotated[int, Meta(ge=1, le=0xFFFF)] | None = None
    never: bool = False


class TimingFile(_Entry):
    """timing.toml."""

    timing: Annotated[list[Time], Meta(min_length=1)]


class Condition(_Entry):
    holds: _Expression
    text: _Message
    each: Annotated[list[str], Meta(min_length=1)] | Literal["timings"] | None = None


class ConditionsFile(_Entry):
    """conditions.toml."""

    derived: dict[str, _Expression]
    condition: Annotated[list[Condition], Meta(min_length=1)]


#: What the entries of each table are.
_ENTRIES: dict[str, type[Struct]] = {
    "register": Register,
    "counter": Counter,
    "descriptor": Word,
    "control": Option,
    "class": Class,
    "opcode": Opcode,
    "enum": Enum,
    "lane": Lane,
    "timing": Time,
    "condition": Condition,
    "fields": Field,
}


def read_table(path: Path, kind: type[Struct]) -> dict[str, Any]:
    """Return the content of a table.

    Parameters
    ----------
    path
        The file.
    kind
        What is in it: `IsaFile`, `TimingFile` or `ConditionsFile`.

    Raises
    ------
    TableError
        It cannot be read, is no TOML, or has a key, type or value that it may not have.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{path.name}: cannot be read: {error.strerror} ({path})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{path.name}: this is no TOML: {error}; mend it there") from None
    check_table(path.name, table, kind)
    return table


def check_table(file: str, table: dict[str, Any], kind: type[Struct]) -> None:
    """Check keys, types and ranges of a table that was read from `file`.

    Raises
    ------
    TableError
        As of `read_table`.
    """
    try:
        msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        entry, key, entries = _place(table, kind, path.removesuffix("`"))
        where = f"{file}: {entry}: " if entry else f"{file}: "
        raise TableError(where + _explained(problem, key, entries)) from None


def _place(table: dict[str, Any], kind: type[Struct], path: str) -> tuple[str, str, type[Struct]]:
    """Return the entry that msgspec's path leads to, the key in it, and what the entry is."""
    match = re.match(r"(\w+)\[(\d+)\](?:\.(\w+)(.*))?", path)
    if match is None:
        return "", path, kind
    name, index, key, rest = match[1], int(match[2]), match[3] or "", match[4] or ""
    entry = table[name][index]
    if key == "fields" and (deeper := re.match(r"\[(\d+)\](?:\.(\w+))?", rest)):
        outer = _label(name, entry, index)
        part = _label("field", entry["fields"][int(deeper[1])], int(deeper[1]))
        return f"{outer}, {part}", deeper[2] or "", Field
    return _label(name, entry, index), key + rest, _ENTRIES[name]


def _label(table: str, entry: Any, index: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"{table} {name}" if isinstance(name, str) else f"{table} number {index + 1}"


_TYPES = {
    "int": "a whole number",
    "str": "text",
    "bool": "a truth value",
    "array": "a list",
    "object": "a table",
    "float": "a number with a point",
}


#: What the patterns above forbid besides ends of lines, by a sign of each.
_WITHOUT = {"|": ", not empty, without |", '"': ', not empty, without ", \\ and %'}


def _explained(problem: str, key: str, kind: type[Struct]) -> str:
    """Return what is wrong and what to do, of a message of msgspec about a key."""
    keys = msgspec.structs.fields(kind)
    name, key = key, f"`{key}`" if key else "it"
    known = ", ".join(sorted(field.encode_name for field in keys))
    if match := re.match(r"Object missing required field `(.+)`", problem):
        return f"the key `{match[1]}` is missing; add it (keys: {known})"
    if match := re.match(r"Object contains unknown field `(.+)`", problem):
        return f"there is no key `{match[1]}`; take it out or mend its name (keys: {known})"
    if match := re.match(r"Invalid enum value (.+)", problem):
        allowed = next(field.type for field in keys if field.encode_name == name).__args__
        return f"{key} is {match[1]}; give one of {', '.join(allowed)}"
    if "regex" in problem:
        without = next((text for sign, text in _WITHOUT.items() if sign in problem), "")
        return f"{key} must be one line of text{without}; mend it"
    match = re.match(r"Expected `([^`]+)`(?: ([<>]=?) (\d+))?(?: that's a multiple of (\d+))?"
                     r"(?: of length (>= )?(\d+))?(?:, got `?(\w+)`?)?", problem)  # fmt: skip
    if match is None:
        return f"{key}: {problem}"
    kinds, compared, bound, multiple, at_least, length, got = match.groups()
    text = " or ".join(_TYPES[name] for name in kinds.split(" | ") if name in _TYPES)
    if bound is not None:
        limit = {"<=": "at most", ">=": "at least", "<": "below", ">": "above"}[compared]
        text += f", {limit} {bound}"
    if multiple is not None:
        text += f", a multiple of {multiple}"
    if length is not None:
        text += f" of {'at least ' if at_least else ''}{length}"
    given = f", not {_TYPES.get(got, got)}" if got else ""
    return f"{key} must be {text}{given}; mend it"
