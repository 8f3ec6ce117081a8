"""Write everything that states the programming interface and the DRAM timings from their tables.

From `isa.toml`: `pim_isa_pkg.sv`, `tables/isa.py`, the operations of the lanes in `pim_pkg.sv`
and `pim_lane_dpi.cpp`, which of them an opcode is in `pim_seq_decode.sv`, and the header of the C
driver, `pim_isa.h`; from `timing.toml`:
`tables/timing.py`, and the parts of SystemVerilog files that list the timings; from
`conditions.toml`: the checks of the parameters, `pim_conditions.sv`; and the tables of `README.md`.
In a file with other text the generated part stands between the marks `generated:NAME` and `end`.
Run `python -m pimloop.rtl.tools.generate` after a change of a table; with `--check` it writes
nothing and exits 1 when an output is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from pimloop.rtl.tables.conditions import conditions, derived
from pimloop.rtl.tables.source import RTL, Row
from pimloop.rtl.tools import emit_c, emit_python, emit_sv
from pimloop.rtl.tools.expressions import check_conditions
from pimloop.rtl.tools.interface import Isa, load, load_times
from pimloop.rtl.tools.schema import TableError

ROOT = RTL.parent

_PARAMETER = re.compile(r"parameter int unsigned (\w+)")


def checks(top: str) -> str:
    """Return the text of `pim_conditions.sv` for the text of `pim_top.sv`."""
    lines = [
        "// Generated from conditions.toml by `python -m pimloop.rtl.tools.generate`: do not edit.",
        "",
        "`default_nettype none",
        "",
        "/// Elaboration fails where parameters of pim_top break a condition of conditions.toml.",
        "module pim_conditions #(",
        ",\n".join(f"  parameter longint {name} = 0" for name in _parameters(top)),
        ") ();",
        "",
    ]
    lines += [f"  localparam longint {name} = {text};" for name, text in derived().items()]
    for index, condition in enumerate(conditions()):
        holds = re.sub(r"\b\d{10,}\b", r"64'sd\g<0>", condition.holds)  # no 32-bit literal
        lines += ["", f"  if (!({holds})) begin : gen_{index}"]
        lines += [f'    $error("%m: {condition.text}");', "  end"]
    return "\n".join([*lines, "", "endmodule", "", "`default_nettype wire", ""])


def _parameters(top: str) -> list[str]:
    return _PARAMETER.findall(top.partition(") (")[0])


def tables(isa: Isa, timing: list[Row]) -> dict[str, str]:
    """Return the Markdown tables of `README.md` by the name of their mark."""
    registers = ["| offset | name | access | meaning |", "|---|---|---|---|"]
    for reg in isa["register"]:
        registers.append(
            f"| 0x{reg['offset']:03X} | {reg['name']} | {reg['access']} | {_doc(reg)} |"
        )
    words = ["| word | name | meaning |", "|---|---|---|"]
    words += [f"| {w['word']} | {w['name']} | {_doc(w)} |" for w in isa["descriptor"]]
    control = ["| bits | field | meaning |", "|---|---|---|"]
    control += [
        f"| {_bits(field)} | {field['name']} | {field['doc']} |" for field in isa["control"]
    ]
    record = ["| word | name | meaning |", "|---|---|---|"]
    record += [f"| {w['word']} | {w['name']} | {w['doc']} |" for w in isa["record"]]
    times = ["| key | parameter | DRAM clocks |", "|---|---|---|"]
    times += [f"| {row['key']} | {row['parameter']} | {row['doc']} |" for row in timing]
    result = {"registers": registers, "descriptor": words, "control": control, "record": record}
    result["timing"] = times
    for enum in isa["enum"]:
        rows = ["| value | name | meaning |", "|---|---|---|"]
        rows += [f"| 0x{value:02X} | {name} | {doc} |" for name, value, doc in enum["values"]]
        result[enum["name"]] = rows
    classes = {op["name"]: op["class"] for op in isa["opcode"]}
    result["opcode"] = ["| value | name | class | meaning |", "|---|---|---|---|"]
    result["opcode"] += [
        f"| 0x{op['value']:02X} | {op['name']} | {classes[op['name']]} | {op['doc']} |"
        for op in isa["opcode"]
    ]
    return {name: "\n".join(rows) for name, rows in result.items()}


def _doc(row: Row) -> str:
    """Return the meaning of a register or word, its fields after it."""
    texts = [row["doc"]] if "doc" in row else []
    for field in row.get("fields", ()):
        name = "Bit" if field["width"] == 1 else "Bits"
        texts.append(f"{name} {_bits(field)}: {field['doc']}.")
    return " ".join(texts)


def _bits(field: Row) -> str:
    high = field["low"] + field["width"] - 1
    return f"{high}:{field['low']}" if field["width"] > 1 else str(field["low"])


def _marked(text: str, name: str, part: str, marks: tuple[str, str]) -> str:
    """Return `text` with `part` between the marks of `name`; TableError where they are not."""
    opening, closing = (mark.format(name) for mark in marks)
    pattern = rf"(^ *{re.escape(opening)}\n).*?(^ *{re.escape(closing)}$)"
    new, count = re.subn(
        pattern, lambda match: f"{match[1]}{part}\n{match[2]}", text, flags=re.DOTALL | re.MULTILINE
    )
    if count != 1:
        raise TableError(
            f"there must be one part between {opening!r} and {closing!r}, not {count}; put the"
            " marks back"
        )
    return new


def _marked_in(path: Path, text: str, name: str, part: str, marks: tuple[str, str]) -> str:
    try:
        return _marked(text, name, part, marks)
    except TableError as error:
        raise TableError(f"{path}: {error}") from None


_MARKDOWN = ("<!-- generated:{} -->", "<!-- end -->")
_COMMENT = ("// generated:{}", "// end generated")


def _parts(isa: Isa, timing: list[Row]) -> dict[str, dict[str, str]]:
    """Return the generated parts of files with other text too, by file and name."""
    names = [row["parameter"] for row in timing]
    literal = emit_sv.timing_literal(timing)
    around_the_device = {
        "parameters": emit_sv.timing_parameters(timing, "parameter int", 4),
        "connections": emit_sv.connections(names, "", 6),
    }
    return {
        "rtl/pim_pkg.sv": {
            "lane_op_e": emit_sv.lane_enum(isa),
            "timing_t": emit_sv.timing_struct(timing),
        },
        "rtl/pim_top.sv": {
            "parameters": emit_sv.timing_parameters(timing, "parameter int unsigned", 2),
            "timing": literal,
        },
        "rtl/pim_seq_decode.sv": {"vector_op": emit_sv.vector_op(isa)},
        "sim/dpi/pim_lane_dpi.cpp": {"lane_op_e": emit_sv.lane_enum_cpp(isa)},
        "sim/rtl/pimloop_tb.sv": around_the_device,
        "sim/soc/pim_soc_device.sv": around_the_device,
        "rtl/fpga/pim_board_ram.sv": {
            "parameters": emit_sv.timing_parameters(timing, "parameter int unsigned", 2),
            "connections": emit_sv.connections(names, "", 4),
        },
        "tests/rtl/sv/pim_sched_bench.sv": {"timing": literal},
        "tests/formal/sv/pim_sched_formal.sv": {"timing": literal},
        "tests/sim/rtl/pim_top.sv": {
            "parameters": emit_sv.timing_parameters(timing, "parameter int", 4)
        },
    }


def outputs() -> dict[Path, str]:
    """Return every generated file with the text it should have.

    Files outside of this package are left out where they are not there: an installed package has
    no tests.

    Raises
    ------
    TableError
        A table is wrong, or a file has lost the marks of its generated part.
    """
    isa, timing = load(), load_times()
    result = {
        RTL / "pim_isa_pkg.sv": emit_sv.package(isa),
        RTL / "tables" / "isa.py": emit_python.isa_module(isa),
        RTL / "tables" / "timing.py": emit_python.timing_module(timing),
    }

    driver = ROOT / "host" / "pim" / "c"
    if driver.exists():
        result[driver / "pim_isa.h"] = emit_c.header(isa)

    def mark(path: Path, parts: dict[str, str], marks: tuple[str, str]) -> None:
        if path.exists():
            text = path.read_text(encoding="utf-8")
            for name, part in parts.items():
                text = _marked_in(path, text, name, part, marks)
            result[path] = text

    for file, parts in _parts(isa, timing).items():
        mark(ROOT / file, parts, _COMMENT)
    top = RTL / "pim_top.sv"
    names = _parameters(result[top])
    check_conditions(names)
    connections = emit_sv.connections(names, "longint'", 4)
    result[top] = _marked_in(top, result[top], "conditions", connections, _COMMENT)
    result[RTL / "pim_conditions.sv"] = checks(result[top])
    mark(RTL / "README.md", tables(isa, timing), _MARKDOWN)
    return result


def main(report: Callable[[str], object] = sys.stderr.write) -> int:
    """Write the outputs, or with --check report the ones out of date (exit 1).

    Exit code 2: a table or a file is wrong, and the message says which.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args().check
    try:
        stale = {
            path: text
            for path, text in outputs().items()
            if not path.exists() or path.read_text(encoding="utf-8") != text
        }
        for path, text in stale.items():
            if check:
                report(f"{path.name} is out of date: run `python -m pimloop.rtl.tools.generate`\n")
            else:
                path.write_text(text, encoding="utf-8")
    except (TableError, OSError) as error:
        report(f"error: {error}\n")
        return 2
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
