"""`DevicePool`: results, order, simulators that die, quiet time, the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.paths import REPOSITORY

from pimloop.errors import PimloopError
from pimloop.host.common.machine import cores
from pimloop.host.pim.device.base import DeviceError
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.pool import DevicePool, Worker
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform
from pimloop.sim.verilator.build import COVERAGE_VARIABLE

PLATFORM = load_platform("htg-z920")
BUFFER_BYTES = 4 << 20
PATIENCE = 60.0


def pool(jobs: int, backend: str = "sim", cache: bool = False) -> DevicePool:
    return DevicePool(PLATFORM, backend, jobs=jobs, cache=cache, buffer_bytes=BUFFER_BYTES)


def multiply(worker: Worker, seed: int) -> tuple[bytes, int]:
    """Return the bits of a random product, and its cycles."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((3, 40 + seed), (40 + seed, 50)))
    with PimDriver(worker.device) as driver:
        product = driver.matmul(driver.upload(a), driver.load_matrix(b))
        return driver.download(product).tobytes(), driver.totals.cycles


def simulator(worker: Worker) -> int:
    assert isinstance(worker.device, CachedDevice)
    return worker.device.pid


def gone(pid: int) -> bool:
    """Return whether a process ends soon; a zombie has ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_results_do_not_depend_on_the_number_of_devices() -> None:
    results = []
    for jobs in (1, 2, 3):
        with pool(jobs) as devices:
            results.append(devices.map(multiply, range(7)))
            assert devices.usage["lists_simulated"] > 7
            cycles = devices.usage["cycles_simulated"]
        assert cycles >= sum(cycles for _, cycles in results[0])
    assert results[0] == results[1] == results[2]
    with pool(2, "model") as devices:
        bits = [bits for bits, _ in devices.map(multiply, range(7))]
    assert bits == [bits for bits, _ in results[0]]


def test_devices_are_opened_when_there_is_work_and_used_by_one_job_at_a_time() -> None:
    meet = threading.Barrier(2, timeout=PATIENCE)
    with pool(3) as devices:
        assert devices.submit(lambda worker: worker.index).result(PATIENCE) == 0
        assert devices.submit(lambda worker: worker.index).result(PATIENCE) == 0

        def both(worker: Worker) -> int:
            meet.wait()
            return simulator(worker)

        pids = devices.map(lambda worker, _: both(worker), range(2))
        assert pids[0] != pids[1]
    assert all(gone(pid) for pid in pids)


def test_state_stays_with_its_device() -> None:
    def count(worker: Worker) -> int:
        worker.state["jobs"] = worker.state.get("jobs", 0) + 1
        return int(worker.state["jobs"])

    with pool(1, "model") as devices:
        assert [devices.submit(count).result(PATIENCE) for _ in range(3)] == [1, 2, 3]


def test_job_whose_simulator_is_killed_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[int] = []

    def job(worker: Worker, seed: int) -> tuple[bytes, int]:
        if seed == 1:
            worker.state["old"] = True
            attempts.append(simulator(worker))
            if len(attempts) == 1:
                os.kill(simulator(worker), signal.SIGKILL)
            assert len(worker.state) == 1
        return multiply(worker, seed)

    with pool(2) as devices:
        disturbed = devices.map(job, range(4))
        assert devices.map(multiply, range(4)) == disturbed
    assert len(set(attempts)) == 2
    assert "its job starts again" in caplog.text
    assert all(gone(pid) for pid in attempts)


def test_job_whose_simulators_are_killed_fails_and_the_pool_goes_on() -> None:
    def job(worker: Worker) -> int:
        os.kill(simulator(worker), signal.SIGKILL)
        return worker.device.read32(0)

    with pool(1) as devices:
        future = devices.submit(job)
        with pytest.raises(DeviceError, match=r"died in 2 attempts of the same job: .*SIGKILL"):
            future.result(PATIENCE)
        assert devices.map(multiply, [0])


def test_failed_job_is_not_repeated_and_leaves_no_device_behind() -> None:
    seen: list[int] = []

    def job(worker: Worker) -> None:
        seen.append(simulator(worker))
        raise ValueError("on purpose")

    with pool(1) as devices:
        with pytest.raises(ValueError, match="on purpose"):
            devices.submit(job).result(PATIENCE)
        assert devices.submit(simulator).result(PATIENCE) != seen[0]
    assert len(seen) == 1


def test_map_raises_the_first_failure_in_order() -> None:
    def job(_: Worker, item: int) -> int:
        if item % 2:
            raise ValueError(f"item {item}")
        return item

    with pool(2, "model") as devices:
        assert devices.map(job, [0, 2, 4]) == [0, 2, 4]
        with pytest.raises(ValueError, match="item 3"):
            devices.map(job, [0, 3, 2, 1])


def test_no_job_runs_in_quiet_time() -> None:
    started, go = threading.Event(), threading.Event()
    with pool(2, "model") as devices:

        def slow(_: Worker) -> str:
            started.set()
            assert go.wait(PATIENCE)
            return "slow"

        first = devices.submit(slow)
        assert started.wait(PATIENCE)
        threading.Timer(0.2, go.set).start()
        with devices.quiet():
            assert first.done()
            second = devices.submit(lambda worker: worker.index)
            time.sleep(0.2)
            assert not second.running()
            assert not second.done()
        second.result(PATIENCE)
        with pytest.raises(PimloopError, match="waits for all jobs"):
            devices.submit(lambda _: devices.quiet().__enter__()).result(PATIENCE)


def test_released_devices_are_freed_with_what_jobs_made_on_them(without_collector: None) -> None:
    """Without Python's search for cycles."""
    with pool(2, "model") as devices:

        def references(worker: Worker, seed: int) -> list[weakref.ref[object]]:
            driver = PimDriver(worker.device)
            tensor = driver.upload(np.full((3, 40), seed, np.float32))
            driver.elementwise("add", tensor, tensor)
            return [weakref.ref(driver), weakref.ref(worker.device), weakref.ref(driver.memory)]

        made = [reference for some in devices.map(references, range(4)) for reference in some]
        devices.release()
        assert [reference() for reference in made] == [None] * 12


def test_released_devices_are_closed_and_counted_and_later_jobs_get_others() -> None:
    with pool(2) as devices:
        before = devices.map(multiply, range(4))
        pids = set(devices.map(lambda worker, _: simulator(worker), range(4)))
        counted = devices.usage
        devices.release()
        assert all(gone(pid) for pid in pids)
        assert devices.usage == counted
        devices.release()  # nothing is open
        assert devices.map(multiply, range(4)) == before
        assert devices.submit(simulator).result() not in pids
        waits = devices.submit(lambda _: devices.release())
        with pytest.raises(PimloopError, match="waits for all jobs"):
            waits.result()


def test_close_ends_jobs_at_once() -> None:
    """A list of minutes does not keep a pool that an exception leaves."""
    pids: list[int] = []

    def endless(worker: Worker) -> None:
        pids.append(simulator(worker))
        big = np.zeros((4096, 4096), np.float32)
        with PimDriver(worker.device, timeout=3600) as driver:
            b = driver.load_matrix(big)
            started.set()
            driver.matmul(driver.upload(big), b)

    started = threading.Event()
    devices = pool(1)
    future = devices.submit(endless)
    waiting = devices.submit(simulator)
    assert started.wait(PATIENCE)
    devices.__exit__(RuntimeError, RuntimeError("left"), None)
    assert gone(pids[0])
    assert waiting.cancelled()
    with pytest.raises(DeviceError, match="died"):
        future.result(PATIENCE)
    with pytest.raises(PimloopError, match="is closed"):
        devices.submit(simulator)
    devices.close()


def test_pool_without_devices_is_refused() -> None:
    with pytest.raises(PimloopError, match="at least 1"):
        pool(0)
    assert DevicePool(load_platform("htg-z920"), cache=False).jobs == cores()


@pytest.mark.skipif(COVERAGE_VARIABLE in os.environ, reason="coverage simulates every list")
def test_cost_of_all_devices_is_summed_and_cached_lists_are_counted() -> None:
    with pool(2, cache=True) as devices:
        devices.map(multiply, range(3))
        first = devices.usage
    with pool(2, cache=True) as devices:
        devices.map(multiply, range(3))
        second = devices.usage
    assert first["lists_simulated"] > 0
    assert second["lists_simulated"] == 0
    assert second["cycles_cached"] == first["cycles_simulated"] + first["cycles_cached"]


HOST = """
import sys
from pimloop.host.common.machine import cores
from pimloop.host.pim.device.pool import DevicePool
from pimloop.host.platforms.platform import load_platform
from pimloop.host.pim.driver import PimDriver
import numpy as np

def job(worker, _):
    big = np.zeros((4096, 4096), np.float32)
    with PimDriver(worker.device, timeout=3600) as driver:
        b = driver.load_matrix(big)
        print(worker.device.pid, flush=True)
        driver.matmul(driver.upload(big), b)

with DevicePool(load_platform("htg-z920"), jobs=2, cache=False) as pool:
    pool.map(job, range(4))
"""


@pytest.fixture
def busy_host() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Yield a process with two devices at work, and their simulators."""
    with subprocess.Popen(
        [sys.executable, "-c", HOST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, [int(process.stdout.readline()) for _ in range(2)]
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_host_leaves_no_process(
    busy_host: tuple[subprocess.Popen[str], list[int]], how: signal.Signals
) -> None:
    process, simulators = busy_host
    process.send_signal(how)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert all(gone(pid) for pid in simulators)
    if how == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "Exception ignored" not in errors


def test_constants_are_in_memory_once() -> None:
    """Two devices that load the same weights, with and without a shared start of their memory."""
    weights = np.random.default_rng(1).standard_normal((2048, 2048), np.float32)
    nbytes = 2 * weights.size
    results, touched = [], []
    for shared in (0, nbytes):
        together = threading.Barrier(2, timeout=PATIENCE)

        def job(worker: Worker, scale: int, together: threading.Barrier = together) -> object:
            with PimDriver(worker.device) as driver:
                matrix = driver.load_matrix(weights)
                together.wait()
                a = driver.upload(np.full((1, 2048), scale, np.float32))
                result = driver.download(driver.matmul(a, matrix)).tobytes()
                together.wait()
                return result, dram_kib(simulator(worker))

        with DevicePool(
            PLATFORM, jobs=2, cache=True, buffer_bytes=BUFFER_BYTES, shared_bytes=shared
        ) as devices:
            done = devices.map(job, [1, 2])
        results.append([result for result, _ in done])  # type: ignore[misc]
        touched.append(sum(kib for _, kib in done))  # type: ignore[misc]
    assert results[0] == results[1]
    assert touched[0] > 2 * nbytes // 1024
    # Shared pages count for a part with each process that has them: together once.
    assert touched[1] < 1.2 * nbytes // 1024


def dram_kib(pid: int) -> float:
    """Return the device memory of a simulator in KiB, shared pages with its part of them.

    The host maps them too, so each page of a device counts half here, and a page that two devices
    share a quarter in each.
    """
    total, inside = 0.0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = "pimloop-dram" in line or "pimloop-shared" in line
        elif inside and line.startswith("Pss:"):
            total += float(line.split()[1])
    return 2 * total
