"""`SimDevice`: registers, shared memory, interrupt, and what goes wrong, on the stand-in device."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.fixture_device import (
    ASSERTION,
    CYCLES,
    FIXTURE_ID,
    FOREVER,
    ID,
    MAX_READS,
    MAX_WRITES,
    SOURCE,
    SPIN,
    STATUS,
    config,
    copy,
    slow_memory,
    start,
    write64,
)
from support.leftovers import shared_memory_files
from support.paths import REPOSITORY, TESTS

from pimloop.sim.device.config import HostMemory
from pimloop.sim.device.process import GRACE_SECONDS, SimDevice
from pimloop.sim.errors import DeviceError, DeviceTimeoutError, SimError

KIB = 1024
BURST_BYTES = 16 * 64
#: Bound on waits for another process, seconds.
PATIENCE = 20.0


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def start_and_wait(device: SimDevice, mode: int, **registers: int) -> None:
    start(device, mode, **registers)
    device.wait_irq(PATIENCE)


@pytest.fixture(scope="module")
def device():
    with SimDevice(config()) as opened:
        yield opened


# ---- What works.


def test_registers(device):
    assert device.read32(ID) == FIXTURE_ID
    for value in (0, 1, 0xFFFF_FFFF, 0x1234_5678):
        device.write32(SOURCE, value)
        assert device.read32(SOURCE) == value


def test_access_right_after_reset(device):
    device.write32(SOURCE, 5)
    device.reset()
    device.write32(SOURCE + 4, 7)
    assert device.read32(SOURCE) == 0
    assert device.read32(SOURCE + 4) == 7


def test_bus_error_is_reported_and_survived(device):
    with pytest.raises(DeviceError, match="write of register 0x200: bus error 2"):
        device.write32(0x200, 0)
    with pytest.raises(DeviceError, match="read of register 0x204: bus error 2"):
        device.read32(0x204)
    assert device.read32(ID) == FIXTURE_ID


@pytest.mark.parametrize("stall", [0, 100, 220])
def test_copy_through_shared_memory(stall):
    memory = slow_memory(stall=stall, seed=stall + 1, read_gap=2)
    random = np.random.default_rng(stall)
    with SimDevice(config(host_memory=memory)) as device:
        size = 64 * BURST_BYTES
        before = random.integers(0, 256, device.buffer.size, np.uint8)
        device.buffer[:] = before
        source, target = 3 * KIB, 1024 * KIB
        base = device.buffer_address
        assert copy(device, base + source, base + target, 64, 16) == 0
        expected = before.copy()
        expected[target : target + size] = before[source : source + size]
        assert np.array_equal(device.buffer, expected)


def test_four_bursts_each_way_are_in_flight_and_no_more():
    with SimDevice(config(host_memory=HostMemory(read_latency=200, write_latency=200))) as device:
        base = device.buffer_address
        device.buffer[: 16 * BURST_BYTES] = 3
        copy(device, base, base + 64 * KIB, 16, 16)
        assert (device.buffer[64 * KIB : 64 * KIB + 16 * BURST_BYTES] == 3).all()
        assert device.read32(MAX_READS) == 4
        assert device.read32(MAX_WRITES) == 4


def test_latency_and_gap_set_the_cycles():
    """One burst of 16 beats in and out: the cycles are the sum of what is configured."""
    cycles = {}
    for latency, gap in ((2, 1), (50, 1), (2, 5)):
        memory = HostMemory(read_latency=latency, read_gap=gap)
        with SimDevice(config(host_memory=memory)) as device:
            base = device.buffer_address
            copy(device, base, base + 64 * KIB, 1, 16)
            cycles[latency, gap] = device.read32(CYCLES)
    assert cycles[50, 1] - cycles[2, 1] == 48
    assert cycles[2, 5] - cycles[2, 1] == 15 * 4


def test_cycles_do_not_depend_on_what_was_before():
    """Random pauses restart with every list."""
    with SimDevice(config(host_memory=slow_memory(stall=128))) as device:
        base = device.buffer_address
        counts = set()
        for accesses in (0, 1, 7):
            for _ in range(accesses):
                device.read32(ID)
            copy(device, base, base + 64 * KIB, 8, 16)
            counts.add(device.read32(CYCLES))
        device.reset()
        copy(device, base, base + 64 * KIB, 8, 16)
        counts.add(device.read32(CYCLES))
    assert len(counts) == 1


def test_seed_changes_the_pauses():
    counts = set()
    for seed in (1, 2):
        with SimDevice(config(host_memory=slow_memory(stall=128, seed=seed))) as device:
            base = device.buffer_address
            copy(device, base, base + 64 * KIB, 8, 16)
            counts.add(device.read32(CYCLES))
    assert len(counts) == 2


def test_memory_outside_the_window_answers_with_an_error(device):
    base, size = device.buffer_address, device.buffer.size
    device.buffer[:] = 7
    for outside in (base - BURST_BYTES, base + size, 0, 2**64 - BURST_BYTES):
        assert copy(device, outside, base, 1, 16) == 3
        device.buffer[:] = 7
        assert copy(device, base, outside, 1, 16) == 3
    assert (device.buffer == 7).all()
    # The last burst inside is served.
    assert copy(device, base, base + size - BURST_BYTES, 1, 16) == 0


def test_injected_error_answers_and_writes_nothing(device):
    base = device.buffer_address
    device.buffer[:] = np.arange(device.buffer.size, dtype=np.uint32).astype(np.uint8)
    target = 64 * KIB
    device.buffer[target : target + BURST_BYTES] = 0
    device.inject_memory_error(base + target + 128)
    try:
        assert copy(device, base, base + target, 1, 16) == 2
        assert copy(device, base + target + 128, base + 2 * target, 1, 1) == 2
    finally:
        device.inject_memory_error(None)
    result = device.buffer[target : target + BURST_BYTES]
    assert (result[128:192] == 0).all()
    assert np.array_equal(result[:128], device.buffer[:128])
    assert copy(device, base, base + target, 1, 16) == 0
    assert np.array_equal(result, device.buffer[:BURST_BYTES])


def test_pending_interrupt_returns_at_once(device):
    start_and_wait(device, SPIN, wait=10)
    before = device.stats().cycles
    device.wait_irq(0)
    assert device.stats().cycles == before


def test_time_stands_still_while_idle(device):
    before = device.stats().cycles
    time.sleep(0.2)
    assert device.stats().cycles == before


def test_device_works_while_the_host_does_something_else(device):
    start(device, SPIN, wait=200_000)
    wait_until(lambda: device.read32(STATUS) == 0)
    device.wait_irq(0)


def test_most_cycles_need_no_python(device):
    before = device.stats()
    start_and_wait(device, SPIN, wait=1_000_000)
    after = device.stats()
    assert after.fast_cycles - before.fast_cycles > 0.999 * (after.cycles - before.cycles)
    assert after.cycles_per_second > 0


# ---- What goes wrong.


def test_no_interrupt_in_time_shows_the_registers_and_leaves_the_device_usable():
    with SimDevice(config()) as device:
        start(device, FOREVER)
        with pytest.raises(DeviceTimeoutError) as failure:
            device.wait_irq(0.2)
        assert "no interrupt within 0.2 s" in str(failure.value)
        assert "STATUS=0x00000001" in str(failure.value)
        device.reset()
        start_and_wait(device, SPIN, wait=10)


def test_waiting_for_nothing_is_told_at_once(device):
    device.reset()
    with pytest.raises(DeviceTimeoutError, match="the device is idle and raises no interrupt"):
        device.wait_irq(3600)


@pytest.mark.parametrize("busy", [False, True])
def test_killed_simulator_is_an_error_at_once(busy):
    with SimDevice(config()) as device:
        if busy:
            start(device, FOREVER)
        timer = threading.Timer(0.3 if busy else 0.0, os.kill, (device.pid, signal.SIGKILL))
        timer.start()
        if not busy:
            timer.join()
        with pytest.raises(DeviceError, match=r"the simulator died \(SIGKILL\) in wait_irq\n  \| "):
            device.wait_irq(3600)
        with pytest.raises(DeviceError, match="cannot be used: the simulator died"):
            device.read32(ID)
        assert not running(device.pid)


def test_failed_assertion_ends_with_its_text():
    # The simulator may be gone before the doorbell is answered.
    expected = pytest.raises(DeviceError, match="the action that fails was started")
    with SimDevice(config()) as device, expected:
        start_and_wait(device, ASSERTION)


def test_hung_simulator_is_killed_after_the_bound():
    with SimDevice(config(answer_timeout=0.3)) as device:
        os.kill(device.pid, signal.SIGSTOP)
        with pytest.raises(DeviceTimeoutError, match="the simulator hangs: no answer to read32"):
            device.read32(ID)
    assert not running(device.pid)


def test_wait_for_the_interrupt_of_a_hung_simulator_is_bounded_by_its_timeout(monkeypatch):
    waits = []
    receive = SimDevice._receive

    def recorded(self, timeout, operation):
        waits.append((operation, timeout))
        return receive(self, timeout, operation)

    with SimDevice(config()) as device:
        os.kill(device.pid, signal.SIGSTOP)
        monkeypatch.setattr(SimDevice, "_receive", recorded)
        with pytest.raises(DeviceTimeoutError, match="the simulator hangs: no answer to wait_irq"):
            device.wait_irq(0.25)
    # Nothing else was waited for, closing included.
    assert waits == [("wait_irq", 0.25 + GRACE_SECONDS)]
    assert not running(device.pid)


def test_bounded_shortens_every_wait_and_lengthens_none():
    short = config(start_timeout=5.0, answer_timeout=90.0).bounded(10.0)
    assert (short.start_timeout, short.answer_timeout) == (5.0, 10.0)
    assert config().bounded(None) == config()


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("exit 3", DeviceError, r"the simulator died \(exit status 3\) in start\n  \| starting"),
        (
            "exec sleep 60",
            DeviceTimeoutError,
            "the simulator hangs: no answer to start within 0.5 s",
        ),
    ],
)
def test_simulator_that_does_not_start(monkeypatch, tmp_path, script, error, message):
    program = tmp_path / "simulator"
    program.write_text(f"#!/bin/sh\necho starting\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr("pimloop.sim.device.process.build", lambda _spec: program)
    with pytest.raises(error, match=message):
        SimDevice(config(start_timeout=0.5))


def test_simulator_that_is_no_program(monkeypatch, tmp_path):
    program = tmp_path / "simulator"
    program.write_text("")
    monkeypatch.setattr("pimloop.sim.device.process.build", lambda _spec: program)
    with pytest.raises(DeviceError, match=r"cannot start the simulator .*: Permission denied"):
        SimDevice(config())


def test_failed_starts_leak_no_descriptor(monkeypatch, tmp_path):
    monkeypatch.setattr("pimloop.sim.device.process.build", lambda _spec: tmp_path / "gone")
    gc.collect()  # what earlier tests left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(DeviceError):
            SimDevice(config())
    gc.collect()  # the errors hold frames, and these the mapped memory
    assert len(os.listdir("/proc/self/fd")) == before


def test_log_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SimError, match=r"cannot write the simulator's log in .*choose another"):
        SimDevice(config(log_dir=tmp_path / "file" / "log"))


def test_close_twice_and_use_after_close():
    device = SimDevice(config())
    device.buffer[:4] = 1
    device.close()
    device.close()
    assert not running(device.pid)
    with pytest.raises(DeviceError, match="cannot be used: it was closed"):
        device.read32(ID)
    assert device.buffer[0] == 1


def test_collected_device_ends_its_simulator():
    device = SimDevice(config())
    pid = device.pid
    del device
    wait_until(lambda: not running(pid))


HOST = """
import sys, time
sys.path.insert(0, {folder!r})
from support.fixture_device import FOREVER, config, start
from pimloop.sim.device.process import SimDevice
with SimDevice(config()) as device:
    if {busy}:
        start(device, FOREVER)
    print(device.pid, flush=True)
    {action}
"""


def host_process(action: str, busy: bool = False) -> tuple[subprocess.Popen, int]:
    """Start a host in a process of its own; return it and the process id of its simulator."""
    code = HOST.format(folder=str(TESTS), busy=busy, action=action)
    host = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert host.stdout is not None
    return host, int(host.stdout.readline())


@pytest.mark.parametrize("busy", [False, True])
def test_killed_host_leaves_nothing(busy, device):
    before = shared_memory_files()
    host, simulator = host_process("device.wait_irq(60)" if busy else "time.sleep(60)", busy)
    host.kill()
    host.communicate(timeout=PATIENCE)
    wait_until(lambda: not running(simulator))
    assert shared_memory_files() == before


def test_interrupt_at_the_terminal_ends_host_and_simulator():
    host, simulator = host_process("device.wait_irq(60)", busy=True)
    time.sleep(0.2)
    os.killpg(host.pid, signal.SIGINT)
    _, errors = host.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in errors
    assert "Exception ignored" not in errors
    assert host.returncode != 0
    assert not running(simulator)


def test_host_that_forgets_to_close_ends_cleanly():
    host, simulator = host_process("sys.exit(0)")
    _, errors = host.communicate(timeout=PATIENCE)
    assert host.returncode == 0
    assert errors == ""
    assert not running(simulator)


def test_device_outlives_the_thread_that_opened_it():
    devices = []
    thread = threading.Thread(target=lambda: devices.append(SimDevice(config())))
    thread.start()
    thread.join()
    with devices[0] as device:
        start_and_wait(device, SPIN, wait=2_000_000)


# ---- Logs.


def test_logs(tmp_path):
    with SimDevice(config(log_dir=tmp_path / "log")) as device:
        write64(device, SOURCE, 0x1_0000_0002)
        device.read32(SOURCE)
    assert "Serve the host" in (tmp_path / "log" / "simulator.log").read_text()
    lines = (tmp_path / "log" / "simulator.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["op"] for event in events] == ["write32", "write32", "read32"]
    assert [event["offset"] for event in events] == [SOURCE, SOURCE + 4, SOURCE]
    assert events[-1]["answer"] == {"value": 2}
    cycles = [event["cycle"] for event in events]
    assert cycles == sorted(cycles)


@pytest.mark.full  # a build of its own
def test_coverage_is_written_at_close(tmp_path):
    data = tmp_path / "coverage.dat"
    with SimDevice(config(coverage=data)) as device:
        device.read32(ID)
        assert not data.exists()
    lines = data.read_text(errors="replace").splitlines()
    counts = [int(line.rsplit("' ", 1)[1]) for line in lines if "pim_top.sv" in line]
    assert len(counts) > 50
    assert any(count > 0 for count in counts)
    assert any(count == 0 for count in counts)


@pytest.mark.full  # a build of its own
def test_coverage_is_written_whole_however_long_it_takes(tmp_path):
    """A pipe that nobody reads for longer than a simulator may outlive its host (host_watch.h)."""
    pipe = tmp_path / "coverage.dat"
    os.mkfifo(pipe)
    device = SimDevice(config(coverage=pipe))
    with ThreadPoolExecutor(max_workers=1) as pool:
        closed = pool.submit(device.close)
        time.sleep(4.0)
        assert not closed.done()
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # never waits for a writer
        os.set_blocking(descriptor, True)
        with open(descriptor, "rb") as reader:
            data = reader.read()
        closed.result()
    assert data.startswith(b"# SystemC::Coverage")
    assert data.endswith(b"\n")
