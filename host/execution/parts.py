"""Some columns of a product as an operator of its own: what each side of a split computes."""

from __future__ import annotations

from dataclasses import replace

from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.operators.product import Product


def columns_part(
    graph: Graph, node: Node, product: Product, columns: slice, *, copy: bool = False
) -> Graph:
    """Return a graph of one operator: a product by some columns of its constants.

    Constants and result have these columns only; names are the model's.

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
    return replace(
        graph,
        nodes=(node,),
        inputs=tuple(graph.activations(node)),
        outputs=(result,),
        tensors=tensors,
        constants=constants,
    )


def _columns(constant: Array, axis: int, columns: slice, copy: bool) -> Array:
    index = [slice(None)] * constant.ndim
    index[axis] = columns
    view: Array = constant[tuple(index)]
    return view.copy() if copy else view
