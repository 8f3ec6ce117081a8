"""Devices for the host's tests: each backend and style once a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from host.device.base import Device
from host.device.model import ModelDevice
from host.device.open import open_device
from host.platform import load_platform
from host.testing.raw import RawDevice

#: Platform whose device stands for a style.
PLATFORMS = {"per_bank": "htg-z920", "all_bank": "aim"}

#: Small, so that tests of what does not fit are quick; the address all backends share.
BUFFER_BYTES = 8 << 20
BUFFER_ADDRESS = 1 << 32

#: "backend-style"; the simulators are built when they are not in the cache.
BACKENDS = [
    pytest.param("model-per_bank", id="model-per_bank"),
    pytest.param("model-all_bank", id="model-all_bank"),
    pytest.param("native-per_bank", id="native-per_bank"),
    pytest.param("native-all_bank", id="native-all_bank"),
    pytest.param("rtl-per_bank", id="rtl-per_bank"),
    pytest.param("rtl-all_bank", id="rtl-all_bank", marks=pytest.mark.full),
]


def _open(kind: str) -> Device:
    backend, style = kind.split("-")
    platform = load_platform(PLATFORMS[style])
    if backend == "model":
        return ModelDevice(platform.geometry(), BUFFER_BYTES, BUFFER_ADDRESS)
    flavour = "rtl" if backend == "rtl" else "native"
    device = open_device(platform, "sim", flavour=flavour, buffer_bytes=BUFFER_BYTES)
    assert device.buffer_address == BUFFER_ADDRESS
    return device


@pytest.fixture(scope="session")
def devices() -> Iterator[Callable[[str], Device]]:
    """Return a function that opens a device by "backend-style" once a session."""
    opened: dict[str, Device] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Device:
            if kind not in opened:
                opened[kind] = stack.enter_context(_open(kind))
            return opened[kind]

        yield get


@pytest.fixture(params=BACKENDS)
def raw(request: pytest.FixtureRequest, devices: Callable[[str], Device]) -> RawDevice:
    """Return each backend in turn, freshly reset, the shared buffer zero."""
    device = RawDevice(devices(request.param))
    device.buffer[:] = 0
    return device


@pytest.fixture
def has_time(raw: RawDevice) -> bool:
    """Whether the backend counts cycles: all but the model."""
    return not isinstance(raw.device, ModelDevice)
