"""ONNX Runtime: its options, one operator or a whole model run once.

`pimloop.host.cpu.segments` has the sessions that execute a schedule.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pimloop.errors import PimloopError
from pimloop.host.common.machine import cores
from pimloop.host.models.graph import (
    MEMORY_LOCATION,
    Array,
    Graph,
    Node,
    RunnableModel,
    TensorInfo,
    to_model,
)
from pimloop.host.models.ort_values import run, to_runtime

_PROVIDERS = ["CPUExecutionProvider"]


def session_options(threads: int, *, prepack: bool = True) -> ort.SessionOptions:
    """Return options for a session that computes with `threads` threads and never spins.

    Spinning pools of many sessions fight for the cores: 193 sessions took 1650 ms with the
    default and 21 ms without. One thread needs no pool. Operators are not fused: a plan is made
    of the costs of single operators, and what is executed must be what was planned.

    Parameters
    ----------
    threads
        That compute.
    prepack
        Pack weights when the session is made, and keep memory for intermediate results: what a
        session does whose time is measured. Otherwise it holds no copy of a weight, and between
        two runs nothing else.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
    return options


def open_session(
    model: RunnableModel, threads: int, *, prepack: bool = True, in_order: bool = False
) -> ort.InferenceSession:
    """Open a session on the constants as they lie in memory.

    ONNX Runtime's own errors (of no common class) when it cannot. `prepack`: see `session_options`.
    `in_order`: operators run in the order of the graph; by itself ONNX Runtime begins with those
    that read constants alone, and holds all that they make.

    `add_external_initializers` would give each session a copy of its own. Values that sessions
    share are used as they are, but the file that they stand in for must exist.
    """
    options = session_options(threads, prepack=prepack)
    if in_order or model.in_order:
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    values = {}
    for name, array in model.external.items():
        values[name] = to_runtime(array)
        options.add_initializer(name, values[name])
    with ExitStack() as stack:
        if values:
            folder = stack.enter_context(_stand_in(model.external.values()))
            key = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(key, folder)
        content = model.proto.SerializeToString()
        session = ort.InferenceSession(content, options, providers=_PROVIDERS)
    # The session does not keep the values alive.
    session.pimloop_values = values
    return session


@contextmanager
def _stand_in(constants: Iterable[Array]) -> Iterator[str]:
    """Yield a folder with the file that constants in memory stand in for: empty, never read.

    It is as long as the largest of them and takes nothing on the disk. It is asked for while a
    session is opened, and gone then: a process that is killed later leaves none behind.
    """
    with ExitStack() as stack:
        try:
            # Not a TemporaryDirectory, which looks for files: there is one, and sessions are many.
            folder = tempfile.mkdtemp(prefix="pimloop-constants-")
            stack.callback(os.rmdir, folder)
            file = Path(folder) / MEMORY_LOCATION
            file.touch()
            stack.callback(file.unlink)
            os.truncate(file, max(array.nbytes for array in constants))
        except OSError as error:
            raise PimloopError(
                f"cannot make a folder for temporary files: {error.strerror}; set TMPDIR to one"
                " that can be written to"
            ) from error
        yield folder


def execution_error(graph: Graph, error: Exception) -> PimloopError:
    """Return the error of a graph that ONNX Runtime opens but cannot execute on these values.

    An index outside its table, an integer division by zero: the text of ONNX Runtime names the
    operator as the graph does.
    """
    return PimloopError(
        f"model {graph.name}: ONNX Runtime cannot execute it on these inputs:"
        f" {' '.join(str(error).split())}"
    )


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
        session = open_session(to_model(graph, (node,), outputs=outputs), 1, prepack=False)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise no_kernel(graph, node, error) from error
    try:
        return run(session, outputs, feeds)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise execution_error(graph, error) from error


class OperatorSessions:
    """Sessions of single operators in float32, one for all that are alike; of one thread.

    Constants are inputs like any other, so the operators of equal layers are alike.
    """

    def __init__(self) -> None:
        self._open: dict[object, ort.InferenceSession] = {}

    def run(self, graph: Graph, node: Node, values: Mapping[str, Array]) -> Array:
        """Return the first output of an operator, computed once on one thread.

        Parameters
        ----------
        graph, node
            The operator.
        values
            All its inputs by tensor name, float32 or packed integers, in the shapes of the graph.

        Raises
        ------
        PimloopError
            As `run_node`.
        """
        ports = {name: f"t{place}" for place, name in enumerate(dict.fromkeys(node.inputs)) if name}
        shapes = tuple((port, graph.tensors[name].shape) for name, port in ports.items())
        inputs = tuple(ports.get(name, "") for name in node.inputs)
        key = (
            node.op, node.domain, repr(sorted(node.attributes.items())), inputs, shapes,
            len(node.outputs), tuple(graph.opsets.items()),
        )  # fmt: skip
        if key not in self._open:
            self._open[key] = _opened_alone(graph, node, ports, inputs)
        try:
            feeds = {ports[name]: values[name] for name in ports}
            (result,) = run(self._open[key], ("y0",), feeds)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise execution_error(graph, error) from error
        return result


def _opened_alone(
    graph: Graph, node: Node, ports: Mapping[str, str], inputs: tuple[str, ...]
) -> ort.InferenceSession:
    """Return a session of one operator in float32 whose inputs are all those of the session."""
    single = np.dtype(np.float32)
    outputs = tuple(f"y{place}" if name else "" for place, name in enumerate(node.outputs))
    named = {**ports, **dict(zip(node.outputs, outputs, strict=True))}
    alone = replace(
        graph,
        nodes=(replace(node, inputs=inputs, outputs=outputs),),
        tensors={port: _in(graph.tensors[name], single) for name, port in named.items() if name},
        constants={},
        inputs=tuple(ports.values()),
        outputs=outputs[:1],
    )
    try:
        return open_session(to_model(alone), 1, prepack=False)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise no_kernel(graph, node, error) from error


def _in(info: TensorInfo, kind: np.dtype[np.float32]) -> TensorInfo:
    """Return a tensor of another floating type; packed integers stay what they are."""
    # bfloat16 is no `np.floating`.
    return info if np.issubdtype(info.dtype, np.integer) else replace(info, dtype=kind)


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

    Raises
    ------
    PimloopError
        When ONNX Runtime cannot open the model, or not execute it on these inputs.
    """
    wanted = graph.outputs if outputs is None else outputs
    try:
        model = to_model(graph, outputs=wanted)
        session = open_session(model, threads or cores(), prepack=False)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise PimloopError(
            f"model {graph.name}: ONNX Runtime cannot open it on the CPU:"
            f" {' '.join(str(error).split())}"
        ) from error
    try:
        values = run(session, wanted, feeds)
    except Exception as error:
        raise execution_error(graph, error) from error
    return dict(zip(wanted, values, strict=True))
