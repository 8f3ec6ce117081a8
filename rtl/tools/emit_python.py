"""The Python that the generator writes: `isa.py` and `timing.py` of `pimloop.rtl.tables`."""

from __future__ import annotations

import json

from pimloop.rtl.tables.source import Row, camel
from pimloop.rtl.tools.interface import Isa, flagged, opcodes_of
from pimloop.rtl.tools.schema import WORDS

_FIELD = '''
class Field(NamedTuple):
    """Some bits of a word."""

    low: int
    width: int

    @property
    def mask(self) -> int:
        """The word with these bits set and no others."""
        return (1 << self.width) - 1 << self.low

    def get(self, word: int) -> int:
        """Return the value of the field in a word."""
        return word >> self.low & (1 << self.width) - 1

    def put(self, value: int) -> int:
        """Return the word with this value in the field, what does not fit cut off, and 0 around."""
        return (value & (1 << self.width) - 1) << self.low
'''


def isa_module(isa: Isa) -> str:
    """Return the text of `isa.py`."""
    lines = [
        '"""The programming interface of the device: registers, descriptors, codes.',
        "",
        "Generated from isa.toml by `python -m pimloop.rtl.tools.generate`: do not edit.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from enum import IntEnum",
        "from typing import NamedTuple",
        "",
        "import numpy as np",
        "",
        f"DEVICE_ID = 0x{isa['id']:08X}",
        f"DEVICE_VERSION = 0x{isa['version']:08X}",
        "",
        "#: Bytes of a descriptor and of a completion record.",
        f"DESCRIPTOR_BYTES = {4 * WORDS}",
        "",
        *_FIELD.splitlines(),
        "",
        "",
    ]
    return "\n".join([*lines, *_registers(isa), *_enums(isa), *_layouts(isa), ""])


def _registers(isa: Isa) -> list[str]:
    lines = ["class Reg(IntEnum):", '    """Register offsets in bytes."""', ""]
    for register in isa["register"]:
        lines.append(f"    {register['name']} = 0x{register['offset']:03X}")
    lines += ["", "", "# Fields of the registers: REGISTER_FIELD."]
    lines += [
        f"{register['name']}_{field['name'].upper()} = Field({field['low']}, {field['width']})"
        for register in isa["register"]
        for field in register.get("fields", ())
    ]
    lines += ["", "#: Values after reset of the registers that are not 0 then."]
    lines.append("RESET: dict[Reg, int] = {")
    lines += ["    Reg.ID: DEVICE_ID,", "    Reg.VERSION: DEVICE_VERSION,"]
    lines += [
        f"    Reg.{register['name']}: {register['reset']},"
        for register in isa["register"]
        if "reset" in register
    ]
    lines += [
        "}",
        "",
        "#: Registers that keep what is written: they decide what a doorbell starts.",
    ]
    lines.append("SETTINGS: tuple[Reg, ...] = (")
    lines += [
        f"    Reg.{register['name']},"
        for register in isa["register"]
        if register["access"] == "rw" and "fields" not in register
    ]
    lines += [")", "", "#: Lower register of each counter; the upper one follows it."]
    lines.append("COUNTERS: dict[str, Reg] = {")
    lines += [f'    "{c["name"]}": Reg.CNT_{c["name"].upper()}_LO,' for c in isa["counter"]]
    lines += ["}", "", "#: What each counter counts.", "COUNTER_TEXT: dict[str, str] = {"]
    lines += [f'    "{c["name"]}": {json.dumps(c["doc"])},' for c in isa["counter"]]
    return [*lines, "}"]


def _enums(isa: Isa) -> list[str]:
    lines: list[str] = []
    for enum in isa["enum"]:
        lines += ["", "", f"class {camel(enum['name'])}(IntEnum):"]
        lines += [f'    """Values of `{enum["name"]}`; each is explained in rtl/README.md."""', ""]
        lines += [f"    {name} = 0x{value:02X}" for name, value, _ in enum["values"]]
    lines += ["", ""]
    for kind in isa["class"]:
        lines.append(f"#: {kind['doc']}")
        lines += _opcodes(f"{kind['name'].upper()}_OPCODES", opcodes_of(isa, {kind["name"]}))
    lines.append("#: Those that the lanes execute.")
    lines += _opcodes("COMPUTE_OPCODES", opcodes_of(isa, flagged(isa, "computes")))
    lines.append("#: Those of them that go through the rows of their operands beat by beat.")
    lines += _opcodes("VECTOR_OPCODES", opcodes_of(isa, flagged(isa, "vector")))
    lines += ["", "#: What each status code means.", "CODE_TEXT: dict[Code, str] = {"]
    for name, _, doc in next(e for e in isa["enum"] if e["name"] == "code")["values"]:
        lines.append(f"    Code.{name}: {json.dumps(doc)},")
    return [*lines, "}", ""]


def _opcodes(name: str, opcodes: list[str]) -> list[str]:
    if not opcodes:
        return [f"{name}: tuple[Opcode, ...] = ()"]
    line = f"{name} = ({', '.join(f'Opcode.{op}' for op in opcodes)}{',' * (len(opcodes) == 1)})"
    if len(line) <= 100:
        return [line]
    return [f"{name} = (", *(f"    Opcode.{op}," for op in opcodes), ")"]


def _layouts(isa: Isa) -> list[str]:
    lines = ["#: Fields of the control word.", "CONTROL_FIELDS: dict[str, Field] = {"]
    lines += [f'    "{f["name"]}": Field({f["low"]}, {f["width"]}),' for f in isa["control"]]
    lines += ["}", "", "#: Opcodes that an option may be set for; what is not here, for every one."]
    lines.append("OPTION_OPCODES: dict[str, tuple[Opcode, ...]] = {")
    for field in isa["control"]:
        if "classes" in field:
            names = " + ".join(f"{name.upper()}_OPCODES" for name in field["classes"])
            lines.append(f'    "{field["name"]}": {names},')
    lines += ["}", "", "# Fields of other words of a descriptor."]
    lines += [
        f"DESCRIPTOR_{word['name'].upper()}_{field['name'].upper()} ="
        f" Field({field['low']}, {field['width']})"
        for word in isa["descriptor"]
        for field in word.get("fields", ())
    ]
    lines += ["", "#: A descriptor, 64 bytes, little-endian.", "DESCRIPTOR = np.dtype("]
    lines.append("    [")
    lines += [f'        ("{word["name"]}", "<u4"),' for word in isa["descriptor"]]
    lines += ["    ]", ")", "", "#: A completion record, 64 bytes, little-endian."]
    lines += ["RECORD = np.dtype(", "    ["]
    lines += [f'        ("{word["name"]}", "<u4"),' for word in isa["record"]]
    lines.append(f'        ("unused", "<u4", ({WORDS - len(isa["record"])},)),')
    return [*lines, "    ]", ")"]


def timing_module(timing: list[Row]) -> str:
    """Return the text of `timing.py`."""
    lines = [
        '"""DRAM timings by the keys of a platform file.',
        "",
        "Generated from timing.toml by `python -m pimloop.rtl.tools.generate`: do not edit.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from dataclasses import dataclass, field",
        "from typing import Any",
        "",
        "",
        "def _clocks(low: int) -> Any:",
        '    """Declare a time of at least `low` DRAM clocks, as platform files give it."""',
        '    return field(metadata={"unit": "DRAM clocks", "low": low})',
        "",
        "",
        "@dataclass(frozen=True, kw_only=True)",
        "class Timing:",
        '    """DRAM timing in DRAM clocks, JEDEC names."""',
        "",
    ]
    for row in timing:
        least = 0 if row.get("never") else 1
        lines.append(f"    {row['key']}: int = _clocks({least})  # {row['doc']}")
    lines += ["", "", "#: The parameter of pim_top behind each.", "PARAMETERS: dict[str, str] = {"]
    lines += [f'    "{row["key"]}": "{row["parameter"]}",' for row in timing]
    return "\n".join([*lines, "}", ""])
