"""The one place that makes a device for a platform, whichever backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pimloop.errors import PimloopError
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.board import open_board
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.model import DEFAULT_BUFFER_BYTES, ModelDevice
from pimloop.host.platforms.platform import Platform
from pimloop.host.store.closure import code_key
from pimloop.host.store.list_cache import ListCache
from pimloop.sim.device.lanes import default_flavour
from pimloop.sim.errors import SimError

if TYPE_CHECKING:
    from pimloop.sim.device.process import SimDevice

Backend = Literal["sim", "model", "board"]
#: What a whole pipeline runs on: its reports say that the PIM's times are simulated.
PipelineBackend = Literal["sim", "model"]
Flavour = Literal["native", "rtl"]


def counting_key() -> str:
    """Return a hash of the code that starts simulators, counts what a list costs and keeps it.

    What an operation computes, and of which operators of a model, changes no count.
    """
    return code_key(
        ("pimloop.sim.device.process", "pimloop.host.pim.device.cached"),
        outside=("pimloop.host.operators",),
    )


@runtime_checkable
class _TracedDevice(Protocol):
    """A device whose signals can be recorded."""

    def open_trace(self, path: Path) -> None:
        """Start to write an FST file."""

    def close_trace(self) -> None:
        """Finish it."""


@contextmanager
def recorded(device: Device, waves: Path | None) -> Iterator[None]:
    """Record what the device does in the block to an FST file; None: record nothing.

    The device must have been opened with `trace`.
    """
    if waves is None:
        yield
        return
    if not isinstance(device, _TracedDevice):
        raise PimloopError("only a simulated device has signals: record waves with --device sim")
    device.open_trace(waves)
    try:
        yield
    except BaseException:
        # A device that hangs or died cannot finish the file; what went wrong before is said.
        with suppress(SimError):
            device.close_trace()
        raise
    device.close_trace()


def open_device(
    platform: Platform,
    backend: Backend = "sim",
    *,
    flavour: Flavour | None = None,
    trace: bool = False,
    assertions: bool = True,
    buffer_bytes: int = DEFAULT_BUFFER_BYTES,
    log_dir: Path | None = None,
    cache: bool = False,
    command_trace: Path | None = None,
    timeout: float | None = None,
) -> Device:
    """Open the PIM device of a platform.

    Parameters
    ----------
    platform
        Which device.
    backend
        `sim`: the RTL, simulated (built when it is not in the cache). `model`: the functional
        model, which needs no compiler and has no time: its counters are 0. `board`: the board that
        this process runs on (`pimloop.host.pim.device.board`).
    flavour
        Arithmetic lanes of `sim`: `native` (DPI calls) or `rtl`; None: `native` where they are
        verified to give the bits of this RTL, else `rtl` (`pimloop.sim.device.lanes`).
    trace
        `sim`: build it so that `recorded` can write waveforms (slower).
    assertions
        `sim`: check every DRAM timing rule and assertion.
    buffer_bytes
        Size of the memory shared with the device; a board's has the size that it has.
    log_dir
        `sim`: folder for the simulator's log.
    cache
        `sim`: do not simulate lists again whose cost is known from an earlier simulation; see
        `pimloop.host.pim.device.cached`.
    command_trace
        `sim`: text file for every DRAM command (`pimloop.sim.check.protocol` checks it).
    timeout
        `sim`: bound of the wait for its start and for each answer, seconds; None: 60. A build has
        none.

    Raises
    ------
    SimError
        When the simulator cannot be built or started, or the board is not there.
    """
    opener = device_opener(
        platform,
        backend,
        flavour=flavour,
        trace=trace,
        assertions=assertions,
        buffer_bytes=buffer_bytes,
        cache=cache,
        command_trace=command_trace,
        timeout=timeout,
    )
    return opener(log_dir)


def device_opener(
    platform: Platform,
    backend: Backend,
    *,
    shared_bytes: int = 0,
    flavour: Flavour | None,
    trace: bool,
    assertions: bool,
    buffer_bytes: int,
    cache: bool,
    command_trace: Path | None = None,
    timeout: float | None = None,
) -> Callable[[Path | None], Device]:
    """Build what `open_device` opens, and return a function that opens it with a log folder.

    The function may be called from several threads at once. SimError as `open_device`. The first
    `shared_bytes` of device memory, rounded down to pages, are the same memory in all devices that
    the function opens (`sim`).
    """
    if backend == "model":
        return lambda _log_dir: ModelDevice(platform.geometry(), buffer_bytes)
    if backend == "board":
        return lambda _log_dir: open_board(platform.geometry(), platform.name)
    # Imported here: the model must work where the simulator's tools are missing.
    from pimloop.sim.device.config import HostMemory, SimConfig, build_spec
    from pimloop.sim.device.lanes import verified, warn_unverified
    from pimloop.sim.device.process import SharedMemory, SimDevice
    from pimloop.sim.verilator.build import build

    chosen = flavour or default_flavour()
    warn_unverified(chosen)
    memory = platform.host_memory

    def configure(log_dir: Path | None) -> SimConfig:
        return SimConfig(
            params=platform.rtl_parameters(),
            flavour=chosen,
            trace=trace,
            assertions=assertions,
            host_memory=HostMemory(
                read_latency=memory.read_latency,
                read_gap=memory.read_gap,
                write_latency=memory.write_latency,
                write_gap=memory.write_gap,
            ),
            memory_bytes=buffer_bytes,
            command_trace=command_trace,
            log_dir=log_dir,
        ).bounded(timeout)

    build(build_spec(configure(None)))
    shared = SharedMemory(shared_bytes)

    def open_simulator(log_dir: Path | None) -> Device:
        simulator = SimDevice(configure(log_dir), shared)
        # A list taken from the cache has the model's values: right for lanes that are verified.
        return with_cache(simulator, ListCache.of_user() if cache and verified() else None)

    return open_simulator


def with_cache(simulator: SimDevice, cache: ListCache | None) -> CachedDevice:
    """Return the device that uses `cache` instead of simulating a list again.

    Random pauses of the host memory, measured coverage and a trace of commands are there to be
    simulated: with them nothing is taken from the cache.
    """
    # Imported here: the model must work where the simulator's tools are missing.
    from pimloop.sim.device import moves

    config = simulator.config
    identity = (
        f"{simulator.build_name} {counting_key()} {config.host_memory} "
        f"{config.memory_bytes} bytes at {config.memory_address}"
    )
    watched = config.coverage is not None or config.command_trace is not None
    if cache is not None and (watched or config.host_memory.stall):
        cache.close()
        cache = None
    try:
        # Another device than this tree's may tell one place in memory from another.
        moved = config.device_sources is None and moves.verified()
        return CachedDevice(simulator, cache, identity, moved=moved)
    except BaseException:
        simulator.close()
        raise
