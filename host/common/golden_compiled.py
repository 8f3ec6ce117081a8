"""The sums of the golden model's products, compiled where this machine has a C++ compiler.

The specification is `pimloop.host.common.golden`, in numpy; this gives the same bits several times
faster and without holding Python's lock. Without a compiler, or without a fused multiply-add in
the processor, numpy does all of it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pimloop.sim.errors import SimError
from pimloop.sim.verilator.shared_object import build_library

logger = logging.getLogger(__name__)

#: The C++ source.
SOURCE = Path(__file__).with_name("golden.cpp")

#: acc += a x b in place: (p, q) float32, (q, r) bits of bfloat16, (p, r) float32, all contiguous.
Accumulate = Callable[[NDArray[np.float32], NDArray[np.uint16], NDArray[np.float32]], None]

_lock = threading.Lock()


def accumulator() -> Accumulate | None:
    """Return the compiled sums, or None where there are none; built at the first call."""
    with _lock:
        return _load()


@functools.cache
def _load() -> Accumulate | None:
    try:
        library = ctypes.CDLL(str(build_library(SOURCE)))
    except (SimError, OSError) as error:
        logger.info("the golden model is computed in numpy: %s", error)
        return None
    if not library.pimloop_golden_supported():
        logger.info("the golden model is computed in numpy: no fused multiply-add in the processor")
        return None
    products = library.pimloop_golden_products
    products.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 3
    products.restype = None

    def accumulate(a: NDArray[np.float32], b: NDArray[np.uint16], acc: NDArray[np.float32]) -> None:
        products(a.ctypes.data, b.ctypes.data, acc.ctypes.data, *a.shape, b.shape[1])

    return accumulate
