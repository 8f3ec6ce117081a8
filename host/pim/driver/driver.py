"""The PIM driver: tensors in device memory and the operations on them.

Every operation blocks until the device has done it, unless it is queued in `batch()`. Results have
the bits of `pimloop.host.common.golden`, whatever the padding, tiling or splitting done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from pimloop.host.common import golden, golden_quantized
from pimloop.host.operators.forms import ProductOpcode
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.geometry import read_geometry
from pimloop.host.pim.device.integers import LANE_BITS, WEIGHTS_PER_LANE
from pimloop.host.pim.device.validate import HOST_GRANULE, round_up
from pimloop.host.pim.driver import descriptors, layout, states
from pimloop.host.pim.driver.bank import DEFAULT_BANK, BankClocks
from pimloop.host.pim.driver.elementwise import Elementwise
from pimloop.host.pim.driver.errors import DriverError, ShapeError
from pimloop.host.pim.driver.memory import Block, DeviceMemory
from pimloop.host.pim.driver.products import Products
from pimloop.host.pim.driver.queue import CommandQueue
from pimloop.host.pim.driver.states import BlockStates, State
from pimloop.host.pim.driver.stats import OpStats
from pimloop.host.pim.driver.store import TensorStore
from pimloop.host.pim.driver.tensors import DeviceMatrix, DeviceTensor, Shape
from pimloop.host.platforms.geometry import BF16_BYTES, F32_BYTES, Geometry
from pimloop.rtl.tables.isa import Weights

if TYPE_CHECKING:
    from pimloop.host.platforms.platform import Platform

#: float32 or bfloat16 (ml_dtypes) of any shape.
HostArray = NDArray[np.generic]


class PimDriver:
    """Driver of one device.

    Parameters
    ----------
    device
        An open device; it is reset and belongs to this driver until `close`.
    timeout
        Bound of every wait for the device, seconds of wall time.
    column_granule
        Columns that the result of a matmul with a resident operand is padded to; a multiple of
        the device's own granule (the default). A platform's `driver.tile_columns`.
    bank_clocks
        Between accesses of a bank, for estimates of clocks; no register has them.

    Raises
    ------
    DeviceError
        When this is not a device of the driver's interface version.
    """

    def __init__(
        self,
        device: Device,
        *,
        timeout: float = 600.0,
        column_granule: int | None = None,
        bank_clocks: BankClocks = DEFAULT_BANK,
    ) -> None:
        self._geometry = read_geometry(device)
        beat = self._geometry.beat_columns
        granule = beat if column_granule is None else column_granule
        if granule <= 0 or granule % beat:
            raise DriverError(
                f"column_granule {granule} is not a positive multiple of the device's {beat} "
                "columns"
            )
        self._bank_clocks = bank_clocks
        self._store = TensorStore(self._geometry, granule)
        self._device = device
        self._queue = CommandQueue(device, timeout)
        self._totals = OpStats()
        self._last = OpStats()
        self._depth = 0
        self._closed = False
        # The queue's method, not one of this driver: a driver that refers to itself would keep its
        # device, and the memory of that, until Python looks for cycles.
        emit = self._queue.add
        self._elementwise = Elementwise(self._geometry, emit, self._store, self.upload)
        self._products = Products(self._geometry, emit, self._store, self._elementwise)
        self._blocks = BlockStates(self._geometry, self._queue, self._store, self._elementwise)
        self._totals = self._last = OpStats()

    @classmethod
    def for_platform(cls, device: Device, platform: Platform, *, timeout: float = 600.0) -> Self:
        """Return the driver of a platform's device; parameters and errors as of the class."""
        return cls(
            device,
            timeout=timeout,
            column_granule=platform.driver.tile_columns,
            bank_clocks=BankClocks.of(platform.dram),
        )

    @property
    def device(self) -> Device:
        """The device."""
        return self._device

    @property
    def geometry(self) -> Geometry:
        """What the device says of itself."""
        return self._geometry

    @property
    def bank_clocks(self) -> BankClocks:
        """DRAM clocks between accesses of a bank, as estimates have them."""
        return self._bank_clocks

    @property
    def column_granule(self) -> int:
        """Columns that a resident right operand of MATMUL is padded to."""
        return self._store.granule

    @property
    def memory(self) -> DeviceMemory:
        """The allocator of device memory (capacity, used and free bytes)."""
        return self._store.memory

    @property
    def totals(self) -> OpStats:
        """Cost of everything run so far."""
        return self._totals

    @property
    def last(self) -> OpStats:
        """Cost of the last operation, or of the last batch."""
        return self._last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Refuse further operations; the device itself stays open. More calls do nothing."""
        self._closed = True

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collect the operations of the block into one list, run at its end.

        `upload`s and results may be used by later operations of the block; `download` runs what
        is queued so far. When an exception leaves the block, what is still queued is dropped.
        """
        if self._closed:
            raise DriverError("the driver is closed: open the device and make a new driver")
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                self._queue.run()
        except BaseException:
            if self._depth == 1:
                self._queue.discard()
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._last = self._queue.collect()
                self._totals += self._last

    def submit(self) -> None:
        """Start what the batch has queued and return while the device works.

        The next operation, `wait`, or the end of the batch waits for it.
        """
        self._queue.submit()

    def wait(self) -> None:
        """Wait for what `submit` started."""
        self._queue.wait()

    @contextmanager
    def rehearsal(self) -> Iterator[list[Block]]:
        """Run operations without the device: memory is allocated and freed, nothing is queued.

        Operations of the body place their operands, intermediates and results as they would in
        earnest. Afterwards the memory is as it was before, so nothing made in the body may be
        used after it. Yields the list of all blocks that the body allocates.
        """
        if self._depth or self._queue.rehearsing:
            raise DriverError("a rehearsal cannot start inside a batch or another rehearsal")
        self._queue.rehearsing = True
        try:
            with self.memory.trial() as taken:
                yield taken
        finally:
            self._queue.rehearsing = False
            self._queue.discard()

    @contextmanager
    def written_down(self) -> Iterator[list[bytes]]:
        """As `rehearsal`, but yield the descriptors that the body would queue, as they come."""
        with self.rehearsal():
            self._queue.paper = []
            try:
                yield self._queue.paper
            finally:
                self._queue.paper = None
                self._queue.run()  # nothing is queued: what copies staged is let go

    def upload(self, array: HostArray) -> DeviceTensor:
        """Copy an array to device memory as bfloat16 (nearest even).

        Raises
        ------
        ShapeError
            For an array without elements.
        TypeError
            For a type other than float32 and bfloat16.
        """
        array = np.asarray(array)
        tensor = self.new_tensor(array.shape)
        with tensor.freed_on_error():
            self.write(tensor, array)
        return tensor

    def new_tensor(self, shape: Shape, *, packed: bool = True) -> DeviceTensor:
        """Allocate a tensor as `upload` does; its content is not defined until `write`.

        Rows of one element lie as one row unless `packed` is false.
        """
        _require_elements(shape, "upload")
        return self._store.tensor(shape, packed=packed)

    def write(self, tensor: DeviceTensor, array: HostArray) -> None:
        """Copy an array to where a bfloat16 tensor of its shape lies.

        Raises
        ------
        ShapeError
            When the shapes differ, or the tensor holds binary32 sums.
        TypeError
            For a type other than float32 and bfloat16.
        """
        self._check(tensor, "upload")
        array = np.asarray(array)
        if array.shape != tensor.shape or tensor.dtype != "bf16":
            raise ShapeError(
                f"upload of shape {array.shape} to a {tensor.dtype} tensor {tensor.shape}"
            )
        layout.require_operand(array)
        rows = array.reshape(1, -1) if tensor.packed else array.reshape(tensor.rows, -1)
        with self.batch():
            self._write(rows, tensor.address, tensor.stride, f"upload {array.shape}")

    def new_right_operand(self, shape: Shape) -> DeviceTensor | DeviceMatrix:
        """Allocate an activation (..., q, r) as the right operand of `matmul`.

        It is written by `write` or `write_matrix`, as its type says.
        """
        _require_elements(shape, "upload")
        return self._store.right_operand(shape)

    def download(self, tensor: DeviceTensor) -> NDArray[np.float32]:
        """Return the values of a tensor as float32, in its logical shape."""
        self._check(tensor, "download")
        rows, columns = (1, tensor.size) if tensor.packed else (tensor.rows, tensor.columns)
        result = np.empty((rows, columns), np.float32)
        wide = tensor.dtype == "f32"
        itemsize = F32_BYTES if wide else BF16_BYTES
        label = f"download {tensor.shape}"
        with self.batch():
            for row, count, left, width in self._pieces(rows, columns, itemsize):
                row_bytes = round_up(width * itemsize, HOST_GRANULE)
                view, address = self._queue.stage(count * row_bytes)
                copy = descriptors.copy_out(
                    address,
                    tensor.address + row * tensor.stride + left * itemsize,
                    rows=count,
                    row_bytes=row_bytes,
                    host_stride=row_bytes,
                    device_stride=tensor.stride,
                )
                self._queue.add(copy, label, bytes_out=count * row_bytes)
                self._queue.run()
                target = result[row : row + count, left : left + width]
                if wide:
                    target[...] = view.view(np.float32).reshape(count, -1)[:, :width]
                else:
                    bits = view.view(np.uint16).reshape(count, -1)[:, :width]
                    target[...] = golden.bf16_to_f32(bits)
        return result.reshape(tensor.shape)

    def load_matrix(
        self,
        array: HostArray,
        *,
        transposed: bool = False,
        opcode: ProductOpcode = "MATMUL",
    ) -> DeviceMatrix:
        """Make a right operand of `matmul` resident.

        Parameters
        ----------
        array
            (..., q, r), or with `transposed` (..., r, q).
        transposed
            The array holds the transpose of the operand.
        opcode
            The opcode that will read it. MATMUL is the faster one, whichever way the array came;
            MATMUL_T keeps rows of the transpose and lets the device transpose them.
        """
        array = np.asarray(array)
        matrix = self.new_matrix(array.shape, transposed=transposed, opcode=opcode)
        with matrix.freed_on_error():
            self.write_matrix(matrix, array, transposed=transposed)
        return matrix

    def new_matrix(
        self,
        shape: Shape,
        *,
        transposed: bool = False,
        opcode: ProductOpcode = "MATMUL",
    ) -> DeviceMatrix:
        """Allocate a matrix as `load_matrix` does; undefined until `write_matrix`."""
        if len(shape) < 2:
            raise ShapeError(f"a right operand has at least 2 axes, not the shape {shape}")
        _require_elements(shape, "load_matrix")
        return self._store.matrix(_turned(shape) if transposed else shape, opcode)

    def new_state(self, shape: Shape, *, blocks: bool = False) -> State:
        """Allocate a state (..., capacity, size) for `append`; its content is not defined.

        Parameters
        ----------
        shape
            Its shape.
        blocks
            As the transpose of a right operand of MATMUL_T, to be written by `write_matrix`;
            default: as a tensor in rows, to be written by `write`.
        """
        _require_elements(shape, "a state")
        if not blocks:
            return self._store.tensor(shape, packed=False)
        return self._store.matrix(_turned(shape), "MATMUL_T", changes=True)

    def tensor_bytes(self, shape: Shape, *, packed: bool = True) -> int:
        """Return the bytes that `new_tensor` takes for a shape, padding included."""
        return self._store.tensor_bytes(shape, packed=packed)

    def matrix_bytes(
        self, shape: Shape, *, transposed: bool = False, opcode: ProductOpcode = "MATMUL"
    ) -> int:
        """Return the bytes that `new_matrix` takes for a shape, padding included."""
        return self._store.matrix_bytes(_turned(shape) if transposed else shape, opcode)

    def write_matrix(
        self,
        matrix: DeviceMatrix,
        array: HostArray,
        *,
        transposed: bool = False,
        tiles: range | None = None,
    ) -> None:
        """Copy an array, or its transpose, to where a resident matrix lies.

        Parameters
        ----------
        matrix, array, transposed
            As of `load_matrix`.
        tiles
            Of a matrix for MATMUL, the columns to write, whole tiles of them; default: all.

        Raises
        ------
        ShapeError
            When the shapes differ.
        """
        self._check(matrix, "load_matrix")
        array = np.asarray(array)
        operand = np.swapaxes(array, -1, -2) if transposed else array
        if operand.shape != matrix.shape or matrix.weights != Weights.BF16:
            raise ShapeError(f"load_matrix of {operand.shape} to a matrix {matrix.shape}")
        with self.batch():
            address = matrix.address
            for block in operand.reshape(-1, *operand.shape[-2:]):
                if matrix.layout == "tiled":
                    width = layout.tile_columns(matrix.columns, self._geometry)
                    lefts = cycle(range(0, matrix.columns, width))
                    parts = layout.tiles(block, matrix.columns, self._geometry)
                else:
                    lefts = cycle((0,))
                    parts = layout.blocks(block.T, matrix.columns, self._geometry)
                for left, part in zip(lefts, parts, strict=False):
                    if tiles is None or left in tiles:
                        self._write(part.reshape(1, -1), address, 0, f"load_matrix {array.shape}")
                    address += part.nbytes

    def integers_refused(self, inner: int, weights: Weights, group: int) -> str | None:
        """Return why the device has no product by integers, for a person; None: it has.

        Parameters
        ----------
        inner
            Inner dimension.
        weights
            Which integers.
        group
            log2 of the rows that share a scale.
        """
        g, each = self._geometry, WEIGHTS_PER_LANE[weights]
        if each > min(g.rows_per_beat, g.acc_groups):
            return (
                f"weights of {LANE_BITS // each} bits need rows_per_beat and acc_groups of at least"
                f" {each}, the device has {g.rows_per_beat} and {g.acc_groups}"
            )
        if inner > g.scalar_depth and g.scalar_depth % (1 << group):
            return (
                f"groups of {1 << group} rows, of which the device's scalar_depth"
                f" {g.scalar_depth} is no multiple"
            )
        return None

    def integer_bytes(self, shape: Shape, weights: Weights, group: int) -> int:
        """Return the bytes that `new_integers` takes for a shape, padding included."""
        return self._store.integer_bytes(shape, weights, group)

    def new_integers(self, shape: Shape, weights: Weights, group: int) -> DeviceMatrix:
        """Allocate a right operand (q, r) of integers; undefined until `write_integers`.

        Parameters
        ----------
        shape, weights
            Its elements.
        group
            log2 of the rows that share a scale.

        Raises
        ------
        DriverError
            When the device has no products by them.
        """
        if len(shape) != 2:
            raise ShapeError(f"a right operand of integers has 2 axes, not the shape {shape}")
        _require_elements(shape, "new_integers")
        refused = self.integers_refused(shape[0], weights, group)
        if refused is not None:
            raise DriverError(refused)
        return self._store.integers(shape, weights, group)

    def write_integers(
        self,
        matrix: DeviceMatrix,
        weights: NDArray[np.int8],
        scales: golden.Bits,
        *,
        tiles: range | None = None,
    ) -> None:
        """Copy integers and their scales to where a resident matrix lies.

        Parameters
        ----------
        matrix
            Of `new_integers`.
        weights
            (q, r), in the range of their bits.
        scales
            (ceil(q / 2 ** group), r) bfloat16 bits, none subnormal: the device has zeros for them.
        tiles
            The columns to write, whole tiles of them; default: all.

        Raises
        ------
        ShapeError
            When the shapes differ.
        DriverError
            When a scale is subnormal.
        """
        self._check(matrix, "write_integers")
        group = 1 << matrix.group
        groups = -(-matrix.shape[0] // group)
        if weights.shape != matrix.shape or scales.shape != (groups, matrix.shape[1]):
            raise ShapeError(
                f"write_integers of {weights.shape} with scales {scales.shape} to a matrix"
                f" {matrix.shape} of groups of {group} rows"
            )
        magnitude = golden.bf16_to_f32(scales & np.uint16(0x7FFF))
        subnormal = np.argwhere((magnitude != 0) & (magnitude < golden_quantized.LEAST_SCALE))
        if len(subnormal):
            row, column = (int(index) for index in subnormal[0])
            raise DriverError(
                f"write_integers: the scale of group {row}, column {column} is subnormal, which the"
                f" device takes as 0; write 0, or a scale of at least"
                f" {golden_quantized.LEAST_SCALE:.4g}"
            )
        with self.batch():
            address = matrix.address
            for left, part in layout.integer_tiles(
                weights, scales, matrix.columns, matrix.weights, group, self._geometry
            ):
                if tiles is None or left in tiles:
                    label = f"write_integers {weights.shape}"
                    self._write(part.reshape(1, -1), address, 0, label)
                address += part.nbytes

    def matmul(
        self,
        a: DeviceTensor,
        b: DeviceMatrix | DeviceTensor,
        *,
        transpose_b: bool = False,
        bias: DeviceTensor | None = None,
        out_f32: bool = False,
        columns: int | None = None,
        filled: int | None = None,
        out: DeviceTensor | None = None,
    ) -> DeviceTensor:
        """Return a x b (+ bias), numpy's `matmul` over leading axes.

        Parameters
        ----------
        a
            (..., p, q), or (q) for a single row.
        b
            A resident matrix or a tensor (..., q, r); with `transpose_b` a tensor (..., r, q),
            read by the opcode MATMUL_T as it lies.
        bias
            (r) or None.
        out_f32
            Keep the binary32 sums; such a tensor can only be downloaded.
        columns
            Compute only so many columns, the first ones: a multiple of `tile_columns`. The result
            has the whole shape and what was in memory in its other columns.
        filled
            Of a tensor (..., rows, size) on the right, read as it is or transposed: read only its
            first rows, so many, as if the others were 0. Of a transposed one, whole atoms of rows
            are read, and the columns behind them have what was in memory.
        out
            Where the result goes, of its shape; default: a new tensor.

        Raises
        ------
        ShapeError
            When the shapes do not fit; it names them.
        """
        self._check(a, "matmul")
        self._check(b, "matmul")
        for other in (bias, out):
            if other is not None:
                self._check(other, "matmul")
        return self._result(
            lambda: self._products.matmul(a, b, transpose_b, bias, out_f32, columns, filled, out)
        )

    def append(self, state: State, rows: DeviceTensor, first: int) -> None:
        """Copy rows in device memory to their place in what stays there.

        Parameters
        ----------
        state
            A tensor (..., capacity, size), or a resident matrix (..., size, capacity) for
            MATMUL_T, whose columns are the rows.
        rows
            (..., appended, size).
        first
            The row of `state`, of each of its matrices, where they begin.

        Raises
        ------
        ShapeError
            When the shapes do not fit or the rows end behind the last one.
        DriverError
            When the device cannot append to such a matrix.
        """
        self._check(state, "append")
        self._check(rows, "append")
        states.require_room(state, rows.shape, first)
        label = f"append {rows.shape} to {state.shape} at {first}"
        with self.batch():
            if isinstance(state, DeviceMatrix):
                self._require_blocks(label)
                self._blocks.append(state, rows, first, label)
                return
            for copy in states.append_rows(self._elementwise.ones_address, state, rows, first):
                self._queue.add(copy, label)

    def _require_blocks(self, label: str) -> None:
        """Raise DriverError where the device has no states in blocks."""
        refused = states.in_blocks_refused(self._geometry)
        if refused is not None:
            raise DriverError(f"{label}, in blocks: {refused}; keep the state in rows")

    def read_rows(self, state: State, first: int, count: int) -> NDArray[np.float32]:
        """Return some rows of each matrix of a state, (..., count, size), as float32.

        Parameters
        ----------
        state
            As of `append`.
        first, count
            The rows.

        Raises
        ------
        ShapeError
            When it has no such rows.
        """
        whole = states.state_shape(state)
        shape = (*whole[:-2], count, whole[-1])
        states.require_room(state, shape, first)
        matrices = math.prod(whole[:-2])
        if isinstance(state, DeviceMatrix):
            g = self._geometry
            self._require_blocks(f"rows of {state.shape}")
            height = g.beat_bytes // g.atom_bytes
            begin = first // height * height
            read = round_up(first + count, height) - begin
            atoms = self.download(states.blocks_of(state, g, begin, read))
            atoms = atoms.reshape(matrices, -1, read, g.atom_columns)
            there = atoms[:, :, first - begin : first - begin + count].swapaxes(1, 2)
            return there.reshape(matrices, count, -1)[..., : whole[-1]].reshape(shape)
        with self.batch():
            parts = [
                self.download(states.part_of(state, matrix, first, count))
                for matrix in range(matrices)
            ]
        return np.stack(parts).reshape(shape)

    def tile_columns(self, columns: int) -> int:
        """Return the columns of a tile of a resident right operand of MATMUL with `columns`."""
        return layout.tile_columns(round_up(columns, self.column_granule), self._geometry)

    def elementwise(self, op: str, *operands: DeviceTensor) -> DeviceTensor:
        """Return an element-wise operation of one or two operands, with numpy's broadcasting.

        Parameters
        ----------
        op
            Its name, as `add`, `sub` and `mul` (`pimloop.host.operators`).
        operands
            As many as the operation takes, of shapes that broadcast.

        Raises
        ------
        DriverError
            When the device has no such operation, or of another number of operands; it names
            those that it has.
        ShapeError
            When the shapes do not broadcast; it names them.
        """
        for operand in operands:
            self._check(operand, op)
        return self._result(lambda: self._elementwise.run(op, *operands))

    def _result(self, queue: Callable[[], DeviceTensor]) -> DeviceTensor:
        """Queue an operation, run it unless in a batch, free its result if that fails."""
        result = None
        try:
            with self.batch():
                result = queue()
        except BaseException:
            if result is not None:
                result.free()
            raise
        return result

    def _check(self, operand: DeviceTensor | DeviceMatrix, operation: str) -> None:
        """Raise DriverError when an operand cannot be used: freed, or another driver's."""
        if self._closed:
            raise DriverError("the driver is closed: open the device and make a new driver")
        if operand.freed:
            raise DriverError(f"{operation}: the operand of shape {operand.shape} was freed before")
        if operand.release != self._store.memory.free:
            raise DriverError(
                f"{operation}: the operand of shape {operand.shape} is in another device's memory"
            )

    def _pieces(
        self, rows: int, columns: int, itemsize: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield (row, rows, column, columns) pieces that fit into staging memory."""
        limit = self._queue.staging_bytes
        width = min(columns, limit // HOST_GRANULE * HOST_GRANULE // itemsize)
        count = max(1, limit // round_up(width * itemsize, HOST_GRANULE))
        for row, height in layout.split(rows, count):
            for left, piece in layout.split(columns, width):
                yield row, height, left, piece

    def _write(self, rows: HostArray, address: int, stride: int, label: str) -> None:
        """Copy (rows, columns) of floats, or of bits as uint16, to rows `stride` bytes apart."""
        if self._queue.rehearsing and self._queue.paper is None:
            return
        for row, count, left, width in self._pieces(rows.shape[0], rows.shape[1], BF16_BYTES):
            part = rows[row : row + count, left : left + width]
            bits = part if part.dtype == np.uint16 else layout.as_bits(part)
            row_bytes = round_up(width * BF16_BYTES, HOST_GRANULE)
            view, host = self._queue.stage(count * row_bytes)
            staged = view.view(np.uint16).reshape(count, -1)
            staged[:, :width] = bits
            staged[:, width:] = 0
            copy = descriptors.copy_in(
                host,
                address + row * stride + left * BF16_BYTES,
                rows=count,
                row_bytes=row_bytes,
                host_stride=row_bytes,
                device_stride=stride,
            )
            self._queue.add(copy, label, bytes_in=count * row_bytes)


def _turned(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])


def _require_elements(shape: tuple[int, ...], role: str) -> None:
    if 0 in shape:
        raise ShapeError(f"{role} of shape {shape}: an axis is 0, a tensor has elements")
