"""How the operands of products lie in device memory, so that the product takes fewer clocks.

The host lays an operand out while it converts it to bfloat16, so turning it around or cutting it
into column tiles costs it nothing. That is free for a constant, and for a tensor that always comes
from the CPU: a model input, or the result of an operator that the PIM cannot run (the transposed
keys of attention). A result that only the CPU reads may leave turned around in the same way. Four
forms follow; the bits are the same, because each sum has the same products in the same order.

*Activations on the right.* One that comes from the CPU is written as MATMUL reads it: column tiles
where it is wider than one, and turned where the operator reads its transpose. Otherwise a wide one
is copied into tiles on the device, and a transposed one is read by MATMUL_T, which is slower.

*Constants on the right.* MATMUL reads them padded to the platform's `driver.tile_columns`, which
may be many times what a product has; MATMUL_T pads to an atom, and takes fewer clocks there.

*Products turned around.* C = A B takes a step for each row of A and element of the inner dimension
with all columns of B at once, at least a beat of them. Of few columns and many rows, C' = B' A'
takes fewer. It needs C for the CPU, and A and B constant or from the CPU, as the values of
attention. A B that the operator reads as its transpose is B' as it lies, wherever it comes from.

*States.* One that is only read by products with its transpose, as the keys of attention, may lie in
blocks, which all banks bring together; appending to it takes longer then. Both are counted with
half of its rows there.

The model of the clocks decides, by a margin. It counts beats, the accesses of their bank, and the
rows of the DRAM that are read through; MATMUL_T may wait for the lanes meanwhile.
Refreshes take the same part of each form, and what the list costs is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from pimloop.host.models.graph import Graph, Node, State
from pimloop.host.operators.append import makes_scores
from pimloop.host.operators.base import Operation
from pimloop.host.operators.forms import (
    PLAIN,
    ActivationForm,
    ProductForm,
    ProductOpcode,
    Shape,
    turned_shape,
)
from pimloop.host.operators.product import Product
from pimloop.host.pim.device.validate import round_up
from pimloop.host.pim.driver import DEFAULT_BANK, BankClocks, PimDriver, layout
from pimloop.host.pim.driver.states import in_blocks_refused
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry

#: What a row of the left operand costs beside its steps, fabric clocks: its load, the write of the
#: result. Simulated without refresh (1 to 512 rows): 25 to 40 on htg-z920, 80 to 125 on aim, where
#: all banks open another row of the DRAM for each operand.
ROW_CLOCKS = {"per_bank": 40, "all_bank": 100}

#: Of those, what MATMUL_T of all_bank does not take where a row of the left operand comes in atoms:
#: it fills its accumulators meanwhile, if they are a single beat. Simulated, like the others.
FILL_CLOCKS = 11

#: What appending a row of each matrix to a state takes, fabric clocks beside opening rows of the
#: DRAM. In rows: for each matrix. In blocks: once, more than in rows; for each block of a matrix;
#: for each row of the DRAM that is opened. Simulated on aim (1 to 8 matrices of 64 and 128, 64 to
#: 4,096 rows), from which the model is at most 4 % of an append away.
APPEND_CLOCKS, BLOCKS_APPEND_CLOCKS, BLOCK_CLOCKS, BLOCK_ROW_CLOCKS = 12, 740, 20, 15

#: Another form than the plain one is taken when it takes at most this part of the clocks.
WORTH = 0.99


@dataclass(frozen=True)
class Forms:
    """The forms of a model's tensors and products."""

    tensors: Mapping[str, ActivationForm] = field(default_factory=dict)  # from the CPU, by name
    products: Mapping[str, ProductForm] = field(default_factory=dict)  # that are not plain, by node
    in_blocks: frozenset[str] = frozenset()  # states that lie in blocks, as operators read them

    def of(self, node_id: str) -> ProductForm:
        """Return the form of a product; plain for other operators."""
        return self.products.get(node_id, PLAIN)


def choose_forms(
    graph: Graph,
    operations: Mapping[str, Operation],
    geometry: Geometry,
    column_granule: int,
    bank: BankClocks = DEFAULT_BANK,
) -> Forms:
    """Return the forms that depend on the model and what the PIM may run, not on a schedule.

    Parameters
    ----------
    graph, operations
        The model, and every operator that may run on the PIM.
    geometry
        Of the device.
    column_granule
        Columns that MATMUL's constants are padded to (`PimDriver.column_granule`).
    bank
        DRAM clocks between accesses of a bank (`PimDriver.bank_clocks`).
    """
    chooser = _Chooser(graph, operations, geometry, column_granule, bank)
    tensors: dict[str, ActivationForm] = {}
    products: dict[str, ProductForm] = {}
    for node in graph.nodes:
        operation = operations.get(node.id)
        if operation is None:
            continue
        form, laid_out = operation.choose_form(node, chooser)
        if form != PLAIN:
            products[node.id] = form
        tensors.update(laid_out)
    blocks = (state.whole for state in graph.states if chooser.in_blocks(state))
    return Forms(tensors, products, frozenset(blocks))


def driver_forms(graph: Graph, operations: Mapping[str, Operation], driver: PimDriver) -> Forms:
    """Return `choose_forms` on the device of a driver, as that stores and estimates."""
    return choose_forms(
        graph, operations, driver.geometry, driver.column_granule, driver.bank_clocks
    )


class _Chooser:
    """Chooses the form of one product after the other; see `choose_forms`."""

    def __init__(
        self,
        graph: Graph,
        operations: Mapping[str, Operation],
        geometry: Geometry,
        column_granule: int,
        bank: BankClocks,
    ) -> None:
        self._graph = graph
        self._operations = operations
        self._geometry = geometry
        self._granule = column_granule
        self._bank = bank
        self._readers = _constant_readers(graph, operations)

    def choose(
        self, node: Node, product: Product
    ) -> tuple[ProductForm, Mapping[str, ActivationForm]]:
        """Return the form of a product, and of the operands that the host lays out, by name."""
        form = self._form(node, product)
        return form, dict(self._activations(product, form))

    def _form(self, node: Node, operation: Product) -> ProductForm:
        """Return the form of a product."""
        left, right = operation.left_shape, operation.right_shape
        right = turned_shape(right) if operation.transposed else right
        opcode, straight = self._clocks(operation.right, operation.transposed, left, right)
        form = ProductForm(opcode=opcode)
        if self._can_turn(node, operation):
            other, turned = self._clocks(
                operation.left, False, turned_shape(right), turned_shape(left)
            )
            if turned <= WORTH * straight:
                form = ProductForm(turned=True, opcode=other)
        return form

    def _activations(
        self, operation: Product, form: ProductForm
    ) -> Iterator[tuple[str, ActivationForm]]:
        """Yield the operands of a product, by name, that the host lays out for it."""
        if form.turned:
            if self._from_cpu(operation.left):
                yield operation.left, ActivationForm("right", True, operation.left_shape)
            if self._from_cpu(operation.right):
                turned = not operation.transposed
                yield operation.right, ActivationForm("left", turned, operation.right_shape)
        elif self._from_cpu(operation.right):
            yield (
                operation.right,
                ActivationForm("right", operation.transposed, operation.right_shape),
            )

    def _clocks(
        self, name: str, transposed: bool, left: Shape, right: Shape
    ) -> tuple[ProductOpcode, int]:
        """Return (opcode of a constant right operand, DRAM clocks) of left x right.

        `name` is the right operand, `transposed` says that the model has its transpose.
        """
        g, bank = self._geometry, self._bank
        rows, (inner, columns) = _rows(left, right), right[-2:]
        blocked = blocked_clocks(g, rows, inner, columns, bank)
        if name in self._graph.constants:
            tiled = clocks(g, rows, inner, round_up(columns, self._granule), bank)
            return ("MATMUL_T", blocked) if blocked <= WORTH * tiled else ("MATMUL", tiled)
        if transposed and not self._from_cpu(name):
            return "MATMUL", blocked_clocks(g, rows, inner, columns, bank, apart=True)
        return "MATMUL", clocks(g, rows, inner, columns, bank)

    def in_blocks(self, state: State) -> bool:
        """Return whether a state lies in blocks."""
        graph, g, bank = self._graph, self._geometry, self._bank
        readers = [node.id for node in graph.consumers[state.whole] if node.id in self._operations]
        products = [self._operations[reader] for reader in readers]
        if graph.producer[state.whole].id not in self._operations or in_blocks_refused(g):
            return False
        *lead, capacity, size = graph.tensors[state.whole].shape
        rows = 0
        for product in products:
            if not makes_scores(graph, product):
                return False
            assert isinstance(product, Product)
            if state.whole in (product.left, product.bias):
                return False
            rows += _rows(product.left_shape, turned_shape(product.right_shape))
        filled = max(capacity // 2, 1)
        apart, blocked = (
            blocked_clocks(g, rows, size, filled, bank, apart=not blocks)
            + append_clocks(g, prod(lead), size, capacity, bank, blocks=blocks)
            for blocks in (False, True)
        )
        return rows > 0 and blocked <= WORTH * apart

    def _can_turn(self, node: Node, operation: Product) -> bool:
        """Return whether a product may be computed turned around."""
        graph, left, right = self._graph, operation.left, operation.right
        result = node.outputs[0]
        if {left, right} & graph.state_named.keys():
            return False  # a state has one form, and its rows are not all there
        if operation.bias is not None or any(
            reader.id in self._operations for reader in graph.consumers.get(result, ())
        ):
            return False
        if right in graph.constants and not operation.constant_left:
            return False
        # A constant that others read too would be in device memory twice.
        constants = [graph.constants[name] for name in (left, right) if name in graph.constants]
        if any(self._readers[id(constant)] > 1 for constant in constants):
            return False
        movable = (left, *(() if operation.transposed else (right,)))
        return all(name in graph.constants or self._from_cpu(name) for name in movable)

    def _from_cpu(self, name: str) -> bool:
        """Return whether an activation always comes from the CPU, for one operator of the PIM."""
        graph = self._graph
        if name in graph.constants:
            return False
        producer = graph.producer.get(name)
        readers = [node for node in graph.consumers[name] if node.id in self._operations]
        return (producer is None or producer.id not in self._operations) and len(readers) == 1


def clocks(
    geometry: Geometry, rows: int, inner: int, columns: int, bank: BankClocks = DEFAULT_BANK
) -> int:
    """Return about how many DRAM clocks MATMUL takes, refreshes and the list left out.

    A step brings the beats of a tile to the lanes, all from one bank; the next step on the same
    accumulators follows `lane_latency` fabric clocks later at the earliest. `rows_per_beat` rows of
    the left operand share the beats; for each such group all rows of the DRAM that hold the right
    operand are opened.
    """
    beats = round_up(columns, geometry.beat_columns) // geometry.beat_columns
    latency = geometry.lane_latency * geometry.ck_ratio
    opened = _reopened(geometry, inner * beats * geometry.beat_bytes)
    own = ROW_CLOCKS[_style(geometry)] * geometry.ck_ratio
    widths = [width for _, width in layout.split(beats, geometry.acc_groups)]
    total = rows * own
    for groups, size in row_groups(geometry, rows):
        beat = max(_fabric(geometry, geometry.beat_columns, size), bank.access)
        steps = sum(max(width * beat, latency) for width in widths)
        total += groups * (inner * steps + opened * bank.reopen)
    return total


def blocked_clocks(
    geometry: Geometry,
    rows: int,
    inner: int,
    columns: int,
    bank: BankClocks = DEFAULT_BANK,
    *,
    apart: bool = False,
) -> int:
    """Return about how many DRAM clocks MATMUL_T takes, refreshes and the list left out.

    A step works on a beat of columns. The next one on the same beat follows as in `clocks`;
    meanwhile go those of other blocks, where the device has ways for them. It waits for the lanes
    or for the memory, whichever is slower. The first block of a row is read before it leaves.

    Parameters
    ----------
    geometry, rows, inner, columns, bank
        As of `clocks`.
    apart
        The rows of the transpose lie as a tensor has them: an atom of each is read at a time. Else
        they lie in blocks, which all banks bring together.
    """
    atoms = geometry.atom_columns
    columns = round_up(columns, atoms)
    beats = -(-columns // geometry.beat_columns)
    parts = 1 if apart else geometry.beat_columns // atoms
    reads = columns // parts if atoms % parts == 0 else columns
    opened = _reopened(geometry, columns * inner * BF16_BYTES)
    memory = inner * reads * bank.access // atoms + opened * bank.reopen
    first = -(-reads // beats) * bank.access
    ways = geometry.transpose_ways
    widths = [width for _, width in layout.split(beats, geometry.acc_groups)]
    own = ROW_CLOCKS[_style(geometry)]
    if geometry.all_bank and beats == 1 and inner <= geometry.beat_columns // 2:
        own -= FILL_CLOCKS
    total = rows * own * geometry.ck_ratio
    for groups, size in row_groups(geometry, rows):
        step = _fabric(geometry, geometry.beat_columns, size)
        latency = max(geometry.lane_latency * geometry.ck_ratio, step)
        turns = sum(max(width * step, -(-width // ways) * latency) for width in widths)
        total += groups * (max(inner * turns, memory) + first)
    return total


def append_clocks(
    geometry: Geometry,
    matrices: int,
    size: int,
    capacity: int,
    bank: BankClocks = DEFAULT_BANK,
    *,
    blocks: bool,
) -> int:
    """Return about how many DRAM clocks appending to a state takes, what all lists take left out.

    Parameters
    ----------
    geometry, bank
        As of `clocks`.
    matrices, size
        A row of each matrix is appended, of so many elements.
    capacity
        Rows of a matrix.
    blocks
        The state lies in blocks, not in rows.
    """
    ratio = geometry.ck_ratio
    if not blocks:
        return matrices * (bank.reopen + APPEND_CLOCKS * ratio)
    count = matrices * -(-size // geometry.atom_columns)
    whole = count * round_up(capacity, geometry.atom_columns) * geometry.atom_bytes
    # Their beats are read and written again.
    opened = min(count, _reopened(geometry, whole) + 1)
    own = (BLOCKS_APPEND_CLOCKS + BLOCK_CLOCKS * count) * ratio
    return own + 2 * opened * (bank.reopen + BLOCK_ROW_CLOCKS * ratio)


def row_groups(geometry: Geometry, rows: int) -> list[tuple[int, int]]:
    """Return (groups, rows in each) of the rows of a product that share beats.

    >>> from pimloop.host.platforms.platform import load_platform
    >>> row_groups(load_platform("aim", {"device.rows_per_beat": "4"}).geometry(), 11)
    [(2, 4), (1, 3)]
    """
    together = geometry.rows_per_beat
    whole, rest = divmod(rows, together)
    return [(count, size) for count, size in ((whole, together), (1, rest)) if count and size]


def _style(geometry: Geometry) -> str:
    return "all_bank" if geometry.all_bank else "per_bank"


def _reopened(geometry: Geometry, size: int) -> int:
    """Return how often another row of the DRAM is opened within an operand of so many bytes.

    In all_bank style operands begin at a row.
    """
    if geometry.all_bank:
        return (size - 1) // (geometry.row_bytes * geometry.banks)
    return size // geometry.row_bytes


def _fabric(geometry: Geometry, columns: int, rows: int) -> int:
    """Return the DRAM clocks that the lanes take for some columns of a beat and some rows."""
    together = max(1, geometry.lanes // geometry.beat_columns)
    return -(-columns // geometry.lanes) * -(-rows // together) * geometry.ck_ratio


def _rows(left: Shape, right: Shape) -> int:
    """Return the rows of the result of left x right, a descriptor's rows together."""
    if prod(right[:-2]) == 1:
        return prod(left[:-1])
    return prod(np.broadcast_shapes(left[:-2], right[:-2])) * left[-2]


def _constant_readers(graph: Graph, operations: Mapping[str, Operation]) -> dict[int, int]:
    """Return how many operators of the PIM read each constant, by identity of its array."""
    readers: dict[int, int] = {}
    for node in graph.nodes:
        if node.id in operations:
            arrays = {id(graph.constants[name]) for name in node.inputs if name in graph.constants}
            for array in arrays:
                readers[array] = readers.get(array, 0) + 1
    return readers
