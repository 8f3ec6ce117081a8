"""What several languages state of the device comes from the tables in rtl/ and is up to date."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from pimloop.host.platforms.platform import DramSection, load_platform
from pimloop.rtl.tables import isa, timing
from pimloop.rtl.tables.source import RTL, load_timing
from pimloop.rtl.tools import emit_python, emit_sv, generate
from pimloop.rtl.tools.interface import Isa, completed, load
from pimloop.rtl.tools.schema import TableError
from pimloop.sim.check.protocol import Channel
from pimloop.sim.device.config import parameter_defaults

PACKAGE = (RTL / "pim_isa_pkg.sv").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", generate.outputs(), ids=lambda path: path.name)
def test_generated_file_is_up_to_date(path: generate.Path) -> None:
    assert path.read_text(encoding="utf-8") == generate.outputs()[path], (
        f"{path.name} is out of date: run `python -m pimloop.rtl.tools.generate`"
    )


def test_layouts_fit_their_words() -> None:
    source = load()
    assert isa.DESCRIPTOR.itemsize == isa.RECORD.itemsize == isa.DESCRIPTOR_BYTES
    assert [word["word"] for word in source["descriptor"]] == list(range(16))
    offsets = [register["offset"] for register in source["register"]]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 for offset in offsets)


def test_fields_do_not_overlap() -> None:
    source = load()
    words = [row["fields"] for row in source["register"] + source["descriptor"] if "fields" in row]
    for fields in [*words, source["control"]]:
        bits = [range(field["low"], field["low"] + field["width"]) for field in fields]
        assert len({bit for span in bits for bit in span}) == sum(map(len, bits))
        assert max(span.stop for span in bits) <= 32


def test_readme_names_every_code() -> None:
    page = (RTL / "README.md").read_text(encoding="utf-8")
    for code in isa.Code:
        assert re.search(rf"\| 0x{code.value:02X} \| {code.name} \|", page)


def test_the_interface_is_as_it_was_published() -> None:
    """Drivers of other trees rely on these numbers: a change needs another DEVICE_VERSION."""
    assert isa.STATUS_CODE == (8, 8)
    assert (isa.STATUS_RUNNING.mask, isa.STATUS_FAILED.mask, isa.IRQ_ENDED.mask) == (1, 2, 1)
    assert (isa.CTRL_SOFT_RESET.mask, isa.CTRL_IRQ_ENABLE.mask) == (1, 2)
    assert (isa.BANKS_COUNT, isa.BANKS_GROUPS) == ((0, 16), (16, 16))
    assert isa.DESCRIPTOR_STATUS_POSITION == (8, 24)
    assert isa.RESET[isa.Reg.CHAIN_LIMIT] == 1 << 20
    # Counters may be appended.
    published = ["cycles", "act", "pre", "rd", "wr", "ref", "mac", "stall"]
    assert list(isa.COUNTERS)[:8] == published
    assert list(isa.COUNTERS.values())[:8] == list(range(0x100, 0x140, 8))
    words = ("status", "cycles_lo", "cycles_hi", "act", "pre", "rd", "wr", "ref_count", "mac")
    assert isa.RECORD.names[:10] == (*words, "stall")
    assert isa.Reg.CNT_STALL_HI == 0x13C


def test_a_field_takes_its_bits_of_a_word() -> None:
    assert isa.STATUS_CODE.get(0xFFFF_8A02) == 0x8A
    assert isa.STATUS_CODE.put(0x8A) == 0x8A00
    assert isa.DESCRIPTOR_STATUS_POSITION.put(0x1FF_FFFF) == 0xFFFF_FF00
    assert isa.DESCRIPTOR_STATUS_POSITION.mask == 0xFFFF_FF00


def opcodes(function: str, package: str = PACKAGE) -> set[str]:
    """Return the opcodes that a predicate of the package names."""
    body = re.search(rf"logic {function}\(.*?endfunction", package, re.DOTALL)
    assert body is not None
    return set(re.findall(r"\bOpcode(\w+)", body[0]))


def test_every_opcode_is_in_one_class_in_every_language() -> None:
    classes = {
        "is_copy": isa.COPY_OPCODES,
        "is_product": isa.PRODUCT_OPCODES,
        "is_elementwise": isa.ELEMENTWISE_OPCODES,
        "is_unary": isa.UNARY_OPCODES,
        "is_list": isa.LIST_OPCODES,
    }
    assert sorted(op for each in classes.values() for op in each) == sorted(isa.Opcode)
    both = {
        **classes,
        "is_compute": isa.COMPUTE_OPCODES,
        "is_vector": isa.VECTOR_OPCODES,
        "is_known": tuple(isa.Opcode),
    }
    for function, members in both.items():
        assert opcodes(function) == {emit_sv.camel(op.name) for op in members}
    assert set(isa.VECTOR_OPCODES) == {*isa.ELEMENTWISE_OPCODES, *isa.UNARY_OPCODES}
    assert set(isa.COMPUTE_OPCODES) == {*isa.PRODUCT_OPCODES, *isa.VECTOR_OPCODES}


def test_a_new_opcode_is_one_entry_of_the_table() -> None:
    """Its class alone puts it into the predicates, the options it takes, and Python's lists."""
    last = max(isa.Opcode) + 1
    for kind, other in (("elementwise", "unary"), ("unary", "elementwise")):
        written = table()
        written["lane"].append({"name": "least", "doc": "acc = min(acc, v)"})
        written["opcode"].append(
            {"name": "LEAST", "value": last, "class": kind, "lane": "least", "doc": "The least."}
        )
        isa_table = completed(written)
        package = emit_sv.package(isa_table)
        assert f"OpcodeLeast = 8'h{last:02X}" in package
        assert f"OpcodeLast = {last};" in package
        for function in (f"is_{kind}", "is_compute", "is_vector", "is_known"):
            assert "Least" in opcodes(function, package)
        for function in ("is_copy", "is_product", "is_list", f"is_{other}"):
            assert "Least" not in opcodes(function, package)
        # What the sequencer tells the lanes.
        chosen = "pim_isa_pkg::OpcodeLeast: vector_op = pim_pkg::LaneLeast;"
        assert chosen in emit_sv.vector_op(isa_table)
        scope: dict[str, Any] = {"__name__": "isa_with_least"}
        exec(emit_python.isa_module(isa_table), scope)
        names = [op.name for op in scope["OPTION_OPCODES"]["broadcast"]]
        assert names == ["ADD", "SUB", "MUL", *(["LEAST"] if kind == "elementwise" else [])]
        assert "LEAST" in [op.name for op in scope["VECTOR_OPCODES"]]


def test_a_class_without_an_opcode_has_its_predicate_and_list() -> None:
    """So that a class can come before the first opcode of it."""
    written = table()
    written["class"].append({"name": "later", "doc": "None yet."})
    isa_table = completed(written)
    assert re.search(r"logic is_later\(.*\n    return 1'b0;\n", emit_sv.package(isa_table))
    scope: dict[str, Any] = {"__name__": "isa_with_later"}
    exec(emit_python.isa_module(isa_table), scope)
    assert scope["LATER_OPCODES"] == ()


def table() -> Isa:
    """Return isa.toml as it is written, with the counters that were published first."""
    written = tomllib.loads((RTL / "isa.toml").read_text(encoding="utf-8"))
    return written | {"counter": written["counter"][:8]}


def test_a_new_counter_is_one_entry_of_the_table() -> None:
    """Registers, the word of the record, the names of the RTL and of Python follow from it."""
    written = table()
    written["counter"].append({"name": "turn", "doc": "Turns of the data bus."})
    isa_table = completed(written)
    package = emit_sv.package(isa_table)
    assert "localparam logic [11:0] RegCntTurnLo = 12'h140;" in package
    assert "localparam int unsigned Counters = 9;" in package
    assert "localparam int unsigned CounterTurn = 8;" in package
    assert "record_of.turn = counts[CounterTurn];" in package
    assert re.search(r"logic \[159:0\] unused;\n    logic \[31:0\] turn;\n", package)
    scope: dict[str, Any] = {"__name__": "isa_with_turn"}
    exec(emit_python.isa_module(isa_table), scope)
    assert scope["COUNTERS"]["turn"] == scope["Reg"].CNT_TURN_LO == 0x140
    assert scope["COUNTER_TEXT"]["turn"] == "Turns of the data bus."
    assert scope["RECORD"].fields["turn"][1] == 40
    assert scope["RECORD"].itemsize == scope["DESCRIPTOR_BYTES"]
    pages = generate.tables(isa_table, load_timing())
    assert "| 0x140 | CNT_TURN_LO | ro | Turns of the data bus. |" in pages["registers"]
    assert "| 10 | turn | As CNT_TURN. |" in pages["record"]


def test_a_record_has_room_for_so_many_counters() -> None:
    written = table()
    written["counter"] += [{"name": f"extra{index}", "doc": "One more."} for index in range(6)]
    full = completed(written)
    assert len(full["record"]) == 16
    assert "typedef struct packed {\n    logic [31:0] extra5;" in emit_sv.package(full)


def test_every_bit_that_no_option_has_is_reserved() -> None:
    """An option apart from the others leaves two gaps: a bit set in either is refused."""
    written = table()
    written["control"].append({"name": "late", "low": 31, "width": 1, "doc": "The last bit."})
    package = emit_sv.package(completed(written))
    assert "    logic late;\n    logic [10:0] reserved;\n" in package
    assert "has_undefined_option = control.reserved != '0;" in package
    written = table()
    written["control"].append({"name": "late", "low": 25, "width": 1, "doc": "A bit."})
    package = emit_sv.package(completed(written))
    assert "    logic [5:0] reserved0;\n    logic late;\n    logic [4:0] reserved1;\n" in package
    assert "option = control.reserved0 != '0 || control.reserved1 != '0;" in package


def test_no_module_lists_the_opcodes_of_a_class_itself() -> None:
    """A list of opcodes in a module would miss the next one: the package has the predicates."""
    folders = (RTL, generate.ROOT / "sim" / "rtl")
    files = [path for folder in folders for path in folder.rglob("*.sv")]
    assert len(files) > 25
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"inside\s*\{[^}]*pim_isa_pkg::Opcode", text), path.name
        assert not re.search(r"[<>]=?\s*(8'\()?pim_isa_pkg::Opcode(?!Last)", text), path.name


def test_timings_are_the_same_everywhere() -> None:
    rows = load_timing()
    names = list(timing.PARAMETERS)
    assert names == [row["key"] for row in rows]
    assert list(DramSection.__dataclass_fields__) == names
    assert set(names) < set(Channel.__dataclass_fields__)
    defaults = {row["parameter"]: row["ddr4_2400"] for row in rows}
    assert defaults.items() <= parameter_defaults().items()


def test_the_defaults_of_the_device_are_the_boards_memory() -> None:
    """DDR4-2400 stands in the table and, with sources, in the platform file of the board."""
    board = load_platform("htg-z920").rtl_parameters()
    assert {row["parameter"]: board[row["parameter"]] for row in load_timing()} == {
        row["parameter"]: row["ddr4_2400"] for row in load_timing()
    }


def test_marks_that_are_missing_are_an_error() -> None:
    with pytest.raises(TableError, match="one part between '// generated:timing_t'"):
        generate._marked("package p;\nendpackage\n", "timing_t", "", generate._COMMENT)
