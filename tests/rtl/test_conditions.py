"""The table of conditions: Python and the elaboration of the RTL judge every parameter set alike.

Sets are random, half of them near the platforms' own; what the table lets through elaborates and
lints as a whole device, what it refuses fails the elaboration of `pim_conditions`.
"""

from __future__ import annotations

import os
import random
import re
import subprocess

import numpy as np
import pytest
from clock_model import COUNTERS, ClockModel
from support.random_lists import random_list, run
from support.raw import RawDevice

from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.platforms.platform import PlatformError, load_platform, platform_names
from pimloop.rtl.tables.conditions import conditions, first_broken
from pimloop.rtl.tables.isa import Code
from pimloop.rtl.tools import lint
from pimloop.sim.check.protocol import Channel, check_file
from pimloop.sim.device.config import SimConfig, parameter_defaults
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import SimError
from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator.toolchain import find_verilator

#: Values that the RTL cannot have: (platform, settings), and the keys that the error must name.
IMPOSSIBLE = [
    ("htg-z920", {"dram.tccd_s": "2"}, ["dram.tccd_s", "device.ck_ratio"]),
    ("htg-z920", {"pim.ck_ratio": "8"}, ["device.ck_ratio", "--set pim.ck_ratio=8"]),
    ("htg-z920", {"dram.trefi": "100000"}, ["dram.trefi"]),
    ("htg-z920", {"dram.trefi": "400"}, ["dram.trefi"]),
    ("aim", {"dram.tfaw": "400"}, ["dram.tfaw", "dram.trfc"]),
    ("htg-z920", {"dram.tfaw": "421"}, ["dram.tfaw", "dram.trfc"]),
    ("htg-z920", {"device.lane_latency": "8"}, ["device.lane_latency", "dram.tcl"]),
    ("htg-z920", {"device.bank_groups": "1"}, ["device.bank_groups"]),
    ("htg-z920", {"pim.lanes": "64"}, ["at most 32 lanes", "device.rows_per_beat = 1"]),
    ("aim", {"pim.rows_per_beat": "2", "pim.lanes": "300"}, ["a multiple of 256"]),
    ("aim", {"pim.rows_per_beat": "4", "pim.lanes": "768"}, ["3 rows at the same time"]),
    ("htg-z920", {"pim.rows_per_beat": "3"}, ["device.rows_per_beat", "a power of two, not 3"]),
    ("htg-z920", {"pim.rows_per_beat": "16"}, ["device.rows_per_beat", "at most 8, not 16"]),
    ("htg-z920", {"pim.rows_per_beat": "0"}, ["device.rows_per_beat", "at least 1, not 0"]),
    (
        "htg-z920",
        {"pim.rows_per_beat": "8", "pim.lanes": "1", "pim.ck_ratio": "4", "dram.trefi": "2100"},
        ["dram.trefi"],
    ),
    ("htg-z920", {"dram.trcd_rd": "65553"}, ["dram.trcd_rd"]),
    ("htg-z920", {"dram.trcd_rd": "20000"}, ["dram.trcd_rd"]),
    ("htg-z920", {"dram.trfc": "9400"}, ["dram.trfc"]),
    ("htg-z920", {"dram.txs": "8100", "dram.trfc": "8000"}, ["dram.trefi", "dram.txs"]),
    ("htg-z920", {"dram.tcwl": "64"}, ["dram.tcwl", "dram.tcl"]),
    ("htg-z920", {"dram.tbl": "8"}, ["dram.tbl", "dram.tccd_s"]),
    ("htg-z920", {"dram.tccd_l": "3"}, ["dram.tccd_l is below dram.tccd_s", "dram.tccd_l = 3"]),
    ("aim", {"dram.tccd_l": "42"}, ["dram.tccd_l must not exceed dram.tcl", "dram.twtr_l = 11"]),
    ("htg-z920", {"dram.tccd_l": "37"}, ["dram.tccd_l must not exceed dram.tcl", "= 37"]),
    ("native", {"dram.trrd_s": "7"}, ["dram.trrd_l is below dram.trrd_s", "dram.trrd_s = 7"]),
    ("aim", {"dram.twtr_l": "8"}, ["dram.twtr_l is below dram.twtr_s", "dram.twtr_s = 9"]),
    ("htg-z920", {"dram.trc": "20"}, ["dram.trc", "dram.tras"]),
    ("htg-z920", {"device.scalar_depth": "1048576"}, ["device.scalar_depth"]),
    ("htg-z920", {"device.acc_groups": "65"}, ["device.acc_groups"]),
    ("htg-z920", {"device.vector_setup": "65536"}, ["device.vector_setup"]),
    ("htg-z920", {"device.row_bytes": "64"}, ["device.row_bytes"]),
    ("aim", {"device.banks": "64"}, ["device.banks", "at most 32 banks"]),
    ("htg-z920", {"device.rows": "1"}, ["device.rows"]),
    ("htg-z920", {"device.rows": "65536"}, ["device.rows", "at most 4 GiB"]),
    ("htg-z920", {"device.atom_bytes": "32"}, ["device.atom_bytes", "a beat of 32 bytes"]),
    ("htg-z920", {"device.tck_fs": "100000001"}, ["device.tck_fs"]),
    ("aim", {"device.lanes": "1", "device.ck_ratio": "2", "device.banks": "256"}, ["device."]),
    ("htg-z920", {"host_memory.read_latency": "100001"}, ["host_memory.read_latency"]),
    ("htg-z920", {"host_memory.write_gap": "0"}, ["host_memory.write_gap"]),
]

#: Of a random set, what a value may be beside the platform's own.
CHOICES: dict[str, list[int]] = {
    "Banks": [1, 2, 3, 8, 16, 32, 64],
    "BankGroups": [1, 2, 4, 8, 3],
    "RowBytes": [32, 64, 128, 1024, 3000],
    "Rows": [1, 2, 64, 1000, 1 << 20],
    "AtomBytes": [16, 32, 64, 128],
    "CkRatio": [1, 2, 3, 4, 8],
    "Lanes": [0, 1, 7, 16, 32, 64, 80, 96, 257],
    "RowsPerBeat": [0, 1, 2, 3, 4, 8],
    "AccGroups": [1, 2, 4, 32, 64],
    "ScalarDepth": [16, 32, 64, 1024, 100, 1 << 20],
    "LaneLatency": [0, 1, 4, 5, 6, 9],
    "VectorSetup": [0, 1, 360, 70000],
    "TRefi": [0, 400, 900, 1500, 28000, 40000, 100000],
    "TRfc": [1, 60, 90, 8191, 9000],
    "TXs": [1, 100, 8191],
    "TXsdll": [1, 2000, 70000],
    "TFaw": [1, 90, 400, 1023, 1024],
}
#: Once each: a further platform with the device of another does not change what a seed draws.
PLATFORMS: list[dict[str, int]] = []
for _name in platform_names():
    if (_device := load_platform(_name).rtl_parameters()) not in PLATFORMS:
        PLATFORMS.append(_device)
TIMINGS = [1, 2, 3, 4, 6, 12, 20, 33, 100, 1023, 1024, 20000, 65553]


def random_set(rng: random.Random) -> dict[str, int]:
    """Return parameters of a platform with one to four of them changed."""
    native = {"NativeLanes": rng.randrange(2)}
    params = rng.choice(PLATFORMS) | native
    changeable = [n for n in params if n in CHOICES or re.match("T[A-Z]", n)]
    for name in rng.sample(changeable, rng.randint(1, 4)):
        params[name] = rng.choice(CHOICES.get(name, TIMINGS))
    return params


def elaborates(params: dict[str, int]) -> bool:
    """Return whether the RTL's own check of the parameters passes."""
    tool, root = find_verilator()
    command = [
        tool.path,
        "--lint-only",
        "--quiet",
        "-Wno-WIDTHEXPAND",
        "--top-module",
        "pim_conditions",
    ]
    command += [f"-G{name}={value}" for name, value in params.items()]
    command.append(str(REPOSITORY / "rtl" / "pim_conditions.sv"))
    environment = dict(os.environ) | ({"VERILATOR_ROOT": str(root)} if root else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "USERERROR" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(("platform", "settings", "named"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_with_file_and_key(platform, settings, named):
    with pytest.raises(PlatformError) as caught:
        load_platform(platform, settings)
    message = str(caught.value)
    assert f"{platform}.toml: " in message
    assert "--set " in message
    for text in named:
        assert text in message, message


def test_a_device_is_refused_before_it_is_built():
    with pytest.raises(SimError, match=r"TCcdS >= CkRatio must hold; TCcdS = 2, CkRatio = 4"):
        SimConfig(params={"TCcdS": 2})
    SimConfig(params={"LaneLatency": 3})
    with pytest.raises(SimError, match="LaneLatency must be at least 4"):
        SimConfig(params={"LaneLatency": 3}, flavour="rtl")


@pytest.mark.parametrize("platform", platform_names())
def test_the_platforms_keep_every_condition(platform):
    assert first_broken(load_platform(platform).rtl_parameters() | {"NativeLanes": 0}) is None
    assert first_broken(parameter_defaults()) is None


@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.full) for s in (2, 3))])
def test_python_and_the_elaboration_agree(seed):
    rng = random.Random(seed)
    verdicts = []
    for _ in range(40):
        params = random_set(rng)
        broken = first_broken(params)
        assert elaborates(params) == (broken is None), (params, broken)
        verdicts.append(broken)
    assert sum(broken is None for broken in verdicts) >= 3
    assert len({broken.condition for broken in verdicts if broken}) >= 10


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(s, marks=pytest.mark.full) for s in range(2, 20))]
)
def test_what_the_table_lets_through_lints_as_a_device(seed):
    rng = random.Random(100 + seed)
    params = random_set(rng)
    while first_broken(params) is not None:
        params = random_set(rng)
    assert lint.verilator(params) == 0, params


def test_every_condition_can_be_broken():
    """No row of the table is out of reach: a set of random values breaks each one first."""
    rng = random.Random(5)
    wide = [-1, 0, 1, 2, 4, 16, 64, 99, 300, 5000, 40000, 1 << 20, 1 << 33]
    never = set(conditions())
    few = load_platform("aim").rtl_parameters() | {"Banks": 32, "AtomBytes": 64}
    few |= {"Lanes": 1, "RowsPerBeat": 4}
    slow = first_broken(few)
    assert slow is not None
    never.discard(slow.condition)
    for _ in range(20_000):
        params = random_set(rng)
        name = rng.choice(list(params))
        params[name] = rng.choice(wide)
        broken = first_broken(params)
        if broken is not None:
            never.discard(broken.condition)
    assert not never


#: Devices unlike any platform's: (platform, what is other).
UNLIKE = {
    # Rows open and close fast: tRC is longer than its parts.
    "short rows": ("htg-z920", {"TRcdRd": 4, "TRp": 4}),
    "short rows of all banks": ("aim", {"TRp": 3, "TRas": 6}),
    # Columns of a bank group as far apart as the table allows.
    "far columns": ("htg-z920", {"TCcdL": 36}),
    "far columns of all banks": ("aim", {"TCcdL": 41}),
    # The lanes need longer for a slice of a transposed block than the next block takes to fill.
    "one lane": ("htg-z920", {"Lanes": 1}),
    "one lane of all banks": ("aim", {"Lanes": 1}),
}


@pytest.mark.full
@pytest.mark.parametrize("device", UNLIKE)
def test_an_unlike_device_takes_what_the_model_says(device, tmp_path):
    platform, other = UNLIKE[device]
    works(load_platform(platform).rtl_parameters() | other, 0, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 7))
def test_what_the_table_lets_through_works(seed, tmp_path):
    rng = random.Random(200 + seed)
    params = random_set(rng) | {"NativeLanes": 1}
    while first_broken(params) is not None:
        params = random_set(rng) | {"NativeLanes": 1}
    del params["NativeLanes"]
    works(params, seed, tmp_path)


def works(params, seed, tmp_path):
    """Random lists end, with assertions on, break no rule and take what clock_model.py says."""
    trace = tmp_path / "trace.txt"
    config = SimConfig(params=params, memory_bytes=1 << 24, command_trace=trace)
    values = np.random.default_rng(seed)
    with SimDevice(config) as device:
        raw = RawDevice(device)
        for _ in range(6):
            case = random_list(values, read_geometry(device), raw.base, length=20)
            outcome = run(raw, case)
            assert all(word & 0xFF == Code.DONE for word in outcome.words), params
            items = [case.descriptors[position] for position in case.positions]
            counters = dict(zip(COUNTERS, (outcome.cycles, *outcome.counters), strict=True))
            assert counters == ClockModel(params).run(items).total, params
    report = check_file(trace, Channel.of_parameters(params))
    assert report.passed, (params, report.text())
