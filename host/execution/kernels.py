"""One operation with random operands on a device, checked against the golden model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pimloop.host.common import golden
from pimloop.host.execution.finite import NonFinite, kinds, unlike_float32
from pimloop.host.execution.verification import Mismatch, find_mismatch
from pimloop.host.operators.registry import elementwise
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.open import recorded
from pimloop.host.pim.device.validate import round_up
from pimloop.host.pim.driver import OpStats, OutOfDeviceMemoryError, PimDriver, ShapeError
from pimloop.host.platforms.geometry import BF16_BYTES
from pimloop.host.platforms.platform import Platform
from pimloop.partitioner.quantity import quantity

BroadcastName = Literal["none", "row", "column", "scalar"]


@dataclass(frozen=True)
class KernelResult:
    """What an operation did."""

    shape: tuple[int, ...]
    stats: OpStats
    wall_s: float  # of the operation alone: operands were resident, the result not yet read
    mismatch: Mismatch | None  # what differs from the golden model
    non_finite: NonFinite | None  # NaN or infinities that float32 does not have
    useful_macs: int  # multiply-adds the shape asks for
    beat_macs: int  # multiply-adds of one beat of counter `mac`

    @property
    def bit_exact(self) -> bool:
        """Whether every element has the golden model's bits."""
        return self.mismatch is None

    @property
    def passed(self) -> bool:
        """Whether the bits are right, and finite where float32's are."""
        return self.bit_exact and self.non_finite is None

    @property
    def done_macs(self) -> int:
        """Multiply-adds the lanes did, padding included."""
        return self.stats.counters["mac"] * self.beat_macs


def run_gemm(
    device: Device,
    platform: Platform,
    shape: tuple[int, int, int],
    *,
    transposed: bool = False,
    bias: bool = False,
    seed: int = 0,
    timeout: float = 600.0,
    waves: Path | None = None,
) -> KernelResult:
    """Multiply a random (p, q) by a resident random (q, r).

    Parameters
    ----------
    device, platform
        An open device and the platform it belongs to.
    shape
        (p, q, r).
    transposed
        The right operand is given as (r, q) and read by the opcode MATMUL_T.
    bias
        Add a random row (r).
    seed
        Of the operands.
    timeout
        Bound of each wait for the device, seconds.
    waves
        FST file of the operation.

    Raises
    ------
    ShapeError, OutOfDeviceMemoryError
        For a shape that is not positive, or that does not fit.
    """
    p, q, r = shape
    _require_positive(shape)
    driver = PimDriver.for_platform(device, platform, timeout=timeout)
    beat = driver.geometry.beat_columns
    columns = round_up(r, beat)
    _require_room(driver, p * round_up(q, beat) + q * columns + p * columns, f"gemm {p} {q} {r}")
    rng = np.random.default_rng(seed)
    left = _random(rng, (p, q))
    right = _random(rng, (r, q) if transposed else (q, r))
    row = _random(rng, (r,)) if bias else None
    a = driver.upload(left)
    b = driver.load_matrix(
        right, transposed=transposed, opcode="MATMUL_T" if transposed else "MATMUL"
    )
    c = None if row is None else driver.upload(row)
    with recorded(device, waves):
        started = time.perf_counter()
        y = driver.matmul(a, b, bias=c)
        wall = time.perf_counter() - started
    stats = driver.last
    values = driver.download(y)
    expected = golden.matmul(
        golden.to_bf16_bits(left),
        golden.to_bf16_bits(right.T if transposed else right),
        None if row is None else golden.to_bf16_bits(row),
    )
    with np.errstate(all="ignore"):
        float32 = left @ (right.T if transposed else right)
        float32 = float32 if row is None else float32 + row
    geometry = driver.geometry
    return KernelResult(
        shape=shape,
        stats=stats,
        wall_s=wall,
        mismatch=find_mismatch("gemm", golden.to_bf16_bits(values), expected),
        non_finite=_non_finite("gemm", values, float32),
        useful_macs=p * q * r,
        beat_macs=geometry.beat_columns,
    )


def run_elementwise(
    device: Device,
    platform: Platform,
    op: str,
    shape: tuple[int, int],
    *,
    broadcast: BroadcastName = "none",
    seed: int = 0,
    timeout: float = 600.0,
    waves: Path | None = None,
) -> KernelResult:
    """Run an operation of a random (p, r) and a random operand that is broadcast to it.

    See `run_gemm` for the parameters; `broadcast` gives the right operand, where the operation
    takes one, the shape (p, r), (r), (p, 1) or (1).
    """
    p, r = shape
    _require_positive(shape)
    kind = elementwise()[op]
    driver = PimDriver.for_platform(device, platform, timeout=timeout)
    columns = round_up(r, driver.geometry.beat_columns)
    second: dict[BroadcastName, tuple[int, ...]] = {
        "none": (p, r), "row": (r,), "column": (p, 1), "scalar": (1,),
    }  # fmt: skip
    shapes = [shape, second[broadcast]][: kind.operands]
    copies = 1 + sum(operand == shape for operand in shapes)  # the result, and operands as large
    _require_room(driver, copies * p * columns, f"elementwise {op} {p} {r}")
    rng = np.random.default_rng(seed)
    values = [_random(rng, operand) for operand in shapes]
    operands = [driver.upload(array) for array in values]
    with recorded(device, waves):
        started = time.perf_counter()
        y = driver.elementwise(op, *operands)
        wall = time.perf_counter() - started
    stats = driver.last
    result = driver.download(y)
    expected = golden.elementwise(kind.arithmetic, *map(golden.to_bf16_bits, values))
    with np.errstate(all="ignore"):
        float32 = kind.arithmetic(*values)
    return KernelResult(
        shape=shape,
        stats=stats,
        wall_s=wall,
        mismatch=find_mismatch(op, golden.to_bf16_bits(result), expected),
        non_finite=_non_finite(op, result, float32),
        useful_macs=p * r,
        beat_macs=driver.geometry.beat_columns,
    )


def _non_finite(
    op: str, values: NDArray[np.float32], float32: NDArray[np.float32]
) -> NonFinite | None:
    """Return where a result has NaN or infinities that float32 does not have."""
    return unlike_float32(op, op, "pim", kinds(values), kinds(float32))


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _require_positive(shape: tuple[int, ...]) -> None:
    if min(shape) < 1:
        text = " x ".join(str(size) for size in shape)
        raise ShapeError(f"the shape {text} has a size below 1: every size is at least 1")


def _require_room(driver: PimDriver, elements: int, purpose: str) -> None:
    """Refuse what cannot fit before random operands of that size are made."""
    needed = elements * BF16_BYTES
    if needed > driver.memory.free_bytes:
        raise OutOfDeviceMemoryError(
            f"{purpose} needs at least {quantity(needed, 'byte')} of device memory,"
            f" {driver.memory.free_bytes} of {driver.memory.capacity} are free: choose a smaller"
            " shape or another platform"
        )
