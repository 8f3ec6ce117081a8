"""The one place that makes a device for a platform, whichever backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from host.device.base import Device
from host.device.model import DEFAULT_BUFFER_BYTES, ModelDevice
from host.errors import PimloopError
from host.platform import Platform

Backend = Literal["sim", "model"]
Flavour = Literal["native", "rtl"]


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
        raise PimloopError("the model device has no signals: record waves with --device sim")
    device.open_trace(waves)
    try:
        yield
    finally:
        device.close_trace()


def open_device(
    platform: Platform,
    backend: Backend = "sim",
    *,
    flavour: Flavour = "native",
    trace: bool = False,
    assertions: bool = True,
    buffer_bytes: int = DEFAULT_BUFFER_BYTES,
    log_dir: Path | None = None,
) -> Device:
    """Open the PIM device of a platform.

    Parameters
    ----------
    platform
        Which device.
    backend
        `sim`: the RTL, simulated (built when it is not in the cache). `model`: the functional
        model, which needs no compiler and has no time: its counters are 0.
    flavour
        Arithmetic lanes of `sim`: `native` (DPI calls) or `rtl`.
    trace
        `sim`: build it so that `recorded` can write waveforms (slower).
    assertions
        `sim`: check every DRAM timing rule and assertion.
    buffer_bytes
        Size of the memory shared with the device.
    log_dir
        `sim`: folder for the simulator's log.

    Raises
    ------
    SimError
        When the simulator cannot be built or started.
    """
    if backend == "model":
        return ModelDevice(platform.geometry(), buffer_bytes)
    # Imported here: the model must work where the simulator's tools are missing.
    from sim.config import HostMemory, SimConfig
    from sim.device import SimDevice

    memory = platform.host_memory
    config = SimConfig(
        params=platform.rtl_parameters(),
        flavour=flavour,
        trace=trace,
        assertions=assertions,
        host_memory=HostMemory(
            read_latency=memory.read_latency,
            read_gap=memory.read_gap,
            write_latency=memory.write_latency,
            write_gap=memory.write_gap,
        ),
        memory_bytes=buffer_bytes,
        log_dir=log_dir,
    )
    return SimDevice(config)
