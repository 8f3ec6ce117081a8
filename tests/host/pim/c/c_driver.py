"""The C driver as a library of this process: built by the system's compiler, called by ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.paths import REPOSITORY

from pimloop.host.pim.device.base import Device, DeviceTimeoutError
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.rtl.tables.isa import DESCRIPTOR_BYTES

SOURCES = REPOSITORY / "host" / "pim" / "c"
HERE = Path(__file__).resolve().parent
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")

OK, TIMEOUT, IO, DEVICE, VERSION, BUFFER, FULL, BUSY, REFUSED = (0, *range(-1, -9, -1))

_READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
_WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
_WAIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
_NOW = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)


class Words(ctypes.Structure):
    """struct pim_descriptor."""

    _fields_ = (("words", ctypes.c_uint32 * (DESCRIPTOR_BYTES // 4)),)


class Product(ctypes.Structure):
    """struct pim_product."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in (
            *("a", "b", "y", "rows", "inner", "cols", "stride_a", "stride_b", "stride_y", "tile"),
            *("transposed", "init", "c", "stride_c", "out_f32", "weights", "group"),
        )
    )


class Io(ctypes.Structure):
    """struct pim_io."""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("read", _READ),
        ("write", _WRITE),
        ("wait", _WAIT),
        ("now", _NOW),
    )


def compiler(name: str = "cc") -> str:
    """Return the path of a C compiler; skip the test where there is none."""
    for candidate in (name, *(("gcc",) if name == "cc" else ())):
        path = shutil.which(candidate)
        if path is not None:
            return path
    pytest.skip(f"there is no C compiler `{name}`")


def build(target: Path, sources: Sequence[Path], *flags: str, cc: str = "cc") -> Path:
    """Compile C sources to `target` without a warning."""
    command = [compiler(cc), *FLAGS, *flags, f"-I{SOURCES}", "-o", target, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


def load(folder: Path) -> ctypes.CDLL:
    """Build the driver and load it."""
    sources = [SOURCES / "pim.c", SOURCES / "pim_uio.c", HERE / "probe.c"]
    library = ctypes.CDLL(str(build(folder / "libpim.so", sources, "-shared", "-fPIC")))
    for name in ("copy_in", "copy_out", "matmul", "elementwise", "unary", "fence"):
        getattr(library, f"pim_{name}").restype = Words
    for name in ("pim_error_text", "pim_code_text"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("pim_counter", "pim_data_offset", "probe_capacity", "probe_address"):
        getattr(library, name).restype = ctypes.c_uint64
    for name in ("probe_pim_bytes", "probe_uio_bytes"):
        getattr(library, name).restype = ctypes.c_size_t
    for name in ("pim_copy_in", "pim_copy_out"):
        getattr(library, name).argtypes = [ctypes.c_uint64, *[ctypes.c_uint32] * 5]
    for name in ("probe_code", "probe_failed", "probe_rows_per_beat"):
        getattr(library, name).restype = ctypes.c_uint32
    library.pim_bf16.argtypes, library.pim_bf16.restype = [ctypes.c_float], ctypes.c_uint16
    library.pim_float.argtypes, library.pim_float.restype = [ctypes.c_uint16], ctypes.c_float
    library.probe_buffer.restype = ctypes.c_void_p
    library.pim_uio_io.restype = Io
    return library


class CDriver:
    """The C driver on a device of this process.

    Parameters
    ----------
    library
        Of `load`.
    device
        Answers the driver's accesses.
    slots
        Descriptors of its list.
    """

    def __init__(self, library: ctypes.CDLL, device: Device, slots: int = 64) -> None:
        self.library = library
        self.device = device
        self.waits: list[int] = []  # milliseconds of every wait
        self._pim = ctypes.create_string_buffer(library.probe_pim_bytes())
        self.pim = ctypes.byref(self._pim)
        self._io = Io(
            None,
            _READ(lambda _, offset: device.read32(offset)),
            _WRITE(lambda _, offset, value: device.write32(offset, value)),
            _WAIT(lambda _, milliseconds: self._wait(milliseconds)),
            _NOW(lambda _: time.monotonic_ns() // 1_000_000),
        )
        self._slots = slots

    def _wait(self, milliseconds: int) -> int:
        self.waits.append(milliseconds)
        try:
            self.device.wait_irq(milliseconds / 1e3)
        except DeviceTimeoutError:
            return TIMEOUT
        return OK

    def open(self, *, offset: int = 0, size: int | None = None) -> int:
        """Open the device with a part of its buffer."""
        buffer = self.device.buffer
        return int(
            self.library.pim_open(
                self.pim,
                ctypes.byref(self._io),
                ctypes.c_void_p(buffer.ctypes.data + offset),
                ctypes.c_uint64(self.device.buffer_address + offset),
                ctypes.c_uint64(buffer.size - offset if size is None else size),
                ctypes.c_uint32(self._slots),
            )
        )

    def add(self, descriptor: Descriptor) -> int:
        """Append a descriptor."""
        words = Words.from_buffer_copy(np.asarray(descriptor).tobytes())
        return int(self.library.pim_add(self.pim, ctypes.byref(words)))

    def run(self, milliseconds: int = 60_000) -> int:
        """Start the list and wait for it."""
        return int(self.library.pim_run(self.pim, ctypes.c_uint32(milliseconds)))

    def explain(self, library: ctypes.CDLL, error: int) -> str:
        """Return what `library`, the driver's, says of an error of the call before."""
        text = ctypes.create_string_buffer(512)
        library.pim_explain(self.pim, error, text, ctypes.c_size_t(512))
        return text.value.decode()

    def integers_refused(self, inner: int, weights: int, group: int) -> str | None:
        """Return why the device has no such products, None: it has."""
        text = ctypes.create_string_buffer(512)
        refused = self.library.pim_integers_refused(
            self.pim, inner, weights, group, text, ctypes.c_size_t(512)
        )
        return text.value.decode() if refused else None

    @property
    def refusal(self) -> tuple[int, int]:
        """Code and position of the descriptor that was refused."""
        return int(self.library.probe_code(self.pim)), int(self.library.probe_failed(self.pim))
