"""`isa.toml`, the programming interface, with what follows from it filled in.

Counters are written once there; their registers and their words of the completion record are added
here. `timing.toml` is read by `pimloop.rtl.tables.source`.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from pimloop.rtl.tables.source import RTL, Row, camel

Isa = dict[str, Any]

#: An opcode is a byte of a descriptor.
MOST_OPCODE = 255

#: Words of a descriptor and of a completion record.
WORDS = 16


def load() -> Isa:
    """Return `isa.toml` with the registers of the counters and the words of a record.

    Raises
    ------
    ValueError
        The table contradicts itself; the message names the entry.
    """
    return completed(tomllib.loads((RTL / "isa.toml").read_text(encoding="utf-8")))


def completed(isa: Isa) -> Isa:
    """Add to a table what follows from it; ValueError as of `load`."""
    isa["register"] += _counter_registers(isa)
    isa["record"] = _record(isa)
    rows = [[op["name"], op["value"], op["doc"]] for op in isa["opcode"]]
    isa["enum"].insert(0, {"name": "opcode", "values": rows})
    _check(isa)
    return isa


def _check(isa: Isa) -> None:
    _check_opcodes(isa)
    _check_names("lane", [row["name"] for row in isa["lane"]])
    known = {kind["name"] for kind in isa["class"]}
    named = {op["class"] for op in isa["opcode"]}
    named |= {name for field in isa["control"] for name in field.get("classes", ())}
    if named - known:
        raise ValueError(f"isa.toml: no [[class]] is called {', '.join(sorted(named - known))}")
    lanes = {row["name"] for row in isa["lane"]}
    vector = flagged(isa, "vector")
    for op in isa["opcode"]:
        if op["class"] in vector and op.get("lane") not in lanes:
            raise ValueError(
                f"isa.toml: {op['name']} is of the class {op['class']}, so its `lane` must be one"
                f" of {', '.join(sorted(lanes))}"
            )
    if len(isa["record"]) > WORDS:
        room = len(isa["counter"]) - (len(isa["record"]) - WORDS)
        raise ValueError(
            f"isa.toml: a completion record has {WORDS} words, room for {room} counters,"
            f" not for {len(isa['counter'])}"
        )
    _unique("register", "name", [row["name"] for row in isa["register"]])
    _unique("register", "offset", [f"0x{row['offset']:03X}" for row in isa["register"]])
    for enum in isa["enum"]:
        _unique(enum["name"], "name", [name for name, _, _ in enum["values"]])
        _unique(enum["name"], "value", [f"0x{value:02X}" for _, value, _ in enum["values"]])


def _check_opcodes(isa: Isa) -> None:
    """Check what becomes identifiers and 8-bit constants of three languages."""
    _check_names("opcode", [op["name"] for op in isa["opcode"]])
    for op in isa["opcode"]:
        value = op["value"]
        if type(value) is not int or not 0 <= value <= MOST_OPCODE:
            raise ValueError(
                f"isa.toml: opcode {op['name']} has the value {value!r}; give a whole number from 0"
                f" to {MOST_OPCODE}"
            )


def _check_names(table: str, names: list[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", name):
            raise ValueError(
                f"isa.toml: {table} {name!r} is no name; use letters, digits and single underscores"
            )
    _unique(table, "name", [camel(name) for name in names])


def _unique(table: str, key: str, entries: list[str]) -> None:
    twice = sorted({entry for entry in entries if entries.count(entry) > 1})
    if twice:
        raise ValueError(f"isa.toml: {table} has the {key} {', '.join(twice)} twice")


def opcodes_of(isa: Isa, classes: set[str]) -> list[str]:
    """Return the names of the opcodes of some classes, in the order of the table."""
    return [op["name"] for op in isa["opcode"] if op["class"] in classes]


def flagged(isa: Isa, flag: str) -> set[str]:
    """Return the names of the classes that have a flag."""
    return {kind["name"] for kind in isa["class"] if kind.get(flag)}


def _counter_registers(isa: Isa) -> list[Row]:
    rows = []
    for index, counter in enumerate(isa["counter"]):
        low = isa["counters"] + 8 * index
        name = f"CNT_{counter['name'].upper()}"
        high = "Upper half, as latched with the lower one."
        texts = [counter["doc"], counter.get("detail", "")]
        if index == 0:
            texts.append("Reading any _LO counter latches its _HI.")
        doc = " ".join(text for text in texts if text)
        rows.append({"name": f"{name}_LO", "offset": low, "access": "ro", "doc": doc})
        rows.append({"name": f"{name}_HI", "offset": low + 4, "access": "ro", "doc": high})
    return rows


def _record(isa: Isa) -> list[Row]:
    words = [("status", "As in the descriptor.")]
    for index, counter in enumerate(isa["counter"]):
        name = counter.get("field", counter["name"])
        doc = counter.get("record", f"As CNT_{counter['name'].upper()}")
        if index == 0:
            words.append((f"{name}_lo", f"{doc}, lower half."))
            words.append((f"{name}_hi", "The same, upper half."))
        else:
            words.append((name, f"{doc}."))
    return [{"name": name, "word": i, "doc": doc} for i, (name, doc) in enumerate(words)]
