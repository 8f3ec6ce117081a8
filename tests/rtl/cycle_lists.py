"""Devices and descriptor lists whose cycles are pinned: test_cycles.py, test_cycle_mutants.py.

Every list is made for the device it runs on: operands in banks of their own (per_bank) or in rows
far apart (all_bank), sizes in beats, FENCEs until just before a refresh falls due.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimloop.host.pim.device.integers import WEIGHTS_PER_LANE
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    UNARY_OPCODES,
    Broadcast,
    Init,
    Opcode,
    Weights,
)

#: Platform and settings of each device.
DEVICES: dict[str, tuple[str, dict[str, str]]] = {
    "htg-z920": ("htg-z920", {}),
    "aim": ("aim", {}),
    "4 lanes, no refresh": (
        "htg-z920",
        {"device.lanes": "4", "device.vector_setup": "300", "dram.trefi": "0"},
    ),
    "8 lanes, set-up 0": ("htg-z920", {"device.lanes": "8", "device.vector_setup": "0"}),
    "16 lanes, set-up 1": ("htg-z920", {"device.lanes": "16", "device.vector_setup": "1"}),
    "24 lanes, latency 5": (
        "htg-z920",
        {"device.lanes": "24", "device.lane_latency": "5", "device.transpose_ways": "4"},
    ),
    # Two slots a clock; a refresh that falls due inside a clock, and inside most lists.
    "2 slots, odd refresh": (
        "htg-z920",
        {"device.ck_ratio": "2", "device.vector_setup": "3", "dram.trefi": "3001"},
    ),
    # Rules that coincide with others on aim are apart here.
    "aim, 64 lanes": (
        "aim",
        {"device.lanes": "64", "device.vector_setup": "1", "dram.tfaw": "50", "dram.trrd_l": "9"}
        | {"dram.tccd_l": "5", "dram.trefi": "2501"},
    ),
    # tRC ends later than tRAS and tRP.
    "short rows": ("htg-z920", {"dram.trcd_rd": "4", "dram.trp": "4"}),
    # Rows that share the beats of a product: in two passes, at once, in eight passes of two clocks.
    "4 rows, 64 lanes": (
        "htg-z920",
        {"device.rows_per_beat": "4", "device.lanes": "64", "device.transpose_ways": "2"},
    ),
    "aim, 2 rows, 512 lanes": ("aim", {"device.rows_per_beat": "2", "device.lanes": "512"}),
    "8 rows, 24 lanes": ("htg-z920", {"device.rows_per_beat": "8", "device.lanes": "24"}),
    "aim, no refresh": (
        "aim",
        {"device.lanes": "100", "device.vector_setup": "20", "dram.trefi": "0"},
    ),
}
#: What `make test` runs.
QUICK = ("htg-z920", "aim", "4 lanes, no refresh")

_LINE, _PAGE = 64, 4096
#: Fabric clocks from the fetch of an operation to the refresh that falls due.
_EARLY = (-9, -1, 0, 1, 5, 12, 19, 24, 26, 27, 28, 29, 30, 32, 35, 38, 42, 47, 53, 60, 70, 85, 110)


def table(p: Mapping[str, int], base: int) -> dict[str, list[Descriptor]]:
    """Return lists by name.

    Parameters
    ----------
    p
        Parameters of `pim_top`.
    base
        Host address of 64 KiB that copies may use, a multiple of 4 KiB.
    """
    maker = _Maker(p, base)
    named = maker.fences() | maker.copies() | maker.products() | maker.transposed()
    named |= maker.integers() | maker.elementwise() | maker.unary()
    mixed = maker.mixed()
    named["several operations"] = mixed
    named["several operations, with records"] = [_with_record(item) for item in mixed]
    # Refreshes that fall due around the fetch of an operation, in its checks, its transfers, its
    # reads and writes, and on the way to sleep.
    for name, item in maker.short().items():
        for early in _EARLY:
            named[f"{name} {early} clocks before a refresh"] = maker.before_refresh(item, early)
    return named


def idle_clocks(clocks: int) -> list[Descriptor]:
    """Return FENCEs that take so many fabric clocks, a few hundred or more.

    With the default latencies of the host memory: 17 each, 24 with a record (cycle_model.py).
    """
    recorded = clocks * pow(24, -1, 17) % 17
    plain = (clocks - 24 * recorded) // 17
    assert plain >= 0, f"{clocks} clocks are too few"
    return [descriptors.fence()] * plain + [_with_record(descriptors.fence())] * recorded


def _with_record(item: Descriptor) -> Descriptor:
    changed: Descriptor = item.copy()
    changed["control"] |= 1 << CONTROL_FIELDS["record"][0]
    return changed


class _Maker:
    """Makes descriptors for a device."""

    def __init__(self, p: Mapping[str, int], base: int) -> None:
        self.p = p
        self.base = base
        self.atom = p["AtomBytes"]
        self.beat = self.atom * (p["Banks"] if p["AllBank"] else 1)
        self.columns = self.beat // 2  # of a beat
        self.page = p["RowBytes"] * (p["Banks"] if p["AllBank"] else 1)
        self.apart = p["RowBytes"] * p["Rows"]  # a bank; all_bank: a sixteenth of the rows

    def place(self, index: int) -> int:
        """Return the address of an operand."""
        return index * self.apart

    def due(self, refreshes: int) -> int:
        """Return the clock in which so many refreshes have fallen due (none: about as late)."""
        return -(-refreshes * (self.p["TRefi"] or 9360) // self.p["CkRatio"])

    # ---- lists -----------------------------------------------------------------------------------

    def fences(self) -> dict[str, list[Descriptor]]:
        """FENCEs alone, up to three refreshes, which the last steps wait for or not."""
        counts = {f"{count} FENCEs": count for count in (0, 1, 12, 40)}
        named = {name: [descriptors.fence()] * count for name, count in counts.items()}
        for refreshes in (1, 2, 3):
            for later in range(-3, 2):
                # END takes 17 more, the check of the first descriptor's address 1.
                idle = idle_clocks(self.due(refreshes) + later - 18)
                named[f"to sleep {later} clocks after refresh {refreshes} falls due"] = idle
        named["FENCEs with records"] = [_with_record(descriptors.fence())] * 3
        return named

    def copies(self) -> dict[str, list[Descriptor]]:
        """One line to many, rows apart, across pages and 4 KiB of the host, into refreshes."""
        shapes: dict[str, dict[str, int]] = {
            f"{lines} lines": {"row_bytes": _LINE * lines} for lines in (1, 2, 5, 16, 17, 150)
        }
        shapes["rows apart"] = {
            "rows": 6, "row_bytes": _LINE * 7, "host": _PAGE - 2 * _LINE, "host_stride": _LINE * 9,
            "device": self.page - 3 * _LINE, "device_stride": 2 * self.page,
        }  # fmt: skip
        shapes["rows of other banks"] = {
            "rows": 5, "row_bytes": _LINE * 3, "host_stride": _LINE * 3,
            "device_stride": self.apart,
        }  # fmt: skip
        shapes["across pages"] = {
            "row_bytes": _LINE * 400, "host": 5 * _LINE, "device": self.page - 100 * _LINE
        }  # fmt: skip
        named = {}
        for way, make in (("in", descriptors.copy_in), ("out", descriptors.copy_out)):
            for name, shape in shapes.items():
                named[f"copy {way}, {name}"] = [self.copy(make, **shape)]
            long = self.copy(make, row_bytes=_LINE * 220)
            for early in (60, 130, 200):
                name = f"copy {way} from {early} clocks before a refresh on"
                named[name] = self.before_refresh(long, early)
        return named

    def products(self) -> dict[str, list[Descriptor]]:
        """Tiles and rows, narrow and wide, start values, results of both kinds, pages."""
        shapes: dict[str, dict[str, Any]] = {
            "a beat": {"inner": 1, "beats": 1},
            "one atom of A": {"inner": self.atom // 2, "beats": 4},
            "two atoms of A": {"inner": self.atom // 2 + 1, "beats": 4},
            "narrow": {"inner": 40, "beats": 2},
            "narrower than a lane's latency": {"inner": 70, "beats": 3, "rows": 2},
            "as wide as its latency": {"inner": 50, "beats": self.p["LaneLatency"]},
            "tiles": {"inner": 33, "beats": 7, "tile": 3, "rows": 3},
            "wide": {"inner": 64, "beats": 16},
            "pages": {"inner": 600, "beats": 3},
            "pages and refreshes": {"inner": 640, "beats": 16, "rows": 2},
            "start row": {"inner": 48, "beats": 6, "tile": 4, "rows": 2, "init": Init.ROW},
            "continued": {
                "inner": 48, "beats": 5, "rows": 2, "init": Init.F32, "out_f32": True,
            },
            "binary32 result": {"inner": 20, "beats": 4, "rows": 3, "out_f32": True},
            "rows of groups": {"inner": 40, "beats": 5, "rows": 11, "tile": 3},
            "rows of groups, continued": {
                "inner": 33, "beats": 3, "rows": 5, "init": Init.F32, "out_f32": True, "tile": 2,
            },
        }  # fmt: skip
        size = self.atom // 2
        for inner in (size, size + 1, 2 * size + 1):
            # Nothing but the scalar buffer keeps B behind A.
            shapes[f"{inner} steps in a page"] = {
                "inner": inner,
                "beats": 1,
                "apart": 8 * self.beat,
            }
        return {f"product, {name}": [self.product(**shape)] for name, shape in shapes.items()}

    def integers(self) -> dict[str, list[Descriptor]]:
        """Products by integers that the device has: groups, narrow and wide, start values."""
        shapes: dict[str, dict[str, Any]] = {
            "a group": {"inner": 40, "beats": 4, "group": 7},
            "a row of groups of one": {"inner": 5, "beats": 4, "group": 0},
            "groups, the last one smaller": {"inner": 300, "beats": 8, "group": 7, "rows": 3},
            "groups of one access of A": {"inner": self.atom // 2, "beats": 8, "group": 3},
            "narrow tiles": {"inner": 70, "beats": 12, "tile": 4, "group": 5, "rows": 5},
            "pages and refreshes": {"inner": 900, "beats": 16, "group": 12, "rows": 2},
            "start row": {"inner": 48, "beats": 8, "group": 4, "rows": 3, "init": Init.ROW},
            "continued": {
                "inner": 48, "beats": 8, "group": 5, "rows": 2, "init": Init.F32, "out_f32": True,
            },
        }  # fmt: skip
        return {
            f"{weights.name}, {name}": [self.product(weights=weights, **shape)]
            for weights, each in WEIGHTS_PER_LANE.items()
            if 1 < each <= self.p["RowsPerBeat"]
            for name, shape in shapes.items()
        }

    def transposed(self) -> dict[str, list[Descriptor]]:
        """Blocks of the inner dimension and of columns, apart and contiguous, part of a block."""
        size = self.atom // 2
        shapes: dict[str, dict[str, Any]] = {
            "a block": {"inner": size, "cols": size},
            "a slice": {"inner": 1, "cols": size},
            "part of a block": {"inner": size + 5, "cols": 2 * size},
            "blocks": {"inner": 4 * size, "cols": 3 * size, "rows": 2},
            "rows apart": {"inner": 2 * size, "cols": 2 * size, "apart": True},
            "two tiles": {"inner": 3, "cols": 17 * self.columns, "rows": 1},
            "start row": {"inner": size, "cols": size, "rows": 2, "init": Init.ROW},
            "continued": {
                "inner": size, "cols": 2 * size, "init": Init.F32, "out_f32": True,
            },
            "refreshes": {"inner": 24 * size, "cols": 3 * size, "apart": True},
            "rows of groups": {"inner": size + 3, "cols": 2 * size, "rows": 11},
            # More beats than a device has ways, the last one narrower than the others.
            "beats in turns": {"inner": 3 * size + 1, "cols": 5 * self.columns + size, "rows": 3},
            "beats of two atoms": {"inner": 2 * size, "cols": 2 * self.columns, "apart": True},
            "beats, start row": {
                "inner": size, "cols": 3 * self.columns, "rows": 2, "init": Init.ROW,
            },
        }  # fmt: skip
        return {f"transposed, {name}": [self.turned(**shape)] for name, shape in shapes.items()}

    def elementwise(self) -> dict[str, list[Descriptor]]:
        """Every operation and shape of the right operand, narrow and wide, in place."""
        named = {}
        for opcode in (Opcode.ADD, Opcode.SUB, Opcode.MUL):
            for kind in Broadcast:
                name = f"{opcode.name} {kind.name.lower()}"
                named[name] = [self.vector(opcode, rows=3, beats=5, broadcast=kind)]
        for beats in (1, 3, 4, 16, 20, 67):
            named[f"ADD of {beats} beats"] = [self.vector(Opcode.ADD, rows=4, beats=beats)]
        for kind in Broadcast:
            item = self.vector(Opcode.MUL, rows=29, beats=9, broadcast=kind)
            named[f"MUL {kind.name} of rows together"] = [item]
        named["ADD across refreshes"] = [self.vector(Opcode.ADD, rows=20, beats=16)]
        named["MUL column across refreshes"] = [
            self.vector(Opcode.MUL, rows=40, beats=7, broadcast=Broadcast.COLUMN)
        ]
        for beats in (3, 4, 5, 6):
            # Nothing but the lanes keeps B behind A.
            item = self.vector(Opcode.ADD, rows=2, beats=beats, apart=2 * beats * self.beat)
            named[f"ADD of {beats} beats in a page"] = [item]
        for rows, beats in ((1, 4), (2, 2), (4, 1)):
            # As many as the latency of a lane has clocks, one row or several together.
            item = self.vector(Opcode.ADD, rows=rows, beats=beats, apart=rows * beats * self.beat)
            named[f"ADD of {rows} x {beats} beats in a page"] = [item]
        # all_bank: the first leaves the page open in all banks, so that B follows A at once.
        near = 8 * self.beat
        named["product behind ADD in a page"] = [
            self.vector(Opcode.ADD, rows=2, beats=4, apart=near),
            self.product(inner=self.atom // 2 + 1, beats=1, apart=near),
            self.product(inner=self.atom // 2, beats=1, apart=near),
        ]
        named["SUB in one bank"] = [self.vector(Opcode.SUB, rows=3, beats=6, apart=self.page * 3)]
        return named

    def unary(self) -> dict[str, list[Descriptor]]:
        """Operations of one operand: narrow and wide, in one bank, behind others, refreshes."""
        named = {}
        for opcode in UNARY_OPCODES:
            name = opcode.name
            for beats in (1, 3, 4, 16, 20):
                named[f"{name} of {beats} beats"] = [self.alone(opcode, rows=4, beats=beats)]
            named[f"{name} across refreshes"] = [self.alone(opcode, rows=40, beats=16)]
            # Nothing but the lanes keeps the result behind A, and A of a row behind the result.
            near = [
                self.alone(opcode, rows=3, beats=beats, apart=3 * beats * self.beat)
                for beats in (1, 2, 5)
            ]
            named |= {f"{name} in a page, {i}": [item] for i, item in enumerate(near)}
            named[f"{name} in one bank"] = [
                self.alone(opcode, rows=3, beats=6, apart=self.page * 3)
            ]
            named[f"{name} in place"] = [self.alone(opcode, rows=3, beats=18, apart=None)]
            named[f"{name} between others"] = [
                self.product(inner=40, beats=5, init=Init.ROW),
                self.alone(opcode, rows=2, beats=5),
                self.vector(Opcode.ADD, rows=2, beats=5),
                self.alone(opcode, rows=2, beats=3),
                self.turned(inner=40, cols=self.atom),
                self.alone(opcode, rows=1, beats=1),
            ]
        return named

    def mixed(self) -> list[Descriptor]:
        """Return operations that leave rows open for one another."""
        return [
            self.copy(descriptors.copy_in, row_bytes=_LINE * 24),
            self.product(inner=40, beats=5),
            self.vector(Opcode.ADD, rows=2, beats=5),
            descriptors.fence(),
            self.turned(inner=40, cols=self.atom),
            self.vector(Opcode.MUL, rows=2, beats=2, broadcast=Broadcast.SCALAR),
            self.copy(descriptors.copy_out, row_bytes=_LINE * 20, device=self.place(2)),
        ]

    def short(self) -> dict[str, Descriptor]:
        """Return an operation of each kind that is over soon."""
        return {
            "copy in": self.copy(descriptors.copy_in, row_bytes=_LINE * 6),
            "copy out": self.copy(descriptors.copy_out, row_bytes=_LINE * 6),
            "product": self.product(inner=20, beats=4),
            "vector": self.vector(Opcode.ADD, rows=1, beats=4),
            **{op.name: self.alone(op, rows=1, beats=4) for op in UNARY_OPCODES},
            "transposed": self.turned(inner=self.atom // 2, cols=self.atom // 2),
        }

    def before_refresh(self, item: Descriptor, clocks: int) -> list[Descriptor]:
        """Return FENCEs and an operation fetched so many clocks before a refresh."""
        return [*idle_clocks(self.due(1) - clocks - 1), item]

    # ---- descriptors -----------------------------------------------------------------------------

    def copy(
        self, make: Any, *, row_bytes: int, rows: int = 1, host: int = 0, device: int = 0,
        host_stride: int = 0, device_stride: int = 0,
    ) -> Descriptor:  # fmt: skip
        """Return a copy between `host` bytes behind the base and `device`."""
        item: Descriptor = make(
            self.base + host, device, rows=rows, row_bytes=row_bytes, host_stride=host_stride,
            device_stride=device_stride,
        )  # fmt: skip
        return item

    def product(
        self, *, inner: int, beats: int, rows: int = 1, tile: int = 16, init: Init = Init.ZERO,
        out_f32: bool = False, apart: int = 0, weights: Weights = Weights.BF16, group: int = 0,
    ) -> Descriptor:  # fmt: skip
        """Return a MATMUL of `beats` beats of columns; `apart`: bytes from A to B."""
        wide = 2 * self.beat * beats
        return descriptors.matmul(
            self.place(0), apart or self.place(1), self.place(2), rows=rows, inner=inner,
            cols=beats * self.columns, stride_a=-(-2 * inner // self.beat) * self.beat,
            stride_y=wide, tile=tile, init=init, c=self.place(3), stride_c=wide, out_f32=out_f32,
            weights=weights, group=group,
        )  # fmt: skip

    def turned(
        self, *, inner: int, cols: int, rows: int = 1, apart: bool = False,
        init: Init = Init.ZERO, out_f32: bool = False,
    ) -> Descriptor:  # fmt: skip
        """Return a MATMUL_T; `apart`: rows of B lie apart, else atoms of a block side by side."""
        blocks = -(-2 * inner // self.atom)
        wide = 2 * -(-2 * cols // self.beat) * self.beat
        return descriptors.matmul(
            self.place(0), self.place(1), self.place(2), rows=rows, inner=inner, cols=cols,
            stride_a=-(-2 * inner // self.beat) * self.beat, stride_y=wide, transposed=True,
            tile=self.atom if apart else self.atom * cols,
            stride_b=self.atom * (blocks + 1) if apart else self.atom,
            init=init, c=self.place(3), stride_c=wide, out_f32=out_f32,
        )  # fmt: skip

    def alone(self, opcode: Opcode, *, rows: int, beats: int, apart: int | None = 0) -> Descriptor:
        """Return an operation of one operand; its result lies `apart` bytes on, None: in place."""
        wide = self.beat * beats
        step = 0 if apart is None else apart or self.place(1)
        return descriptors.unary(
            opcode, 0, step, rows=rows, cols=beats * self.columns, stride_a=wide, stride_y=wide
        )

    def vector(
        self, opcode: Opcode, *, rows: int, beats: int, broadcast: Broadcast = Broadcast.NONE,
        apart: int = 0,
    ) -> Descriptor:  # fmt: skip
        """Return an element-wise operation; its operands lie `apart` bytes apart."""
        wide = self.beat * beats
        step = apart or self.place(1)
        return descriptors.elementwise(
            opcode, 0, step, 2 * step, rows=rows, cols=beats * self.columns, stride_a=wide,
            stride_b=wide, stride_y=wide, broadcast=broadcast,
        )  # fmt: skip
