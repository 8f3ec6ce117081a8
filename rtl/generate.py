"""Write everything that states the programming interface from `isa.toml`.

Outputs: `pim_isa_pkg.sv` (SystemVerilog), `isa.py` (Python) and the tables between the
`<!-- generated:NAME -->` marks of `README.md`; and from `conditions.toml` the checks of the
parameters, `pim_conditions.sv`. Run `python -m pimloop.rtl.generate` after a change of either;
`python -m pimloop.rtl.generate --check` exits 1 when an output is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from pimloop.rtl.conditions import conditions, derived

HERE = Path(__file__).resolve().parent
Isa = dict[str, Any]


def load() -> Isa:
    """Return the parsed `isa.toml`."""
    return tomllib.loads((HERE / "isa.toml").read_text(encoding="utf-8"))


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.lower().split("_"))


def system_verilog(isa: Isa) -> str:
    """Return the text of `pim_isa_pkg.sv`."""
    lines = [
        "// Generated from isa.toml by `python -m pimloop.rtl.generate`: do not edit.",
        "",
        "/// The programming interface of the device: registers, descriptors, codes.",
        "package pim_isa_pkg;",
        "",
        f"  localparam logic [31:0] DeviceId = 32'h{isa['id']:08X};",
        f"  localparam logic [31:0] DeviceVersion = 32'h{isa['version']:08X};",
        "",
        "  // Register offsets in bytes.",
    ]
    for register in isa["register"]:
        name = _camel(register["name"])
        lines.append(f"  localparam logic [11:0] Reg{name} = 12'h{register['offset']:03X};")
    lines += ["", "  // Words of a descriptor."]
    for word in isa["descriptor"]:
        lines.append(f"  localparam int unsigned Word{_camel(word['name'])} = {word['word']};")
    for enum in isa["enum"]:
        width = _enum_width(enum)
        prefix = _camel(enum["name"])
        lines += ["", f"  typedef enum logic [{width - 1}:0] {{"]
        values = enum["values"]
        for index, (name, value, _) in enumerate(values):
            comma = "," if index + 1 < len(values) else ""
            digits = (width + 3) // 4
            lines.append(f"    {prefix}{_camel(name)} = {width}'h{value:0{digits}X}{comma}")
        lines.append(f"  }} {enum['name']}_e;")
    lines += ["", "  /// Word 0 of a descriptor.", "  typedef struct packed {"]
    top = 32
    for field in sorted(isa["control"], key=lambda f: -int(f["low"])):
        if field["low"] + field["width"] < top:
            lines.append(f"    logic [{top - field['low'] - field['width'] - 1}:0] reserved;")
        kind = "logic" if field["width"] == 1 else f"logic [{field['width'] - 1}:0]"
        lines.append(f"    {kind} {field['name']};")
        top = field["low"]
    lines += ["  } control_t;", "", "  /// A descriptor; word 0 in the low bits."]
    lines.append("  typedef struct packed {")
    for word in sorted(isa["descriptor"], key=lambda w: -int(w["word"])):
        kind = "control_t" if word["name"] == "control" else "logic [31:0]"
        lines.append(f"    {kind} {word['name']};")
    lines += ["  } descriptor_t;", "", "  /// A completion record; word 0 in the low bits."]
    lines.append("  typedef struct packed {")
    unused = 16 - len(isa["record"])
    lines.append(f"    logic [{unused * 32 - 1}:0] unused;")
    for word in sorted(isa["record"], key=lambda w: -int(w["word"])):
        lines.append(f"    logic [31:0] {word['name']};")
    lines += ["  } record_t;", "", "endpackage", ""]
    return "\n".join(lines)


def checks() -> str:
    """Return the text of `pim_conditions.sv`."""
    top = (HERE / "pim_top.sv").read_text(encoding="utf-8").split(") (")[0]
    names = re.findall(r"parameter int unsigned (\w+)", top)
    lines = [
        "// Generated from conditions.toml by `python -m pimloop.rtl.generate`: do not edit.",
        "",
        "/// Elaboration fails where parameters of pim_top break a condition of conditions.toml.",
        "module pim_conditions #(",
        ",\n".join(f"  parameter longint {name} = 0" for name in names),
        ") ();",
        "",
    ]
    lines += [f"  localparam longint {name} = {text};" for name, text in derived().items()]
    for index, condition in enumerate(conditions()):
        holds = re.sub(r"\b\d{10,}\b", r"64'sd\g<0>", condition.holds)  # no 32-bit literal
        lines += ["", f"  if (!({holds})) begin : gen_{index}"]
        lines += [f'    $error("%m: {condition.text}");', "  end"]
    return "\n".join([*lines, "", "endmodule", ""])


def _enum_width(enum: dict[str, Any]) -> int:
    return 8 if enum["name"] in ("opcode", "code") else 2


def python(isa: Isa) -> str:
    """Return the text of `isa.py`."""
    lines = [
        '"""The programming interface of the device: registers, descriptors, codes.',
        "",
        "Generated from isa.toml by `python -m pimloop.rtl.generate`: do not edit.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from enum import IntEnum",
        "",
        "import numpy as np",
        "",
        f"DEVICE_ID = 0x{isa['id']:08X}",
        f"DEVICE_VERSION = 0x{isa['version']:08X}",
        "",
        "#: Bytes of a descriptor and of a completion record.",
        "DESCRIPTOR_BYTES = 64",
        "",
        "",
        "class Reg(IntEnum):",
        '    """Register offsets in bytes."""',
        "",
    ]
    for register in isa["register"]:
        lines.append(f"    {register['name']} = 0x{register['offset']:03X}")
    for enum in isa["enum"]:
        lines += ["", "", f"class {_camel(enum['name'])}(IntEnum):"]
        lines += [f'    """Values of `{enum["name"]}`; each is explained in rtl/README.md."""', ""]
        for name, value, _ in enum["values"]:
            lines.append(f"    {name} = 0x{value:02X}")
    lines += ["", "", "#: What each status code means.", "CODE_TEXT: dict[Code, str] = {"]
    for name, _, doc in next(e for e in isa["enum"] if e["name"] == "code")["values"]:
        lines.append(f"    Code.{name}: {json.dumps(doc)},")
    lines += ["}", ""]
    lines += ["#: Fields of the control word: (lowest bit, width).", "CONTROL_FIELDS = {"]
    for field in isa["control"]:
        lines.append(f'    "{field["name"]}": ({field["low"]}, {field["width"]}),')
    lines += ["}", "", "#: A descriptor, 64 bytes, little-endian.", "DESCRIPTOR = np.dtype("]
    lines.append("    [")
    for word in isa["descriptor"]:
        lines.append(f'        ("{word["name"]}", "<u4"),')
    lines += ["    ]", ")", "", "#: A completion record, 64 bytes, little-endian."]
    lines += ["RECORD = np.dtype(", "    ["]
    for word in isa["record"]:
        lines.append(f'        ("{word["name"]}", "<u4"),')
    lines.append(f'        ("unused", "<u4", ({16 - len(isa["record"])},)),')
    lines += ["    ]", ")", ""]
    return "\n".join(lines)


def tables(isa: Isa) -> dict[str, str]:
    """Return the Markdown tables of `README.md` by the name of their mark."""
    registers = ["| offset | name | access | meaning |", "|---|---|---|---|"]
    for reg in isa["register"]:
        registers.append(
            f"| 0x{reg['offset']:03X} | {reg['name']} | {reg['access']} | {reg['doc']} |"
        )
    words = ["| word | name | meaning |", "|---|---|---|"]
    words += [f"| {w['word']} | {w['name']} | {w['doc']} |" for w in isa["descriptor"]]
    control = ["| bits | field | meaning |", "|---|---|---|"]
    for field in isa["control"]:
        high = field["low"] + field["width"] - 1
        bits = f"{high}:{field['low']}" if field["width"] > 1 else str(field["low"])
        control.append(f"| {bits} | {field['name']} | {field['doc']} |")
    record = ["| word | name | meaning |", "|---|---|---|"]
    record += [f"| {w['word']} | {w['name']} | {w['doc']} |" for w in isa["record"]]
    result = {"registers": registers, "descriptor": words, "control": control, "record": record}
    for enum in isa["enum"]:
        rows = ["| value | name | meaning |", "|---|---|---|"]
        rows += [f"| 0x{value:02X} | {name} | {doc} |" for name, value, doc in enum["values"]]
        result[enum["name"]] = rows
    return {name: "\n".join(rows) for name, rows in result.items()}


def readme(text: str, isa: Isa) -> str:
    """Return `text` with the tables between its marks replaced."""
    for name, table in tables(isa).items():
        mark = f"<!-- generated:{name} -->\n"
        head, found, rest = text.partition(mark)
        if found:
            text = f"{head}{mark}{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def outputs() -> dict[Path, str]:
    """Return every generated file with the text it should have."""
    isa = load()
    result = {HERE / "pim_isa_pkg.sv": system_verilog(isa), HERE / "isa.py": python(isa)}
    result[HERE / "pim_conditions.sv"] = checks()
    page = HERE / "README.md"
    if page.exists():
        result[page] = readme(page.read_text(encoding="utf-8"), isa)
    return result


def main() -> int:
    """Write the outputs, or with --check report the ones out of date (exit 1)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args().check
    stale = [
        path
        for path, text in outputs().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if check:
            sys.stderr.write(f"{path.name} is out of date: run `python -m pimloop.rtl.generate`\n")
        else:
            path.write_text(outputs()[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
