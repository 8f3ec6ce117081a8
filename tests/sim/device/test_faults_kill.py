"""Simulators and hosts killed at random moments: clear errors, nothing left, the next run works."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fault_tools import MARK, PATIENCE, REPOSITORY, build_all, marked, wait_for_none
from support.fixture_device import CYCLES, FIXTURE_ID, ID, SPIN, config, copy, start
from support.leftovers import shared_memory_files

from pimloop.host.store.list_cache import FILE_NAME
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import DeviceError

#: Seeds of the moments at which a process is killed: even ones from its start on, odd ones from
#: when it works, so that both happen however fast the machine is.
FEW, MANY = range(6), range(6, 106)
#: Latest moment after either, seconds.
LATEST = 0.5


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark every process that this test starts; at its end there is none."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    yield value
    wait_for_none(value)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_all()


def use(device: SimDevice, chance: random.Random) -> None:
    """Do one thing that a host does with a device."""
    base = device.buffer_address
    action = chance.randrange(4)
    if action == 0:
        assert device.read32(ID) == FIXTURE_ID
    elif action == 1:
        device.buffer[:1024] = chance.randrange(256)
        copy(device, base, base + (1 << 16), 8, 16)
        assert np.array_equal(device.buffer[:1024], device.buffer[1 << 16 : (1 << 16) + 1024])
    elif action == 2:
        start(device, SPIN, wait=chance.randrange(200_000))
        device.wait_irq(PATIENCE)
    else:
        device.reset()


def kill_simulator(seed: int, mark: str) -> str:
    """Kill a simulator at a random moment; return what its user was told."""
    chance = random.Random(seed)
    moment = chance.uniform(0, LATEST)
    working = threading.Event()
    if seed % 2 == 0:
        working.set()

    def killer() -> None:
        assert working.wait(PATIENCE)
        time.sleep(moment)
        deadline = time.monotonic() + PATIENCE
        while not (pids := marked(mark)):
            assert time.monotonic() < deadline
        os.kill(pids[0], signal.SIGKILL)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        with pytest.raises(DeviceError) as told, SimDevice(config()) as device:  # noqa: PT012
            working.set()
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                use(device, chance)
    finally:
        working.set()
        thread.join(PATIENCE)
    return str(told.value)


def check_killed_simulators(seeds: range, mark: str) -> None:
    kill_simulator(-1, mark)  # what is loaded once is loaded
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    told = set()
    for seed in seeds:
        message = kill_simulator(seed, mark)
        assert message.startswith("the simulator died (SIGKILL) in "), (seed, message)
        told.add(message.splitlines()[0].rpartition(" ")[2])
        wait_for_none(mark)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == descriptors, seed
    assert len(told) > 1, f"always killed in the same moment: {told}"
    with SimDevice(config()) as device:
        base = device.buffer_address
        device.buffer[:1024] = 5
        copy(device, base, base + 4096, 8, 16)
        assert (device.buffer[4096 : 4096 + 1024] == 5).all()
        assert device.read32(CYCLES) > 0


def test_simulator_killed_at_random_moments(mark: str) -> None:
    check_killed_simulators(FEW, mark)


@pytest.mark.full
def test_simulator_killed_at_many_random_moments(mark: str) -> None:
    check_killed_simulators(MANY, mark)


HOST = """
import sys
import numpy as np
from pimloop.host.pim.device.pool import DevicePool
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform

def job(worker, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((4, 64), np.float32)
    b = rng.standard_normal((64, 64 + 32 * (seed % 50)), np.float32)
    with PimDriver(worker.device) as driver:
        return driver.download(driver.matmul(driver.upload(a), driver.load_matrix(b))).sum()

with DevicePool(load_platform("htg-z920"), jobs=2, cache=True, buffer_bytes=1 << 22) as pool:
    first = int(sys.argv[1])
    print(pool.map(job, range(first, first + int(sys.argv[2]))))
"""


def host_command(first: int, count: int) -> list[str]:
    return [sys.executable, "-c", HOST, str(first), str(count)]


def check_killed_hosts(seeds: range, mark: str, cache: Path) -> None:
    expected = subprocess.run(
        host_command(0, 4), cwd=REPOSITORY, capture_output=True, timeout=PATIENCE, check=True
    ).stdout
    before = shared_memory_files()
    for seed in seeds:
        with subprocess.Popen(
            host_command(100 * seed, 10_000),
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as host:
            deadline = time.monotonic() + PATIENCE
            while seed % 2 and len(marked(mark)) < 3:  # the host and its two simulators
                assert time.monotonic() < deadline
                time.sleep(0.02)
            with contextlib.suppress(subprocess.TimeoutExpired):
                host.wait(random.Random(seed).uniform(0, LATEST))
            assert host.returncode is None
            host.kill()
        wait_for_none(mark)
    assert shared_memory_files() == before
    # What the killed hosts left of their cache is whole, and serves the next run.
    with contextlib.closing(sqlite3.connect(cache / FILE_NAME)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list(cache.glob("*.damaged"))
    again = subprocess.run(
        host_command(0, 4), cwd=REPOSITORY, capture_output=True, timeout=PATIENCE, check=True
    )
    assert (again.stdout, again.stderr) == (expected, b"")


def test_host_killed_at_random_moments(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    check_killed_hosts(FEW, mark, tmp_path)


@pytest.mark.full
def test_host_killed_at_many_random_moments(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    check_killed_hosts(MANY, mark, tmp_path)
