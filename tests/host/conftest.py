"""Devices for the host's tests: each backend and style once a session."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support.backends import BACKENDS, has_time, open_backend
from support.raw import RawDevice

from pimloop.host.cpu import rapl
from pimloop.host.cpu.power import cpu_power
from pimloop.host.pim.device.base import Device


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


@pytest.fixture(scope="session", autouse=True)
def no_rapl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the energy counters of the machine: results do not depend on who may read them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rapl, "POWERCAP", tmp_path_factory.mktemp("powercap"))
        cpu_power.cache_clear()
        yield
    cpu_power.cache_clear()


@pytest.fixture(scope="session")
def devices(own_cache: None) -> Iterator[Callable[[str], Device]]:
    """Return a function that opens a device by its kind once a session."""
    opened: dict[str, Device] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Device:
            if kind not in opened:
                opened[kind] = stack.enter_context(open_backend(kind))
            return opened[kind]

        yield get


@pytest.fixture(params=BACKENDS)
def raw(request: pytest.FixtureRequest, devices: Callable[[str], Device]) -> RawDevice:
    """Return each backend in turn, freshly reset, the shared buffer zero."""
    device = RawDevice(devices(request.param))
    device.buffer[:] = 0
    return device


@pytest.fixture(name="has_time")
def has_time_(raw: RawDevice, request: pytest.FixtureRequest) -> bool:
    """Whether the backend counts cycles."""
    return has_time(request.node.callspec.params["raw"])
