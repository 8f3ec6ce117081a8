"""Mistakes in the tables of rtl/: each is one line that says where it is and what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from pimloop.rtl.tables import source
from pimloop.rtl.tools import expressions, generate, interface

Table = Any
Change = Callable[[Table], object]
#: What a mistake makes of a table, and how the message begins behind the file's name.
Cases = list[tuple[Change | str | bytes, str]]

FILES = ("isa.toml", "timing.toml", "conditions.toml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of copies of the tables, which the generator reads and checks."""
    for file in FILES:
        shutil.copy(source.RTL / file, tmp_path)
    for module in (interface, expressions):
        monkeypatch.setattr(module, "RTL", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    return tmp_path


def said(folder: Path, file: str, change: Change | str | bytes) -> tuple[int, str]:
    """Return the exit code and the message of the generator for a changed table."""
    path = folder / file
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif isinstance(change, str):
        path.write_text(change, encoding="utf-8")
    else:
        table = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
        change(table)
        path.write_text(tomlkit.dumps(table), encoding="utf-8")
    lines: list[str] = []
    code = generate.main(lines.append)
    return code, "".join(lines)


def named(rows: list[Any], name: str) -> Any:
    """Return the entry of a name."""
    return next(row for row in rows if row["name"] == name)


def opcode(**keys: Any) -> Change:
    """Return a change of the opcode MUL; None takes a key out."""

    def change(table: Table) -> None:
        row = named(table["opcode"], "MUL")
        row |= {key.rstrip("_"): value for key, value in keys.items()}
        for key in [key for key, value in row.items() if value is None]:
            del row[key]

    return change


def entry(kind: str, called: str, **keys: Any) -> Change:
    """Return a change of an entry of isa.toml."""
    return lambda table: named(table[kind], called).update(keys)


def added(kind: str, **keys: Any) -> Change:
    """Return a change that appends an entry to isa.toml."""
    return lambda table: table[kind].append({"doc": "Again."} | keys)


def enum(name: str) -> Change:
    """Return a change that appends an enum to isa.toml."""
    row = {"name": name, "values": [["ZERO", 0, "Zero."]]}
    return lambda table: table["enum"].append(row)


def field(register: str, called: str, **keys: Any) -> Change:
    """Return a change of a field of a register."""
    return lambda table: named(named(table["register"], register)["fields"], called).update(keys)


def value(of: str, *row: Any) -> Change:
    """Return a change that appends a value to an enum."""
    return lambda table: named(table["enum"], of)["values"].append(list(row))


def without(kind: str, name: str, key: str) -> Change:
    """Return a change that takes a key out of an entry."""
    return lambda table: named(table[kind], name).pop(key)


COUNTERS = [{"name": f"extra{index}", "doc": "One more."} for index in range(7)]
BIT = {"name": "low", "low": 0, "width": 1, "doc": "Low."}

ISA: Cases = [
    # The file
    ("id = 1\n[[opcode]\n", "this is no TOML: Expected ']]' at the end of an array declaration"),
    ("id = 1\nid = 2\n", "this is no TOML: Cannot overwrite a value (at line 2, column 7)"),
    (b"# \xff\n", "this is no TOML: 'utf-8' codec can't decode byte 0xff in position 2"),
    ("", "the key `id` is missing; add it (keys: class, control, counter, counters,"),
    # Keys and types
    (lambda table: table.pop("lane"), "the key `lane` is missing; add it"),
    (lambda table: table.update(opcode=[]), "`opcode` must be a list of at least 1; mend it"),
    (lambda table: table.update(opcodes=[]), "there is no key `opcodes`; take it out or mend"),
    (lambda table: table.update(id=1 << 40), "`id` must be a whole number, at most 4294967295"),
    (opcode(class_=None), "opcode MUL: the key `class` is missing; add it (keys: class, doc, "),
    (opcode(name=None), "opcode number 7: the key `name` is missing; add it"),
    (opcode(vlaue=7), "opcode MUL: there is no key `vlaue`; take it out or mend its name"),
    (opcode(value="7"), "opcode MUL: `value` must be a whole number, not text; mend it"),
    (opcode(value=True), "opcode MUL: `value` must be a whole number, not a truth value"),
    (opcode(value=256), "opcode MUL: `value` must be a whole number, at most 255; mend it"),
    (opcode(value=-1), "opcode MUL: `value` must be a whole number, at least 0; mend it"),
    (opcode(doc="two\nlines"), "opcode MUL: `doc` must be one line of text, not empty, without |"),
    (opcode(doc=""), "opcode MUL: `doc` must be one line of text, not empty, without |"),
    (opcode(doc="a | b"), "opcode MUL: `doc` must be one line of text, not empty, without |"),
    (field("STATUS", "code", width=0), "register STATUS, field code: `width` must be a whole"),
    (field("STATUS", "code", wide=8), "register STATUS, field code: there is no key `wide`"),
    (entry("register", "IRQ", access="rx"), "register IRQ: `access` is 'rx'; give one of ro, rw"),
    (entry("register", "IRQ", offset=0x12), "register IRQ: `offset` must be a whole number, a mul"),
    (value("init", "ONE", 3), "enum init: `values[3]` must be a list of 3, not 2; mend it"),
    (value("init", "ONE", "3", "One."), "enum init: `values[3][1]` must be a whole number, not te"),
    # Classes and lanes
    (opcode(class_="vector"), "opcode MUL: `class` is 'vector'; give one of copy, product, elem"),
    (opcode(lane="div"), "opcode MUL: `lane` is 'div'; give one of mac, macz, mul, muls, load, "),
    (opcode(lane=None), "opcode MUL: the key `lane` is missing, which the class elementwise needs"),
    (opcode(class_="list"), "opcode MUL: the class list has no `lane`; take it out"),
    (entry("control", "init", classes=["sum"]), "control init: `classes` is 'sum'; give one of c"),
    (entry("class", "copy", vector=True), "class copy: what is `vector` is computed; add computes"),
    (lambda table: table["lane"].pop(0), "lane mac is missing: the generated code needs it"),
    (lambda table: table["enum"].pop(), "enum code is missing: the generated code needs it"),
    # Names
    (opcode(name="NE G"), "opcode 'NE G' is no name; use capital letters, digits and single und"),
    (opcode(name=""), "opcode '' is no name; use capital letters"),
    (opcode(name="1ST"), "opcode '1ST' is no name; use capital letters"),
    (opcode(name="A__B"), "opcode 'A__B' is no name; use capital letters"),
    (opcode(name="None"), "opcode 'None' is no name; use capital letters"),
    (opcode(name="mul"), "opcode 'mul' is no name; use capital letters"),
    (opcode(name="ADD"), "opcode ADD stands there twice: one name in SystemVerilog, OpcodeAdd; "),
    (opcode(name="LAST"), "the generated package itself and opcode LAST: one name in SystemVeri"),
    (added("lane", name="relu"), "lane relu stands there twice: one name in the lanes' operations"),
    (added("lane", name="Relu2"), "lane 'Relu2' is no name; use small letters"),
    (added("counter", name="wait"), "the record's word wait: `wait` is a keyword of SystemVerilog"),
    (added("counter", name="act"), "register CNT_ACT_LO stands there twice: one name in SystemVer"),
    (entry("control", "record", name="final"), "control final: `final` is a keyword of SystemVer"),
    (field("STATUS", "failed", name="bit"), "register STATUS, field bit: `bit` is a keyword of S"),
    (entry("control", "record", name="unused"), "control unused: the generator calls free bits `"),
    (added("class", name="compute"), "the generated package itself and class compute: one name in"),
    (enum("none"), "enum none: None is a keyword of Python; rename it"),
    (enum("reg"), "the generated module itself and enum reg: one name in Python, Reg; rename one"),
    (
        enum("opcode"),
        "the opcodes and enum opcode: one name in SystemVerilog, opcode_e; rename",
    ),
    (
        lambda table: table["register"].append(
            {"name": "RECORD", "offset": 0x200, "access": "ro", "fields": [BIT]}
        ),
        "the generated package itself and register RECORD: one name in SystemVerilog, record_t",
    ),
    # Values, bits and words
    (opcode(value=6), "opcode: SUB and MUL both have the value 0x06; change one"),
    (value("code", "AGAIN", 1, "Again."), "enum code: DONE and AGAIN both have the value 0x01"),
    (value("broadcast", "ALL", 4, "All."), "enum broadcast ALL: the value is 4; its field has ro"),
    (entry("register", "IRQ", offset=0x138), "register: IRQ and CNT_STALL_LO both have the offse"),
    (lambda table: table.update(counters=0xFA8), "register CNT_LINK_HI: the offset 0x100C is be"),
    (lambda table: table["counter"].extend(COUNTERS), "a completion record has 16 words, room fo"),
    (without("register", "IRQ", "fields"), "register IRQ: nothing says what it is; add `doc` or "),
    (field("STATUS", "code", low=25), "register STATUS, code: bit 32 of 32; lower `low` or `widt"),
    (field("STATUS", "code", low=1), "register STATUS: failed and code both have bit 1; move one"),
    (entry("control", "record", low=12), "control: out_f32 and record both have bit 12; move one"),
    (entry("descriptor", "tile", word=13), "descriptor: stride_y and tile both have the word 13;"),
    (lambda table: table["descriptor"].pop(3), "descriptor: no entry has the word 3; add one"),
    (without("descriptor", "status", "fields"), "descriptor status: the key `fields` is missing; "),
    (
        lambda table: named(table["enum"], "code").update(values=[["DONE", 1, "Done."]]),
        "enum code: no value is an error; add one from 0x80 on",
    ),
]

TIMING: Cases = [
    ("[timing]\n", "`timing` must be a list, not a table; mend it"),
    (lambda table: table["timing"][0].pop("doc"), "timing rcd_rd: the key `doc` is missing"),
    (lambda table: table["timing"][0].update(name="wire"), "timing wire: `wire` is a keyword of"),
    (lambda table: table["timing"][0].update(name="RP"), "timing 'RP' is no name; use small"),
    (lambda table: table["timing"][0].update(name="rp"), "timing rp stands there twice: one name"),
    (
        lambda table: table["timing"][0].update(ddr4_2400=1024),
        "timing rcd_rd: `ddr4_2400` is 1024; give 1 to 1023, or change `most` or `never`",
    ),
]


def first(**keys: Any) -> Change:
    """Return a change of the first condition."""
    return lambda table: table["condition"][0].update(keys)


CONDITIONS: Cases = [
    (lambda table: table["condition"][1].pop("text"), "condition number 2: the key `text` is mis"),
    (
        first(text='50 "'),
        "condition number 1: `text` must be one line of text, not empty, without ",
    ),
    (first(holds="Banks >="), "condition number 1: 'Banks >=' is no expression; use names, whole"),
    (first(holds="Bnaks >= 2"), "condition number 1: Bnaks is no parameter of pim_top and no valu"),
    (first(holds="EACH >= 2"), "condition number 1: EACH is no parameter of pim_top"),
    (first(holds="EACH < MOST", each=["TRc"]), "condition number 1: MOST is no parameter of pim_"),
    (first(holds="EACH > 2", each=["TRx"]), "condition number 1: `each` names TRx, which is no pa"),
    (first(holds="1 < Banks < 9"), "condition number 1: '1 < Banks < 9' means something else in "),
    (first(holds="Banks ** 2 > 3"), "condition number 1: 'Banks ** 2 > 3' means something else i"),
    (first(holds="abs(Banks) > 3"), "condition number 1: 'abs(Banks) > 3' means something else i"),
    (first(holds="Banks & 1 == 0"), "condition number 1: put the & of 'Banks & 1 == 0' in parent"),
    (
        lambda table: table.update(derived={"First": "Second", "Second": "Banks"}),
        "derived First: Second is no parameter of pim_top and no value derived before; mend it",
    ),
    (lambda table: table["derived"].update(Banks="2"), "derived Banks: is no new name; use letter"),
]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        pytest.param(file, change, message, id=f"{file}-{message[:40]}")
        for file, cases in zip(FILES, (ISA, TIMING, CONDITIONS), strict=True)
        for change, message in cases
    ],
)
def test_a_mistake_is_one_clear_line(
    folder: Path, file: str, change: Change | str | bytes, message: str
) -> None:
    code, text = said(folder, file, change)
    assert text.startswith(f"error: {file}: {message}")
    assert (code, text.count("\n")) == (2, 1)


def test_the_tables_as_they_are_have_none(folder: Path) -> None:
    for file in FILES:
        assert said(folder, file, lambda table: None) == (0, "")


def test_a_table_that_is_not_there(folder: Path) -> None:
    path = folder / "timing.toml"
    path.unlink()
    lines: list[str] = []
    assert generate.main(lines.append) == 2
    assert lines == [f"error: timing.toml: cannot be read: No such file or directory ({path})\n"]
