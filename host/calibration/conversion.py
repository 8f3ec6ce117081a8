"""What a transfer takes beside this machine: its conversion timed here, its copy simulated.

Together they make the prices of transfers of a platform whose `driver.conversion` is modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns

import ml_dtypes
import numpy as np

from pimloop.host.common import golden
from pimloop.host.cpu.timing import Step, time_rounds
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.pim.device.open import Backend, open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import Platform, TransferPrice

#: The two transfers of the PIM, (from, to).
_TO_PIM, _TO_CPU = (HOST_MEMORY, PIM_MEMORY), (PIM_MEMORY, HOST_MEMORY)

#: Sizes of the conversions timed, elements: those of transformer activations.
SIZES = (512, 2048, 8192, 32768, 131072)

#: Sizes of the copies simulated: their time is linear, two points give the line.
COPIES = (4096, 65536)


@dataclass(frozen=True)
class Line:
    """Time over elements."""

    fixed_us: float
    ns_per_element: float


def line_through(points: Mapping[int, float]) -> Line:
    """Return the line of least relative error through (elements, microseconds); no part negative.

    >>> line_through({1000: 12.0, 3000: 16.0})
    Line(fixed_us=10.0, ns_per_element=2.0)
    """
    sizes = np.array(list(points), float)
    times = np.array(list(points.values()))
    rows = np.stack([np.ones_like(sizes), sizes], axis=1) / times[:, None]
    fixed, slope = np.linalg.lstsq(rows, np.ones_like(times), rcond=None)[0]
    if fixed < 0:
        fixed, slope = 0.0, float(np.mean(times / sizes))
    elif slope < 0:
        fixed, slope = float(np.mean(times)), 0.0
    return Line(round(float(fixed), 6), round(1000 * float(slope), 6))


@dataclass(frozen=True)
class MeasuredTransfer:
    """The price of a transfer beside this machine, and where it comes from."""

    price: TransferPrice
    described: Mapping[str, str]  # by the price's values


def measured_transfers(
    platform: Platform, *, rounds: int = 10, backend: Backend = "sim"
) -> dict[tuple[str, str], MeasuredTransfer]:
    """Return the prices of the PIM's transfers, by (from, to), conversion and copy included.

    The fixed part is a call, as any operation's, and what remains of conversion and copy at no
    elements.

    Raises
    ------
    PimloopError, SimError
        When the device cannot be opened.
    """
    conversions, copies = _conversions(rounds), _copies(platform, backend)
    call = platform.driver.call_overhead_us
    measured = {}
    for pair, conversion in conversions.items():
        copy = copies[pair]
        price = TransferPrice(
            fixed_us=call + conversion.fixed_us + copy.fixed_us,
            ns_per_element=conversion.ns_per_element + copy.ns_per_element,
        )
        described = {
            "fixed_us": f"a call, {conversion.fixed_us:.2f} us of conversion (measured) and"
            f" {copy.fixed_us:.2f} us of copy (simulated)",
            "ns_per_element": f"{conversion.ns_per_element:.3f} ns of conversion (measured) and"
            f" {copy.ns_per_element:.3f} ns of copy (simulated)",
        }
        measured[pair] = MeasuredTransfer(price, described)
    return measured


def _conversions(rounds: int) -> dict[tuple[str, str], Line]:
    steps = []
    for size in SIZES:
        values = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
        bits = golden.to_bf16_bits(values)
        narrow = partial(values.astype, ml_dtypes.bfloat16)
        steps.append(Step(f"narrow {size}", _timed(narrow)))
        steps.append(Step(f"widen {size}", _timed(partial(golden.bf16_to_f32, bits))))
    times = time_rounds(steps, rounds=rounds)
    return {
        _TO_PIM: line_through({n: times[f"narrow {n}"].us for n in SIZES}),
        _TO_CPU: line_through({n: times[f"widen {n}"].us for n in SIZES}),
    }


def _timed(work: Callable[[], object]) -> Callable[[], int]:
    def run() -> int:
        start = perf_counter_ns()
        work()
        return perf_counter_ns() - start

    return run


def _copies(platform: Platform, backend: Backend) -> dict[tuple[str, str], Line]:
    to_pim: dict[int, float] = {}
    to_cpu: dict[int, float] = {}
    with open_device(platform, backend, cache=True) as device, PimDriver(device) as driver:
        for size in COPIES:
            tensor = driver.upload(np.zeros(size, ml_dtypes.bfloat16))
            to_pim[size] = platform.device_us(driver.last.cycles)
            driver.download(tensor)
            to_cpu[size] = platform.device_us(driver.last.cycles)
            tensor.free()
    return {_TO_PIM: _line(to_pim), _TO_CPU: _line(to_cpu)}


def _line(points: Mapping[int, float]) -> Line:
    # The functional model has no clock: its copies take no time.
    return line_through(points) if all(points.values()) else Line(0.0, 0.0)
