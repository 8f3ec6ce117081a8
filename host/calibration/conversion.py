"""What a transfer takes beside this machine: its conversion timed here, its copy simulated.

Together they make the four `driver.to_*` values of a platform whose transfers are modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter_ns
from typing import Any, Literal

import ml_dtypes
import numpy as np

from pimloop.host.common import golden
from pimloop.host.cpu.timing import Step, time_rounds
from pimloop.host.pim.device.open import Backend, open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import DriverSection, Platform

Direction = Literal["to_pim", "to_cpu"]

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


def measured_transfers(
    platform: Platform, *, rounds: int = 10, backend: Backend = "sim"
) -> tuple[DriverSection, dict[str, str]]:
    """Return the platform's driver section with transfers modelled, and where its values come from.

    The fixed part is a call, as any operation's, and what remains of conversion and copy at no
    elements.

    Raises
    ------
    PimloopError, SimError
        When the device cannot be opened.
    """
    conversion, copy = _conversions(rounds), _copies(platform, backend)
    call = platform.driver.call_overhead_us
    values: dict[str, Any] = {}
    described = {"conversion": "float32 <-> bfloat16 as timed by pimloop calibrate, and the copy"}
    for direction in conversion:
        fixed = call + conversion[direction].fixed_us + copy[direction].fixed_us
        slope = conversion[direction].ns_per_element + copy[direction].ns_per_element
        values[f"{direction}_fixed_us"] = fixed
        values[f"{direction}_ns_per_element"] = slope
        described[f"{direction}_fixed_us"] = (
            f"a call, {conversion[direction].fixed_us:.2f} us of conversion (measured) and"
            f" {copy[direction].fixed_us:.2f} us of copy (simulated)"
        )
        described[f"{direction}_ns_per_element"] = (
            f"{conversion[direction].ns_per_element:.3f} ns of conversion (measured) and"
            f" {copy[direction].ns_per_element:.3f} ns of copy (simulated)"
        )
    return replace(platform.driver, conversion="modelled", **values), described


def _conversions(rounds: int) -> dict[Direction, Line]:
    steps = []
    for size in SIZES:
        values = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
        bits = golden.to_bf16_bits(values)
        narrow = partial(values.astype, ml_dtypes.bfloat16)
        steps.append(Step(f"to_pim {size}", _timed(narrow)))
        steps.append(Step(f"to_cpu {size}", _timed(partial(golden.bf16_to_f32, bits))))
    times = time_rounds(steps, rounds=rounds)
    return {
        "to_pim": line_through({n: times[f"to_pim {n}"].us for n in SIZES}),
        "to_cpu": line_through({n: times[f"to_cpu {n}"].us for n in SIZES}),
    }


def _timed(work: Callable[[], object]) -> Callable[[], int]:
    def run() -> int:
        start = perf_counter_ns()
        work()
        return perf_counter_ns() - start

    return run


def _copies(platform: Platform, backend: Backend) -> dict[Direction, Line]:
    to_pim: dict[int, float] = {}
    to_cpu: dict[int, float] = {}
    with open_device(platform, backend, cache=True) as device, PimDriver(device) as driver:
        for size in COPIES:
            tensor = driver.upload(np.zeros(size, ml_dtypes.bfloat16))
            to_pim[size] = platform.device_us(driver.last.cycles)
            driver.download(tensor)
            to_cpu[size] = platform.device_us(driver.last.cycles)
            tensor.free()
    return {"to_pim": _line(to_pim), "to_cpu": _line(to_cpu)}


def _line(points: Mapping[int, float]) -> Line:
    # The functional model has no clock: its copies take no time.
    return line_through(points) if all(points.values()) else Line(0.0, 0.0)
