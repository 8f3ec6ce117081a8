"""Coverage: its reader, the merging of runs, waivers that cannot lie, the pages."""

import errno
import os
import re
import sys

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from support.paths import SIM_RTL

from pimloop.sim.bench.inprocess import InProcessModel
from pimloop.sim.bench.unit import run_bench
from pimloop.sim.check import coverage as tool
from pimloop.sim.check.coverage_data import (
    DEVICE,
    Coverage,
    Point,
    Scope,
    Waiver,
    merge,
    read_data,
    read_waivers,
)
from pimloop.sim.check.coverage_report import write_report
from pimloop.sim.errors import SimError

COUNTER = SIM_RTL / "counter.sv"
SOURCE = """module part (
  input logic [1:0] a_i
);
  if (a_i[0]) x = 1;
endmodule
"""


@pytest.fixture
def scope(tmp_path):
    """A device of two files, one of them for simulation only, and a file of cover points."""
    rtl = tmp_path / "rtl"
    rtl.mkdir()
    (rtl / "part.sv").write_text(SOURCE, encoding="utf-8")
    (rtl / "part_sim.sv").write_text(SOURCE, encoding="utf-8")
    points = tmp_path / "cover_sim.sv"
    points.write_text("cover property (x);\n", encoding="utf-8")
    return Scope(rtl, points)


def write(path, *points):
    """Write a data file of (file, line, column, type, label, hierarchy, count)."""
    lines = ["# SystemC::Coverage-3"]
    for file, line, column, kind, label, hierarchy, count in points:
        fields = {"f": file, "l": line, "n": column, "t": kind, "page": "p", "o": label}
        text = "".join(f"\x01{k}\x02{v}" for k, v in (fields | {"h": hierarchy}).items())
        lines.append(f"C '{text}' {count}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def data(scope, tmp_path):
    """Two runs: a bit that rises in the first and falls in the second, a branch never taken."""
    part, other = scope.device / "part.sv", scope.device / "part_sim.sv"
    first = write(
        tmp_path / "first.dat",
        (part, 2, 21, "toggle", "a_i[0]:0->1", "tb.u_0", 3),
        (part, 2, 21, "toggle", "a_i[0]:0->1", "tb.u_1", 4),
        (part, 2, 21, "toggle", "a_i[0]:1->0", "tb.u_0", 0),
        (part, 2, 21, "toggle", "a_i[1]:0->1", "tb.u_0", 0),
        (part, 4, 3, "branch", "if", "tb.u_0", 0),
        (part, 4, 4, "branch", "else", "tb.u_0", 9),
        (other, 2, 21, "toggle", "a_i[0]:0->1", "tb.u_2", 0),
        (other, 4, 3, "line", "block", "tb.u_2", 0),
        (tmp_path / "tb.sv", 1, 1, "line", "block", "tb", 0),
        (scope.points, 1, 5, "user", "cover", "tb.u_cover.gen_a__BRA__0__KET__.x", 0),
        (scope.points, 1, 5, "user", "cover", "tb.u_cover.gen_a__BRA__1__KET__.x", 7),
    )
    second = write(
        tmp_path / "second.dat",
        (part, 2, 21, "toggle", "a_i[0]:1->0", "tb.dut", 1),
        (part, 2, 21, "toggle", "a_i[1]:0->1", "tb.dut", 0),
    )
    return [first, second]


def waiver(kind, match, file="part.sv"):
    return Waiver(file, kind, re.compile(match), "it cannot")


def test_reader_adds_instances_and_leaves_out_what_is_not_the_device(scope, data):
    counts = read_data(data[0], scope)
    assert counts[Point("part.sv", 2, 21, "toggle", "a_i[0]:0->1")] == 7
    assert {point.file for point in counts} == {"part.sv", "cover_sim.sv"}
    labels = {point.label: count for point, count in counts.items() if point.kind == "user"}
    assert labels == {"gen_a[0].x": 0, "gen_a[1].x": 7}
    assert {point.kind for point in counts} == {"line", "toggle", "user"}


def test_runs_are_added(scope, data):
    merged = merge(data, [], scope)
    assert merged.share("toggle") == (2, 3)
    assert merged.share("line") == merged.share("user") == (1, 2)
    assert merged.share("line", "cover_sim.sv") == (0, 0)
    assert [str(point) for point in merged.missed] == [
        "cover_sim.sv:1: user gen_a[0].x",
        "part.sv:2: toggle a_i[1]:0->1",
        "part.sv:4: line if",
    ]


def test_waivers_take_out_what_was_missed(scope, data):
    waivers = [
        waiver("toggle", r"a_i\[1\]:.*"),
        waiver("line", r"^if if \(a_i\[0\]\)"),
        waiver("user", r"gen_a\[0\]\.x", "cover_sim.sv"),
    ]
    merged = merge(data, waivers, scope)
    assert [merged.share(kind) for kind in ("toggle", "line", "user")] == [(2, 2), (1, 1), (1, 1)]
    assert not merged.missed
    assert set(merged.waived.values()) == {"it cannot"}
    assert not merged.stale
    assert not merged.wrong


def test_a_waiver_of_a_function_is_of_its_lines_alone(scope, tmp_path):
    """The same line stands in a function of constants, in another one, and in no function."""
    loop = "for (int i = 0; i < 4; i++) begin"
    lines = [
        "function automatic word_t [$clog2(4)-1:0] constant(int from);",
        loop,
        "endfunction",
        "function automatic void other(int from);",
        loop,
        "endfunction",
        loop,
    ]
    part = scope.device / "part.sv"
    part.write_text("\n".join(lines), encoding="utf-8")
    missed = [(part, line, 3, "line", "block", "tb.u", 0) for line in (1, 2, 4, 5, 7)]
    data = write(tmp_path / "x.dat", *missed)
    constant = waiver("line", "^block constant: ")
    merged = merge([data], [constant], scope)
    assert sorted(point.line for point in merged.waived) == [1, 2]
    assert [point.line for point in merged.missed] == [4, 5, 7]
    assert not merged.wrong
    write(data, *missed[1:], (part, 1, 3, "line", "block", "tb.u", 1))
    assert [point.line for _, point in merge([data], [constant], scope).wrong] == [1]


def test_a_waiver_of_nothing_is_stale(scope, data):
    # Another bit, another kind, another file, and a part of a label: none of them matches.
    waivers = [
        waiver("toggle", r"a_i\[2\].*"),
        waiver("line", r"a_i\[1\]"),
        waiver("toggle", r"a_i\[1\].*", "part_sim.sv"),
        waiver("toggle", r"a_i\[1\]"),
    ]
    merged = merge(data, waivers, scope)
    assert merged.stale == waivers
    assert not merged.waived


def test_a_waiver_hides_no_hit_and_is_wrong_when_it_says_so(scope, data):
    broad = waiver("toggle", r"a_i.*")
    merged = merge(data, [broad], scope)
    assert merged.share("toggle") == (2, 2)
    assert [point.label for point in merged.waived] == ["a_i[1]:0->1"]
    assert [(w, point.file) for w, point in merged.wrong] == [(broad, "part.sv")]


def test_what_is_no_data_is_an_error(scope, tmp_path):
    path = tmp_path / "x.dat"
    for text in ("", "something else\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SimError, match="no coverage data of Verilator"):
            read_data(path, scope)
    write(path, (scope.device / "a.sv", 3, 5, "line", "block", "tb.x", 1))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SimError, match="is cut off, its simulator was killed: remove it"):
        read_data(path, scope)
    with pytest.raises(SimError, match="no coverage data: run"):
        merge([], [], scope)


def test_a_waiver_without_a_reason_is_an_error(tmp_path):
    path = tmp_path / "waivers.toml"
    path.write_text('[[waiver]]\nfile = "a.sv"\nkind = "line"\nmatch = "x"\n', encoding="utf-8")
    with pytest.raises(SimError, match="a waiver without 'reason'"):
        read_waivers(path)


def test_the_waivers_of_the_project_are_about_its_files():
    sources = DEVICE.sources
    assert "pim_top.sv" in sources
    assert not any(name.endswith("_sim.sv") for name in sources if name != "pim_cover_sim.sv")
    for waiver in read_waivers():
        assert waiver.file in sources
        assert waiver.kind in ("line", "toggle", "user")
        assert len(waiver.reason) > 20


def test_pages(scope, data, tmp_path):
    merged = merge(data, [waiver("toggle", r"a_i\[1\]:.*")], scope)
    page = write_report(merged, tmp_path / "out", scope)
    index = page.read_text(encoding="utf-8")
    assert "<a href='part.sv.html'>part.sv</a></td><td>50.0 % (1/2)</td><td>100.0 %" in index
    text = (page.parent / "part.sv.html").read_text(encoding="utf-8")
    assert "not hit: line if" in text
    assert "waived: it cannot" in text
    assert "<span class=miss>    4    if (a_i[0]) x = 1;</span>" in text
    assert (page.parent / "missed.txt").read_text(encoding="utf-8").splitlines() == [
        "cover_sim.sv:1: user gen_a[0].x",
        "part.sv:4: line if",
    ]
    with pytest.raises(SimError, match="choose another --out"):
        write_report(merged, data[0], scope)


def test_pages_that_cannot_be_replaced_keep_what_they_held(scope, data, tmp_path, monkeypatch):
    merged = merge(data, [], scope)
    page = write_report(merged, tmp_path / "out", scope)
    before = {path: path.read_bytes() for path in page.parent.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SimError, match=r"cannot write .*: No space left on device"):
        write_report(merged, tmp_path / "out", scope)
    assert {path: path.read_bytes() for path in page.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("least", "match", "code", "says"),
    [
        ("50", r"a_i\[1\]:.*", 0, "waived       1, each with a reason"),
        ("60", r"a_i\[1\]:.*", 1, "50.00 %"),
        ("0", r"a_i\[0\]:.*", 1, "wrong waiver: part.sv toggle"),
        ("0", r"b_i", 1, "stale waiver: part.sv toggle b_i"),
        (None, r"a_i\[1\]:.*", 1, "toggle       2 of      2  100.00 %"),  # line 50 % of 99 %
    ],
)
def test_exit_code(scope, data, tmp_path, monkeypatch, capsys, least, match, code, says):
    monkeypatch.setattr(tool, "read_waivers", lambda: [waiver("toggle", match)])
    monkeypatch.setattr(tool, "merge", lambda files, waivers: merge(files, waivers, scope))
    monkeypatch.setattr(
        "pimloop.sim.check.coverage.write_report",
        lambda result, out: write_report(result, out, scope),
    )
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    options += [] if least is None else ["--least", least]
    monkeypatch.setattr(sys, "argv", ["coverage", *options])
    assert tool.main() == code
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(("hits", "code"), [(99, 0), (98, 1)])
def test_each_kind_has_a_bound_of_its_own(tmp_path, monkeypatch, hits, code):
    """98 of 100 toggles are enough, and of lines and cover points 99."""
    hit = {"line": hits, "toggle": 98, "user": hits}
    counts = {Point("a.sv", 1, n, kind, ""): int(n < hit[kind]) for kind in hit for n in range(100)}
    monkeypatch.setattr(tool, "read_waivers", list)
    monkeypatch.setattr(tool, "merge", lambda files, waivers: Coverage(counts, {}, [], []))
    monkeypatch.setattr(tool, "write_report", lambda result, out: out)
    monkeypatch.setattr(sys, "argv", ["coverage", "--data", str(tmp_path)])
    assert tool.main() == code


@cocotb.test()
async def counts_to_three(dut):
    dut.rst_ni.value = 0
    dut.en_i.value = 0
    Clock(dut.clk_i, 4, unit="ns").start()
    await ClockCycles(dut.clk_i, 2)
    dut.rst_ni.value = 1
    dut.en_i.value = 1
    await ClockCycles(dut.clk_i, 3)
    dut.en_i.value = 0
    await ClockCycles(dut.clk_i, 2)


@pytest.mark.skipif("PIMLOOP_COVERAGE_DIR" in os.environ, reason="coverage is being measured")
def test_real_data(tmp_path, monkeypatch):
    """A counter of three bits that counted to three: its highest bit never moved."""
    monkeypatch.setenv("PIMLOOP_COVERAGE_DIR", str(tmp_path))
    run_bench("counter", [COUNTER], bench=__file__, params={"Width": 3})
    merged = merge(sorted(tmp_path.glob("*.dat")), [], Scope(COUNTER.parent, COUNTER))
    hit = {point.label for point, count in merged.counts.items() if count}
    missed = {point.label for point in merged.missed}
    assert {"count_o[0]:0->1", "count_o[0]:1->0", "count_o[1]:0->1"} <= hit
    assert {"count_o[2]:0->1", "count_o[2]:1->0"} <= missed
    line_hit, lines = merged.share("line")
    assert line_hit == lines > 0


@pytest.mark.skipif("PIMLOOP_COVERAGE_DIR" in os.environ, reason="coverage is being measured")
@pytest.mark.parametrize("library", [False, True])
def test_toggles_of_wide_vectors_are_those_of_their_own_bits(tmp_path, monkeypatch, library):
    """Verilator 5.048 counts a toggle of bit 0 at bits 32, 64 and 96 too."""
    monkeypatch.setenv("PIMLOOP_COVERAGE_DIR", str(tmp_path))
    if library:
        counter = InProcessModel("counter", [COUNTER], params={"Width": 100})
        counter["rst_ni"] = counter["en_i"] = 1
        for _ in range(3):
            counter.tick()
        counter.close()
    else:
        run_bench("counter", [COUNTER], bench=__file__, params={"Width": 100})
    merged = merge(sorted(tmp_path.glob("*.dat")), [], Scope(COUNTER.parent, COUNTER))
    labels = [point.label for point, count in merged.counts.items() if count]
    hit = {int(match[1]) for label in labels if (match := re.match(r"count_o\[(\d+)\]", label))}
    assert hit == {0, 1}
