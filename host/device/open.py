"""The one place that makes a device for a platform, whichever backend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from host.device.base import Device
from host.device.model import DEFAULT_BUFFER_BYTES, ModelDevice
from host.errors import PimloopError
from host.platform import Platform

Backend = Literal["sim", "model"]
Flavour = Literal["native", "rtl"]


def open_device(
    platform: Platform,
    backend: Backend = "sim",
    *,
    flavour: Flavour = "native",
    waves: Path | None = None,
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
    waves
        File for FST waveforms of everything the device does; `sim` only.
    assertions
        `sim`: check every DRAM timing rule and assertion.
    buffer_bytes
        Size of the memory shared with the device.
    log_dir
        `sim`: folder for the simulator's log.

    Raises
    ------
    PimloopError
        When the backend cannot do what is asked.
    SimError
        When the simulator cannot be built or started.
    """
    if backend == "model":
        if waves is not None:
            raise PimloopError("the model device has no signals: record waves with the device sim")
        return ModelDevice(platform.geometry(), buffer_bytes)
    # Imported here: the model must work where the simulator's tools are missing.
    from sim.config import HostMemory, SimConfig
    from sim.device import SimDevice

    memory = platform.host_memory
    config = SimConfig(
        params=platform.rtl_parameters(),
        flavour=flavour,
        trace=waves is not None,
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
    device = SimDevice(config)
    if waves is not None:
        try:
            device.open_trace(waves)
        except BaseException:
            device.close()
            raise
    return device
