"""Segments: operators that follow each other on one CPU device, run as one session.

A session is made for the operators, not for the tensors they are called in one model, so alike
segments (and segments of a single operator, whose time is the operator's) share one. What a
session computes from and into is bound to it once, and a call costs about 4 us.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter_ns

import onnxruntime as ort

from pimloop.errors import PimloopError
from pimloop.host.common.machine import cores
from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.operators import execution_error, no_kernel, open_session
from pimloop.host.cpu.session_memory import ARENA_COPIES, intermediate_bytes, packed_bytes
from pimloop.host.models.graph import INLINE_BYTES, Array, Graph, Node, to_model
from pimloop.host.models.ort_values import run

#: Constants in floating point that are handed to a session as inputs, bytes: they are widened.
FED_BYTES = 32 << 20

#: Packed constants and memory for results that the sessions of a cache hold, bytes.
CACHE_BYTES = 1 << 30


def device_threads() -> dict[str, int]:
    """Return the threads of each CPU device."""
    return {"cpu_serial": 1, "cpu_parallel": cores()}


def threads_of(device: str) -> int:
    """Return the threads that compute a device's segments; all, of one that only stands for it."""
    return device_threads().get(device, cores())


@dataclass(frozen=True)
class Segment:
    """Operators of one device without another device's between them."""

    device: str
    nodes: tuple[Node, ...]


def split(graph: Graph, assignment: Mapping[str, str]) -> list[Segment]:
    """Return the longest segments of an assignment, in the order of the graph, the PIM's too.

    Operators that are split between devices in the same way are one segment.
    """
    runs: list[tuple[str, list[Node]]] = []
    for node in graph.nodes:
        device = assignment[node.id]
        if not runs or runs[-1][0] != device:
            runs.append((device, []))
        runs[-1][1].append(node)
    return [Segment(device, tuple(nodes)) for device, nodes in runs]


def bound_tensors(graph: Graph, segment: Segment, keep: Collection[str] = ()) -> frozenset[str]:
    """Return the tensors that a segment has buffers for; parameters as for `SessionCache.bind`."""
    ports = _Ports(graph, segment, keep)
    return frozenset((*ports.inputs.values(), *ports.outputs.values()))


def timed_sessions(
    graph: Graph, segments: Iterable[Segment], keep: Collection[str] = ()
) -> dict[object, int]:
    """Return the bytes that each session holds after it was timed, by what tells it from others.

    Parameters as for `SessionCache.bind`; segments that are alike share a session.
    """
    ports = [_Ports(graph, segment, keep) for segment in segments]
    return {each.key(): each.timed_bytes for each in ports}


class BoundSegment:
    """A segment ready to run on the buffers of its graph."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        buffers: TensorBuffers,
        graph: Graph,
    ) -> None:
        self._graph = graph
        self._session = session
        self._binding = session.io_binding()
        # The binding does not keep the values alive, so this object does.
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
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise execution_error(self._graph, error) from error
        return perf_counter_ns() - start


class SessionCache:
    """Sessions of segments, the least used dropped; safe in several threads.

    Parameters
    ----------
    limit_bytes
        Packed constants and memory for results that all sessions together may hold; one session
        alone may hold more.
    prepack
        Whether times of the sessions are measured (`pimloop.host.cpu.operators.session_options`).
        Otherwise they hold no constants of their own, and none is dropped.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES, *, prepack: bool = True) -> None:
        self._limit = limit_bytes
        self._prepack = prepack
        self._lock = threading.Lock()
        self._open: OrderedDict[object, _Entry] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of sessions held."""
        return len(self._open)

    @property
    def held(self) -> dict[object, int]:
        """Bytes of each session, by what tells it from others (`timed_sessions`)."""
        with self._lock:
            return {key: entry.nbytes for key, entry in self._open.items()}

    def prepare(self, graph: Graph, segment: Segment, keep: Collection[str] = ()) -> None:
        """Open the session of a segment, so that what cannot run is known before anything runs.

        Raises
        ------
        PimloopError
            When ONNX Runtime has no such operator on the CPU; the message names the node.
        """
        self._session(_Ports(graph, segment, keep))

    def results(
        self, graph: Graph, segment: Segment, keep: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Return the tensors that a segment writes to the buffers; parameters as for `bind`."""
        return tuple(_Ports(graph, segment, keep).outputs.values())

    def bind(
        self, graph: Graph, segment: Segment, buffers: TensorBuffers, keep: Collection[str] = ()
    ) -> BoundSegment:
        """Return a segment ready to run.

        Parameters
        ----------
        graph, segment
            The operators.
        buffers
            Of the graph: what they read and where their results go.
        keep
            Tensors to write to the buffers beside those that are read outside the segment.

        Raises
        ------
        PimloopError
            When ONNX Runtime has no such operator on the CPU; the message names the node.
        """
        ports = _Ports(graph, segment, keep)
        return BoundSegment(self._session(ports), ports.inputs, ports.outputs, buffers, graph)

    def compute(
        self, graph: Graph, segment: Segment, memory: Callable[[str], Array], names: Collection[str]
    ) -> dict[str, Array]:
        """Return tensors that a segment makes, computed once from what `memory` gives.

        Constants in floating point are inputs of the session where they are no more than
        `FED_BYTES`, so the segments of equal layers share one.

        Parameters
        ----------
        graph, segment
            The operators.
        memory
            Of what they read, constants apart.
        names
            The tensors, inner ones too.

        Raises
        ------
        PimloopError
            When ONNX Runtime cannot execute the segment on these values.
        """
        ports = _Ports(graph, segment, wanted=names, fed=True)
        if 0 < ports.fed_bytes <= FED_BYTES:
            with suppress(PimloopError):  # an operator may want them as constants
                return self._computed(graph, ports, memory)
        return self._computed(graph, _Ports(graph, segment, wanted=names), memory)

    def _computed(
        self, graph: Graph, ports: _Ports, memory: Callable[[str], Array]
    ) -> dict[str, Array]:
        feeds = {
            port: graph.value(name) if name in graph.constants else memory(name)
            for port, name in ports.inputs.items()
        }
        session = self._session(ports)
        try:
            values = run(session, tuple(ports.outputs), feeds)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise execution_error(graph, error) from error
        return dict(zip(ports.outputs.values(), values, strict=True))

    def _session(self, ports: _Ports) -> ort.InferenceSession:
        key = ports.key()
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key].session
            nbytes = ports.timed_bytes if self._prepack else 0
            self._make_room(nbytes)
        entry = _Entry(ports.open(self._prepack), ports.held, nbytes)
        with self._lock:
            self._open[key] = entry
        return entry.session

    def _make_room(self, nbytes: int) -> None:
        """Drop sessions, the least used first, before one with so many bytes is opened.

        Not after: the larger of two models would be packed twice.
        """
        held = sum(entry.nbytes for entry in self._open.values())
        while self._prepack and self._open and held + nbytes > self._limit:
            held -= self._open.popitem(last=False)[1].nbytes


@dataclass(frozen=True)
class _Entry:
    """A session and the constants it was made with: while it lives, their identity is theirs."""

    session: ort.InferenceSession
    constants: tuple[Array, ...]
    nbytes: int  # that it holds


class _Ports:
    """A segment whose tensors are named after their place in it.

    Its results are those that are read outside the segment and those to `keep`; or, where they are
    given, those `wanted` alone. `fed`: large constants in floating point are inputs.
    """

    def __init__(
        self,
        graph: Graph,
        segment: Segment,
        keep: Collection[str] = (),
        *,
        wanted: Collection[str] | None = None,
        fed: bool = False,
    ) -> None:
        self._graph = graph
        self._segment = segment
        nodes = segment.nodes
        used = dict.fromkeys(n for node in nodes for n in (*node.inputs, *node.outputs) if n)
        self._port = {name: f"t{index}" for index, name in enumerate(used)}
        made = {name for node in nodes for name in node.outputs if name}
        self._constants = {n for n in used if n in graph.constants and not (fed and self._large(n))}
        #: Tensors by port.
        self.inputs = {
            port: n for n, port in self._port.items() if n not in made and n not in self._constants
        }
        results = self._handed_over(keep) if wanted is None else {*wanted}
        self.outputs = {
            port: name for name, port in self._port.items() if name in made and name in results
        }
        self.held = tuple(graph.constants[name] for name in used if name in self._constants)

    def _handed_over(self, keep: Collection[str]) -> set[str]:
        """Return the tensors that the segment makes for others, and those to keep."""
        graph, nodes = self._graph, self._segment.nodes
        inside = {node.id for node in nodes}
        return {
            name
            for node in nodes
            for name in node.outputs
            if len(nodes) == 1
            or name in keep
            or name in graph.outputs
            or name in graph.in_place  # the next execution finds it there
            or any(reader.id not in inside for reader in graph.consumers.get(name, ()))
        }

    def _large(self, name: str) -> bool:
        info = self._graph.tensors[name]
        return info.dtype.kind == "f" and info.nbytes > INLINE_BYTES

    @property
    def fed_bytes(self) -> int:
        """Bytes of the constants that are inputs, as they are handed over."""
        fed = (name for name in self.inputs.values() if name in self._graph.constants)
        return sum(self._graph.tensors[name].nbytes for name in fed)

    @property
    def timed_bytes(self) -> int:
        """The bytes that a session which packs its weights holds once it ran."""
        graph, nodes = self._graph, self._segment.nodes
        results = intermediate_bytes(graph, nodes, frozenset(self.outputs.values()))
        return packed_bytes(graph, nodes) + ARENA_COPIES * results

    def key(self) -> object:
        """Return what two segments have in common when one session serves both."""
        nodes = tuple(
            (
                node.op,
                node.domain,
                repr(sorted(node.attributes.items())),
                tuple(self._port.get(name) for name in node.inputs),
                tuple(self._port.get(name) for name in node.outputs),
            )
            for node in self._segment.nodes
        )
        threads = threads_of(self._segment.device)
        tensors = tuple(self._describe(name) for name in self._port)
        ports = tuple(self.inputs), tuple(self.outputs)
        return nodes, tensors, ports, threads, tuple(self._graph.opsets.items())

    def _describe(self, name: str) -> object:
        info = self._graph.tensors[name]
        if name not in self._constants:
            return info.shape, info.dtype.str
        constant = self._graph.constants[name]
        small = info.nbytes <= INLINE_BYTES
        return info.shape, info.dtype.str, constant.tobytes() if small else id(constant)

    def open(self, prepack: bool) -> ort.InferenceSession:
        graph, nodes = self._graph, self._segment.nodes
        threads = threads_of(self._segment.device)
        try:
            model = to_model(self._renamed(), outputs=tuple(self.outputs), widen=prepack)
            return open_session(model, threads, prepack=prepack)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            if len(nodes) == 1:
                raise no_kernel(graph, nodes[0], error) from error
            for node in nodes:
                _Ports(graph, Segment(self._segment.device, (node,))).open(prepack)
            raise PimloopError(
                f"model {graph.name}: ONNX Runtime runs each operator from '{nodes[0].id}' to"
                f" '{nodes[-1].id}' on the CPU, but not all in one session: {error}"
            ) from error

    def _renamed(self) -> Graph:
        graph, port = self._graph, self._port
        return Graph(
            name=graph.name,
            nodes=tuple(
                Node(
                    id=node.id,
                    op=node.op,
                    domain=node.domain,
                    inputs=tuple(port.get(name, "") for name in node.inputs),
                    outputs=tuple(port.get(name, "") for name in node.outputs),
                    attributes=node.attributes,
                )
                for node in self._segment.nodes
            ),
            tensors={new: graph.tensors[name] for name, new in port.items()},
            constants={n: graph.constants[o] for o, n in port.items() if o in self._constants},
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            opsets=graph.opsets,
            functions=graph.functions,
        )
