"""Some columns of a product as an operator of its own: what each side of a split computes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators.product import Product


@dataclass(frozen=True)
class ColumnsPart:
    """Some columns of a product by a constant."""

    graph: Graph  # with the operator alone; its constants and its result have these columns only
    node: Node
    columns: slice  # of the whole result


def columns_part(
    graph: Graph, node: Node, product: Product, columns: slice, *, copy: bool = False
) -> ColumnsPart:
    """Return some columns of an operator's result as an operator of the same name.

    Parameters
    ----------
    graph, node, product
        The operator, and how the PIM runs it: by a constant matrix, its row a constant too.
    columns
        Which.
    copy
        Copy the columns of the constants, so that the whole ones need not be kept for them.
    """
    axis = -2 if product.transposed else -1
    constants = {product.right: _columns(graph.constants[product.right], axis, columns, copy)}
    if product.bias is not None:
        constants[product.bias] = _columns(graph.constants[product.bias], -1, columns, copy)
    (result,) = node.outputs
    shape = graph.tensors[result].shape
    width = len(range(*columns.indices(shape[-1])))
    tensors = {name: graph.tensors[name] for name in node.inputs if name}
    tensors |= {name: replace(graph.tensors[name], shape=a.shape) for name, a in constants.items()}
    tensors[result] = replace(graph.tensors[result], shape=(*shape[:-1], width))
    part = replace(
        graph,
        nodes=(node,),
        inputs=tuple(graph.activations(node)),
        outputs=(result,),
        tensors=tensors,
        constants=constants,
    )
    return ColumnsPart(part, node, columns)


def _columns(constant: Array, axis: int, columns: slice, copy: bool) -> Array:
    index = [slice(None)] * constant.ndim
    index[axis] = columns
    view: Array = constant[tuple(index)]
    return view.copy() if copy else view
