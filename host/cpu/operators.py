"""ONNX Runtime: its options, one operator or a whole model run once.

`pimloop.host.cpu.segments` has the sessions that execute a schedule.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import onnxruntime as ort

from pimloop.errors import PimloopError
from pimloop.host.common.machine import cores
from pimloop.host.models.graph import MEMORY_LOCATION, Array, Graph, Node, RunnableModel, to_model
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
    try:
        folder = tempfile.TemporaryDirectory(prefix="pimloop-constants-")
        file = Path(folder.name) / MEMORY_LOCATION
        file.touch()
        os.truncate(file, max(array.nbytes for array in constants))
    except OSError as error:
        raise PimloopError(
            f"cannot make a folder for temporary files: {error.strerror}; set TMPDIR to one"
            " that can be written to"
        ) from error
    with folder:
        yield folder.name


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
