"""ONNX Runtime: its options, one operator or a whole model run once.

`host.cpu.stretches` has the sessions that execute a schedule.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import onnxruntime as ort

from host.errors import PimloopError
from host.models.graph import Array, Graph, Node, RunnableModel, to_model

_PROVIDERS = ["CPUExecutionProvider"]


def all_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def session_options(threads: int) -> ort.SessionOptions:
    """Return options for a session that computes with `threads` threads and never spins.

    Spinning pools of many sessions fight for the cores: 193 sessions took 1650 ms with the
    default and 21 ms without. One thread needs no pool. Operators are not fused: a plan is made
    of the costs of single operators, and what is executed must be what was planned. Weights are
    packed all the same when the session is made.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return options


def open_session(model: RunnableModel, threads: int) -> ort.InferenceSession:
    """Open a session; ONNX Runtime's own errors (of no common class) when it cannot."""
    options = session_options(threads)
    names = list(model.external)
    values = [ort.OrtValue.ortvalue_from_numpy(model.external[name]) for name in names]
    options.add_external_initializers(names, values)
    return ort.InferenceSession(model.proto.SerializeToString(), options, providers=_PROVIDERS)


def no_kernel(graph: Graph, node: Node, error: Exception) -> PimloopError:
    """Return the error of an operator that ONNX Runtime cannot run."""
    return PimloopError(
        f"node '{node.id}' ({node.op}) of model {graph.name}: ONNX Runtime cannot run it on the"
        f" CPU: {error}"
    )


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

    Raises
    ------
    PimloopError
        When ONNX Runtime has no such operator on the CPU; the message names the node.
    """
    outputs = tuple(name for name in node.outputs if name)
    try:
        session = open_session(to_model(graph, (node,), outputs=outputs), 1)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise no_kernel(graph, node, error) from error
    return list(session.run(list(outputs), dict(feeds)))


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
    session = open_session(to_model(graph, outputs=wanted), threads or all_cores())
    return dict(zip(wanted, session.run(list(wanted), dict(feeds)), strict=True))
