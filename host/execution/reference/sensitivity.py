"""How far rounding moves the tensors of a model, measured.

The model runs in float32 with every value rounded to bfloat16 that the placement rounds: operands
that move to the PIM, its constants and its results. One run rounds to nearest, the others after a
random error of at most half a place, so that they round elsewhere, as an execution with other sums
does. Where float32 sums are taken in another order, results on the CPU have a random error too.
What the model does to these errors, a cancellation or a division by little, it does in every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from pimloop.host.common.golden import bf16_to_f32, to_bf16_bits
from pimloop.host.common.machine import cores
from pimloop.host.cpu.operators import open_session
from pimloop.host.devices.kinds import is_offloaded
from pimloop.host.models.graph import Array, Graph, Node, TensorInfo, to_model

#: Runs: one rounds to nearest, the others elsewhere.
RUNS = 8

#: The limit as a multiple of the root mean square of the runs. A normal error of one element is
#: beyond it once in 3,000 (Student's t, 8 degrees of freedom), of many never; the run that rounds
#: to nearest is always within, because 6 / sqrt(8) is 2.1.
FACTOR = 6.0

#: Largest relative error of one result on the CPU, by its type: half a place of the narrow ones,
#: which sessions keep in float32 where they can, and four of a float32 sum.
_CPU_ERROR = {"float32": 2.0**-22, "float16": 2.0**-11, "bfloat16": 2.0**-8}

#: The same where bfloat16 is rounded to afterwards: at most half a place, so that what needs no
#: rounding stays as it is.
_PIM_ERROR = 2.0**-9

_AMPLITUDE = "pimloop/amplitude"


@dataclass(frozen=True)
class Spread:
    """How far runs are from float32, each element and each tensor as a whole."""

    elements: dict[str, Array] = field(default_factory=dict)  # root mean square, by tensor
    relative_l2: dict[str, float] = field(default_factory=dict)  # root mean square, by tensor

    def limit(self, name: str) -> float:
        """Return the limit of the relative L2 error of a tensor."""
        return FACTOR * self.relative_l2[name]

    def bound(self, name: str) -> Array:
        """Return the limit of the error of each element of a tensor.

        An element that the runs moved little is taken for as uncertain as the median one.
        """
        rms = self.elements[name]
        middle = float(np.median(rms)) if rms.size else 0.0
        return FACTOR * np.maximum(rms, middle)


def measure(
    graph: Graph,
    assignment: Mapping[str, str],
    feeds: Mapping[str, Array],
    wanted: Mapping[str, Array],
) -> Spread:
    """Return how far the tensors of `wanted` are from it when the placement rounds.

    Parameters
    ----------
    graph, assignment
        The model, and where its operators are.
    feeds
        Its inputs.
    wanted
        Float32 values of floating-point tensors, by name.
    """
    rounded, deviations = Rounded(graph, assignment, tuple(wanted)), Deviations(wanted)
    for run in range(RUNS):
        deviations.add(rounded.run(feeds, run))
    return deviations.spread()


class Rounded:
    """A session of a graph that rounds what a placement rounds.

    Parameters
    ----------
    graph, assignment
        The model, and where its operators are.
    names
        The tensors to return.
    """

    def __init__(self, graph: Graph, assignment: Mapping[str, str], names: Sequence[str]) -> None:
        self._names = list(names)
        model = to_model(_Rounding(graph, assignment).graph(), outputs=tuple(names))
        # In order, so that a rounded weight is made where it is read and is gone after that.
        self._session = open_session(model, cores(), prepack=False, in_order=True)

    def run(self, feeds: Mapping[str, Array], run: int) -> dict[str, Array]:
        """Return the tensors; run 0 rounds to nearest, each other one elsewhere."""
        amplitude = np.array(float(run > 0), np.float32)
        values = self._session.run(self._names, {**feeds, _AMPLITUDE: amplitude})
        return dict(zip(self._names, values, strict=True))


class Deviations:
    """Sums up how far `RUNS` runs are from the float32 values `wanted`, by name."""

    def __init__(self, wanted: Mapping[str, Array]) -> None:
        self._wanted = wanted
        self._squares = {name: np.zeros(value.shape) for name, value in wanted.items()}

    def add(self, values: Mapping[str, Array]) -> None:
        """Add a run, which may have other tensors too."""
        for name, wanted in self._wanted.items():
            with np.errstate(all="ignore"):
                off = values[name].astype(np.float64) - wanted
                self._squares[name] += np.where(np.isfinite(off), off**2, 0.0)

    def spread(self) -> Spread:
        """Return the root mean squares."""
        spread = Spread()
        for name, wanted in self._wanted.items():
            spread.elements[name] = np.sqrt(self._squares[name] / RUNS)
            total, scale = _norm(spread.elements[name]), _norm(wanted)
            spread.relative_l2[name] = total / scale if scale else total
        return spread


def _norm(values: Array) -> float:
    return float(np.linalg.norm(values[np.isfinite(values)].astype(np.float64)))


class _Rounding:
    """A graph with the rounding of a placement written out as operators."""

    def __init__(self, graph: Graph, assignment: Mapping[str, str]) -> None:
        self._graph = graph
        self._assignment = assignment
        self._nodes: list[Node] = []
        self._tensors = dict(graph.tensors)
        self._constants = dict(graph.constants)
        self._on_pim: dict[str, str] = {}  # the rounded tensor, by the tensor that moves
        self._made = set(graph.producer)
        # Operator sets before 13 cannot convert to bfloat16: then the random error is all.
        self._converts = graph.opsets.get("", 0) >= 13

    def graph(self) -> Graph:
        for name in self._graph.inputs:
            self._operand_of_pim(name)
        for node in self._graph.nodes:
            self._take(node)
        scalar = TensorInfo((), np.dtype(np.float32))
        self._constants["pimloop/one"] = np.array(1, np.float32)
        self._tensors |= {_AMPLITUDE: scalar, "pimloop/one": scalar}
        return replace(
            self._graph,
            nodes=tuple(self._nodes),
            tensors=self._tensors,
            constants=self._constants,
            inputs=(*self._graph.inputs, _AMPLITUDE),
        )

    def _take(self, node: Node) -> None:
        on_pim = is_offloaded(self._assignment[node.id])
        inputs, outputs = list(node.inputs), list(node.outputs)
        if on_pim:
            inputs = [self._on_pim.get(name) or self._constant(name) for name in inputs]
        exact = {}
        for index, name in enumerate(outputs):
            error = _CPU_ERROR.get(str(self._tensors[name].dtype)) if name else None
            if on_pim or error is not None:
                outputs[index] = exact[name] = f"{name}/exact"
                self._tensors[outputs[index]] = self._tensors[name]
        self._nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(outputs)))
        for name, made in exact.items():
            error = _PIM_ERROR if on_pim else _CPU_ERROR[str(self._tensors[name].dtype)]
            self._disturb(made, name, error, rounds=on_pim)
            if on_pim:
                self._on_pim[name] = name
        for name in node.outputs:
            if name and not on_pim:
                self._operand_of_pim(name)

    def _operand_of_pim(self, name: str) -> None:
        """Round a tensor of CPU memory where it moves to the PIM."""
        readers = self._graph.consumers.get(name, ())
        if any(is_offloaded(self._assignment[reader.id]) for reader in readers):
            self._on_pim[name] = f"{name}/moved"
            self._tensors[self._on_pim[name]] = self._tensors[name]
            self._disturb(name, self._on_pim[name], _PIM_ERROR, rounds=True)

    def _constant(self, name: str) -> str:
        """Return the constant as the device has it."""
        if not name or name not in self._graph.constants:
            return name
        if self._graph.constants[name].dtype == ml_dtypes.bfloat16:
            return name  # it is so already
        rounded = f"{name}/moved"
        if rounded in self._tensors:
            return rounded
        self._tensors[rounded] = self._tensors[name]
        if self._converts:
            self._append("Cast", [name], f"{rounded}/bits", {"to": onnx.TensorProto.BFLOAT16})
            kind = self._tensors[name].onnx_type
            self._append("Cast", [f"{rounded}/bits"], rounded, {"to": kind})
        else:
            kept = self._tensors[name].dtype
            bits = to_bf16_bits(self._graph.constants[name])
            self._constants[rounded] = bf16_to_f32(bits).astype(kept)
        return rounded

    def _disturb(self, source: str, result: str, error: float, *, rounds: bool) -> None:
        """Make `result`: `source` with a random relative error, rounded where it moves."""
        kind = self._tensors[source].onnx_type
        steps: list[tuple[str, list[str], dict[str, Any]]]
        steps = [("Cast", [source], {"to": onnx.TensorProto.FLOAT})]
        single = f"{result}/single"
        steps += [
            ("RandomUniformLike", [single], {
                "low": -error, "high": error, "seed": float(len(self._nodes)),
                "dtype": onnx.TensorProto.FLOAT,
            }),
            ("Mul", [f"{result}/random", _AMPLITUDE], {}),
            ("Add", [f"{result}/part", "pimloop/one"], {}),
            ("Mul", [single, f"{result}/factor"], {}),
        ]  # fmt: skip
        ends = ["single", "random", "part", "factor", "disturbed"]
        if rounds and self._converts:
            steps.append(("Cast", [f"{result}/disturbed"], {"to": onnx.TensorProto.BFLOAT16}))
            ends.append("rounded")
        steps.append(("Cast", [f"{result}/{ends[-1]}"], {"to": kind}))
        for (op, inputs, attributes), end in zip(steps, [*ends, ""], strict=True):
            self._append(op, inputs, f"{result}/{end}" if end else result, attributes)

    def _append(
        self, op: str, inputs: Sequence[str], result: str, attributes: Mapping[str, Any]
    ) -> None:
        # Its own kind of name: an operator may be called as a tensor is.
        name = f"pimloop/{len(self._nodes)}"
        self._nodes.append(Node(name, op, "", tuple(inputs), (result,), attributes))
