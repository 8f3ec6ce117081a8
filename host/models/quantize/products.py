"""The products of a graph by integer weights: all of them MatMulNBits, with scales of bfloat16.

ONNX Runtime has kernels for that form, so the CPU reads the packed weights as the device would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.models.decompose.registry import CONTRIB
from pimloop.host.models.graph import Array, Graph, Node, TensorInfo
from pimloop.host.models.quantize.reading import (
    Dequantized,
    as_weights,
    is_packed,
    packed_weights,
)
from pimloop.host.models.quantize.weights import BLOCK, KINDS, Kind, Quantized, quantize
from pimloop.host.models.stored import CONTRIB_VERSION
from pimloop.partitioner.quantity import quantity

#: The attribute value of MatMulNBits that has it compute in float32.
_IN_FLOAT32 = 1


@dataclass(frozen=True)
class _Source:
    """A product that may be quantized."""

    left: str
    weight: str
    turned: bool  # the weight is stored (columns, inner)
    bias: str | None


@dataclass
class Quantizer:
    """Gives products integer weights; a matrix that several read, in several graphs, once."""

    kind: Kind
    #: What constants were made from, by name, of the file that is read.
    sources: Mapping[str, Dequantized] = field(default_factory=dict)
    _made: dict[tuple[int, bool], Quantized] = field(default_factory=dict)
    _owners: list[Array] = field(default_factory=list)  # so that identities stay what they are

    @classmethod
    def of(cls, name: str) -> Quantizer:
        """Return what quantizes to a kind, by its name.

        Raises
        ------
        PimloopError
            When there is no such kind.
        """
        if name not in KINDS:
            raise PimloopError(f"no weights '{name}'; there are {', '.join(KINDS)}")
        return cls(KINDS[name])

    def graph(self, graph: Graph) -> Graph:
        """Return a graph whose products by constant matrices have integer weights.

        Products that are computed in another type than float32, or whose bias is no row, keep
        their weights.

        Raises
        ------
        PimloopError
            When the graph has no such product, or weights that are of another kind.
        """
        new: dict[str, Array] = {}
        nodes: list[Node] = []
        for node in graph.nodes:
            made = self._product(graph, node, new)
            nodes.append(made or node)
        if not new:
            raise PimloopError(
                f"--quantize {self.kind.name} would do nothing: model {graph.name} has no product"
                " of float32 by a constant matrix; leave it out"
            )
        infos = {name: TensorInfo(array.shape, array.dtype) for name, array in new.items()}
        left = _with_nodes(graph, nodes)
        return replace(
            left,
            tensors={**left.tensors, **infos},
            constants={**left.constants, **new},
            opsets={CONTRIB: CONTRIB_VERSION, **graph.opsets},
        )

    def _product(self, graph: Graph, node: Node, new: dict[str, Array]) -> Node | None:
        """Return the product that takes the place of an operator; None: the operator stays."""
        if is_packed(node):
            weights = packed_weights(node, graph.tensors, graph.constants, self.kind)
            bias = node.inputs[5] if len(node.inputs) > 5 else ""
            return self._node(node, node.inputs[0], node.inputs[1], weights, bias, new)
        source = _source(graph, node)
        if source is None:
            return None
        weights = self._weights(graph, node, source)
        bias = "" if source.bias is None else self._row(graph, source.bias, new)
        return self._node(node, source.left, source.weight, weights, bias, new)

    def _weights(self, graph: Graph, node: Node, source: _Source) -> Quantized:
        array = graph.constants[source.weight]
        key = (id(array), source.turned)
        if key not in self._made:
            given = self.sources.get(source.weight)
            if given is not None:
                made = as_weights(given.turned() if source.turned else given, self.kind)
            else:
                try:
                    made = quantize(array.T if source.turned else array, self.kind)
                except ValueError as error:
                    raise PimloopError(
                        f"node '{node.id}' ({node.op}) of model {graph.name}: weight"
                        f" '{source.weight}' cannot be quantized: {error}"
                    ) from error
            self._made[key] = made
            self._owners.append(array)
        return self._made[key]

    @staticmethod
    def _row(graph: Graph, name: str, new: dict[str, Array]) -> str:
        """Return a bias as a tensor of one axis."""
        if len(graph.tensors[name].shape) == 1:
            return name
        new[f"{name}/row"] = graph.value(name).reshape(-1)
        return f"{name}/row"

    def _node(
        self,
        node: Node,
        left: str,
        name: str,
        weights: Quantized,
        bias: str,
        new: dict[str, Array],
    ) -> Node:
        prefix = f"{name}/{self.kind.name}/{weights.columns}"  # a matrix may be read both ways
        integers, scales = f"{prefix}/integers", f"{prefix}/scales"
        new[integers], new[scales] = weights.packed, weights.scales
        rest = ("", "", bias) if bias else ()
        return Node(
            id=node.id,
            op="MatMulNBits",
            domain=CONTRIB,
            inputs=(left, integers, scales, *rest),
            outputs=node.outputs,
            attributes={
                "K": weights.inner,
                "N": weights.columns,
                "bits": self.kind.bits,
                "block_size": BLOCK,
                "accuracy_level": _IN_FLOAT32,
            },
        )


def quantized(graph: Graph, kind: str | None) -> Graph:
    """Return a graph with weights of a kind, as `Quantizer.graph`; None: with those that it has."""
    return graph if kind is None else Quantizer.of(kind).graph(graph)


def with_integers_of(graph: Graph, other: Graph) -> Graph:
    """Return a graph whose products have the integer weights of those of another, by their ids.

    The graph itself where the other has none. Both have the same products, such as the steps of a
    decoder with caches of two lengths.
    """
    products = {node.id: node for node in other.nodes if is_packed(node)}
    if not products:
        return graph
    left = _with_nodes(graph, [products.get(node.id, node) for node in graph.nodes])
    read = {name for node in products.values() for name in node.inputs[1:]}
    new = [name for name in other.constants if name in read]
    return replace(
        left,
        tensors={**left.tensors, **{name: other.tensors[name] for name in new}},
        constants={**left.constants, **{name: other.constants[name] for name in new}},
        opsets=other.opsets,
    )


def _with_nodes(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """Return a graph with other nodes, without the constants that they do not read."""
    read = {name for node in nodes for name in node.inputs} | {*graph.outputs}
    gone = graph.constants.keys() - read
    return replace(
        graph,
        nodes=tuple(nodes),
        tensors={name: info for name, info in graph.tensors.items() if name not in gone},
        constants={name: array for name, array in graph.constants.items() if name not in gone},
    )


def weights_of(graph: Graph, node: Node) -> Quantized:
    """Return the weights of a product that `Quantizer` made."""
    bits = node.attributes["bits"]
    kind = next(kind for kind in KINDS.values() if kind.bits == bits)
    packed, scales = (graph.constants[name] for name in node.inputs[1:3])
    return Quantized(kind, node.attributes["K"], packed, scales)


def summary(graph: Graph) -> str:
    """Return in words which of a graph's products have integer weights."""
    products = [node for node in graph.nodes if is_packed(node)]
    nbytes = sum(weights_of(graph, node).stored_bytes for node in products)
    return f"{quantity(len(products), 'product')}, {nbytes / 1e6:,.1f} MB of weights and scales"


def _source(graph: Graph, node: Node) -> _Source | None:
    """Return a product by a constant matrix, of float32; None: it is another operator."""
    if len(node.inputs) < 2 or node.inputs[0] in graph.constants:
        return None
    left, weight = node.inputs[:2]
    if weight not in graph.constants or len(graph.tensors[weight].shape) != 2:
        return None
    if any(graph.tensors[name].dtype != np.float32 for name in (left, weight)):
        return None
    attributes = node.attributes
    if (node.domain, node.op) == ("", "MatMul"):
        return _Source(left, weight, False, None)
    if (node.domain, node.op) == (CONTRIB, "FusedMatMul") and set(attributes) <= {"transB"}:
        return _Source(left, weight, bool(attributes.get("transB", 0)), None)
    if (node.domain, node.op) != ("", "Gemm") or attributes.get("transA", 0):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else None
    if attributes.get("alpha", 1.0) != 1 or (bias and attributes.get("beta", 1.0) != 1):
        return None
    if bias is not None:
        shape = graph.tensors[bias].shape
        columns = graph.tensors[node.outputs[0]].shape[-1]
        row = shape == (columns,) or (shape == (1, columns) and bias in graph.constants)
        if not row:
            return None
    return _Source(left, weight, bool(attributes.get("transB", 0)), bias)
