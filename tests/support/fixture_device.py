"""The stand-in device of tests/sim/rtl/pim_top.sv from the host's side.

Its registers are described at the head of that file.
"""

from pimloop.sim.device.config import HostMemory, SimConfig
from pimloop.sim.device.process import SimDevice
from support.paths import REPOSITORY, SIM_RTL

SOURCES = (REPOSITORY / "rtl" / "pim_pkg.sv", SIM_RTL / "pim_top.sv")
FIXTURE_ID = 0x54455354

ID, CTRL, STATUS, IRQ, DOORBELL = 0x000, 0x008, 0x00C, 0x010, 0x014
SOURCE, TARGET, BURSTS, BEATS, MODE, WAIT = 0x018, 0x020, 0x030, 0x034, 0x038, 0x03C
MAX_READS, MAX_WRITES, CYCLES = 0x040, 0x044, 0x048
COPY, SPIN, FOREVER, ASSERTION = range(4)


def config(**changes) -> SimConfig:
    """Return the configuration of the stand-in device with `changes`; 16 MiB of shared memory."""
    return SimConfig(**{"device_sources": SOURCES, "memory_bytes": 1 << 24, **changes})


def slow_memory(**changes) -> HostMemory:
    """Return a host memory with latencies that a master must hide."""
    return HostMemory(read_latency=40, write_latency=30, **changes)


def write64(device: SimDevice, register: int, value: int) -> None:
    """Write a pair of registers."""
    device.write32(register, value & 0xFFFF_FFFF)
    device.write32(register + 4, value >> 32)


def start(device: SimDevice, mode: int, **registers: int) -> None:
    """Start an action with the interrupt enabled; `registers` by their lower-case names."""
    numbers = {"bursts": BURSTS, "beats": BEATS, "wait": WAIT}
    for name, value in registers.items():
        device.write32(numbers[name], value)
    device.write32(MODE, mode)
    device.write32(CTRL, 2)
    device.write32(IRQ, 1)
    device.write32(DOORBELL, 1)


def copy(device: SimDevice, source: int, target: int, bursts: int, beats: int) -> int:
    """Copy in device-visible memory; return the worst bus response."""
    write64(device, SOURCE, source)
    write64(device, TARGET, target)
    start(device, COPY, bursts=bursts, beats=beats - 1)
    device.wait_irq(30)
    return device.read32(STATUS) >> 8 & 3
