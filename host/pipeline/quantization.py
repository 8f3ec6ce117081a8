"""What integer weights change: of every product, and of the tokens that a model gives.

Products are judged on the operands that they have in float32, so an error is the operator's own.
Their results are computed by the golden model (`golden_quantized`): bfloat16 activations, integer
weights, bfloat16 scales, binary32 sums. Tokens are judged by two executions in float32 on the CPU,
with the weights as they are and with those of integers, on the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.common import golden, golden_quantized
from pimloop.host.common.machine import cores
from pimloop.host.cpu.operators import open_session, run_reference
from pimloop.host.models.generator import LOGITS, Cache, Generator
from pimloop.host.models.graph import Array, Graph, Node, to_model
from pimloop.host.models.ort_values import run
from pimloop.host.models.quantize.products import weights_of
from pimloop.host.models.quantize.reading import is_packed


@dataclass(frozen=True)
class ProductError:
    """What a product by integer weights is off by; relative L2 norms, of float32."""

    node: str
    inner: int
    columns: int
    bytes: int  # of integers and scales, without padding
    weight_error: float | None  # of the weights; None: the file has no others
    result_error: float  # of the result in the device's arithmetic

    def to_json(self) -> dict[str, object]:
        """Return it as a report has it."""
        return dict(vars(self))


@dataclass(frozen=True)
class StepError:
    """How two distributions of the next token differ."""

    token: int  # that float32 prefers, and that both are fed next
    quantized: int  # that the quantized model prefers
    divergence: float  # Kullback-Leibler, of the quantized from float32's, nats

    @property
    def agrees(self) -> bool:
        """Whether both prefer the same token."""
        return self.token == self.quantized

    def to_json(self) -> dict[str, object]:
        """Return it as a report has it."""
        return dict(vars(self))


def product_errors(
    graph: Graph,
    quantized: Graph,
    feeds: Mapping[str, Array],
    progress: Callable[[str], None] | None = None,
) -> Iterator[ProductError]:
    """Yield the errors of the products of a graph.

    Parameters
    ----------
    graph
        In floats.
    quantized
        The same with integer weights.
    feeds
        Every input, by name.
    progress
        Called with the id of a product before it is computed.
    """
    products = [node for node in quantized.nodes if is_packed(node)]
    names = dict.fromkeys(name for node in products for name in _operands(node))
    inputs = set(graph.inputs)
    values = run_reference(graph, feeds, outputs=tuple(n for n in names if n not in inputs))
    values |= feeds
    for node in products:
        if progress is not None:
            progress(node.id)
        yield _product_error(graph, quantized, node, values)


def _operands(node: Node) -> Iterator[str]:
    """Yield the activations of a product, and its result."""
    yield node.inputs[0]
    yield node.outputs[0]


def _product_error(
    graph: Graph, quantized: Graph, node: Node, values: Mapping[str, Array]
) -> ProductError:
    weights = weights_of(quantized, node)
    left = golden.to_bf16_bits(values[node.inputs[0]].reshape(-1, weights.inner))
    bias = None
    if len(node.inputs) > 5:
        name = node.inputs[5]
        row = quantized.value(name) if name in quantized.constants else values[name]
        bias = golden.to_bf16_bits(row.reshape(-1))
    result = golden_quantized.matmul(
        left, weights.integers(), weights.scale_bits(), weights.group, bias
    )
    wanted = values[node.outputs[0]].reshape(-1, weights.columns)
    return ProductError(
        node=node.id,
        inner=weights.inner,
        columns=weights.columns,
        bytes=weights.stored_bytes,
        weight_error=_weight_error(graph, node, weights.floats()),
        result_error=_relative(golden.bf16_to_f32(result), wanted),
    )


def _weight_error(graph: Graph, node: Node, floats: Array) -> float | None:
    """Return what weights are off by from those of the float product that makes the same result."""
    made = graph.producer.get(node.outputs[0])
    name = made.inputs[1] if made is not None and len(made.inputs) > 1 else ""
    if name not in graph.constants:
        return None
    given = graph.value(name)
    if given.shape == floats.shape and made is not None and made.attributes.get("transB", 0) == 0:
        return _relative(floats, given)
    return _relative(floats, given.T) if given.T.shape == floats.shape else None


def _relative(values: Array, wanted: Array) -> float:
    norm = float(np.linalg.norm(wanted.astype(np.float64)))
    off = float(np.linalg.norm(values.astype(np.float64) - wanted))
    return off / norm if norm else off


def step_errors(generator: Generator, quantized: Generator, prompt: Array) -> Iterator[StepError]:
    """Yield the differences of each step behind a prompt, on the tokens that float32 prefers.

    Parameters
    ----------
    generator
        In float32, of one sequence; `generator.tokens` steps.
    quantized
        The same with integer weights.
    prompt
        (1, prompt length) int64.

    Raises
    ------
    PimloopError
        When the logits of a step are not finite, or the generator has several sequences.
    """
    if generator.batch != 1:
        raise PimloopError("tokens are compared for one sequence: leave --batch out")
    models = [_Model(generator), _Model(quantized)]
    feeds: list[Mapping[str, Array]] = [{"input_ids": prompt}] * 2
    for index in range(generator.tokens):
        sure, near = (model.logits(given) for model, given in zip(models, feeds, strict=True))
        if not (np.isfinite(sure).all() and np.isfinite(near).all()):
            raise PimloopError(
                f"model {generator.config.name}: the logits of step {index + 1} are not finite"
            )
        token = int(sure.argmax())
        yield StepError(token, int(near.argmax()), divergence(sure, near))
        if index + 1 < generator.tokens:
            feeds = [model.cache.feeds([token]) for model in models]


def divergence(sure: Array, near: Array) -> float:
    """Return the Kullback-Leibler divergence of softmax(near) from softmax(sure), in nats.

    >>> divergence(np.array([0.0, 0.0]), np.array([0.0, 0.0]))
    0.0
    """
    p, q = _log_softmax(sure), _log_softmax(near)
    return max(float(np.sum(np.exp(p) * (p - q))), 0.0)


def _log_softmax(logits: Array) -> Array:
    wide = logits.astype(np.float64)
    wide = wide - wide.max()
    return np.asarray(wide - np.log(np.exp(wide).sum()))


class _Model:
    """A generator in float32 on the CPU, and the cache of what it has been fed."""

    def __init__(self, generator: Generator) -> None:
        self._graphs: Sequence[Graph] = tuple(
            graph for graph in (generator.prefill, generator.step) if graph is not None
        )
        self._sessions = [
            open_session(to_model(graph, outputs=graph.results), cores(), prepack=False)
            for graph in self._graphs
        ]
        self._fed = 0
        self.cache = Cache(generator)

    def logits(self, feeds: Mapping[str, Array]) -> Array:
        """Return the logits behind what is fed: the prompt first, then a token a call."""
        index = 0 if self._fed == 0 else 1
        names = self._graphs[index].results
        values = dict(zip(names, run(self._sessions[index], names, feeds), strict=True))
        self.cache.add(values)
        self._fed += 1
        return np.asarray(values[LOGITS][0, -1])
