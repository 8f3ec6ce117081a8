"""What names of the tables become in SystemVerilog and Python, and which of them are taken.

Names of opcodes, registers and values of an enum are in capital letters, all others in small ones:
`camel` makes both the names of SystemVerilog and C++, with a prefix, so that keywords matter only
where a name stands alone: members of SystemVerilog structs.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator

from pimloop.rtl.tables.source import Row, camel
from pimloop.rtl.tools.schema import TableError

_CAPITAL = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_SMALL = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

#: Keywords of IEEE 1800-2017, annex B.
_SYSTEMVERILOG_TEXT = """
    accept_on alias always always_comb always_ff always_latch and assert assign assume
    automatic before begin bind bins binsof bit break buf bufif0 bufif1 byte case casex
    casez cell chandle checker class clocking cmos config const constraint context continue
    cover covergroup coverpoint cross deassign default defparam design disable dist do edge
    else end endcase endchecker endclass endclocking endconfig endfunction endgenerate
    endgroup endinterface endmodule endpackage endprimitive endprogram endproperty
    endsequence endspecify endtable endtask enum event eventually expect export extends
    extern final first_match for force foreach forever fork forkjoin function generate
    genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies
    import incdir include initial inout input inside instance int integer interconnect
    interface intersect join join_any join_none large let liblist library local localparam
    logic longint macromodule matches medium modport module nand negedge nettype new
    nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed
    parameter pmos posedge primitive priority program property protected pull0 pull1
    pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
    randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos
    rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with
    scalared sequence shortint shortreal showcancelled signed small soft solve specify
    specparam static string strong strong0 strong1 struct super supply0 supply1
    sync_accept_on sync_reject_on table tagged task this throughout time timeprecision
    timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union
    unique unique0 unsigned until until_with untyped use uwire var vectored virtual void
    wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""
_SYSTEMVERILOG = frozenset(_SYSTEMVERILOG_TEXT.split())

#: Names of the generated Python module, and of what it imports.
_PYTHON_OWN = (
    *("DEVICE_ID", "DEVICE_VERSION", "DESCRIPTOR_BYTES", "DESCRIPTOR", "RECORD", "RESET"),
    *("SETTINGS", "COUNTERS", "COUNTER_TEXT", "CODE_TEXT", "CONTROL_FIELDS", "OPTION_OPCODES"),
    *("COMPUTE_OPCODES", "VECTOR_OPCODES", "Reg", "Field", "IntEnum", "NamedTuple"),
)
#: Names of the generated package of SystemVerilog.
_PACKAGE_OWN = (
    *("DeviceId", "DeviceVersion", "Counters", "OpcodeLast", "ErrorFirst", "ErrorLast"),
    *("BroadcastValues", "InitValues", "control_t", "descriptor_t", "record_t"),
    *("is_compute", "is_vector", "is_known", "has_undefined_option", "record_of"),
)

#: (scope, identifier, the entry that it is of)
_Claim = tuple[str, str, str]


def check_names(isa: Row) -> None:
    """Check the names of isa.toml, with what follows from it, in every language.

    Raises
    ------
    TableError
        A name is none, is a keyword where it stands alone, or two entries would have one name.
    """
    for table in ("register", "opcode"):
        for row in isa[table]:
            _check_form(f"{table} {row['name']!r}", row["name"], _CAPITAL)
    for table in ("counter", "descriptor", "control", "class", "lane", "enum"):
        for row in isa[table]:
            _check_form(f"{table} {row['name']!r}", row["name"], _SMALL)
            for name, _, _ in row.get("values", ()) if row["name"] != "opcode" else ():
                _check_form(f"enum {row['name']}, value {name!r}", name, _CAPITAL)
    for row in (*isa["register"], *isa["descriptor"]):
        for field in row.get("fields", ()):
            _check_form(f"{row['name']}, field {field['name']!r}", field["name"], _SMALL)
    for row in isa["record"]:
        _check_form(f"the completion record, word {row['name']!r}", row["name"], _SMALL)
    _check_unique("isa.toml", _claims(isa))


def check_timing_names(rows: list[Row]) -> None:
    """Check the names of timing.toml; TableError as of `check_names`."""
    for row in rows:
        _check_form(f"timing {row['name']!r}", row["name"], _SMALL, "timing.toml")
    _check_unique("timing.toml", _members("timing_t", ((r["name"], "timing") for r in rows)))
    parameters = ((_SV, f"T{camel(row['name'])}", f"timing {row['name']}") for row in rows)
    _check_unique("timing.toml", parameters)


def _check_form(entry: str, name: str, form: re.Pattern[str], file: str = "isa.toml") -> None:
    if not form.fullmatch(name):
        letters = "capital" if form is _CAPITAL else "small"
        raise TableError(
            f"{file}: {entry} is no name; use {letters} letters, digits and single underscores"
        )


_SV, _PYTHON, _OPCODE = "SystemVerilog", "Python", "the class Opcode of Python"


def _claims(isa: Row) -> Iterator[_Claim]:
    """Yield everything that the generated code declares."""
    yield from ((_SV, name, "the generated package itself") for name in _PACKAGE_OWN)
    yield from ((_PYTHON, name, "the generated module itself") for name in _PYTHON_OWN)
    for row in isa["register"]:
        name, entry = row["name"], f"register {row['name']}"
        yield _SV, f"Reg{camel(name)}", entry
        fields = row.get("fields", ())
        if fields:
            yield _SV, f"{name.lower()}_t", entry
        for field in fields:
            yield _PYTHON, f"{name}_{field['name'].upper()}", f"{entry}, field {field['name']}"
        yield from _members(f"{name.lower()}_t", ((f["name"], f"{entry}, field") for f in fields))
    for row in isa["counter"]:
        yield _SV, f"Counter{camel(row['name'])}", f"counter {row['name']}"
    for row in isa["descriptor"]:
        name, entry = row["name"], f"descriptor {row['name']}"
        yield _SV, f"Word{camel(name)}", entry
        fields = row.get("fields", ())
        if fields:
            yield _SV, f"word_{name}_t", entry
        for field in fields:
            bits = f"DESCRIPTOR_{name.upper()}_{field['name'].upper()}"
            yield _PYTHON, bits, f"{entry}, field {field['name']}"
        yield from _members(f"word_{name}_t", ((f["name"], f"{entry}, field") for f in fields))
    yield from _members("control_t", ((row["name"], "control") for row in isa["control"]))
    yield from _members("descriptor_t", ((row["name"], "descriptor") for row in isa["descriptor"]))
    yield from _members("record_t", ((row["name"], "the record's word") for row in isa["record"]))
    for enum in isa["enum"]:
        # `completed` puts the opcodes first.
        entry = "the opcodes" if enum is isa["enum"][0] else f"enum {enum['name']}"
        yield _SV, f"{enum['name']}_e", entry
        yield _PYTHON, camel(enum["name"]), entry
        for name, _, _ in enum["values"]:
            member = f"opcode {name}" if entry == "the opcodes" else f"{entry}, value {name}"
            yield _SV, f"{camel(enum['name'])}{camel(name)}", member
    for row in isa["class"]:
        yield _SV, f"is_{row['name']}", f"class {row['name']}"
        yield _PYTHON, f"{row['name'].upper()}_OPCODES", f"class {row['name']}"
    for row in isa["lane"]:
        yield "the lanes' operations", f"Lane{camel(row['name'])}", f"lane {row['name']}"


def _members(struct: str, rows: Iterator[tuple[str, str]]) -> Iterator[_Claim]:
    """Yield the members of a struct, whose names stand alone, of (name, kind of entry)."""
    for name, kind in rows:
        yield f"the struct {struct} of SystemVerilog", name, f"{kind} {name}"


def _check_unique(file: str, claims: Iterator[_Claim]) -> None:
    owners: dict[tuple[str, str], str] = {}
    for scope, name, entry in claims:
        if "struct" in scope and name in _SYSTEMVERILOG:
            raise TableError(f"{file}: {entry}: `{name}` is a keyword of SystemVerilog; rename it")
        if "struct" in scope and re.fullmatch(r"reserved\d*|unused", name):
            raise TableError(f"{file}: {entry}: the generator calls free bits `{name}`; rename it")
        if scope == _PYTHON and keyword.iskeyword(name):
            raise TableError(f"{file}: {entry}: {name} is a keyword of Python; rename it")
        if (scope, name) in owners:
            other = owners[scope, name]
            both = f"{entry} stands there twice" if other == entry else f"{other} and {entry}"
            raise TableError(f"{file}: {both}: one name in {scope}, {name}; rename one")
        owners[scope, name] = entry
