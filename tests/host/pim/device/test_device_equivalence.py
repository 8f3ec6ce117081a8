"""Random descriptor lists: the same memory and status words everywhere, the same cycles of rtl
and native lanes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from support.random_lists import Outcome, random_list, run
from support.raw import RawDevice

from pimloop.host.pim.device.base import Device
from pimloop.rtl.tables.isa import CONTROL_FIELDS, Code, Opcode

#: Lists of each comparison, and of each in `make test-full`.
LISTS = {"per_bank": 60, "all_bank": 40}
FULL_LISTS = {"per_bank": 720, "all_bank": 360}


def outcome(device: Device, seed: int, faults: float) -> tuple[Outcome, Counter[str]]:
    """Run the list of a seed; return what came of it, and which opcodes were in it."""
    raw = RawDevice(device)
    rng = np.random.default_rng(seed)
    case = random_list(rng, raw.geometry, raw.base, faults=faults)
    low, width = CONTROL_FIELDS["opcode"]
    opcodes = case.descriptors["control"][list(case.positions)] >> low & (1 << width) - 1
    names = [Opcode(x).name for x in opcodes.tolist() if x in frozenset(Opcode)]
    return run(raw, case), Counter(names)


def compare(
    first: Device, second: Device, seeds: range, *, timed: bool
) -> tuple[Counter[str], Counter[str]]:
    """Compare two devices on lists; return how often opcodes and codes came."""
    opcodes: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for seed in seeds:
        first_outcome, seen = outcome(first, seed, 0.3)
        second_outcome, _ = outcome(second, seed, 0.3)
        difference = first_outcome.difference(second_outcome)
        assert difference is None, f"seed {seed}: {difference}"
        if timed:
            assert first_outcome.cycles > 0
            assert (first_outcome.cycles, first_outcome.counters) == (
                second_outcome.cycles,
                second_outcome.counters,
            ), f"seed {seed}"
        opcodes += seen
        codes += Counter(Code(word & 0xFF).name for word in first_outcome.words)
    return opcodes, codes


@pytest.mark.parametrize("style", ["per_bank", "all_bank"])
def test_native_equals_model(devices: Callable[[str], Device], style: str) -> None:
    seeds = range(LISTS[style])
    opcodes, codes = compare(
        devices(f"native-{style}"), devices(f"model-{style}"), seeds, timed=False
    )
    # The lists are worth something only when everything is in them.
    assert set(opcodes) == {opcode.name for opcode in Opcode}
    assert {"DONE", "SIZE", "MISALIGNED", "RANGE", "LOOP"} <= set(codes)


def test_rtl_equals_native_in_results_and_cycles(devices: Callable[[str], Device]) -> None:
    seeds = range(1000, 1000 + LISTS["per_bank"])
    opcodes, _ = compare(devices("rtl-per_bank"), devices("native-per_bank"), seeds, timed=True)
    assert set(opcodes) == {opcode.name for opcode in Opcode}


@pytest.mark.full
def test_rtl_equals_native_on_more_lists(devices: Callable[[str], Device]) -> None:
    seeds = range(3000, 3000 + FULL_LISTS["per_bank"] // 6)
    compare(devices("rtl-per_bank"), devices("native-per_bank"), seeds, timed=True)


@pytest.mark.full
def test_rtl_equals_native_in_all_bank_style(devices: Callable[[str], Device]) -> None:
    seeds = range(2000, 2000 + FULL_LISTS["all_bank"] // 6)
    compare(devices("rtl-all_bank"), devices("native-all_bank"), seeds, timed=True)


@pytest.mark.full
@pytest.mark.parametrize("style", ["per_bank", "all_bank"])
def test_many_more_lists(devices: Callable[[str], Device], style: str) -> None:
    seeds = range(10_000, 10_000 + FULL_LISTS[style])
    compare(devices(f"native-{style}"), devices(f"model-{style}"), seeds, timed=False)


@pytest.mark.parametrize("style", ["per_bank", "all_bank"])
def test_the_same_list_takes_the_same_cycles_again(
    devices: Callable[[str], Device], style: str
) -> None:
    device = devices(f"native-{style}")
    for seed in range(5):
        first, _ = outcome(device, seed, 0.0)
        second, _ = outcome(device, seed, 0.0)
        assert (first.cycles, first.counters) == (second.cycles, second.counters)
