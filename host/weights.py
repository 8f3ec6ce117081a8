"""The constants of PIM operators in device memory: placed once, loaded when first needed.

Several graphs on one device may share them, as the two phases of a generating model do. Their
bits as bfloat16 (`ConstantBits`) are shared by all devices of a process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Literal, NamedTuple

import ml_dtypes

from host import golden
from host.capabilities import MatmulOperation, PimOperation
from host.driver import DeviceMatrix, DeviceTensor, OpStats, PimDriver
from host.models.graph import Array, Graph

#: What a constant is to the operator that reads it on the PIM.
Form = Literal["tensor", "bias", "matrix", "transposed"]


class Use(NamedTuple):
    """A constant as one operator reads it."""

    name: str
    form: Form


def constant_uses(graph: Graph, operation: PimOperation) -> list[Use]:
    """Return the constants that a PIM operator reads, in the order they are placed."""
    if not isinstance(operation, MatmulOperation):
        names = (operation.left, operation.right)
        return [Use(name, "tensor") for name in names if name in graph.constants]
    uses: list[Use] = []
    if operation.right in graph.constants:
        uses.append(Use(operation.right, "transposed" if operation.transposed else "matrix"))
    if operation.bias is not None and operation.bias in graph.constants:
        uses.append(Use(operation.bias, "bias"))
    return uses


class ConstantBits:
    """bfloat16 bits of float32 constants, each converted once; safe in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[int, tuple[Array, golden.Bits]] = {}

    def of(self, constant: Array) -> golden.Bits:
        """Return the bits of an array, in its shape; the array must not change afterwards."""
        with self._lock:
            # The array is kept beside its bits: its identity stays its own.
            if id(constant) not in self._found:
                self._found[id(constant)] = (constant, golden.to_bf16_bits(constant))
            return self._found[id(constant)][1]


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
        self._placed: dict[tuple[int, Form], DeviceTensor | DeviceMatrix] = {}
        self._arrays: dict[int, Array] = {}  # so that identities stay what they are
        self._loaded: set[tuple[int, Form]] = set()

    def place(self, graph: Graph, uses: Iterable[Use]) -> list[Use]:
        """Give constants of a graph an address, in the order given; return those that were new.

        Raises
        ------
        OutOfDeviceMemoryError
            When one does not fit; what this call placed is taken back.
        """
        placed: list[Use] = []
        try:
            for use in uses:
                constant = graph.constants[use.name]
                key = (id(constant), use.form)
                if key not in self._placed:
                    self._placed[key] = self._new(constant, use.form)
                    self._arrays[id(constant)] = constant
                    placed.append(use)
        except BaseException:
            self.drop(graph, placed)
            raise
        return placed

    def load(self, graph: Graph, use: Use) -> OpStats:
        """Copy a placed constant to the device unless it is there; return what that cost."""
        constant = graph.constants[use.name]
        key = (id(constant), use.form)
        if key in self._loaded:
            return OpStats()
        handle = self._placed[key]
        values = self.bits.of(constant).view(ml_dtypes.bfloat16)
        if isinstance(handle, DeviceMatrix):
            self._driver.write_matrix(handle, values, transposed=use.form == "transposed")
        else:
            self._driver.write(handle, values.reshape(handle.shape))
        self._loaded.add(key)
        return self._driver.last

    def tensor(self, graph: Graph, name: str, form: Literal["tensor", "bias"]) -> DeviceTensor:
        """Return a placed constant as a tensor."""
        handle = self._placed[id(graph.constants[name]), form]
        assert isinstance(handle, DeviceTensor)
        return handle

    def matrix(self, graph: Graph, name: str, *, transposed: bool) -> DeviceMatrix:
        """Return a placed constant as a right operand."""
        form: Form = "transposed" if transposed else "matrix"
        handle = self._placed[id(graph.constants[name]), form]
        assert isinstance(handle, DeviceMatrix)
        return handle

    def drop(self, graph: Graph, uses: Iterable[Use]) -> None:
        """Free constants of a graph; those that are not placed are passed over."""
        for use in uses:
            key = (id(graph.constants[use.name]), use.form)
            handle = self._placed.pop(key, None)
            if handle is not None:
                handle.free()
                self._loaded.discard(key)

    def close(self) -> None:
        """Free everything; more calls do nothing."""
        for handle in self._placed.values():
            handle.free()
        self._placed.clear()
        self._loaded.clear()
        self._arrays.clear()

    def _new(self, constant: Array, form: Form) -> DeviceTensor | DeviceMatrix:
        if form == "tensor":
            return self._driver.new_tensor(constant.shape)
        if form == "bias":
            # A row, without leading axes of one.
            return self._driver.new_tensor((constant.size,))
        return self._driver.new_matrix(constant.shape, transposed=form == "transposed")
