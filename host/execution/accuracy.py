"""How far a run's values may be from float32, and how far they are.

The limit follows from the placement. Rounding to bfloat16 (8 significant bits) errs by at most 2^-8
of a value; 2^-9 / sqrt(3) of it is taken for the mean square. Results rounded one after the other
add up like a random walk. So a tensor behind R such results on its longest path is expected to be
off by about sqrt(R) 2^-9 / sqrt(3) in relative L2 norm, and twice that is the limit, with one
rounding more for what the operators behind it do to an error: one rounding can be amplified by all
of them, of many the average is. In 360 runs of tiny models (four architectures, 30 seeds, three
placements) the error was 0.6 to 1.0 of the expected one in the median, by configuration, and 1.48
at most; plans that put few operators of a tiny model on the PIM reached 2.6 at R = 2 (limit 3.4).
BERT-base, 16 tokens, four seeds: at most 2.3e-2 with every PIM-capable operator on the PIM (R =
432, limit 4.9e-2), 6.3e-3 with the matrix products alone (R = 98, limit 2.5e-2).

Operators in float16 or bfloat16 on the CPU round too, in the run and in the reference, and not at
the same places: ONNX Runtime keeps float32 between the operators of a session where it can, and a
run cuts the model into other sessions than the reference. Each such result on the longest path
counts as two roundings of its type (2^-12 / sqrt(3) for the 11 bits of float16), and the limit is
the same sum with one rounding more.

NaN and infinities must be where float32 has them, of the same sign; the limits are for the others.
What rounding to a subnormal bfloat16 can be off, 2^-134 each time, is no error: it is no fraction
of the value.

A model can do more to an error than that: a cancellation, a division by little, a rounding behind
it. So the limit is the first look only; beyond it `pimloop.host.execution.reference` measures what
this model does.

This is a check of the whole, and a blunt one; `pimloop.host.execution.verification` checks every
operator of the PIM sharply and `pimloop.host.execution.reference.segments` every segment of the
CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from pimloop.host.common.golden import SUBNORMAL_ROUNDING
from pimloop.host.devices.kinds import is_offloaded
from pimloop.host.execution.finite import kinds
from pimloop.host.models.graph import Array, Graph

#: Mean-square relative error of one rounding to bfloat16.
ROUNDING = 2.0**-9 / sqrt(3.0)

#: The same of results on the CPU, by their type; others err by the order of float32 sums.
HALF_ROUNDING = {"float16": 2.0**-12 / sqrt(3.0), "bfloat16": ROUNDING}

#: The limit as a multiple of the expected error.
MARGIN = 2.0

#: Temporary memory of comparing a tensor with float32, bytes for each element: six binary64 values
#: and what numpy marks (measured with tracemalloc: 49.0).
COMPARED_BYTES = 50

#: Outputs with fewer elements are often sums in which most of the signal cancels (two logits of a
#: random model), so the tensor they are computed from is compared too.
SMALL_OUTPUT = 64


@dataclass(frozen=True)
class Comparison:
    """One tensor against its float32 value."""

    tensor: str
    elements: int
    roundings: int  # results rounded to bfloat16 on the longest path to it
    relative_l2: float
    limit: float  # of relative_l2
    cosine: float
    max_abs_error: float
    measured: bool = False  # whether the limit is (`pimloop.host.execution.reference.sensitivity`)
    given: str | None = None  # the run's decisions that float32 was given; None: none differ

    @property
    def passed(self) -> bool:
        """Whether the error is within its limit (NaN is not)."""
        return self.relative_l2 <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the verdict; what is not finite becomes None."""
        fields = asdict(self) | {"passed": self.passed}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v
                for k, v in fields.items()}  # fmt: skip


def compared_tensors(graph: Graph) -> tuple[str, ...]:
    """Return the tensors to compare: the outputs, and what small outputs are computed from."""
    chosen = dict.fromkeys(graph.outputs)
    for output in graph.outputs:
        name: str | None = output
        while name is not None and graph.tensors[name].elements < SMALL_OUTPUT:
            name = _main_operand(graph, name)
        if name is not None:
            chosen[name] = None
    return tuple(n for n in chosen if graph.tensors[n].dtype.kind == "f")


def _main_operand(graph: Graph, name: str) -> str | None:
    """Return the largest activation that the producer of `name` reads, None at a model input."""
    node = graph.producer.get(name)
    if node is None:
        return None
    made = [n for n in graph.activations(node) if n in graph.producer]
    return max(made, key=lambda n: graph.tensors[n].elements, default=None)


def compare(
    graph: Graph,
    assignment: Mapping[str, str],
    computed: Mapping[str, Array],
    wanted: Mapping[str, Array],
    inputs: Mapping[str, int] | None = None,
) -> list[Comparison]:
    """Compare tensors of a run with their float32 values.

    Parameters
    ----------
    graph, assignment
        The model and where its nodes ran.
    found, wanted
        The run's and the float32 values of the same tensors, by name.
    inputs
        Roundings behind the model's inputs, see `rounding_depth`.
    """
    depth = rounding_depth(graph, assignment, inputs)
    half = half_errors(graph)
    return [
        _compare(
            name, depth[name], computed[name], wanted[name], tolerance(depth[name], half[name])
        )
        for name in wanted
    ]


def _compare(name: str, roundings: int, computed: Array, wanted: Array, limit: float) -> Comparison:
    a, b = computed.ravel().astype(np.float64), wanted.ravel().astype(np.float64)
    same_kinds = np.array_equal(kinds(a), kinds(b))
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite], b[finite]
    largest = float(np.abs(a - b).max(initial=0.0)) if same_kinds else np.inf
    with np.errstate(all="ignore"):
        off = np.maximum(np.abs(a - b) - roundings * SUBNORMAL_ROUNDING, 0.0)
        # Squares of what float64 models hold may overflow, or be 0.
        top = max(float(np.abs(b).max(initial=0.0)), float(np.abs(a).max(initial=0.0))) or 1.0
        a, b, off = a / top, b / top, off / top
        error = float(np.linalg.norm(off)) if same_kinds else np.inf
        scale = float(np.linalg.norm(b))
        cosine = 1.0 if error == 0 else float(a @ b / (np.linalg.norm(a) * scale))
        return Comparison(
            tensor=name,
            elements=computed.size,
            roundings=roundings,
            # Of zeros the error itself: there is nothing that it, or its limit, could be a part of.
            relative_l2=error / scale if scale and error else error * top,
            limit=limit if scale else 0.0,
            cosine=cosine,
            max_abs_error=largest,
        )


def tolerance(roundings: int, half: HalfErrors | None = None) -> float:
    """Return the limit of the relative L2 error behind `roundings` bfloat16 results of the PIM.

    Without any, nor any in `half`, it is 1e-5, the order in which float32 sums are taken.
    """
    half = half or HalfErrors()
    if not roundings and not half.square:
        return 1e-5
    largest = max(ROUNDING if roundings else 0.0, half.largest)
    return MARGIN * (sqrt(roundings * ROUNDING**2 + half.square) + largest)


@dataclass(frozen=True)
class HalfErrors:
    """Errors of float16 and bfloat16 results on the CPU on the longest path to a tensor."""

    square: float = 0.0  # sum of their mean squares, relative, of run and reference
    largest: float = 0.0  # mean-square relative error of one of them


def half_errors(graph: Graph) -> dict[str, HalfErrors]:
    """Return the errors of results in half precision behind each tensor."""
    errors = dict.fromkeys(graph.tensors, HalfErrors())
    for node in graph.nodes:
        behind = [errors[name] for name in graph.activations(node)]
        square = max((operand.square for operand in behind), default=0.0)
        largest = max((operand.largest for operand in behind), default=0.0)
        for name in filter(None, node.outputs):
            own = HALF_ROUNDING.get(str(graph.tensors[name].dtype), 0.0)
            errors[name] = HalfErrors(square + 2 * own**2, max(largest, own))
    return errors


def rounding_depth(
    graph: Graph, assignment: Mapping[str, str], inputs: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return, for each tensor, the most bfloat16 roundings on a path to it.

    Results of the PIM count, and values moved to it. `inputs` has the roundings behind model
    inputs that an earlier execution made, such as a cache.
    """
    depth = dict.fromkeys(graph.tensors, 0) | dict(inputs or {})
    for node in graph.nodes:
        on_pim = is_offloaded(assignment[node.id])
        deepest = 0
        for name in graph.activations(node):
            producer = graph.producer.get(name)
            moved = on_pim and (producer is None or not is_offloaded(assignment[producer.id]))
            deepest = max(deepest, depth[name] + moved)
        for name in node.outputs:
            depth[name] = deepest + on_pim
    return depth
