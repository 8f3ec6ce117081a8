"""Backends that tests run on: kinds by name, and how one is opened."""

from __future__ import annotations

import pytest

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


def open_backend(kind: str) -> Device:
    """Open a device by its kind, one of `BACKENDS`."""
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
