"""The C header that the generator writes: `pim_isa.h` of the C driver."""

from __future__ import annotations

import json

from pimloop.rtl.tables.source import Row
from pimloop.rtl.tools.interface import Isa
from pimloop.rtl.tools.schema import WORDS


def header(isa: Isa) -> str:
    """Return the text of `pim_isa.h`."""
    lines = [
        "/* The programming interface of the device: registers, descriptors, codes.",
        " * Generated from isa.toml by `python -m pimloop.rtl.tools.generate`: do not edit.",
        " */",
        "#ifndef PIM_ISA_H",
        "#define PIM_ISA_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define PIM_DEVICE_ID UINT32_C(0x{isa['id']:08X})",
        f"#define PIM_DEVICE_VERSION UINT32_C(0x{isa['version']:08X})",
        f"#define PIM_DESCRIPTOR_BYTES {4 * WORDS}",
        "",
        "/* Register offsets in bytes. */",
        *(f"#define PIM_REG_{reg['name']} 0x{reg['offset']:03X}" for reg in isa["register"]),
        "",
        "/* Fields of registers and words, in place: PIM_NAME_FIELD_MASK, and where they begin. */",
    ]
    for word in (*isa["register"], *_named("DESCRIPTOR", isa["descriptor"])):
        for field in word.get("fields", ()):
            lines += _field(f"PIM_{word['name'].upper()}_{field['name'].upper()}", field)
    for field in isa["control"]:
        lines += _field(f"PIM_CONTROL_{field['name'].upper()}", field)
    for enum in isa["enum"]:
        name = enum["name"]
        lines += ["", f"enum pim_{name} {{"]
        lines += [
            f"  PIM_{name.upper()}_{key} = 0x{value:02X}, /* {doc.replace('*/', '* /')} */"
            for key, value, doc in enum["values"]
        ]
        lines.append("};")
    codes = next(enum for enum in isa["enum"] if enum["name"] == "code")["values"]
    lines += ["", "/* X(name, text) for every code. */", "#define PIM_CODES(X) \\"]
    lines.append(" \\\n".join(f"  X({name}, {json.dumps(doc)})" for name, _, doc in codes))
    lines += ["", "/* A descriptor, little-endian; 64-byte aligned in host memory. */"]
    lines += _struct("pim_descriptor", isa["descriptor"])
    lines += ["", "/* A completion record, little-endian. */"]
    lines += _struct("pim_record", isa["record"])
    return "\n".join([*lines, "", "#endif", ""])


def _named(prefix: str, words: list[Row]) -> list[Row]:
    return [{**word, "name": f"{prefix}_{word['name']}"} for word in words]


def _field(name: str, field: Row) -> list[str]:
    mask = (1 << field["width"]) - 1 << field["low"]
    return [
        f"#define {name}_SHIFT {field['low']}",
        f"#define {name}_MASK UINT32_C(0x{mask:08X})",
    ]


def _struct(name: str, words: list[Row]) -> list[str]:
    lines = [f"struct {name} {{"]
    lines += [f"  uint32_t {word['name']};" for word in words]
    if len(words) < WORDS:
        lines.append(f"  uint32_t unused[{WORDS - len(words)}];")
    return [*lines, "};"]
