"""A platform's PIM device and its driver, opened as the options say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pimloop.host.execution.options import Options
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import Platform


@contextmanager
def open_pim(
    platform: Platform, options: Options, *, trace: bool = False
) -> Iterator[tuple[Device, PimDriver]]:
    """Open the device of a platform and yield it with its driver; close both at the end.

    Parameters
    ----------
    platform, options
        Whose device; backend, lanes, cache of descriptor lists and bound of waits.
    trace
        Build the simulator so that its signals can be recorded
        (`pimloop.host.pim.device.open.recorded`).

    Raises
    ------
    SimError
        When the simulator cannot be built or fails.
    """
    with (
        open_device(
            platform,
            options.backend,
            flavour=options.flavour,
            trace=trace,
            cache=options.cache,
            timeout=options.device_timeout,
        ) as device,
        PimDriver.for_platform(device, platform, timeout=options.device_timeout) as driver,
    ):
        yield device, driver
