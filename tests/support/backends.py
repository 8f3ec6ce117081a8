"""Backends that tests run on: kinds by name, and how one is opened."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import pytest

from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.open import Flavour, open_device
from pimloop.host.platforms.platform import load_platform
from support.fake_board import model_board, sim_board

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
    # A board's code over a fake /sys and /dev, the functional model or a simulator behind them.
    pytest.param("board_model-per_bank", id="board_model-per_bank"),
    pytest.param("board_model-all_bank", id="board_model-all_bank", marks=pytest.mark.full),
    pytest.param("board_sim-per_bank", id="board_sim-per_bank"),
    pytest.param("board_sim-all_bank", id="board_sim-all_bank", marks=pytest.mark.full),
    # Both with one list cache, which the first fills for the second.
    pytest.param("native-per_bank-cold", id="native-per_bank-cold"),
    pytest.param("native-per_bank-warm", id="native-per_bank-warm"),
    pytest.param("native-all_bank-cold", id="native-all_bank-cold", marks=pytest.mark.full),
    pytest.param("native-all_bank-warm", id="native-all_bank-warm", marks=pytest.mark.full),
    pytest.param("rtl-per_bank-cold", id="rtl-per_bank-cold", marks=pytest.mark.full),
    pytest.param("rtl-per_bank-warm", id="rtl-per_bank-warm", marks=pytest.mark.full),
]


def has_time(kind: str) -> bool:
    """Whether a device of this kind counts cycles: all but the model."""
    return "model" not in kind


def open_backend(kind: str) -> Device:
    """Open a device by its kind, one of `BACKENDS`."""
    backend, style, *cache = kind.split("-")
    platform = load_platform(PLATFORMS[style])
    if backend == "model":
        return ModelDevice(platform.geometry(), BUFFER_BYTES, BUFFER_ADDRESS)
    if backend == "board_model":
        return model_board(platform, _folder(), BUFFER_BYTES, BUFFER_ADDRESS)
    flavour: Flavour = "rtl" if backend == "rtl" else "native"
    device = open_device(
        platform, "sim", flavour=flavour, buffer_bytes=BUFFER_BYTES, cache=bool(cache)
    )
    assert device.buffer_address == BUFFER_ADDRESS
    if backend == "board_sim":
        assert isinstance(device, CachedDevice)
        return sim_board(platform, _folder(), device, device.pid)
    return device


def _folder() -> Path:
    """Return an empty folder that is removed at the end of the process."""
    path = Path(tempfile.mkdtemp(prefix="pimloop-board-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
