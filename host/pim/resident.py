"""A model on one PIM device: its weights and activations, kept between executions.

One device runs many assignments of a model; what is loaded for one stays for the next. Addresses
are static (`pimloop.host.pim.placement`) where everything fits, so that an operator is the same
descriptor list whatever else is on the PIM. Where the weights do not all fit, activations keep
their static addresses at the end of the memory, and the weights of the operators in use share what
is before it: each at an address of its own unless another in use is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.devices.kinds import PIM_MEMORY
from pimloop.host.models.graph import Graph, Node
from pimloop.host.operators.append import lasting_use, makes_scores, resident_uses
from pimloop.host.operators.base import Operation
from pimloop.host.operators.forms import PLAIN, ConstantUse, ProductForm
from pimloop.host.operators.product import Product, row_use
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.moved import moved_name
from pimloop.host.pim.device.validate import Fields
from pimloop.host.pim.driver import (
    DeviceMatrix,
    DeviceTensor,
    OpStats,
    OutOfDeviceMemoryError,
    PimDriver,
)
from pimloop.host.pim.driver.memory import Block
from pimloop.host.pim.forms import Forms, driver_forms
from pimloop.host.pim.placement import Handle, Placement, rehearse
from pimloop.host.pim.weights import DeviceWeights, Key
from pimloop.partitioner.graph import Move
from pimloop.partitioner.quantity import quantity

logger = logging.getLogger(__name__)

#: Called before each constant: (tensor, elements loaded so far, elements in all).
LoadProgress = Callable[[str, int, int], None]


def leave_constants(
    graph: Graph,
    operations: Mapping[str, Operation],
    driver: PimDriver,
    weights: DeviceWeights,
) -> None:
    """Place in `weights` what a model leaves on its device for the model after it; load nothing.

    A model that shares a device with others is profiled behind this: with the addresses that it
    is executed with.

    Parameters
    ----------
    graph, operations
        The model that has the device before, and every operator of it that may run on the PIM.
    driver, weights
        Of the device.
    """
    ResidentModel(graph, operations, driver, weights).close()


#: Copies of an operator's result beside whole ones: of its first columns to the host, of the other
#: ones to the device, and of a whole state, or of scores, before the first execution.
Copy = Literal["first", "others", "hand_over"]


@dataclass(frozen=True)
class Part:
    """A part of an operator: the first columns of a product, what it does of a state, or a copy."""

    node: str  # id
    columns: int | None = None  # of the PIM: one of `ResidentModel.first_columns`; None: all
    filled: int | None = None  # rows of the state, with those that are appended; None: all
    copy: Copy | None = None  # of its result, which is then not computed; None: it is
    #: A tensor that it reads or makes, whole, and the memories (from, to) that it is moved between;
    #: nothing is computed then.
    moves: tuple[str, Move] | None = None


class ResidentModel:
    """The PIM side of a model on one device; a context manager that frees device memory.

    Parameters
    ----------
    graph
        The model.
    operations
        Every operator that may run on the PIM (`capabilities.pim_capable`).
    driver
        Of the device.
    weights
        Constants shared with other models of this device; default: its own, freed at the end.
    forms
        How operands lie in device memory; default: chosen for these operations.

    Attributes
    ----------
    static
        Whether addresses are the same in every schedule. Otherwise the weights of one schedule
        take the place of another's, those of activations stay.
    weight_room
        Bytes for weights, in one piece where `static` is false.
    no_room
        Why not even the activations of all operators fit together; memory is then given out as it
        is needed. None: they fit.
    """

    def __init__(
        self,
        graph: Graph,
        operations: Mapping[str, Operation],
        driver: PimDriver,
        weights: DeviceWeights | None = None,
        *,
        forms: Forms | None = None,
    ) -> None:
        self.graph = graph
        self.operations = operations
        self.driver = driver
        self.weights = weights or DeviceWeights(driver)
        self._owned: DeviceWeights | None = self.weights if weights is None else None
        self._forms = forms or driver_forms(graph, operations, driver)
        self._uses = {
            node_id: resident_uses(
                graph,
                graph.node(node_id),
                operation,
                self._forms.of(node_id),
                self._forms.in_blocks,
            )
            for node_id, operation in operations.items()
        }
        #: Tensors that stay in place from one execution to the next.
        self._lasting = frozenset(
            use.name for uses in self._uses.values() for use in uses if use.form == "state"
        )
        self._tensors: dict[str, Handle] = {}  # activations in device memory now
        self._in_place: set[str] = set()  # those of them that have a place of their own, for good
        self._reserved: list[Block] = []
        self._placed: list[ConstantUse] = []  # constants that this model placed
        #: Rows of each state that are there with those of the execution at hand, by the tensor that
        #: operators read; of one that is left out all.
        self.filled: Mapping[str, int] = {}
        self._homes: Mapping[Key, int] = {}
        self.static = False
        self.no_room: OutOfDeviceMemoryError | None = None
        self.weight_room = 0
        self._placement: Placement | None = None
        self._placement = self._place()

    def __enter__(self) -> ResidentModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what this model holds in device memory; more calls do nothing.

        Constants that it shares with other models stay where they are, unless their addresses
        depend on the schedule: what follows on the device would then depend on it too.
        """
        self.clear()
        for block in self._reserved:
            self.driver.memory.free(block)
        self._reserved.clear()
        if not self.static:
            self.weights.clear()
        if self._owned is not None:
            self._owned.close()

    def _place(self) -> Placement | None:
        """Give activations, and where all of them fit constants, their static addresses."""
        every = list(dict.fromkeys(use for uses in self._uses.values() for use in uses))
        failure = self._place_everything(every)
        if failure is not None and self.weights.held_bytes:
            # Constants of another model of this device are in the way; they are loaded again.
            self.weights.clear()
            failure = self._place_everything(every)
        if failure is None:
            return self._placement
        logger.info(
            "model %s: not all that may run on the PIM fits into its %d bytes (%s); weights take"
            " turns, and cycles may depend on the schedule",
            self.graph.name, self.driver.memory.capacity, failure,
        )  # fmt: skip
        return self._place_activations(every)

    def _place_everything(self, every: list[ConstantUse]) -> OutOfDeviceMemoryError | None:
        """Place constants and activations; return why they do not fit."""
        memory = self.driver.memory
        try:
            self._placed = self.weights.place(self.graph, every)
            self._placement = self._rehearse(self._lasting)
        except OutOfDeviceMemoryError as error:
            self.weights.drop(self.graph, self._placed)
            self._placed = []
            return error
        self._reserved = [memory.reserve(block) for block in self._placement.blocks]
        self.static = True
        self.weight_room = sum(e - s for s, e in memory.free_ranges) + self.weights.held_bytes
        return None

    def _rehearse(self, lasting: Collection[str]) -> Placement:
        """Rehearse with places that stay for the tensors of `lasting`; see `placement.rehearse`."""

        def call(node: Node, tensors: Mapping[str, Handle]) -> Handle:
            return self._call(node, tensors, lasting=lasting)

        return rehearse(self.graph, self.operations, self.driver, call, self._new, lasting)

    def _place_activations(self, every: list[ConstantUse]) -> Placement | None:
        """Close the activations up at the end of the memory; what is before it is for weights."""
        memory = self.driver.memory
        # Scores that the PIM makes have a place that stays; those that the CPU makes are moved to
        # the place that they get here.
        states = [name for name in self._lasting if name in self.graph.state_named]
        try:
            with self.weights.stand_ins(self.graph, every), memory.compact():
                placement = self._rehearse(states)
        except OutOfDeviceMemoryError as error:
            self.no_room = error
            return None
        start = min((block.address for block in placement.blocks), default=memory.capacity)
        for low, high in memory.free_ranges:
            if high > start:
                self._reserved.append(
                    memory.reserve(Block(max(low, start), high - max(low, start)))
                )
        self.weight_room = memory.free_bytes
        with memory.compact():
            self._homes = self.weights.homes(self.graph, every)
        return placement

    # -- weights -----------------------------------------------------------------------------

    def load_weights(
        self,
        nodes: Collection[str],
        progress: LoadProgress | None = None,
        columns: Mapping[str, int] | None = None,
    ) -> OpStats:
        """Make the constants that operators read resident; return what the copies cost.

        Parameters
        ----------
        nodes
            Ids of the operators; constants that are there already cost nothing.
        progress
            Called before each constant.
        columns
            Of operators that the PIM computes the first columns of alone, by id: how many.

        Raises
        ------
        PimloopError
            When they do not fit into device memory; the message has the numbers.
        """
        wanted = self._wanted(nodes)
        first = self._first_columns(nodes, columns or {})
        sizes = [self.graph.tensors[use.name].elements for use in wanted]
        if not self.static:
            self._make_room(wanted)
        report = progress or (lambda *_: None)
        done, stats = 0, OpStats()
        for use, elements in zip(wanted, sizes, strict=True):
            report(use.name, done, sum(sizes))
            stats += self.weights.load(self.graph, use, first.get(use))
            done += elements
        report("", done, sum(sizes))
        return stats

    def _first_columns(
        self, nodes: Collection[str], columns: Mapping[str, int]
    ) -> dict[ConstantUse, int]:
        """Return how many columns are needed of right operands that no operator reads whole."""
        needed: dict[ConstantUse, int] = {}
        whole = {use for node in nodes if node not in columns for use in self._uses[node]}
        for node, count in columns.items():
            product = self.operations[node]
            assert isinstance(product, Product)
            use = product.right_use(self._forms.of(node))
            if use not in whole:
                needed[use] = max(count, needed.get(use, 0))
        return needed

    def weight_cost(self, nodes: Collection[str]) -> OpStats:
        """Return what copying the constants that loaded operators read cost, whenever that was."""
        # An array under two names is in device memory once.
        each = {self.weights.key(self.graph, use): use for use in self._wanted(nodes)}
        return sum((self.weights.cost(self.graph, use) for use in each.values()), OpStats())

    def _wanted(self, nodes: Collection[str]) -> list[ConstantUse]:
        """Return the constants that operators read, each once, in the order they are placed."""
        chosen = [self._uses[node_id] for node_id in self._uses if node_id in set(nodes)]
        return list(dict.fromkeys(use for uses in chosen for use in uses))

    def _make_room(self, wanted: list[ConstantUse]) -> None:
        """Place the constants of one assignment, in place of another's where they do not fit."""
        nbytes, capacity = self.weights.total_bytes(self.graph, wanted), self.driver.memory.capacity
        room = capacity if self._placement is None else self.weight_room
        if nbytes > room:
            beside = "" if self._placement is None else f", {room} of them beside the activations"
            raise PimloopError(
                f"the weights of the PIM's operators take {quantity(nbytes, 'byte')} as bfloat16,"
                f" padded as they are stored; the device has {capacity}{beside}: place fewer"
                " operators on it"
            )
        if self._placement is not None:
            with self.driver.memory.compact():
                self.weights.exchange(self.graph, wanted, self._homes)
            return
        try:
            self._placed += self.weights.place(self.graph, wanted)
        except OutOfDeviceMemoryError:
            self.weights.drop(self.graph, self._placed)
            self._placed = self.weights.place(self.graph, wanted)

    # -- operators ---------------------------------------------------------------------------

    def holds(self, name: str) -> bool:
        """Whether an activation is in device memory."""
        return name in self._tensors

    def upload(self, name: str, bits: golden.Bits) -> OpStats:
        """Move an activation to device memory; return what the copy cost."""
        values = bits.view(ml_dtypes.bfloat16)
        form = self._forms.tensors.get(name)
        if form is not None:
            values = values.reshape(form.shape)
            values = values.swapaxes(-1, -2) if form.turned else values
        if self._placement is None or name in self.graph.state_named:
            handle = self._new(name)
        else:
            handle = self._placement.tensors[name]
        if isinstance(handle, DeviceMatrix):
            in_blocks = name in self._forms.in_blocks
            self.driver.write_matrix(handle, values, transposed=in_blocks)
        else:
            self.driver.write(handle, values)
        self._keep(name, handle, in_place=name in self.graph.state_named)
        return self.driver.last

    def _keep(self, name: str, handle: Handle, *, in_place: bool) -> None:
        self._tensors[name] = handle
        (self._in_place.add if in_place else self._in_place.discard)(name)

    def _new(self, name: str) -> Handle:
        """Allocate an activation that is moved to the device; a state has its place."""
        if name in self.graph.state_named:
            return self._state(name)
        form = self._forms.tensors.get(name)
        if form is None:
            return self.driver.new_tensor(self.graph.tensors[name].shape)
        if form.role == "right":
            return self.driver.new_right_operand(form.stored)
        return self.driver.new_tensor(form.stored)

    def download(self, name: str) -> NDArray[np.float32]:
        """Return the values of an activation in device memory, in the shape that the model has."""
        if name in self._forms.in_blocks:
            return self.state_rows(name, 0, self.graph.tensors[name].shape[-2])
        values = self.driver.download(self._tensor(name))
        producer = self.graph.producer.get(name)
        if producer is not None and self._forms.of(producer.id).turned:
            values = values.swapaxes(-1, -2)
        return np.ascontiguousarray(values).reshape(self.graph.tensors[name].shape)

    def run(self, node: Node, columns: int | None = None) -> OpStats:
        """Run an operator, its operands in device memory; the result stays there.

        Parameters
        ----------
        node
            The operator.
        columns
            Of a product, the first columns to compute, one of `first_columns`; default: all. The
            others are to be written by `complete` before anything reads the result.
        """
        if self._placement is None:
            result = self._call(node, self._tensors, columns)
        else:
            memory = self.driver.memory
            compact = nullcontext() if self.static else memory.compact()
            with compact, memory.restricted(self._placement.free[node.id]):
                result = self._call(node, self._tensors, columns)
        self._keep(node.outputs[0], result, in_place=node.outputs[0] in self._lasting)
        return self.driver.last

    def beside(self, node: Node, columns: int, work: Callable[[], None]) -> OpStats:
        """Run the first columns of a product on the device, and `work` here meanwhile."""
        with self.driver.batch():
            self.run(node, columns)
            self.driver.submit()
            work()
            self.driver.wait()
        return self.driver.last

    def cost(self, part: Part) -> OpStats:
        """Return what a part of an operator costs.

        It runs at its static addresses on what is in memory: no count depends on it.
        """
        self._call_placed(part)
        return self.driver.last

    def moved(self, part: Part) -> bytes | None:
        """Return what `cost` depends on: parts for which it is equal cost the same.

        None where every part is simulated at its own addresses.
        """
        device = self.driver.device
        if not (isinstance(device, CachedDevice) and device.knows_moved):
            return None
        with self.driver.written_down() as descriptors:
            self._call_placed(part)
        return moved_name(map(Fields.parse, descriptors), self.driver.geometry)

    def _call_placed(self, part: Part) -> None:
        assert self._placement is not None, "only static addresses have parts"
        if part.moves is not None:
            self._move_placed(*part.moves)
            return
        kept = self.filled
        if part.filled is not None:
            self.filled = dict.fromkeys(self.graph.state_named, part.filled)
        try:
            with self.driver.memory.restricted(self._placement.free[part.node]):
                if part.copy is None:
                    self._call(self.graph.node(part.node), self._placement.tensors, part.columns)
                else:
                    self._copy_placed(part)
        finally:
            self.filled = kept

    def _move_placed(self, name: str, memories: Move) -> None:
        """Move a tensor to or from its static address."""
        assert self._placement is not None
        self._tensors[name] = self._placement.tensors[name]
        try:
            if memories[1] == PIM_MEMORY:
                self.upload(name, np.zeros(self.graph.tensors[name].shape, np.uint16))
            else:
                self.download(name)
        finally:
            del self._tensors[name]

    def _copy_placed(self, part: Part) -> None:
        """Copy a result, or a part of it, at its static address."""
        state = self.graph.state_of.get(part.node)
        name = self.graph.node(part.node).outputs[0] if state is None else state.whole
        shape = self.graph.tensors[name].shape
        if part.copy == "hand_over":
            self.hand_over(name, np.zeros(shape, np.uint16))
            return
        assert self._placement is not None
        tensor = self._placement.tensors[name]
        assert isinstance(tensor, DeviceTensor)
        assert part.columns is not None
        if part.copy == "first":
            self.driver.download(tensor.part(0, part.columns))
        else:
            others = np.zeros((*shape[:-1], shape[-1] - part.columns), np.uint16)
            self._write_last(tensor, others)

    def complete(self, name: str, bits: golden.Bits) -> OpStats:
        """Write the last columns of a result that has only its first ones.

        Parameters
        ----------
        name
            The result.
        bits
            The missing columns, (..., columns).
        """
        self._write_last(self._tensor(name), bits)
        return self.driver.last

    def _write_last(self, tensor: DeviceTensor, bits: golden.Bits) -> None:
        columns = bits.shape[-1]
        part = tensor.part(tensor.columns - columns, columns)
        self.driver.write(part, bits.view(ml_dtypes.bfloat16).reshape(part.shape))

    def download_first(self, name: str, columns: int) -> NDArray[np.float32]:
        """Return the first columns of a result, in the shape that the model has but for them."""
        values = self.driver.download(self._tensor(name).part(0, columns))
        return values.reshape((*self.graph.tensors[name].shape[:-1], columns))

    def first_columns(self, node: Node) -> range:
        """Return how many columns of an operator's result the PIM can compute alone.

        Multiples of a column tile, where the weights of every operator are in device memory and the
        operator is a product by a constant matrix as it lies in tiles. Otherwise none.
        """
        product, form = self.operations[node.id], self._forms.of(node.id)
        if not isinstance(product, Product) or not self.static or form != PLAIN:
            return range(0)
        if product.right not in self.graph.constants or len(product.right_shape) != 2:
            return range(0)
        if product.bias is not None and product.bias not in self.graph.constants:
            return range(0)
        columns = product.right_shape[0 if product.transposed else 1]
        if self.graph.tensors[node.outputs[0]].shape[-1:] != (columns,):
            return range(0)
        width = self.driver.tile_columns(columns)
        return range(width, columns, width)

    def _tensor(self, name: str) -> DeviceTensor:
        handle = self._tensors[name]
        assert isinstance(handle, DeviceTensor)
        return handle

    def operands(self, node: Node) -> list[str]:
        """Return the operands of an operator that are no constants, in the order to move them."""
        return self.operations[node.id].moved(self.graph)

    def release(self, name: str) -> None:
        """Forget an activation: nothing on the PIM reads it any more."""
        tensor = self._tensors.pop(name)
        if self._placement is None and name not in self._in_place:
            tensor.free()

    def clear(self) -> None:
        """Forget all activations, as before an execution."""
        for name in list(self._tensors):
            self.release(name)

    # -- states ------------------------------------------------------------------------------

    def hand_over(self, name: str, bits: golden.Bits) -> None:
        """Write a tensor that stays in place, as a state by the name that operators read."""
        state, values = self._state(name), bits.view(ml_dtypes.bfloat16)
        if isinstance(state, DeviceMatrix):
            self.driver.write_matrix(state, values, transposed=True)
        else:
            self.driver.write(state, values.reshape(state.shape))

    def state_rows(self, name: str, first: int, count: int) -> NDArray[np.float32]:
        """Return rows of a state in device memory, (..., count, size)."""
        return self.driver.read_rows(self._state(name), first, count)

    def _state(self, name: str) -> Handle:
        use = lasting_use(self.graph, name, self._forms.in_blocks)
        return self.weights.state(self.graph, use)

    def _call(
        self,
        node: Node,
        tensors: Mapping[str, Handle],
        columns: int | None = None,
        *,
        lasting: Collection[str] | None = None,
    ) -> Handle:
        """Run an operator on tensors by name and on constants; return the result.

        Scores that are `lasting` (default: all) go to the place that stays, others to new memory.
        """
        out, result_name = None, node.outputs[0]
        stays = result_name in (self._lasting if lasting is None else lasting)
        if stays and makes_scores(self.graph, self.operations[node.id]):
            out = self.weights.tensor(self.graph, lasting_use(self.graph, result_name))
        operands = _Operands(
            self.graph, self.driver, self.weights, self._forms, self._forms.of(node.id), tensors,
            columns, self.filled, out,
        )  # fmt: skip
        result = self.operations[node.id].emit(operands)
        if operands.form.turned or isinstance(result, DeviceMatrix):
            return result
        return result.view(self.graph.tensors[result_name].shape)


@dataclass(frozen=True)
class _Operands:
    """The operands of one operator; see `pimloop.host.operators.base.Operands`."""

    graph: Graph
    driver: PimDriver
    weights: DeviceWeights
    forms: Forms
    form: ProductForm
    tensors: Mapping[str, Handle]  # activations by name
    columns: int | None  # of a product
    rows: Mapping[str, int]  # of states, by the tensor that operators read
    out: DeviceTensor | None  # where the result goes; None: to new memory

    def filled(self, name: str) -> int | None:
        if name not in self.graph.state_named:
            return None
        return self.rows.get(name, self.graph.tensors[name].shape[-2])

    def state(self, name: str) -> Handle:
        return self.weights.state(self.graph, lasting_use(self.graph, name, self.forms.in_blocks))

    def tensor(self, name: str) -> DeviceTensor:
        if name in self.graph.state_named:
            return self.weights.tensor(self.graph, lasting_use(self.graph, name))
        if name in self.graph.constants:
            shape = self.graph.constants[name].shape
            return self.weights.tensor(self.graph, ConstantUse(name, "tensor", shape))
        return self._activation(name)

    def row(self, name: str) -> DeviceTensor:
        if name in self.graph.constants:
            return self.weights.tensor(self.graph, row_use(self.graph, name))
        return self._activation(name).view((self.graph.tensors[name].elements,))

    def right(self, product: Product) -> tuple[Handle, bool]:
        name = product.right
        if name in self.graph.constants:
            return self.weights.matrix(self.graph, product.right_use(self.form)), False
        if name in self.forms.tensors:
            return self.tensors[name], False
        if name in self.forms.in_blocks:
            return self.state(name), False
        return self._activation(name).view(product.right_shape), product.transposed

    def matrix(self, use: ConstantUse) -> DeviceMatrix:
        return self.weights.matrix(self.graph, use)

    def turned(self, product: Product) -> tuple[DeviceTensor, Handle]:
        if product.right in self.graph.constants:
            left = self.weights.tensor(self.graph, product.right_use(self.form))
        else:
            left = self._activation(product.right)
            if product.right not in self.forms.tensors:
                left = left.view(product.right_shape)
        if product.left in self.graph.constants:
            return left, self.weights.matrix(self.graph, product.left_use(self.graph, self.form))
        return left, self.tensors[product.left]

    def _activation(self, name: str) -> DeviceTensor:
        handle = self.tensors[name]
        assert isinstance(handle, DeviceTensor)
        return handle
