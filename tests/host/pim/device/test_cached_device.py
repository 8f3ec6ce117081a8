"""Lists from the cache look exactly like simulated ones, and only sure ones come from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.backends import BUFFER_BYTES, PLATFORMS
from support.random_lists import HOST_BYTES, HOST_OFFSET, RandomList, random_list
from support.raw import LIST_OFFSET, RawDevice, Status
from test_device_conformance import DATA, changed, copy_in, copy_out, fence, matmul

from pimloop.host.pim.device.base import Device, DeviceError, DeviceTimeoutError
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.open import open_device, with_cache
from pimloop.host.pim.driver import descriptors
from pimloop.host.platforms.platform import Platform, load_platform
from pimloop.host.store.list_cache import FILE_NAME, ListCache
from pimloop.rtl.tables import source
from pimloop.rtl.tables.isa import DESCRIPTOR_BYTES, Code, Reg
from pimloop.sim.device import moves
from pimloop.sim.device.config import HostMemory, SimConfig, build_spec
from pimloop.sim.device.process import SimDevice
from pimloop.sim.verilator.build import COVERAGE_VARIABLE, build

# Coverage is measured in simulations: then nothing comes from a cache.
pytestmark = pytest.mark.skipif(
    COVERAGE_VARIABLE in os.environ, reason="measuring coverage simulates every list"
)

PLATFORM = load_platform("htg-z920")
#: Lists of each comparison.
LISTS = 40


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def cached(
    database: Path, devices: Callable[[str], Device]
) -> Iterator[Callable[[], CachedDevice]]:
    """Return a function that puts a simulator of the session behind the cache of this test."""
    opened: list[ListCache] = []

    def get(kind: str = "native-per_bank") -> CachedDevice:
        plain = devices(kind)
        assert isinstance(plain, CachedDevice)
        assert isinstance(plain.inner, SimDevice)
        opened.append(ListCache(database))
        return with_cache(plain.inner, opened[-1])

    yield get
    for cache in opened:
        cache.close()


def everything(raw: RawDevice, case: RandomList) -> dict[str, object]:
    """Run a list; return all that the host and a look into device memory can see of it."""
    device = raw.device
    assert isinstance(device, CachedDevice)
    raw.prepare()
    for address, content in case.areas:
        device.inner.memory[address : address + content.size] = content
    raw.buffer[: HOST_OFFSET + HOST_BYTES] = 0
    size = case.descriptors.nbytes
    raw.buffer[LIST_OFFSET : LIST_OFFSET + size] = case.descriptors.view(np.uint8)
    raw.buffer[HOST_OFFSET : HOST_OFFSET + HOST_BYTES] = case.host
    raw.window(size=HOST_OFFSET + HOST_BYTES)
    raw.ring(raw.base + LIST_OFFSET + case.positions[0] * DESCRIPTOR_BYTES)
    device.wait_irq(raw.timeout)
    seen: dict[str, object] = {register.name: device.read32(register) for register in Reg}
    device.write32(Reg.IRQ, 1)
    seen["IRQ cleared"] = device.read32(Reg.IRQ)
    seen["buffer"] = raw.buffer[: HOST_OFFSET + HOST_BYTES].tobytes()
    seen["areas"] = [
        device.inner.memory[address : address + content.size].tobytes()
        for address, content in case.areas
    ]
    return seen


@pytest.mark.parametrize(
    "kind",
    [
        "native-per_bank",
        "native-all_bank",
        pytest.param("rtl-per_bank", marks=pytest.mark.full),
        pytest.param("rtl-all_bank", marks=pytest.mark.full),
    ],
)
def test_random_lists_give_the_same_as_in_a_simulation(
    kind: str, devices: Callable[[str], Device], cached: Callable[[str], CachedDevice]
) -> None:
    plain, cold = RawDevice(devices(kind)), RawDevice(cached(kind))
    warm = RawDevice(cached(kind))
    assert isinstance(warm.device, CachedDevice)
    known = 0
    for seed in range(LISTS):
        rng = np.random.default_rng(seed)
        case = random_list(rng, plain.geometry, plain.base, faults=0.2)
        expected = everything(plain, case)
        assert everything(cold, case) == expected, seed
        assert everything(warm, case) == expected, seed
        failed = bool(int(str(expected["STATUS"])) & 0b10)
        assert not (failed and not warm.device.last_list_simulated), seed
        known += not warm.device.last_list_simulated
    assert LISTS // 2 < known < LISTS
    assert warm.device.usage["lists_cached"] == known


def test_known_and_unknown_lists_follow_each_other(
    devices: Callable[[str], Device], cached: Callable[[str], CachedDevice]
) -> None:
    """Totals add up and memory is handed over, whoever executes which list."""
    plain, mixed = RawDevice(devices("native-per_bank")), RawDevice(cached("native-per_bank"))
    rng = np.random.default_rng(5)
    values = rng.integers(0x3C00, 0x4200, 4096).astype(np.uint16)
    orders = ([1, 2], [1, 2, 3, 2], [4, 1, 5, 2, 5, 4, 6])
    simulated: list[bool] = []
    outcomes: list[list[object]] = []
    for raw in (plain, mixed):
        assert isinstance(raw.device, CachedDevice)
        raw.buffer[:] = 0
        raw.device.inner.memory[: 32 << 20] = 0
        seen: list[object] = []
        for order in orders:
            raw.prepare()
            raw.write_memory(0, values)
            raw.write_memory(8 << 20, values)
            for rows in order:
                raw.buffer[: 8 * DESCRIPTOR_BYTES] = 0
                # Each reads the result of the one before.
                work = [
                    matmul(raw, rows=rows, record=1),
                    copy_in(raw, 4096),
                    copy_out(raw, 16 << 20, rows=rows),
                    copy_in(raw, 0, rows=rows, record=1),
                ]
                statuses = raw.run(work, spacing=2 * DESCRIPTOR_BYTES)
                seen += [statuses, raw.buffer[: DATA + 4096].tobytes()]
                seen += [raw.device.read32(register) for register in Reg]
                simulated.append(raw.device.last_list_simulated)
        outcomes.append(seen)
    assert outcomes[0] == outcomes[1]
    total = sum(map(len, orders))
    assert simulated[:total] == [True] * total
    assert simulated[total:] == [
        *(True, True),
        *(False, False, True, False),
        *(True, False, True, False, False, False, True),
    ]


# ---- What must not come from the cache.


def run_twice(raw: RawDevice, prepare: Callable[[], None]) -> list[bool]:
    """Ring twice for what `prepare` puts in memory; return whether each was simulated."""
    assert isinstance(raw.device, CachedDevice)
    simulated = []
    for _ in range(2):
        raw.prepare()
        raw.buffer[: 1 << 15] = 0
        prepare()
        raw.ring(raw.base)
        raw.finish()
        simulated.append(raw.device.last_list_simulated)
    return simulated


def test_list_is_known_the_second_time(cached: Callable[[], CachedDevice]) -> None:
    raw = RawDevice(cached())
    assert run_twice(raw, lambda: raw.chain([matmul(raw), descriptors.end()])) == [True, False]


def test_list_that_ends_with_an_error_is_always_simulated(
    cached: Callable[[], CachedDevice],
) -> None:
    raw = RawDevice(cached())
    assert run_twice(raw, lambda: raw.chain([matmul(raw, inner=0)])) == [True, True]


@pytest.mark.parametrize("target", ["descriptor", "status", "record"])
def test_list_that_writes_into_itself_is_always_simulated(
    cached: Callable[[], CachedDevice], target: str
) -> None:
    raw = RawDevice(cached())

    def prepare() -> None:
        at = {"descriptor": 256, "status": 0, "record": 320}[target]
        item = descriptors.copy_out(
            raw.base + at, 0, rows=1, row_bytes=64, host_stride=0, device_stride=0
        )
        end = changed(descriptors.end(), record=int(target == "record"))
        raw.chain([item, fence(raw), end], spacing=128)
        # What is written is what is there already: only the danger of it can be seen.
        raw.write_memory(0, raw.slot(at).copy())

    assert run_twice(raw, prepare) == [True, True]


def test_record_over_the_next_descriptor_is_always_simulated(
    cached: Callable[[], CachedDevice],
) -> None:
    raw = RawDevice(cached())
    simulated = run_twice(raw, lambda: raw.chain([fence(raw, record=1), descriptors.end()]))
    assert simulated == [True, True]


def test_list_changed_in_flight_is_not_kept(cached: Callable[[], CachedDevice]) -> None:
    raw = RawDevice(cached())
    for expected in (True, True, False):
        raw.prepare()
        raw.buffer[:4096] = 0
        raw.chain([matmul(raw, rows=64, inner=4096, stride_a=0), fence(raw), descriptors.end()])
        raw.ring(raw.base)
        if expected and not raw.device.usage["lists_simulated"]:  # type: ignore[attr-defined]
            raw.slot(2 * DESCRIPTOR_BYTES)["cols"] = 64  # END does not look at it
        raw.finish()
        assert raw.device.last_list_simulated == expected  # type: ignore[attr-defined]


def test_chain_limit_and_window_count(cached: Callable[[], CachedDevice]) -> None:
    raw = RawDevice(cached())
    work = [fence(raw), fence(raw), descriptors.end()]
    assert run_twice(raw, lambda: raw.chain(work)) == [True, False]
    raw.prepare()
    raw.device.write32(Reg.CHAIN_LIMIT, 2)
    raw.buffer[:4096] = 0
    assert raw.run(work, end=False)[2] == Status(Code.CHAIN, 2)
    raw.prepare(size=2 * DESCRIPTOR_BYTES)
    raw.buffer[:4096] = 0
    assert raw.run(work, end=False)[1] == Status(Code.HOST_RANGE, 1)


def test_the_place_of_a_list_is_part_of_its_name_where_moves_are_not_verified(
    cached: Callable[[], CachedDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "verified", lambda: False)
    device = cached()
    raw = RawDevice(device)
    for offset, simulated in ((0, True), (0, False), (8192, True), (8192, False)):
        raw.buffer[: 1 << 15] = 0
        raw.run([fence(raw)], offset=offset)
        assert device.last_list_simulated == simulated


def test_injected_memory_errors_are_simulated(cached: Callable[[], CachedDevice]) -> None:
    device = cached()
    raw = RawDevice(device)

    def prepare() -> None:
        raw.chain([copy_in(raw, 0), descriptors.end()])

    assert run_twice(raw, prepare) == [True, False]
    device.inject_memory_error(raw.base + DATA)
    try:
        assert run_twice(raw, prepare) == [True, True]
        assert raw.statuses(1) == [Status(Code.AXI_READ, 0)]
    finally:
        device.inject_memory_error(None)
    assert run_twice(raw, prepare) == [False, False]


def test_random_pauses_are_simulated(database: Path) -> None:
    config = SimConfig(
        params=PLATFORM.rtl_parameters(),
        host_memory=HostMemory(stall=20),
        memory_bytes=BUFFER_BYTES,
    )
    with with_cache(SimDevice(config), ListCache(database)) as device:
        raw = RawDevice(device)
        assert run_twice(raw, lambda: raw.chain([fence(raw), descriptors.end()])) == [True, True]


def test_without_a_cache_everything_is_simulated(devices: Callable[[str], Device]) -> None:
    raw = RawDevice(devices("native-per_bank"))
    assert run_twice(raw, lambda: raw.chain([fence(raw), descriptors.end()])) == [True, True]


# ---- What makes a cost another one.


def known_to(database: Path, config: SimConfig) -> bool:
    """Return whether a list run on a device of `config` was known; afterwards it is."""
    with with_cache(SimDevice(config), ListCache(database)) as device:
        RawDevice(device).run([fence(RawDevice(device))])
        return not device.last_list_simulated


def test_after_wrong_values_everything_is_simulated(database: Path) -> None:
    """The cache's lists have the model's values, which would hide the wrong ones in a later run."""
    config = SimConfig(params=PLATFORM.rtl_parameters(), memory_bytes=BUFFER_BYTES)

    def simulated(*, wrong: bool) -> list[bool]:
        with with_cache(SimDevice(config), ListCache(database)) as device:
            raw = RawDevice(device)
            if wrong:
                device.distrust()
            return run_twice(raw, lambda: raw.chain([fence(raw), descriptors.end()]))

    assert simulated(wrong=False) == [True, False]
    assert simulated(wrong=True) == [False, False]
    assert simulated(wrong=False) == [True, True]


def test_other_host_memory_has_other_costs(database: Path) -> None:
    config = SimConfig(params=PLATFORM.rtl_parameters(), memory_bytes=BUFFER_BYTES)
    assert not known_to(database, config)
    assert known_to(database, config)
    assert not known_to(database, replace(config, host_memory=HostMemory(read_latency=30)))
    assert not known_to(database, replace(config, memory_bytes=2 * BUFFER_BYTES))
    assert known_to(database, config)


def test_changed_parameter_or_source_has_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a build is what tells costs apart; see the next test for the whole way."""
    from pimloop.sim.verilator.build import build_key
    from pimloop.sim.verilator.toolchain import find_toolchain

    def name(config: SimConfig) -> str:
        return build_key(build_spec(config), find_toolchain())

    config = SimConfig(params=PLATFORM.rtl_parameters())
    names = {
        name(config),
        name(replace(config, params={**config.params, "TRcdRd": config.params["TRcdRd"] + 1})),
        name(replace(config, flavour="rtl")),
        name(replace(config, assertions=False)),
    }
    sources = tmp_path / "rtl"
    shutil.copytree(source.RTL, sources)
    monkeypatch.setattr(source, "RTL", sources)
    assert name(config) in names
    scheduler = sources / "pim_sched.sv"
    scheduler.write_text(scheduler.read_text() + "\n")
    names.add(name(config))
    assert len(names) == 5


@pytest.mark.full  # builds two simulators of its own
def test_changed_rtl_or_parameter_is_simulated_again(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SimConfig(params=PLATFORM.rtl_parameters(), memory_bytes=BUFFER_BYTES)
    assert not known_to(database, config)
    slower = {**config.params, "TRcdRd": config.params["TRcdRd"] + 4}
    assert not known_to(database, replace(config, params=slower))
    sources = tmp_path / "rtl"
    shutil.copytree(source.RTL, sources)
    monkeypatch.setattr(source, "RTL", sources)
    assert known_to(database, config)
    scheduler = sources / "pim_sched.sv"
    scheduler.write_text(scheduler.read_text() + "\n// changed\n")
    assert not known_to(database, config)


# ---- The rest of a device's life.


def test_dead_simulator_is_an_error_for_known_lists_too(database: Path) -> None:
    def open_one() -> CachedDevice:
        config = SimConfig(params=PLATFORM.rtl_parameters(), memory_bytes=BUFFER_BYTES)
        return with_cache(SimDevice(config), ListCache(database))

    with open_one() as device:
        RawDevice(device).run([fence(RawDevice(device))])
    with open_one() as device:
        raw = RawDevice(device)
        raw.chain([fence(raw), descriptors.end()])
        raw.ring(raw.base)
        device.kill()
        with pytest.raises(DeviceError, match="the simulator died"):
            raw.finish()
        assert not device.alive


def test_waiting_for_nothing_after_a_known_list(cached: Callable[[], CachedDevice]) -> None:
    raw = RawDevice(cached())
    assert run_twice(raw, lambda: raw.chain([fence(raw), descriptors.end()])) == [True, False]
    with pytest.raises(DeviceTimeoutError):
        raw.device.wait_irq(0.05)


def test_waveforms_are_of_simulated_lists(database: Path, tmp_path: Path) -> None:
    platform = PLATFORM
    config = SimConfig(params=platform.rtl_parameters(), memory_bytes=BUFFER_BYTES)
    build(build_spec(config))
    device = with_cache(SimDevice(config), ListCache(database))
    with device:
        raw = RawDevice(device)
        assert run_twice(raw, lambda: raw.chain([fence(raw), descriptors.end()])) == [True, False]
        with pytest.raises(DeviceError, match="cannot write waveforms"):
            device.open_trace(tmp_path / "waves.fst")
        assert run_twice(raw, lambda: raw.chain([fence(raw), descriptors.end()])) == [False, False]


def test_open_device_uses_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    platform: Platform = load_platform(PLATFORMS["per_bank"])
    known = []
    for cache in (False, True, True):
        with open_device(platform, buffer_bytes=BUFFER_BYTES, cache=cache) as device:
            assert isinstance(device, CachedDevice)
            raw = RawDevice(device)
            raw.run([fence(raw)])
            known.append(not device.last_list_simulated)
        assert (tmp_path / FILE_NAME).exists() == cache
    assert known == [False, False, True]
