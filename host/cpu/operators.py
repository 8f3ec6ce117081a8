"""One operator as an ONNX Runtime session of its own, its inputs and outputs bound once.

Operators alike in kind, attributes, shapes and constants share a session; each has its binding.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from time import perf_counter_ns

import onnxruntime as ort

from host.cpu.buffers import TensorBuffers
from host.errors import PimloopError
from host.models.graph import INLINE_BYTES, Array, Graph, Node, to_model

_PROVIDERS = ["CPUExecutionProvider"]


def all_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def session_options(threads: int) -> ort.SessionOptions:
    """Return options for a session that computes with `threads` threads and never spins.

    Spinning pools of many sessions fight for the cores: 193 sessions took 1650 ms with the
    default and 21 ms without. One operator has no use for optimization passes; weights are packed
    all the same when the session is made.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return options


class BoundOperator:
    """An operator ready to run on the buffers of its graph."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: dict[str, str],
        outputs: dict[str, str],
        buffers: TensorBuffers,
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        # The binding does not keep the values alive, so the operator does.
        self._values = []
        for bind, names in (
            (self._binding.bind_ortvalue_input, inputs),
            (self._binding.bind_ortvalue_output, outputs),
        ):
            for port, tensor in names.items():
                value = buffers.value(tensor)
                self._values.append(value)
                bind(port, value)

    def run(self) -> int:
        """Run once; return the wall time in nanoseconds (about 4000 of them are the call)."""
        start = perf_counter_ns()
        self._session.run_with_iobinding(self._binding)
        return perf_counter_ns() - start


class OperatorFactory:
    """Makes bound operators for one graph and one number of threads."""

    def __init__(self, graph: Graph, buffers: TensorBuffers, threads: int) -> None:
        self._graph = graph
        self._buffers = buffers
        self._threads = threads
        self._sessions: dict[object, ort.InferenceSession] = {}

    def bind(self, node: Node) -> BoundOperator:
        """Return `node` ready to run.

        Raises
        ------
        PimloopError
            When ONNX Runtime has no such operator on the CPU; the message names the node.
        """
        inputs = {name: f"i{k}" for k, name in enumerate(node.inputs) if name}
        outputs = {name: f"o{k}" for k, name in enumerate(node.outputs) if name}
        key = self._key(node)
        if key not in self._sessions:
            self._sessions[key] = self._make(node, {**inputs, **outputs})
        return BoundOperator(
            self._sessions[key],
            {port: n for n, port in inputs.items() if n not in self._graph.constants},
            {port: n for n, port in outputs.items()},
            self._buffers,
        )

    def _key(self, node: Node) -> object:
        def describe(name: str) -> object:
            if not name:
                return None
            info = self._graph.tensors[name]
            constant = self._graph.constants.get(name)
            if constant is None:
                # Which inputs are the same tensor is part of the operator.
                return (info.shape, info.dtype.str, node.inputs.index(name))
            if constant.nbytes <= INLINE_BYTES:
                return (info.shape, info.dtype.str, constant.tobytes())
            return (info.shape, info.dtype.str, id(constant))

        return (
            node.op,
            node.domain,
            repr(sorted(node.attributes.items())),
            tuple(describe(name) for name in node.inputs),
            tuple(bool(name) for name in node.outputs),
        )

    def _make(self, node: Node, ports: dict[str, str]) -> ort.InferenceSession:
        return _open_session(_alone(self._graph, node, ports), node, self._threads)


def run_node(graph: Graph, node: Node, feeds: Mapping[str, Array]) -> list[Array]:
    """Run one operator of a graph, once, on one thread.

    Parameters
    ----------
    graph, node
        The operator; constants among its inputs are the graph's.
    feeds
        Its other inputs, by tensor name.

    Returns
    -------
    list
        Its outputs, in order.
    """
    ports = {name: name for name in (*node.inputs, *node.outputs) if name}
    session = _open_session(_alone(graph, node, ports), node, 1)
    return list(session.run([name for name in node.outputs if name], dict(feeds)))


def _alone(graph: Graph, node: Node, ports: Mapping[str, str]) -> Graph:
    """Return `node` as a graph of its own, its tensors renamed by `ports`."""
    renamed = Node(
        id=node.id,
        op=node.op,
        domain=node.domain,
        inputs=tuple(ports.get(name, "") for name in node.inputs),
        outputs=tuple(ports.get(name, "") for name in node.outputs),
        attributes=node.attributes,
    )
    constants = {p: graph.constants[n] for n, p in ports.items() if n in graph.constants}
    return Graph(
        name=graph.name,
        nodes=(renamed,),
        tensors={p: graph.tensors[n] for n, p in ports.items()},
        constants=constants,
        inputs=tuple(dict.fromkeys(n for n in renamed.inputs if n and n not in constants)),
        outputs=tuple(n for n in renamed.outputs if n),
        opsets=graph.opsets,
    )


def _open_session(alone: Graph, node: Node, threads: int) -> ort.InferenceSession:
    """Open a session on a graph of one node; PimloopError when ONNX Runtime has no kernel."""
    model = to_model(alone)
    options = session_options(threads)
    names = list(model.external)
    values = [ort.OrtValue.ortvalue_from_numpy(model.external[name]) for name in names]
    options.add_external_initializers(names, values)
    try:
        return ort.InferenceSession(model.proto.SerializeToString(), options, providers=_PROVIDERS)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise PimloopError(
            f"node '{node.id}' ({node.op}) of model {alone.name}: ONNX Runtime cannot run it on"
            f" the CPU: {error}"
        ) from error


def run_reference(
    graph: Graph,
    feeds: Mapping[str, Array],
    *,
    outputs: tuple[str, ...] | None = None,
    threads: int = 0,
) -> dict[str, Array]:
    """Run the whole graph in float32 in one ONNX Runtime session; return values by name.

    Parameters
    ----------
    graph
        The model.
    feeds
        Every input, by name.
    outputs
        The tensors to return; None: the model's outputs.
    threads
        Threads of the session; 0: all cores.
    """
    wanted = graph.outputs if outputs is None else outputs
    model = to_model(graph, outputs=wanted)
    options = session_options(threads or all_cores())
    names = list(model.external)
    options.add_external_initializers(
        names, [ort.OrtValue.ortvalue_from_numpy(model.external[name]) for name in names]
    )
    session = ort.InferenceSession(model.proto.SerializeToString(), options, providers=_PROVIDERS)
    return dict(zip(wanted, session.run(list(wanted), dict(feeds)), strict=True))
