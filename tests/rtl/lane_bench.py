"""Drives the pair of lane bodies (sv/pim_lane_pair.sv) in this process."""

from __future__ import annotations

import numpy as np
from lane_reference import (
    DPI_HEADER,
    DPI_SOURCE,
    LOAD,
    LOAD_F32,
    MAC,
    MUL,
    PAIR_SOURCES,
    bf16_wide,
    fma_wide,
    relu_exact,
)
from support.exact import add_part

from pimloop.sim.bench.inprocess import InProcessModel

#: Cycles between operations on one accumulator (pim_top: LaneLatency).
LATENCY = 4


class LaneBench(InProcessModel):
    """RTL and native lanes on the same operations; every read checks that they agree.

    Like the control of the device, it keeps operations on, and reads of, one accumulator
    `LATENCY` cycles behind the last operation on it, waiting where that is necessary.
    Words go in and come out as numpy arrays: bfloat16 uint16[lanes], binary32 uint32[lanes].
    """

    def __init__(self, lanes: int = 32, groups: int = 16, parts: int = 1) -> None:
        super().__init__(
            "pim_lane_pair",
            PAIR_SOURCES,
            params={"Lanes": lanes, "Groups": groups, "Parts": parts},
            cpp_sources=[DPI_SOURCE],
            headers=[DPI_HEADER],
        )
        self.lanes, self.groups, self.parts = lanes, groups, parts
        self._in = {name: self.view(name) for name in self.inputs}
        self["mask_i"] = (1 << parts) - 1
        self._clock = 0
        # Cycle in which each half of the lanes may meet its accumulator again.
        self._free = np.zeros((groups, 2), dtype=np.int64)

    def present(
        self,
        op: int,
        group: int,
        scalar: int,
        vector: np.ndarray,
        read: int | None = None,
        part: int = 0,
    ) -> None:
        """Spend one cycle on an operation, reading set `read` at the same time, for that part."""
        halves = slice(scalar & 1, (scalar & 1) + 1) if op == LOAD_F32 else slice(0, 2)
        self._wait(max(self._free[group, halves].max(), self._settled(read)))
        self._free[group, halves] = self._clock + LATENCY
        self._in["valid_i"][0] = 1
        self._in["op_i"][0] = op
        self._in["group_i"][0] = group
        self._in["scalar_i"][0] = scalar
        self._in["vector_i"][:] = vector.view(np.uint32)
        self._cycle(read, part)

    def idle(self, read: int | None = None, part: int = 0) -> None:
        """Spend one cycle without an operation."""
        self._wait(self._settled(read))
        self._in["valid_i"][0] = 0
        self._cycle(read, part)

    def _settled(self, group: int | None) -> int:
        """Return the cycle in which a set may be read."""
        return 0 if group is None else int(self._free[group].max())

    def _wait(self, clock: int) -> None:
        if clock > self._clock:
            self._in["valid_i"][0] = self._in["read_i"][0] = 0
            self.tick(clock - self._clock)
            self._clock = clock

    def _cycle(self, read: int | None, part: int) -> None:
        self._in["read_i"][0] = read is not None
        self._in["read_part_i"][0] = part
        if read is not None:
            self._in["read_group_i"][0] = read
        self.tick()
        self._clock += 1

    def load(self, group: int, words: np.ndarray, read: int | None = None) -> None:
        """Put binary32 words into an accumulator set: two cycles, the first one may read."""
        half = self.lanes // 2
        self.present(LOAD_F32, group, 0, words[:half], read)
        self.present(LOAD_F32, group, 1, words[half:])

    def outputs_now(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs (bfloat16, binary32), which both bodies must agree on."""
        bf16, f32 = self.view("rtl_bf16_o").copy(), self.view("rtl_f32_o").copy()
        assert np.array_equal(bf16, self.view("native_bf16_o"))
        assert np.array_equal(f32, self.view("native_f32_o"))
        return bf16.view(np.uint16)[: self.lanes], f32[: self.lanes]

    def read(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an accumulator set as bfloat16 and as binary32 bits."""
        self.idle(read=group)
        self.idle()
        return self.outputs_now()

    def mac(self, scalars: np.ndarray, vectors: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Return fma(scalars[i], vectors[i], words[i]) for every row i, on group i mod groups.

        Shapes: (n,), (n, lanes), (n, lanes).
        """
        results = np.empty_like(words)
        for first in range(0, len(words), self.groups):
            rows = range(first, min(first + self.groups, len(words)))
            for row in rows:
                # The read of the last round's row overlaps the loads of this one.
                done = row - self.groups
                self.load(row % self.groups, words[row], row % self.groups if done >= 0 else None)
                if done >= 0:
                    results[done] = self.outputs_now()[1]
            for row in rows:
                self.present(MAC, row % self.groups, int(scalars[row]), vectors[row])
        for row in range(max(0, len(words) - self.groups), len(words)):
            results[row] = self.read(row % self.groups)[1]
        return results

    def check_mac(self, scalars: np.ndarray, vectors: np.ndarray, words: np.ndarray) -> None:
        """Assert that `mac` equals the wide oracle."""
        got = self.mac(scalars, vectors, words)
        expected = fma_wide(scalars[:, None], vectors, words)
        for row, lane in np.argwhere(got != expected)[:1]:
            raise AssertionError(
                f"{scalars[row]:04x} * {vectors[row, lane]:04x} + {words[row, lane]:08x} gives "
                f"{got[row, lane]:08x}, not {expected[row, lane]:08x}"
            )


def interleaved(
    model: InProcessModel, op: int, triples: tuple[np.ndarray, ...], port: str, groups: int = 16
) -> np.ndarray:
    """Run one operation on each triple with the ports of one pim_lane; return what `port` reads.

    MAC: c + a * b. MUL: a is loaded, then multiplied by b. RELU: of b alone. Every accumulator is
    used in turn, so that the pipeline is full. The result has one column for each word of the port.
    """
    ports = {name: model.view(name) for name in model.inputs}
    words = model.view(port)
    results = np.empty((len(triples[0]), len(words)), dtype=np.uint32)
    columns = [x.tolist() for x in triples]
    for first in range(0, len(results), groups):
        block = list(zip(*(x[first : first + groups] for x in columns), strict=True))
        ports["valid_i"][0], ports["read_i"][0] = 1, 0
        ports["op_i"][0] = LOAD if op == MUL else LOAD_F32
        for group, (a, _, c) in enumerate(block):
            ports["group_i"][0], ports["word_i"][0], ports["vector_i"][0] = group, c, a
            model.tick()
        ports["valid_i"][0] = 0
        model.tick(LATENCY)
        ports["valid_i"][0], ports["op_i"][0] = 1, op
        for group, (a, b, _) in enumerate(block):
            ports["group_i"][0], ports["vector_i"][0] = group, b
            ports["scalar_i"][0] = 0x3F80 if op == MUL else a
            model.tick()
        ports["valid_i"][0] = 0
        model.tick(LATENCY)
        ports["read_i"][0] = 1
        for group in range(len(block)):
            ports["read_group_i"][0] = group
            model.tick()
            results[first + group] = words
    return results


class LaneModel:
    """What the lanes hold, operation by operation, in numpy."""

    def __init__(self, lanes: int, groups: int, parts: int) -> None:
        self.words = np.zeros((groups, lanes), dtype=np.uint32)
        #: What was read last, and the part of it that is scaled.
        self.last, self.part = np.zeros(lanes, dtype=np.uint32), 0
        self._part = np.arange(lanes) // (lanes // parts)

    def apply(self, op: int, group: int, mask: int, scalar: int, vector: np.ndarray) -> None:
        """Do one operation (see pim_pkg::lane_op_e)."""
        old = self.words[group]
        shared = np.full(vector.shape, scalar, dtype=np.uint16)
        lanes = len(vector)
        takes_part = (mask >> self._part & 1).astype(bool)
        minus_zero = np.full(old.shape, 0x80000000, dtype=np.uint32)
        match op:
            case 0:
                new = fma_wide(shared, vector, old)
            case 1:
                new = fma_wide(shared, vector, np.zeros_like(old))
            case 2:
                new = fma_wide((old >> np.uint32(16)).astype(np.uint16), vector, minus_zero)
            case 3:
                new = fma_wide(shared, vector, minus_zero)
            case 4:
                new = vector.astype(np.uint32) << np.uint32(16)
            case 5:
                new = np.tile(vector.view(np.uint32), 2)
                takes_part &= np.arange(lanes) // (lanes // 2) == (scalar & 1)
            case 6:
                new = shared.astype(np.uint32) << np.uint32(16)
            case 7:
                new = np.array([relu_exact(x) for x in vector.tolist()], dtype=np.uint32)
            case 8:
                new = fma_wide(shared, integers_as_bf16(vector), old)
            case 9:
                new = fma_wide(shared, integers_as_bf16(vector), np.zeros_like(old))
            case 10:
                kept = 0xFF << 16 - 8 * self.part
                steps = zip(vector.tolist(), self.last.tolist(), old.tolist(), strict=True)
                new = np.array([add_part(*step[:2], kept, step[2]) for step in steps], np.uint32)
            case _:
                raise ValueError(f"lane operation {op} of isa.toml has no oracle here: add one")
        self.words[group] = np.where(takes_part, new, old)

    def hold(self, words: np.ndarray, part: int) -> None:
        """Take words as those that were read last, and a part of them."""
        self.last, self.part = words, part

    def read(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an accumulator set as bfloat16 and as binary32 bits."""
        return bf16_wide(self.words[group]), self.words[group].copy()


def integers_as_bf16(vector: np.ndarray) -> np.ndarray:
    """Return the bfloat16 bits of integers as operations of the lanes take them."""
    exact_bits = (vector & 0xFF).astype(np.float32).view(np.uint32) >> 16
    return (exact_bits | vector & 0x8000).astype(np.uint16)
