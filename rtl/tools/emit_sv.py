"""The SystemVerilog and C++ that the generator writes: pim_isa_pkg.sv, and parts of others."""

from __future__ import annotations

import textwrap

from pimloop.rtl.tables.source import Row, camel
from pimloop.rtl.tools.interface import (
    COMMON_LANE,
    FIRST_ERROR,
    Isa,
    enum_width,
    flagged,
    opcodes_of,
)
from pimloop.rtl.tools.schema import WORDS

_WIDTH = 100


def package(isa: Isa) -> str:
    """Return the text of `pim_isa_pkg.sv`."""
    parts = [
        _constants(isa),
        *(_enum(enum, enum_width(isa, enum)) for enum in isa["enum"]),
        _structs(isa),
        _predicates(isa),
        _record_function(isa),
    ]
    lines = [
        "// Generated from isa.toml by `python -m pimloop.rtl.tools.generate`: do not edit.",
        "",
        "/// The programming interface of the device: registers, descriptors, codes.",
        "package pim_isa_pkg;",
        "",
    ]
    for part in parts:
        lines += [*part, ""]
    return "\n".join([*lines, "endpackage", ""])


def _constants(isa: Isa) -> list[str]:
    lines = [
        f"  localparam logic [31:0] DeviceId = 32'h{isa['id']:08X};",
        f"  localparam logic [31:0] DeviceVersion = 32'h{isa['version']:08X};",
        "",
        "  // Register offsets in bytes.",
    ]
    for register in isa["register"]:
        name = camel(register["name"])
        lines.append(f"  localparam logic [11:0] Reg{name} = 12'h{register['offset']:03X};")
    lines += ["", "  // Values after reset that are not 0."]
    for register in isa["register"]:
        if "reset" in register:
            lines.append(
                f"  localparam logic [31:0] Reset{camel(register['name'])} ="
                f" 32'h{register['reset']:08X};"
            )
    lines += ["", "  // Bits of the registers that are written."]
    for register in isa["register"]:
        for field in register.get("fields", ()):
            if register["access"] != "ro" and field["width"] == 1:
                name = camel(register["name"]) + camel(field["name"])
                lines.append(f"  localparam int unsigned Bit{name} = {field['low']};")
    lines += ["", "  // Counters, in the order of their registers."]
    lines.append(f"  localparam int unsigned Counters = {len(isa['counter'])};")
    for index, counter in enumerate(isa["counter"]):
        lines.append(f"  localparam int unsigned Counter{camel(counter['name'])} = {index};")
    lines += ["", "  // Words of a descriptor."]
    for word in isa["descriptor"]:
        lines.append(f"  localparam int unsigned Word{camel(word['name'])} = {word['word']};")
    errors = [value for _, value, _ in _values(isa, "code") if value >= FIRST_ERROR]
    lines += ["", "  // Highest opcode; the codes of errors, from the first to the last."]
    last = max(op["value"] for op in isa["opcode"])
    lines.append(f"  localparam int unsigned OpcodeLast = {last};")
    lines.append(f"  localparam int unsigned ErrorFirst = {min(errors)};")
    lines.append(f"  localparam int unsigned ErrorLast = {max(errors)};")
    for name in ("broadcast", "init"):
        count = len(_values(isa, name))
        lines.append(f"  localparam int unsigned {camel(name)}Values = {count};")
    return lines


def _values(isa: Isa, name: str) -> list[tuple[str, int, str]]:
    rows: list[tuple[str, int, str]] = next(e for e in isa["enum"] if e["name"] == name)["values"]
    return rows


def _enum(enum: Row, width: int) -> list[str]:
    values = enum["values"]
    digits = (width + 3) // 4
    lines = [f"  typedef enum logic [{width - 1}:0] {{"]
    for index, (name, value, _) in enumerate(values):
        comma = "," if index + 1 < len(values) else ""
        lines.append(f"    {camel(enum['name'])}{camel(name)} = {width}'h{value:0{digits}X}{comma}")
    return [*lines, f"  }} {enum['name']}_e;"]


def _packed(fields: list[Row], types: dict[str, str] | None = None) -> list[str]:
    """Return the members of a 32-bit struct, with what is between its fields reserved."""
    lines = []
    top, names = 32, iter(_reserved(fields))
    for field in [*sorted(fields, key=lambda f: -int(f["low"])), None]:
        end = field["low"] + field["width"] if field else 0
        if end < top:
            lines.append(f"    logic [{top - end - 1}:0] {next(names)};")
        if field:
            kind = (types or {}).get(field["name"])
            kind = kind or ("logic" if field["width"] == 1 else f"logic [{field['width'] - 1}:0]")
            lines.append(f"    {kind} {field['name']};")
            top = field["low"]
    return lines


def _reserved(fields: list[Row]) -> list[str]:
    """Return the names of what is between fields, from the top."""
    ends = [0, *(field["low"] + field["width"] for field in fields)]
    starts = [*(field["low"] for field in fields), 32]
    gaps = sum(start > end for end, start in zip(sorted(ends), sorted(starts), strict=True))
    return ["reserved"] if gaps == 1 else [f"reserved{index}" for index in range(gaps)]


def _structs(isa: Isa) -> list[str]:
    lines: list[str] = []
    for register in isa["register"]:
        if "fields" in register:
            types = {"code": "code_e"}
            lines += [f"  /// Register {register['name']}.", "  typedef struct packed {"]
            lines += [*_packed(register["fields"], types), f"  }} {register['name'].lower()}_t;"]
            lines.append("")
    lines += ["  /// Word 0 of a descriptor.", "  typedef struct packed {"]
    lines += [*_packed(isa["control"]), "  } control_t;", ""]
    for word in isa["descriptor"]:
        if "fields" in word:
            lines += [
                f"  /// The word `{word['name']}` of a descriptor.",
                "  typedef struct packed {",
            ]
            lines += [*_packed(word["fields"], {"code": "code_e"}), f"  }} word_{word['name']}_t;"]
            lines.append("")
    lines += ["  /// A descriptor; word 0 in the low bits.", "  typedef struct packed {"]
    for word in sorted(isa["descriptor"], key=lambda w: -int(w["word"])):
        kind = "control_t" if word["name"] == "control" else "logic [31:0]"
        lines.append(f"    {kind} {word['name']};")
    lines += ["  } descriptor_t;", "", "  /// A completion record; word 0 in the low bits."]
    lines += ["  typedef struct packed {"]
    if len(isa["record"]) < WORDS:
        lines.append(f"    logic [{(WORDS - len(isa['record'])) * 32 - 1}:0] unused;")
    for word in sorted(isa["record"], key=lambda w: -int(w["word"])):
        lines.append(f"    logic [31:0] {word['name']};")
    return [*lines, "  } record_t;"]


def _predicates(isa: Isa) -> list[str]:
    """Return the functions that say what an opcode is and which options it takes."""
    lines = []
    for kind in isa["class"]:
        lines += [f"  /// {kind['doc']}"]
        lines += [*_inside(isa, f"is_{kind['name']}", {kind["name"]}), ""]
    lines += ["  /// Whether pim_seq and the lanes execute it."]
    lines += [*_inside(isa, "is_compute", flagged(isa, "computes")), ""]
    lines += ["  /// Whether it goes through the rows of its operands beat by beat."]
    lines += [*_inside(isa, "is_vector", flagged(isa, "vector")), ""]
    lines += ["  /// Whether there is such an opcode."]
    lines += [*_inside(isa, "is_known", {kind["name"] for kind in isa["class"]}), ""]
    lines += [
        "  /// Whether a bit of the control word is set that its opcode does not know, or a value",
        "  /// that no option has.",
        "  function automatic logic has_undefined_option(control_t control);",
        "    opcode_e opcode;",
        "    opcode = opcode_e'(control.opcode);",
        f"    has_undefined_option = {_any_reserved(isa)};",
    ]
    for field in isa["control"]:
        if "classes" in field:
            allowed = " || ".join(f"is_{name}(opcode)" for name in field["classes"])
            allowed = f"({allowed})" if len(field["classes"]) > 1 else allowed
            lines.append(
                f"    has_undefined_option |= control.{field['name']} != '0 && !{allowed};"
            )
    for enum in isa["enum"]:
        field = next((f for f in isa["control"] if f["name"] == enum["name"]), None)
        if field and field["name"] != "opcode" and len(enum["values"]) < 1 << field["width"]:
            prefix = camel(enum["name"])
            names = ", ".join(f"{prefix}{camel(name)}" for name, _, _ in enum["values"])
            value = f"{enum['name']}_e'(control.{field['name']})"
            lines.append(f"    has_undefined_option |= !({value} inside {{{names}}});")
    return [*lines, "  endfunction"]


def _any_reserved(isa: Isa) -> str:
    tests = [f"control.{name} != '0" for name in _reserved(isa["control"])]
    return " || ".join(tests) or "1'b0"


def _record_function(isa: Isa) -> list[str]:
    """Return the function that puts counters into a completion record."""
    lines = [
        "  /// The record of a descriptor: counters in the order of Counter..., cycles in full.",
        "  function automatic record_t record_of(word_status_t status, logic [63:0] cycles,",
        "                                        logic [Counters-1:0][31:0] counts);",
        "    record_of = '0;",
        "    record_of.status = status;",
    ]
    for index, counter in enumerate(isa["counter"]):
        name = counter.get("field", counter["name"])
        if index == 0:
            lines.append(f"    record_of.{name}_lo = cycles[31:0];")
            lines.append(f"    record_of.{name}_hi = cycles[63:32];")
        else:
            lines.append(f"    record_of.{name} = counts[Counter{camel(counter['name'])}];")
    return [*lines, "  endfunction"]


def _inside(isa: Isa, name: str, classes: set[str]) -> list[str]:
    names = ", ".join(f"Opcode{camel(op)}" for op in opcodes_of(isa, classes))
    # SystemVerilog has no empty set.
    member = f"opcode inside {{{names}}}" if names else "1'b0"
    text = textwrap.wrap(
        f"return {member};",
        _WIDTH,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
    )
    return [f"  function automatic logic {name}(opcode_e opcode);", *text, "  endfunction"]


def vector_op(isa: Isa) -> str:
    """Return the function of pim_seq_decode.sv: the operation of the lanes of an opcode."""
    lines = [
        "  /// What the lanes do with a beat of the operand of a vector opcode that is read last.",
        "  function automatic pim_pkg::lane_op_e vector_op(pim_isa_pkg::opcode_e kind);",
        "    unique case (kind)",
    ]
    vector = flagged(isa, "vector")
    chosen = [op for op in isa["opcode"] if op["class"] in vector and op["lane"] != COMMON_LANE]
    for op in chosen:
        opcode, lane = f"Opcode{camel(op['name'])}", f"Lane{camel(op['lane'])}"
        lines.append(f"      pim_isa_pkg::{opcode}: vector_op = pim_pkg::{lane};")
    lines += [f"      default: vector_op = pim_pkg::Lane{camel(COMMON_LANE)};", "    endcase"]
    return "\n".join([*lines, "  endfunction"])


def lane_enum(isa: Isa) -> str:
    """Return lane_op_e of pim_pkg.sv."""
    rows = isa["lane"]
    width = (len(rows) - 1).bit_length()
    lines = ["  /// What the lanes do with a beat.", f"  typedef enum logic [{width - 1}:0] {{"]
    members = [f"Lane{camel(row['name'])} = {width}'d{i}" for i, row in enumerate(rows)]
    members = [f"{text}," if i + 1 < len(rows) else text for i, text in enumerate(members)]
    wide = max(len(text) for text in members)
    for text, row in zip(members, rows, strict=True):
        lines.append(f"    {text:<{wide}}  // {row['doc']}")
    return "\n".join([*lines, "  } lane_op_e;"])


def lane_enum_cpp(isa: Isa) -> str:
    """Return the enumeration of lane operations of pim_lane_dpi.cpp."""
    members = [f"    kLane{camel(row['name'])} = {i}" for i, row in enumerate(isa["lane"])]
    return "\n".join(
        [
            "// Values of pim_pkg::lane_op_e.",
            "enum LaneOp : uint32_t {",
            ",\n".join(members),
            "};",
        ]
    )


def timing_struct(timing: list[Row]) -> str:
    """Return timing_t of pim_pkg.sv."""
    lines = ["  /// DRAM timing in DRAM clocks (JEDEC names; JESD79-4 for DDR4)."]
    lines.append("  typedef struct packed {")
    wide = max(len(row["name"]) for row in timing) + 1
    for row in timing:
        lines.append(f"    logic [15:0] {row['name'] + ';':<{wide}}  // {row['doc']}")
    return "\n".join([*lines, "  } timing_t;"])


def timing_parameters(timing: list[Row], kind: str, indent: int) -> str:
    """Return the parameters of a module, the last ones of its list."""
    lines = [f"{kind} {row['parameter']} = {row['ddr4_2400']}" for row in timing]
    return ",\n".join(" " * indent + line for line in lines)


def timing_literal(timing: list[Row]) -> str:
    """Return the timing_t that the parameters give."""
    # A member and its value stay on one line.
    text = ", ".join(f"{row['name']}:@16'({row['parameter']})" for row in timing)
    body = textwrap.wrap(
        text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    lines = [line.replace("@", " ") for line in body]
    return "\n".join(["  localparam pim_pkg::timing_t Timing = '{", *lines]) + "};"


def connections(names: list[str], cast: str, indent: int) -> str:
    """Return the parameters handed on to an instance, each as one of the same name.

    With a cast they only pass through: as many of them stand in a line as fit.
    """
    if cast:
        text = ", ".join(f".{name}({cast}({name}))" for name in names)
        margin = " " * indent
        return textwrap.fill(text, 100, initial_indent=margin, subsequent_indent=margin)
    return ",\n".join(f"{' ' * indent}.{name}({name})" for name in names)
