"""The constants of PIM operators in device memory: placed once, loaded when first needed.

Several graphs on one device may share them, as the two phases of a generating model do. A model's
states have their place among them. Constants' bits as bfloat16 (`ConstantBits`) are shared by all
devices of a run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from pimloop.host.common import golden
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.models.quantize.products import weights_of
from pimloop.host.models.quantize.reading import is_packed
from pimloop.host.models.quantize.weights import Quantized
from pimloop.host.operators.forms import ConstantForm, ConstantUse, ProductOpcode, Shape
from pimloop.host.pim.driver import (
    DeviceMatrix,
    DeviceTensor,
    OpStats,
    OutOfDeviceMemoryError,
    PimDriver,
)
from pimloop.rtl.tables.isa import Weights

#: bfloat16 bits of constants that are kept, beside those in device memory.
MOST_BITS_BYTES = 256 << 20

#: A constant in device memory: identity of its array, form, shape, opcode of a right operand.
Key = tuple[int, ConstantForm, Shape, ProductOpcode]


class ConstantBits:
    """bfloat16 bits of float constants, those used last kept; safe in several threads.

    Parameters
    ----------
    limit_bytes
        Bits to keep. Converting again is a pass over the array.
    """

    def __init__(self, limit_bytes: int = MOST_BITS_BYTES) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[Array, golden.Bits, int]] = OrderedDict()
        self.nbytes = 0  # of the bits kept

    def of(self, constant: Array) -> golden.Bits:
        """Return the bits of an array, in its shape; the array must not change afterwards."""
        key = id(constant)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][1]
            bits = golden.to_bf16_bits(constant)
            # A view of the array takes nothing; that it may be one is known by looking at it all.
            nbytes = 0 if np.may_share_memory(bits, constant) else bits.nbytes
            if nbytes > self._limit:
                return bits
            while self.nbytes + nbytes > self._limit:
                _, (_, _, taken) = self._kept.popitem(last=False)
                self.nbytes -= taken
            # The array is kept beside its bits: its identity stays its own.
            self._kept[key] = (constant, bits, nbytes)
            self.nbytes += nbytes
            return bits


@dataclass(frozen=True)
class _Loaded:
    """What is on the device of a constant, and what copying it cost."""

    columns: int  # of a right operand, the first ones; 1 of any other constant
    cost: OpStats


class DeviceWeights:
    """Constants in the memory of one device, by array and form.

    Parameters
    ----------
    driver
        Of the device.
    bits
        Where the bits come from; default: converted here.
    """

    def __init__(self, driver: PimDriver, bits: ConstantBits | None = None) -> None:
        self.bits = bits or ConstantBits()
        self._driver = driver
        self._placed: dict[Key, DeviceTensor | DeviceMatrix] = {}
        self._owners: dict[int, Array | Node] = {}  # so that identities stay what they are
        self._loaded: dict[Key, _Loaded] = {}

    def place(self, graph: Graph, uses: Iterable[ConstantUse]) -> list[ConstantUse]:
        """Give constants of a graph an address, in the order given; return those that were new.

        Raises
        ------
        OutOfDeviceMemoryError
            When one does not fit; what this call placed is taken back.
        """
        placed: list[ConstantUse] = []
        try:
            for use in uses:
                if self.key(graph, use) not in self._placed:
                    self._add(graph, use)
                    placed.append(use)
        except BaseException:
            self.drop(graph, placed)
            raise
        return placed

    def nbytes(self, graph: Graph, use: ConstantUse) -> int:
        """Return the bytes of device memory that a constant takes, padding included."""
        if use.tensor_shape is not None:
            return self._driver.tensor_bytes(use.tensor_shape, packed=use.form != "state")
        if use.form == "integers":
            return self._driver.integer_bytes(use.shape, *integer_format(_integers(graph, use)))
        transposed = use.form == "transposed" or use.in_blocks
        return self._driver.matrix_bytes(use.shape, transposed=transposed, opcode=use.opcode)

    def total_bytes(self, graph: Graph, uses: Iterable[ConstantUse]) -> int:
        """Return the bytes that constants take together, each once."""
        each = {self.key(graph, use): self.nbytes(graph, use) for use in uses}
        return sum(each.values())

    @contextmanager
    def stand_ins(self, graph: Graph, uses: Iterable[ConstantUse]) -> Iterator[None]:
        """Hold handles of constants that have no memory, for a rehearsal in the body."""
        made: dict[Key, DeviceTensor | DeviceMatrix] = {}
        for use in uses:
            with self._driver.memory.trial():
                made[self.key(graph, use)] = self._new(graph, use)
        kept, self._placed = self._placed, made
        try:
            yield
        finally:
            self._placed = kept

    def homes(self, graph: Graph, uses: Iterable[ConstantUse]) -> dict[Key, int]:
        """Return an address for each constant, those of neighbours apart while there is room.

        The memory is filled in order; what does not fit any more begins to fill it anew. Nothing
        is allocated.
        """
        addresses: dict[Key, int] = {}
        waiting = list(uses)
        while waiting:
            left: list[ConstantUse] = []
            with self._driver.memory.trial():
                for index, use in enumerate(waiting):
                    try:
                        handle = self._new(graph, use)
                    except OutOfDeviceMemoryError:
                        left = waiting[index:]
                        break
                    addresses.setdefault(self.key(graph, use), handle.address)
            if len(left) == len(waiting):
                left = left[1:]  # it fits nowhere, and is never asked for
            waiting = left
        return addresses

    def exchange(self, graph: Graph, uses: Sequence[ConstantUse], homes: Mapping[Key, int]) -> None:
        """Place constants in place of others; each at its home unless another of them is there.

        Raises
        ------
        OutOfDeviceMemoryError
            When they do not fit together.
        """
        wanted = {self.key(graph, use) for use in uses}
        try:
            self._exchange(graph, uses, homes, wanted)
        except OutOfDeviceMemoryError:
            # Not in one piece: from the start, and in order.
            self.clear()
            self.place(graph, uses)

    def _exchange(
        self, graph: Graph, uses: Sequence[ConstantUse], homes: Mapping[Key, int], wanted: set[Key]
    ) -> None:
        for use in uses:
            key = self.key(graph, use)
            if key in self._placed:
                continue
            start = homes.get(key)
            if start is not None:
                end = start + self.nbytes(graph, use)
                there = [
                    other
                    for other, handle in self._placed.items()
                    if handle.block.address < end and start < handle.block.end
                ]
                if not wanted.intersection(there):
                    self._drop(there)
            with self._driver.memory.preferring(start):
                try:
                    self._add(graph, use)
                except OutOfDeviceMemoryError:
                    self._drop([other for other in self._placed if other not in wanted])
                    self._add(graph, use)

    def load(self, graph: Graph, use: ConstantUse, columns: int | None = None) -> OpStats:
        """Copy a placed constant to the device unless it is there; return what that cost.

        Parameters
        ----------
        graph, use
            The constant.
        columns
            Of a right operand in tiles, the first columns that are needed; default: all.
        """
        key = self.key(graph, use)
        handle = self._placed[key]
        if use.form == "state":
            # Its rows are written by whoever executes the model.
            self._loaded[key] = _Loaded(1, OpStats())
            return OpStats()
        before = self._loaded.get(key, _Loaded(0, OpStats()))
        whole = handle.columns if isinstance(handle, DeviceMatrix) else 1
        needed = whole if columns is None else columns
        if before.columns >= needed:
            return OpStats()
        missing = range(before.columns, needed)
        if use.form == "integers":
            assert isinstance(handle, DeviceMatrix)
            weights = _integers(graph, use)
            self._driver.write_integers(
                handle, weights.integers(), weights.scale_bits(), tiles=missing
            )
            self._loaded[key] = _Loaded(needed, before.cost + self._driver.last)
            return self._driver.last
        constant = graph.constants[use.name]
        values = self.bits.of(constant).view(ml_dtypes.bfloat16).reshape(use.shape)
        if isinstance(handle, DeviceMatrix):
            self._driver.write_matrix(
                handle, values, transposed=use.form == "transposed", tiles=missing
            )
        else:
            self._driver.write(handle, values.swapaxes(-1, -2) if use.form == "turned" else values)
        self._loaded[key] = _Loaded(needed, before.cost + self._driver.last)
        return self._driver.last

    def cost(self, graph: Graph, use: ConstantUse) -> OpStats:
        """Return what copying to the device cost what is there of a constant, whenever that was."""
        return self._loaded[self.key(graph, use)].cost

    def tensor(self, graph: Graph, use: ConstantUse) -> DeviceTensor:
        """Return a placed constant as a tensor (forms "tensor", "turned", "bias" and "state")."""
        handle = self._placed[self.key(graph, use)]
        assert isinstance(handle, DeviceTensor)
        return handle

    def state(self, graph: Graph, use: ConstantUse) -> DeviceTensor | DeviceMatrix:
        """Return a placed state."""
        return self._placed[self.key(graph, use)]

    def matrix(self, graph: Graph, use: ConstantUse) -> DeviceMatrix:
        """Return a placed constant as a right operand."""
        handle = self._placed[self.key(graph, use)]
        assert isinstance(handle, DeviceMatrix)
        return handle

    def drop(self, graph: Graph, uses: Iterable[ConstantUse]) -> None:
        """Free constants of a graph; those that are not placed are passed over."""
        self._drop(key for use in uses if (key := self.key(graph, use)) in self._placed)

    def close(self) -> None:
        """Free everything; more calls do nothing."""
        self.clear()

    def clear(self) -> None:
        """Free every constant, of whichever graph."""
        self._drop(list(self._placed))
        self._owners.clear()

    @property
    def held_bytes(self) -> int:
        """Bytes of device memory that the constants take now."""
        return sum(handle.nbytes for handle in self._placed.values())

    @staticmethod
    def key(graph: Graph, use: ConstantUse) -> Key:
        """Return what tells a constant in one form from all others, of other graphs too."""
        return id(_owner(graph, use)), use.form, use.shape, use.opcode

    def _add(self, graph: Graph, use: ConstantUse) -> None:
        owner = _owner(graph, use)
        self._placed[self.key(graph, use)] = self._new(graph, use)
        self._owners[id(owner)] = owner

    def _drop(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            self._placed.pop(key).free()
            self._loaded.pop(key, None)

    def _new(self, graph: Graph, use: ConstantUse) -> DeviceTensor | DeviceMatrix:
        if use.form == "state":
            return self._driver.new_state(use.shape, blocks=use.in_blocks)
        if use.tensor_shape is not None:
            return self._driver.new_tensor(use.tensor_shape)
        if use.form == "integers":
            return self._driver.new_integers(use.shape, *integer_format(_integers(graph, use)))
        transposed = use.form == "transposed"
        return self._driver.new_matrix(use.shape, transposed=transposed, opcode=use.opcode)


def integer_format(weights: Quantized) -> tuple[Weights, int]:
    """Return what a device calls integer weights, and log2 of the rows that share a scale."""
    return Weights[weights.kind.name.upper()], weights.group.bit_length() - 1


def _integers(graph: Graph, use: ConstantUse) -> Quantized:
    """Return the integers of a constant and their scales: all that read it have the same."""
    return weights_of(graph, next(node for node in graph.consumers[use.name] if is_packed(node)))


def _owner(graph: Graph, use: ConstantUse) -> Array | Node:
    """Return what has the identity of a constant or a state."""
    return graph.producer[use.name] if use.form == "state" else graph.constants[use.name]
