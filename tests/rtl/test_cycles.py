"""Cycles, stalls and commands of descriptor lists against a model of its own (clock_model.py)."""

from __future__ import annotations

import numpy as np
import pytest
from clock_model import COUNTERS, ClockModel
from cycle_lists import DEVICES, QUICK, table
from support.random_lists import random_list, run
from support.raw import DATA_OFFSET, LIST_OFFSET, RawDevice

from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import CONTROL_FIELDS, RECORD, Reg
from pimloop.sim.device.config import HostMemory, SimConfig
from pimloop.sim.device.process import SimDevice

#: Of the host memory: the default, and others that show every term of `stall`.
MEMORIES = {
    "default": HostMemory(),
    "slow": HostMemory(read_latency=9, write_latency=7),
    "few beats": HostMemory(read_latency=3, read_gap=3, write_latency=4, write_gap=2),
    "far": HostMemory(read_latency=150, write_latency=200),
}


#: What `make test` has of each device with each memory: every quick device with the default, and
#: every memory but the slowest.
QUICK_MEMORIES = {"htg-z920": ("default", "slow"), "aim": ("default", "few beats")}


def full_but_quick():
    """Return devices with memories, of which only the quick ones run in `make test`."""
    return [
        pytest.param(
            (name, memory),
            id=f"{memory}-{name}",
            marks=()
            if name in QUICK and memory in QUICK_MEMORIES.get(name, ("default",))
            else pytest.mark.full,
        )
        for name in DEVICES
        for memory in MEMORIES
    ]


@pytest.fixture(scope="module", params=full_but_quick())
def built(request):
    """Return a device and its model."""
    name, memory_name = request.param
    platform, settings = DEVICES[name]
    params = load_platform(platform, settings).rtl_parameters()
    memory = MEMORIES[memory_name]
    config = SimConfig(params=params, memory_bytes=4 << 20, host_memory=memory)
    with SimDevice(config) as device:
        yield RawDevice(device), ClockModel(params, memory)


def counted(raw):
    """Return the counters of a device."""
    return {name: raw.read64(Reg[f"CNT_{name.upper()}_LO"]) for name in COUNTERS}


def spent(raw, items):
    """Run a list; return what it added to the counters."""
    before = counted(raw)
    statuses = raw.run(items, spacing=128)
    assert all(status.code == 1 for status in statuses), statuses
    after = counted(raw)
    return {name: after[name] - before[name] for name in COUNTERS}


def records(raw, items, positions):
    """Return the completion records of a list whose descriptors are at these slots."""
    wanted = [
        LIST_OFFSET + 64 * (position + 1)
        for item, position in zip(items, positions, strict=True)
        if int(item["control"]) >> CONTROL_FIELDS["record"][0] & 1
    ]
    measured = []
    for place in wanted:
        record = raw.buffer[place : place + 64].view(RECORD)[0]
        cycles = int(record["cycles_lo"]) | int(record["cycles_hi"]) << 32
        others = {name: int(record[f"{name}_count" if name == "ref" else name])
                  for name in COUNTERS[1:]}  # fmt: skip
        measured.append({"cycles": cycles} | others)
    return measured


def differences(raw, model, named):
    """Return the lists of a table in which a counter differs: name, counted, derived."""
    bad = []
    for name, items in named.items():
        expected = model.run(items)
        cycles = spent(raw, items)
        if cycles != expected.total:
            bad.append((name, cycles, expected.total))
        of_each = records(raw, items, range(0, 2 * len(items), 2))
        if of_each != list(expected.records):
            bad.append((f"{name}: records", of_each, expected.records))
    return bad


def test_table_of_lists(built):
    raw, model = built
    named = table(model.p, raw.base + DATA_OFFSET)
    assert not differences(raw, model, named)


def test_a_list_takes_the_same_again(built):
    raw, model = built
    items = table(model.p, raw.base + DATA_OFFSET)["several operations"]
    assert spent(raw, items) == spent(raw, items) == model.run(items).total


def test_random_lists(built):
    raw, model = built
    for seed in range(20):
        rng = np.random.default_rng(seed)
        case = random_list(rng, raw.geometry, raw.base)
        outcome = run(raw, case)
        items = [case.descriptors[position] for position in case.positions]
        expected = model.run(items)
        counters = dict(zip(COUNTERS, (outcome.cycles, *outcome.counters), strict=True))
        assert counters == expected.total, f"seed {seed}"
        assert records(raw, items, case.positions) == list(expected.records), f"seed {seed}"
