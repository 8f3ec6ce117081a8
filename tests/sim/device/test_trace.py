"""FST waveforms: windows opened and closed at run time, with our LZ4 where there is no other."""

import random
import subprocess
from pathlib import Path

import pytest
from support import fst_reader
from support.fixture_device import IRQ, SPIN, config, start

from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import DeviceError
from pimloop.sim.paths import SIM
from pimloop.sim.verilator.toolchain import find_compiler

PERIOD = config().clock_period
CYCLES = 500


def run_spin(device: SimDevice) -> None:
    start(device, SPIN, wait=CYCLES)
    device.wait_irq(20)
    device.write32(IRQ, 1)


def cycle_of(time: int) -> int:
    """Rising clock edges until `time`; the first is after half a period."""
    return (time + PERIOD // 2) // PERIOD


def test_windows(tmp_path):
    with SimDevice(config(trace=True)) as device:
        run_spin(device)
        files = []
        for number in range(2):
            before = device.stats().cycles
            device.open_trace(tmp_path / f"{number}.fst")
            run_spin(device)
            device.close_trace()
            after = device.stats().cycles
            run_spin(device)
            files.append((fst_reader.read(tmp_path / f"{number}.fst"), before, after))
        with pytest.raises(DeviceError, match="cannot write the waveform"):
            device.open_trace(tmp_path / "no such folder" / "x.fst")
        device.open_trace(tmp_path / "left open.fst")
        with pytest.raises(DeviceError, match="or one is being written already"):
            device.open_trace(tmp_path / "second.fst")
        run_spin(device)
    files.append((fst_reader.read(tmp_path / "left open.fst"), after, after + 4 * CYCLES))
    for waveform, before, after in files:
        assert waveform.exponent == -15
        assert b"cycles_q" in waveform.hierarchy
        assert b"s_axil_awaddr" in waveform.hierarchy
        assert b"CmdAct" in waveform.hierarchy  # an enum: declared in every file
        # The window and nothing outside it.
        first, last = (cycle_of(time) for time in (waveform.start, waveform.end))
        assert before <= first <= last <= after
        assert last - first >= CYCLES
    assert files[0][0].end < files[1][0].start


def test_trace_needs_the_option():
    with SimDevice(config()) as device, pytest.raises(DeviceError, match="trace=True"):
        device.open_trace(Path("x.fst"))


@pytest.fixture(scope="module")
def compress(tmp_path_factory):
    program = tmp_path_factory.mktemp("lz4") / "lz4_check"
    source = Path(__file__).parent / "lz4_check.cpp"
    warnings = ["-Wall", "-Wextra", "-Werror", "-fsanitize=undefined,address"]
    command = [
        find_compiler().path,
        f"-I{SIM / 'verilator' / 'lz4'}",
        *warnings,
        str(source),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True, timeout=120)

    def run(data: bytes) -> bytes:
        done = subprocess.run([program], input=data, capture_output=True, check=True, timeout=60)
        return done.stdout

    return run


@pytest.mark.parametrize("size", [0, 1, 4, 5, 11, 12, 13, 14, 17, 31, 270, 5000, 200_000])
@pytest.mark.parametrize("letters", [1, 2, 256])
def test_lz4_blocks(compress, size, letters):
    data = random.Random(size).choices(range(letters), k=size)
    packed = compress(bytes(data))
    assert fst_reader.lz4_block(packed) == bytes(data)
    if size >= 5000 and letters == 1:
        assert len(packed) < size / 100
