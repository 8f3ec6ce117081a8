"""The DRAM commands of the whole device under random lists, held against the rule table.

The traffic is random copies, products and element-wise operations in both execution styles, with
the real timings of the platforms; the lists are long enough for refreshes to fall into them.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
from support.random_lists import random_list, run
from support.raw import RawDevice

from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import COUNTERS, Code
from pimloop.sim.check.command_trace import TraceError
from pimloop.sim.check.protocol import Channel, check, check_file, rules
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import SimError

#: A small channel with round numbers for sequences made by hand.
PARAMS = {"Banks": 8, "BankGroups": 4, "Rows": 16, "RowBytes": 512, "AtomBytes": 64}
PARAMS |= {"TRcdRd": 10, "TRcdWr": 9, "TRp": 12, "TRas": 20, "TRc": 33, "TCcdS": 4, "TCcdL": 6}
PARAMS |= {"TRrdS": 4, "TRrdL": 6, "TFaw": 24, "TWr": 10, "TRtp": 5, "TWtrS": 3, "TWtrL": 7}
PARAMS |= {"TRefi": 400, "TRfc": 40, "TXs": 48, "TXsdll": 58, "TCl": 11, "TCwl": 9, "TBl": 4}

WOKEN = ["0 RES all - -", "100 SRX all - -"]
OPEN = [*WOKEN, "148 ACT 0 3 -", "152 ACT 1 5 -"]
USED = [*OPEN, "158 RD 0 3 0", "162 RD 1 5 7", "170 WR 1 5 7", "186 RD 0 3 1"]
CLOSED = [*USED, "193 PRE all - -"]
ASLEEP = [*CLOSED, "205 REF all - -", "245 SRE all - -"]
FOUR = [*OPEN, "156 ACT 2 0 -", "160 ACT 3 0 -"]

#: Each a clock too early, or against the state of a bank; the rule that must be named.
BROKEN = {
    "tRCD": [*OPEN, "156 ACT 2 0 -", "165 RD 2 0 0"],
    "tRAS": [*OPEN, "167 PRE 0 - -"],
    "tRC": [*OPEN, "168 PRE 0 - -", "180 ACT 0 3 -"],
    "tRP": [*CLOSED, "204 ACT 0 3 -"],
    "tRTP": [*OPEN, "168 RD 0 3 0", "172 PRE 0 - -"],
    "tWR": [*OPEN, "170 WR 1 5 0", "192 PRE 1 - -"],
    "tCCD_L": [*OPEN, "158 RD 0 3 0", "163 RD 0 3 1"],
    "tCCD_S": [*OPEN, "162 RD 0 3 0", "165 RD 1 5 0"],
    "tWTR_L": [*OPEN, "170 WR 1 5 0", "189 RD 1 5 0"],
    "tWTR_S": [*OPEN, "170 WR 1 5 0", "185 RD 0 3 0"],
    "tRTW": [*OPEN, "162 RD 1 5 0", "169 WR 1 5 0"],
    "tRRD_L": [*OPEN, "157 ACT 5 0 -"],
    "tRRD_S": [*OPEN, "155 ACT 2 0 -"],
    "tFAW": [*FOUR, "171 ACT 6 0 -"],
    "tXS": [*WOKEN, "147 ACT 0 3 -"],
    "tXSDLL": [*OPEN, "157 WR 0 3 0"],
    "tRFC": [*CLOSED, "205 REF all - -", "244 ACT 0 3 -"],
    "bank state": [*OPEN, "200 RD 0 4 0"],
    "self-refresh": [*ASLEEP, "300 ACT 0 3 -"],
    "command bus": [*OPEN, "175 RD 0 3 0", "175 PRE 1 - -"],
    "geometry": [*OPEN, "170 RD 0 3 8"],
    "refresh": [*CLOSED, "3700 ACT 0 3 -"],
    "REF before self-refresh": [*CLOSED, "205 SRE all - -"],
}
LEGAL = [*CLOSED, "205 REF all - -", "245 ACT all 9 -", "255 RD all 9 0", "265 PRE all - -"]


def small():
    return Channel.of_parameters(PARAMS)


def test_a_sequence_at_the_earliest_clocks_is_legal_and_tight():
    report = check(LEGAL, small())
    assert report.passed, report.text()
    assert report.earliest["ACT"] == 3
    assert report.distances["tRCD ACT-RD"] == (10, 10, 3)
    assert report.distances["tRTP RD-PRE"][:2] == (5, 7)


@pytest.mark.parametrize("rule", BROKEN)
def test_each_broken_rule_is_named(rule):
    assert set(check(BROKEN[rule], small()).broken) == {rule}


def test_every_rule_of_the_table_is_broken_above():
    assert {rule.name for rule in rules(small())} <= BROKEN.keys()


@pytest.mark.parametrize(
    ("trace", "clock", "command"),
    [
        ([*OPEN, "168 PRE 0 - -", "172 PRE 1 - -"], 185, "REF all - -"),
        ([*WOKEN, "148 REF all - -", "188 ACT 0 3 -", "208 PRE 0 - -"], 221, "SRE all - -"),
    ],
)
def test_refresh_and_self_refresh_keep_the_row_cycle(trace, clock, command):
    """tRC after the last ACT, of whatever bank, also when tRP ended before."""
    assert check([*trace, f"{clock} {command}"], small()).passed
    assert set(check([*trace, f"{clock - 1} {command}"], small()).broken) == {"tRC"}


def test_eight_refreshes_may_be_postponed_and_a_ninth_not():
    """Besides those that fall due, one is owed from the exit of self-refresh on."""
    ref = [f"{3600 + 40 * i} REF all - -" for i in range(9)]
    assert set(check([*WOKEN, "3200 REF all - -", *ref], small()).broken) == set()
    assert set(check([*WOKEN, "3300 REF all - -"], small()).broken) == {"refresh"}


def test_postponed_refreshes_are_still_owed_after_self_refresh():
    """Two before it and one of the exit: five more intervals may pass, not six."""
    asleep = [*WOKEN, "148 REF all - -", "1000 SRE all - -", "2000 SRX all - -"]
    assert set(check([*asleep, "4300 REF all - -"], small()).broken) == set()
    assert set(check([*asleep, "4400 REF all - -"], small()).broken) == {"refresh"}


def test_without_refresh_no_rule_of_refresh_holds():
    off = Channel.of_parameters(PARAMS | {"TRefi": 0})
    trace = [*WOKEN, "148 ACT 0 3 -", "90000 RD 0 3 0", "90020 PRE all - -", "90100 SRE all - -"]
    report = check([*trace, "90200 SRX all - -", "90300 SRE all - -"], off)
    assert report.passed, report.text()
    assert report.most_postponed == 0


@pytest.mark.parametrize(
    "line",
    ["x ACT 0 0 -", "5 ACT 0 - -", "5 PRE 0 1 -", "5 NOP all - -", "5 RD 0 0", "-1 RES all - -"],
)
def test_a_line_that_is_no_command_is_refused(line):
    with pytest.raises(TraceError, match="line 3"):
        check([*WOKEN, line], small())


def test_the_command_reports_and_has_an_exit_code(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pimloop.sim.check.protocol",
        "--platform",
        "htg-z920",
        "--json",
    ]
    trace = tmp_path / "trace.txt"
    for lines, code in (([*WOKEN, "532 ACT 0 3 -"], 0), ([*WOKEN, "531 ACT 0 3 -"], 1)):
        trace.write_text("\n".join(lines), encoding="utf-8")
        done = subprocess.run([*command, str(trace)], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert json.loads(done.stdout)["passed"] is (code == 0)
    done = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"cannot read the command trace" in done.stderr


def test_a_trace_that_cannot_be_written_is_an_error(tmp_path):
    config = SimConfig(
        params=load_platform("htg-z920").rtl_parameters(),
        memory_bytes=1 << 24,
        command_trace=tmp_path / "missing" / "trace.txt",
    )
    with pytest.raises(SimError, match="cannot write the command trace"):
        SimDevice(config)


def traffic(platform, list_count, trace):
    """Run random lists on a device and leave its command trace; return its counters' totals."""
    config = SimConfig(
        params=load_platform(platform).rtl_parameters(),
        memory_bytes=1 << 24,
        command_trace=trace,
    )
    rng = np.random.default_rng(20)
    totals = dict.fromkeys(COUNTERS, 0)
    with SimDevice(config) as device:
        raw = RawDevice(device)
        geometry = read_geometry(device)
        for _ in range(list_count):
            case = random_list(rng, geometry, raw.base, length=40)
            outcome = run(raw, case)
            assert all(word & 0xFF == Code.DONE for word in outcome.words)
            counted = (outcome.cycles, *outcome.counters)
            for name, value in zip(COUNTERS, counted, strict=True):
                totals[name] += int(value)
    return totals


@pytest.mark.parametrize("platform", ["htg-z920", "aim"])
@pytest.mark.parametrize("list_count", [12, pytest.param(300, marks=pytest.mark.full)])
def test_random_traffic_breaks_no_rule(platform, list_count, tmp_path):
    trace = tmp_path / "trace.txt"
    totals = traffic(platform, list_count, trace)
    report = check_file(trace, Channel.of_platform(platform))
    assert report.passed, report.text()
    # The trace is whole: at least the commands that the device's own counters have in the lists.
    for name in ("RD", "WR", "REF"):
        assert report.commands[name] >= totals[name.lower()] > 0
    assert report.most_postponed <= 1
    # Nothing is wasted: most columns come in the first clock that the rules allow.
    assert report.earliest["RD"] > 0.5 * report.commands["RD"]
    for rule in ("tRCD ACT-RD", "tCCD_L RD-RD", "tRP PRE-ACT", "tRTP RD-PRE", "tRFC REF-ACT"):
        delay, smallest, times = report.distances[rule]
        assert smallest == delay
        assert times > 0
