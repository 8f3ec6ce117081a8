"""What an ONNX Runtime session takes beside the buffers bound to it and the constants as they lie.

ONNX Runtime gives the memory of a result that is no longer read to a later one of the same shape
and type, and keeps it until the last of these is read. So a session takes, for each shape, as many
as live at a time, even where those of another shape are over by then. Measured on BERT of 2 layers
with 512 tokens: 54.5 MiB, where 27.0 MiB live at a time.

A session with an arena takes that twice: its first run allocates every result and keeps the memory,
later runs have one block for all (BERT of 2 layers: 109.0 MiB; segments of it 2.0 to 2.1 times what
their results take; GPT-2: 140.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from pimloop.host.models.graph import Graph, Node
from pimloop.host.models.stored import is_turned

#: Operators that read a constant where it lies; others may pack a copy.
_READ_IN_PLACE = ("Gather",)

#: Times that a session with an arena has the memory of its results: those of the first run stay.
ARENA_COPIES = 2


def intermediate_bytes(graph: Graph, nodes: Sequence[Node], bound: Collection[str]) -> int:
    """Return the bytes of results that one run of a session takes.

    Parameters
    ----------
    graph, nodes
        The operators of the session. Those that read constants alone run first, as in ONNX Runtime.
    bound
        Results that have buffers of their own.
    """
    order = sorted(nodes, key=lambda node: bool(graph.activations(node)))
    last = {name: at for at, node in enumerate(order) for name in (*node.outputs, *node.inputs)}
    over: dict[int, list[object]] = {}  # what is not read any more, by the last operator that does
    live: Counter[object] = Counter()
    most: Counter[object] = Counter()
    sizes: dict[object, int] = {}
    for at, node in enumerate(order):
        for name in node.outputs:
            if name and name not in bound:
                info = graph.tensors[name]
                alike = (info.shape, info.dtype)
                live[alike] += 1
                over.setdefault(last[name], []).append(alike)
                sizes[alike] = info.nbytes
        most |= live
        live.subtract(over.pop(at, ()))
    return sum(count * sizes[alike] for alike, count in most.items())


def packed_bytes(graph: Graph, nodes: Sequence[Node]) -> int:
    """Return the bytes of constants that a session of `nodes` packs, at most.

    Of one that is stored in a narrower type, or turned, it holds what it packs beside that.
    """
    read = {id(graph.constants[name]): name for name in _constants(graph, nodes)}
    return sum(
        graph.tensors[name].nbytes * (1 + _stored_otherwise(graph, name)) for name in read.values()
    )


def widened_bytes(graph: Graph, nodes: Sequence[Node]) -> int:
    """Return the bytes of constants that one run of a session of `nodes` widens, at most.

    Those of one shape take turns, as results do; a session that packs them has none.
    """
    shapes = {
        graph.tensors[name].shape: graph.tensors[name].nbytes
        for name in _constants(graph, nodes)
        if _stored_otherwise(graph, name)
    }
    return sum(shapes.values())


def _constants(graph: Graph, nodes: Sequence[Node]) -> list[str]:
    """Return the constants that operators do not read in place, each once."""
    read = dict.fromkeys(
        name for node in nodes if node.op not in _READ_IN_PLACE for name in node.inputs
    )
    return [name for name in read if name in graph.constants]


def _stored_otherwise(graph: Graph, name: str) -> bool:
    array = graph.constants[name]
    return array.dtype != graph.tensors[name].dtype or is_turned(array)
