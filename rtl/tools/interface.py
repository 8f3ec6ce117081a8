"""`isa.toml`, the programming interface, with what follows from it filled in.

Counters are written once there; their registers and their words of the completion record are added
here. `timing.toml` is read by `pimloop.rtl.tables.source`.
"""

from __future__ import annotations

from typing import Any

from pimloop.rtl.tables.source import RTL, Row, load_timing
from pimloop.rtl.tools.names import check_names, check_timing_names
from pimloop.rtl.tools.schema import (
    WORDS,
    IsaFile,
    TableError,
    TimingFile,
    check_table,
    read_table,
)

Isa = dict[str, Any]

#: The lane operation of the opcodes that name no other.
COMMON_LANE = "mac"

#: Codes from here on are errors.
FIRST_ERROR = 0x80

#: Entries that the generated code is written around.
_NEEDED = {
    "descriptor": ("control", "status"),
    "control": ("opcode",),
    "enum": ("broadcast", "init", "code"),
    "lane": (COMMON_LANE,),
}

_LAST_OFFSET = 0xFFC  # of a register


def load() -> Isa:
    """Return `isa.toml` with the registers of the counters and the words of a record.

    Raises
    ------
    TableError
        The table is wrong; the message names the entry, its key and what to do.
    """
    return completed(read_table(RTL / "isa.toml", IsaFile))


def load_times() -> list[Row]:
    """Return the rows of `timing.toml`, checked, as `load_timing` does; TableError as of `load`."""
    rows = read_table(RTL / "timing.toml", TimingFile)["timing"]
    check_timing_names(rows)
    for row in rows:
        low, high = 0 if row.get("never") else 1, row.get("most", 0xFFFF)
        if not low <= row["ddr4_2400"] <= high:
            raise TableError(
                f"timing.toml: timing {row['name']}: `ddr4_2400` is {row['ddr4_2400']}; give"
                f" {low} to {high}, or change `most` or `never`"
            )
    return load_timing()


def completed(isa: Isa) -> Isa:
    """Check a table and add to it what follows from it; TableError as of `load`."""
    check_table("isa.toml", isa, IsaFile)
    isa["register"] += _counter_registers(isa)
    isa["record"] = _record(isa)
    rows = [[op["name"], op["value"], op["doc"]] for op in isa["opcode"]]
    isa["enum"].insert(0, {"name": "opcode", "values": rows})
    _check(isa)
    return isa


def _check(isa: Isa) -> None:
    check_names(isa)
    for table, names in _NEEDED.items():
        missing = sorted({*names} - {row["name"] for row in isa[table]})
        if missing:
            raise _wrong(f"{table} {missing[0]} is missing: the generated code needs it; add it")
    _check_classes(isa)
    _check_values(isa)
    _check_words(isa)
    for table in ("register", "descriptor"):
        for row in isa[table]:
            _check_bits(f"{table} {row['name']}", row.get("fields", []))
    _check_bits("control", isa["control"])


def _check_classes(isa: Isa) -> None:
    classes = {row["name"]: row for row in isa["class"]}
    lanes = [row["name"] for row in isa["lane"]]
    for row in isa["class"]:
        if row.get("vector") and not row.get("computes"):
            raise _wrong(f"class {row['name']}: what is `vector` is computed; add computes = true")
    for field in isa["control"]:
        for name in field.get("classes", ()):
            if name not in classes:
                raise _unknown(f"control {field['name']}: `classes`", name, classes)
    for op in isa["opcode"]:
        if op["class"] not in classes:
            raise _unknown(f"opcode {op['name']}: `class`", op["class"], classes)
        lane = op.get("lane")
        if not classes[op["class"]].get("vector"):
            if lane is not None:
                raise _wrong(
                    f"opcode {op['name']}: the class {op['class']} has no `lane`; take it out"
                )
        elif lane is None:
            raise _wrong(
                f"opcode {op['name']}: the key `lane` is missing, which the class {op['class']}"
                f" needs; add one of {', '.join(lanes)}"
            )
        elif lane not in lanes:
            raise _unknown(f"opcode {op['name']}: `lane`", lane, lanes)


def _check_values(isa: Isa) -> None:
    for enum in isa["enum"]:
        entry = "opcode" if enum is isa["enum"][0] else f"enum {enum['name']}"
        most = (1 << enum_width(isa, enum)) - 1
        for name, value, _ in enum["values"]:
            if value > most:
                raise _wrong(f"{entry} {name}: the value is {value}; its field has room for {most}")
        _unique(entry, "value", [(f"0x{value:02X}", name) for name, value, _ in enum["values"]])
    codes = next(enum for enum in isa["enum"] if enum["name"] == "code")["values"]
    if all(value < FIRST_ERROR for _, value, _ in codes):
        raise _wrong(f"enum code: no value is an error; add one from 0x{FIRST_ERROR:X} on")


def _check_words(isa: Isa) -> None:
    if len(isa["record"]) > WORDS:
        room = len(isa["counter"]) - (len(isa["record"]) - WORDS)
        raise _wrong(
            f"a completion record has {WORDS} words, room for {room} counters,"
            f" not for {len(isa['counter'])}; take some out"
        )
    _unique("register", "offset", [(f"0x{r['offset']:03X}", r["name"]) for r in isa["register"]])
    last = max(isa["register"], key=lambda row: int(row["offset"]))
    if last["offset"] > _LAST_OFFSET:
        raise _wrong(
            f"register {last['name']}: the offset 0x{last['offset']:X} is beyond"
            f" 0x{_LAST_OFFSET:X}; start `counters` lower"
        )
    for row in isa["register"]:
        if "doc" not in row and "fields" not in row:
            raise _wrong(f"register {row['name']}: nothing says what it is; add `doc` or `fields`")
    _unique("descriptor", "word", [(str(r["word"]), r["name"]) for r in isa["descriptor"]])
    missing = sorted({*range(WORDS)} - {row["word"] for row in isa["descriptor"]})
    if missing:
        raise _wrong(f"descriptor: no entry has the word {missing[0]}; add one")
    status = next(row for row in isa["descriptor"] if row["name"] == "status")
    if "fields" not in status:
        raise _wrong("descriptor status: the key `fields` is missing; add the bits of the code")


def _check_bits(entry: str, fields: list[Row]) -> None:
    owners: dict[int, str] = {}
    for field in fields:
        for bit in range(field["low"], field["low"] + field["width"]):
            if bit > 31:
                raise _wrong(f"{entry}, {field['name']}: bit {bit} of 32; lower `low` or `width`")
            if bit in owners:
                raise _wrong(
                    f"{entry}: {owners[bit]} and {field['name']} both have bit {bit}; move one"
                )
            owners[bit] = field["name"]


def _unique(entry: str, key: str, values: list[tuple[str, str]]) -> None:
    owners: dict[str, str] = {}
    for value, name in values:
        if value in owners:
            raise _wrong(
                f"{entry}: {owners[value]} and {name} both have the {key} {value}; change one"
            )
        owners[value] = name


def _unknown(where: str, name: str, known: Any) -> TableError:
    return _wrong(f"{where} is {name!r}; give one of {', '.join(known)}")


def _wrong(text: str) -> TableError:
    return TableError(f"isa.toml: {text}")


def enum_width(isa: Isa, enum: Row) -> int:
    """Return the bits of an enum: those of the option of its name, a byte where there is none."""
    field = next((row for row in isa["control"] if row["name"] == enum["name"]), None)
    return int(field["width"]) if field else 8


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
