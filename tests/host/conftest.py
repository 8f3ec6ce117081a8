"""Devices for the host's tests: each backend and style once a session."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.raw import RawDevice

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import load_platform

#: Platform whose device stands for a style.
PLATFORMS = {"per_bank": "htg-z920", "all_bank": "aim"}

#: Small, so that tests of what does not fit are quick; the address all backends share.
BUFFER_BYTES = 8 << 20
BUFFER_ADDRESS = 1 << 32

#: "backend-style", with "-cold" or "-warm" behind a list cache; simulators are built when needed.
BACKENDS = [
    pytest.param("model-per_bank", id="model-per_bank"),
    pytest.param("model-all_bank", id="model-all_bank"),
    pytest.param("native-per_bank", id="native-per_bank"),
    pytest.param("native-all_bank", id="native-all_bank"),
    pytest.param("rtl-per_bank", id="rtl-per_bank"),
    pytest.param("rtl-all_bank", id="rtl-all_bank", marks=pytest.mark.full),
    # Both with one list cache, which the first fills for the second.
    pytest.param("native-per_bank-cold", id="native-per_bank-cold"),
    pytest.param("native-per_bank-warm", id="native-per_bank-warm"),
    pytest.param("native-all_bank-cold", id="native-all_bank-cold", marks=pytest.mark.full),
    pytest.param("native-all_bank-warm", id="native-all_bank-warm", marks=pytest.mark.full),
    pytest.param("rtl-per_bank-cold", id="rtl-per_bank-cold", marks=pytest.mark.full),
    pytest.param("rtl-per_bank-warm", id="rtl-per_bank-warm", marks=pytest.mark.full),
]


def _open(kind: str) -> Device:
    backend, style, *cache = kind.split("-")
    platform = load_platform(PLATFORMS[style])
    if backend == "model":
        return ModelDevice(platform.geometry(), BUFFER_BYTES, BUFFER_ADDRESS)
    flavour = "rtl" if backend == "rtl" else "native"
    device = open_device(
        platform, "sim", flavour=flavour, buffer_bytes=BUFFER_BYTES, cache=bool(cache)
    )
    assert device.buffer_address == BUFFER_ADDRESS
    return device


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Free objects with their last reference alone: what refers to itself stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests a cache folder of their own: never the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def devices(own_cache: None) -> Iterator[Callable[[str], Device]]:
    """Return a function that opens a device by its kind once a session."""
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
