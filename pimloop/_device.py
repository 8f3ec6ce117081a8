"""`Device`: the PIM alone, operation by operation."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray

from pimloop._checks import check_choice
from pimloop.host.pim.device.open import Backend, open_device
from pimloop.host.pim.driver import DeviceTensor, OpStats, PimDriver
from pimloop.host.platforms.platform import DEFAULT_PLATFORM, Platform, load_platform


class Device:
    """The PIM device of a platform, used in `with`; arrays go in and come out as float32.

    The device computes in bfloat16 with float32 sums: operands are rounded to nearest even, and so
    are results.

        with pimloop.Device("htg-z920") as device:
            y = device.matmul(a, b)
            print(device.stats.cycles, "DRAM clocks")

    Parameters
    ----------
    on
        A platform or its name.
    backend
        `sim`: the simulated RTL, built where it is not in the cache; `model`: the functional model,
        which has the same bits and no clock; `board`: the board that Python runs on
        (docs/board-bring-up.md).

    Raises
    ------
    PimloopError
        When there is no such platform, the simulator cannot be built or started, or there is no
        such board.
    """

    def __init__(self, on: Platform | str = DEFAULT_PLATFORM, backend: Backend = "sim") -> None:
        check_choice("backend", backend, get_args(Backend))
        self.platform = load_platform(on) if isinstance(on, str) else on
        self._device = open_device(self.platform, backend)
        self._driver = PimDriver.for_platform(self._device, self.platform)
        self._stats = OpStats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and simulator back; more than once is once."""
        self._driver.close()
        self._device.close()

    @property
    def stats(self) -> OpStats:
        """What the last operation cost: DRAM clocks, commands, bytes; its copies left out."""
        return self._stats

    def matmul(
        self,
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        bias: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return a x b (+ bias), numpy's `matmul` over leading axes.

        Parameters
        ----------
        a, b
            (..., p, q) and (..., q, r), or (q) for a single row; float32.
        bias
            (r) or None.

        Raises
        ------
        ShapeError, OutOfDeviceMemoryError
            When the shapes do not fit each other or the device; both are `PimloopError`s.
        """
        driver = self._driver
        with ExitStack() as stack:
            left = stack.enter_context(driver.upload(a))
            right = stack.enter_context(driver.load_matrix(b))
            row = None if bias is None else stack.enter_context(driver.upload(bias))
            return self._result(driver.matmul(left, right, bias=row))

    def add(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a + b with numpy's broadcasting; errors as for `matmul`."""
        return self._elementwise("add", a, b)

    def sub(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a - b with numpy's broadcasting; errors as for `matmul`."""
        return self._elementwise("sub", a, b)

    def mul(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a * b with numpy's broadcasting; errors as for `matmul`."""
        return self._elementwise("mul", a, b)

    def _elementwise(
        self, op: str, a: NDArray[np.float32], b: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        driver = self._driver
        with driver.upload(a) as left, driver.upload(b) as right:
            return self._result(driver.elementwise(op, left, right))

    def _result(self, tensor: DeviceTensor) -> NDArray[np.float32]:
        self._stats = self._driver.last
        with tensor:
            return self._driver.download(tensor)
