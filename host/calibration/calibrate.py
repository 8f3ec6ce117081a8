"""Fit the parameters of the CPU model to measured times.

Each class of operators has parameters of its own and is fitted alone: first what one core takes,
by robust least squares of the relative error (the time is linear in those parameters; a soft L1
loss keeps a disturbed sample from bending the rest), then how cores share it, from the times with
all cores. What a class of operators takes is the median over its nodes: scheduling noise only adds
time, to few of them. Parameters that the data do not determine keep the value they had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from pimloop.errors import PimloopError
from pimloop.host.cpu.model import CpuDevice, CpuModel
from pimloop.host.cpu.parameters import CpuSection
from pimloop.host.cpu.work import CLASSES, Work, WorkClass, operator_work, signature
from pimloop.host.models.graph import Graph

#: Relative error from which the loss grows linearly.
SOFT = 0.1

#: Added to a measured time when an error is made relative, microseconds: the board's timer counts
#: whole microseconds, and calls of one type differ by a few.
FLOOR_US = 5.0

#: Operators below this time are fitted but not counted in the errors reported.
REPORTED_US = 50.0

#: The parameters of each class on one core, and those of sharing.
_SERIAL: Mapping[WorkClass, tuple[str, ...]] = {
    "product": ("product_call_us", "product_weight_ns", "product_mac_ns"),
    "batched product": (
        "batched_call_us", "batched_product_ns", "batched_weight_ns", "batched_mac_ns",
    ),
    "element-wise": (
        "elementwise_call_us", "unary_call_us", "stream_ns", "row_ns", "span_ns", "divide_ns",
        "power_ns",
    ),
    "function": ("function_call_us", "erf_ns", "tanh_ns", "softmax_ns"),
    "reduction": ("reduce_call_us", "reduce_ns"),
    "movement": (
        "copy_call_us", "table_call_us", "slice_call_us", "copy_ns", "permute_ns",
        "permute_miss_ns",
    ),
    "view": ("reshape_call_us", "view_call_us", "view_ns"),
}  # fmt: skip
_SHARING: Mapping[WorkClass, str] = {
    "product": "product_speedup",
    "batched product": "batched_fork_us",
    "element-wise": "elementwise_speedup",
}
#: Below this size the element-wise operators are not shared.
_THRESHOLD = "elementwise_parallel_elements"


@dataclass(frozen=True)
class Sample:
    """The time of one class of equal operators on a CPU device."""

    work: Work
    device: CpuDevice
    us: float  # median over the nodes
    count: int  # nodes
    name: str
    model: str
    length: int  # sequence length


@dataclass(frozen=True)
class Fit:
    """Fitted parameters, and which of them the data determined."""

    parameters: CpuSection
    fitted: frozenset[str]


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions against samples, and what they are of."""

    signed: tuple[float, ...]  # predicted / measured - 1
    names: tuple[str, ...]

    @property
    def median(self) -> float:
        """Median of the absolute errors."""
        return float(np.median(np.abs(self.signed)))

    @property
    def p90(self) -> float:
        """The error that nine of ten samples do not exceed."""
        return float(np.quantile(np.abs(self.signed), 0.9))

    @property
    def worst(self) -> tuple[float, str]:
        """The largest error, signed, and its sample."""
        index = int(np.argmax(np.abs(self.signed)))
        return self.signed[index], self.names[index]


def samples_of(
    graph: Graph, times: Mapping[str, Mapping[str, float]], *, model: str, length: int
) -> list[Sample]:
    """Return the samples of a graph's measured nodes, equal operators as one.

    Parameters
    ----------
    graph
        Where the shapes come from.
    times
        Microseconds by device, by node id; devices other than the CPU's are left out.
    model, length
        What a hold-out tells apart.

    Raises
    ------
    PimloopError
        When `times` names nodes that the graph does not have, or a time is not positive.
    """
    unknown = sorted(times.keys() - {node.id for node in graph.nodes})
    if unknown:
        raise PimloopError(
            f"the costs name operators that model {graph.name} does not have:"
            f" {', '.join(unknown[:5])}; they belong to another model or sequence length"
        )
    groups: dict[tuple[object, ...], list[tuple[str, float]]] = defaultdict(list)
    works: dict[tuple[object, ...], Work] = {}
    for node in graph.nodes:
        key = signature(graph, node)
        for device in ("cpu_serial", "cpu_parallel"):
            us = times.get(node.id, {}).get(device)
            if us is None:
                continue
            if not 0 < us < float("inf"):
                raise PimloopError(f"{node.id}: {us} us on {device} is no time of an operator")
            groups[(*key, device)].append((node.id, us))
            works[(*key, device)] = operator_work(graph, node)
    return [
        Sample(
            work=works[key],
            device="cpu_serial" if key[-1] == "cpu_serial" else "cpu_parallel",
            us=median(us for _, us in members),
            count=len(members),
            name=members[0][0],
            model=model,
            length=length,
        )
        for key, members in groups.items()
    ]


def fit(samples: Iterable[Sample], start: CpuSection) -> Fit:
    """Return the parameters that fit the samples best, from those of `start`.

    Raises
    ------
    PimloopError
        When there is no sample.
    """
    by_class: dict[WorkClass, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.work.basis == "calibrated":
            by_class[sample.work.kind].append(sample)
    if not by_class:
        raise PimloopError("there is nothing to fit: no CPU time of a known operator")
    parameters, fitted = start, set[str]()
    for kind in CLASSES:
        chosen = by_class.get(kind, [])
        serial = [s for s in chosen if s.device == "cpu_serial"]
        if kind in _SERIAL and serial:
            names, parameters = _fit_serial(_SERIAL[kind], serial, parameters)
            fitted |= names
        parallel = [s for s in chosen if s.device == "cpu_parallel"]
        if kind in _SHARING and parallel:
            names, parameters = _fit_sharing(kind, parallel, parameters)
            fitted |= names
    return Fit(parameters, frozenset(fitted))


def _fit_serial(
    names: tuple[str, ...], samples: list[Sample], parameters: CpuSection
) -> tuple[set[str], CpuSection]:
    """Fit parameters in which the time on one core is linear."""
    matrix = _coefficients(names, samples, parameters)
    used = [i for i in range(len(names)) if matrix[:, i].any()]
    matrix = matrix[:, used]
    measured = np.array([s.us for s in samples])
    weight = np.sqrt([s.count for s in samples]) / (measured + FLOOR_US)
    rows = matrix * weight[:, None]
    target = measured * weight
    # One unit of each unknown explains as much as that of another: conditioning.
    scale = np.linalg.norm(rows, axis=0)
    guess = np.clip(np.linalg.lstsq(rows / scale, target, rcond=None)[0], 1e-9, None)
    solve = partial(
        least_squares,
        lambda x: rows / scale @ x - target,
        guess,
        jac=lambda x: rows / scale,
        bounds=(0, np.inf),
        loss="soft_l1",
        f_scale=SOFT * float(np.median(np.sqrt([s.count for s in samples]))),
    )
    try:
        solution = solve()
    except ValueError:
        # By rounding, a step of its method can end outside the region that it searches
        # ("`x` is not within the trust region"); this one searches a box.
        solution = solve(method="dogbox")
    values = solution.x / scale
    fitted: dict[str, Any] = {names[i]: float(v) for i, v in zip(used, values, strict=True)}
    return set(fitted), replace(parameters, **fitted)


def _coefficients(
    names: Sequence[str], samples: Sequence[Sample], parameters: CpuSection
) -> NDArray[np.float64]:
    """Return what each parameter's unit adds to each sample's time, asking the model itself."""
    zero: dict[str, Any] = dict.fromkeys(names, 0.0)
    columns: list[list[float]] = []
    for name in names:
        model = CpuModel(replace(parameters, **{**zero, name: 1.0}), "")
        columns.append([model.work_us(s.work, "cpu_serial") for s in samples])
    return np.array(columns).T


def _fit_sharing(
    kind: WorkClass, samples: list[Sample], parameters: CpuSection
) -> tuple[set[str], CpuSection]:
    """Fit how cores share a class: one factor, for each threshold that the data can tell apart."""
    name = _SHARING[kind]
    speedup = name.endswith("speedup")
    # Cores together are no faster than their number.
    low, high = (1.0, float(parameters.cores)) if speedup else (0.0, np.inf)
    if parameters.cores == 1:
        return set(), parameters  # nothing is shared
    if kind == "product":
        parameters = replace(parameters, speedup_cores=parameters.cores)
    start = min(max(float(getattr(parameters, name)), low), high)
    best: tuple[float, CpuSection, bool] | None = None
    for candidate in _candidates(kind, samples, parameters):
        residuals = _residuals(name, samples, candidate)
        matters = bool((residuals(np.array([low])) != residuals(np.array([low + 1.0]))).any())
        solution = least_squares(
            residuals, [start], bounds=(low, high), loss="soft_l1", f_scale=SOFT
        )
        value = float(solution.x[0]) if matters else start
        if best is None or solution.cost < best[0] * (1 - 1e-9):
            shared: dict[str, Any] = {name: value}
            best = (float(solution.cost), replace(candidate, **shared), matters)
    assert best is not None
    fitted = {name} if best[2] else set()
    return fitted | ({_THRESHOLD} if kind == "element-wise" else set()), best[1]


def _candidates(kind: WorkClass, samples: list[Sample], parameters: CpuSection) -> list[CpuSection]:
    if kind != "element-wise":
        return [parameters]
    # Any threshold between two sizes is the same to the data: the upper size stands for it.
    sizes = sorted({s.work.elements for s in samples if s.work.elements > 0})
    return [replace(parameters, **{_THRESHOLD: value}) for value in [*sizes, 2 * sizes[-1]]]


def _residuals(
    name: str, samples: Sequence[Sample], parameters: CpuSection
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        values: dict[str, Any] = {name: float(x[0])}
        model = CpuModel(replace(parameters, **values), "")
        return np.array(
            [
                (model.work_us(s.work, s.device) - s.us) / (s.us + FLOOR_US) * s.count**0.5
                for s in samples
            ]
        )

    return residuals


def errors(parameters: CpuSection, samples: Iterable[Sample]) -> dict[tuple[str, str], Errors]:
    """Return the errors by (class, device) over the samples of at least `REPORTED_US`."""
    model = CpuModel(parameters, "")
    rows_of: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for sample in samples:
        if sample.us >= REPORTED_US:
            error = model.work_us(sample.work, sample.device) / sample.us - 1
            label = f"{sample.name} ({sample.model}, {sample.length})"
            rows_of[sample.work.kind, sample.device].append((error, label))
    return {
        key: Errors(tuple(e for e, _ in rows), tuple(n for _, n in rows))
        for key, rows in rows_of.items()
    }


def held_out(
    samples: Sequence[Sample], start: CpuSection, key: Callable[[Sample], object]
) -> dict[tuple[str, str], Errors]:
    """Return the errors of predicting each part of the samples from a fit to all the others.

    Samples with a parameter that the others do not determine (an operator of one model only) are
    left out: they would be predicted from `start`.

    Parameters
    ----------
    key
        What makes a part: the model, the sequence length.

    Raises
    ------
    PimloopError
        When there is one part only: nothing can be held out.
    """
    parts = sorted({key(s) for s in samples}, key=str)
    if len(parts) < 2:
        raise PimloopError("there is one part only: nothing can be held out")
    pooled: dict[tuple[str, str], Errors] = {}
    for part in parts:
        fitted = fit([s for s in samples if key(s) != part], start)
        predicted = [s for s in samples if key(s) == part and _determined(s.work, fitted)]
        for kind, kind_errors in errors(fitted.parameters, predicted).items():
            before = pooled.get(kind, Errors((), ()))
            pooled[kind] = Errors(
                before.signed + kind_errors.signed, before.names + kind_errors.names
            )
    return pooled


def _determined(work: Work, fitted: Fit) -> bool:
    used = {work.call, *(name for name, amount in work.amounts.items() if amount)}
    return used <= fitted.fitted


def merged(parts: Iterable[Errors]) -> Errors:
    """Return several errors as one."""
    listed = list(parts)
    return Errors(
        tuple(e for errors_of_kind in listed for e in errors_of_kind.signed),
        tuple(n for errors_of_kind in listed for n in errors_of_kind.names),
    )
