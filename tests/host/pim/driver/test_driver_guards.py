"""What the driver must not let through: bytes beside its operands, old content, mixed-up counts."""

from __future__ import annotations

import weakref

import ml_dtypes
import numpy as np
import pytest
from support.small_devices import DEPTH, operand, plain, small_device

from pimloop.host.common import golden
from pimloop.host.pim.device.execution import Execution
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.validate import Fields, operands
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.driver.stats import COUNTER_REGISTERS, OpStats
from pimloop.rtl.tables.isa import Opcode, Reg

STYLES = pytest.mark.parametrize("style", ["per_bank", "all_bank"])


def bits(array: np.ndarray) -> np.ndarray:
    return golden.to_bf16_bits(array)


@STYLES
def test_every_bfloat16_arrives(style: str) -> None:
    """All 65,536 patterns, NaN made canonical, as bfloat16 and as float32."""
    driver = PimDriver(small_device(style))
    patterns = np.arange(1 << 16, dtype=np.uint16).reshape(64, 1024)
    expected = np.where((patterns & 0x7FFF) > 0x7F80, np.uint16(0x7FC0), patterns)
    for array in (patterns.view(ml_dtypes.bfloat16), golden.bf16_to_f32(patterns)):
        with driver.upload(array) as tensor:
            assert (bits(driver.download(tensor)) == expected).all()


def test_a_driver_and_its_device_go_with_the_last_reference(without_collector: None) -> None:
    """They do not refer to themselves: device memory may be large."""
    device = small_device("per_bank")
    driver = PimDriver(device)
    with driver.upload(plain(1, 3, 5)) as left, driver.load_matrix(plain(2, 5, 4)) as right:
        driver.matmul(left, right).free()
        with driver.rehearsal():
            driver.elementwise("add", left, left)
    gone = [weakref.ref(driver), weakref.ref(device), weakref.ref(device.memory)]
    del driver, device, left, right
    assert [reference() for reference in gone] == [None, None, None]


@STYLES
@pytest.mark.parametrize("shape", [(3, 5), (7, 1), (5,)])
def test_padding_is_zero_whatever_the_buffer_held(style: str, shape: tuple[int, ...]) -> None:
    device = small_device(style)
    driver = PimDriver(device)
    device.buffer[4096:] = 0xFF
    with driver.upload(plain(1, *shape)) as tensor:
        rows = 1 if tensor.packed else tensor.rows
        width = tensor.size if tensor.packed else tensor.columns
        for row in range(rows):
            start = tensor.address + row * tensor.stride
            line = device.memory[start : start + -(-width * 2 // 64) * 64].view(np.uint16)
            assert not line[width:].any()
            assert line[:width].all()


@STYLES
def test_long_rows_of_sums_are_downloaded_in_pieces(style: str) -> None:
    """A row of binary32 sums longer than the shared buffer."""
    driver = PimDriver(small_device(style, 1 << 20, buffer_bytes=1 << 13))
    a, b = plain(1, 2, 3), plain(2, 3, 2500)
    with driver.upload(a) as left, driver.load_matrix(b) as right:
        with driver.matmul(left, right, out_f32=True) as sums:
            got = driver.download(sums)
            assert driver.last.lists > 2
        assert (got == a @ b).all()


@STYLES
def test_long_columns_are_gathered_in_pieces(style: str) -> None:
    """A result of 1 column lies in rows; as a column it is gathered, a tile at a time."""
    driver = PimDriver(small_device(style, 1 << 20))
    rows = 2 * driver.geometry.tile_columns + 5
    a, b = operand(1, rows, 3), operand(2, 3, 1)
    with (
        driver.upload(a) as left,
        driver.load_matrix(b) as right,
        driver.matmul(left, right) as column,
        driver.elementwise("mul", column, column) as y,
    ):
        values = golden.bf16_to_f32(golden.matmul(bits(a), bits(b)))
        with np.errstate(all="ignore"):
            assert (bits(driver.download(y)) == bits(values * values)).all()
        assert not column.packed
        assert y.packed


@STYLES
def test_gathered_and_widened_columns_keep_the_sign_of_zero(style: str) -> None:
    """A product of zeros with a bias of -0 is -0, in rows; gathered to one row it still is."""
    driver = PimDriver(small_device(style))
    zeros, minus = np.zeros((70, 2), np.float32), np.full((2, 1), -1.0, np.float32)
    with (
        driver.upload(zeros) as left,
        driver.upload(minus) as right,
        driver.upload(np.array([-0.0], np.float32)) as bias,
        driver.matmul(left, right, bias=bias) as column,
        driver.upload(np.ones((70, 1), np.float32)) as ones,
        driver.upload(np.ones((70, 40), np.float32)) as wide,
    ):
        assert (bits(driver.download(column)) == 0x8000).all()
        assert not column.packed
        for other in (ones, wide):
            with driver.elementwise("mul", column, other) as y:
                assert (bits(driver.download(y)) == 0x8000).all()


class Watched(Execution):
    """Remembers every range of device memory that an operation reads or writes."""

    def __init__(self, device: ModelDevice) -> None:
        super().__init__(device.geometry, device.memory, device.buffer, device.buffer_address)
        self.geometry = device.geometry
        self.read: list[tuple[int, int]] = []
        self.written: list[tuple[int, int]] = []

    def execute(self, d: Fields) -> None:
        if d.opcode in (Opcode.MATMUL, Opcode.MATMUL_T, Opcode.ADD, Opcode.SUB, Opcode.MUL):
            parts = operands(d, self.geometry)
            for part in (parts.a, parts.b, parts.c):
                if part is not None:
                    self.read.append((part.address, part.end))
            self.written.append((parts.y.address, parts.y.end))
        super().execute(d)


def watched(style: str, capacity: int = 1 << 20) -> tuple[PimDriver, Watched]:
    device = small_device(style, capacity)
    driver = PimDriver(device)
    watch = Watched(device)
    device._execution = watch
    return driver, watch


@STYLES
@pytest.mark.parametrize(
    ("p", "q", "r"), [(2, 5, 3), (3, DEPTH + 1, 17), (1, 700, 3), (2, 2200, 5), (2, 3, 300)]
)
def test_transposed_operands_read_only_what_is_theirs(style: str, p: int, q: int, r: int) -> None:
    """MATMUL_T reads whole atoms of rows: they are the operand's, or a copy's, never another's."""
    driver, watch = watched(style)
    with driver.upload(plain(1, p, q)) as left, driver.upload(plain(2, r, q)) as right:
        # Neighbours all around, so that nothing is free by chance.
        held = []
        while driver.memory.free_bytes > 400_000:
            held.append(driver.upload(plain(3, 8, 512)))
        blocks = dict(driver.memory._blocks)
        with driver.memory.trial() as taken:
            result = driver.matmul(left, right, transpose_b=True)
            exact = golden.matmul(bits(plain(1, p, q)), bits(plain(2, r, q)).T)
            assert (bits(driver.download(result)) == exact).all()
            every = list(blocks.values()) + list(taken)
        for start, end in watch.read + watch.written:
            assert any(b.address <= start and end <= b.end for b in every), (start, end)
        for operand in held:
            operand.free()


@STYLES
@pytest.mark.parametrize("granule", [1, 2])
def test_operations_stay_inside_their_operands(style: str, granule: int) -> None:
    """Products with a bias, widened columns, copies: every read lies in an allocated block."""
    device = small_device(style, 1 << 20)
    beat = device.geometry.beat_columns
    driver = PimDriver(device, column_granule=granule * beat)
    watch = Watched(device)
    device._execution = watch
    shapes = [((3, 5), (5, 7)), ((70, 1), (1, 40)), ((2, 130), (130, 33))]
    for a, b in shapes:
        left, tensor = driver.upload(plain(1, *a)), driver.upload(plain(2, *b))
        matrix, bias = driver.load_matrix(plain(2, *b)), driver.upload(plain(3, b[1]))
        expected = golden.matmul(bits(plain(1, *a)), bits(plain(2, *b)), bits(plain(3, b[1])))
        before = list(driver.memory._blocks.values())
        for right in (tensor, matrix):
            with driver.memory.trial() as taken:
                y = driver.matmul(left, right, bias=bias)
                assert (bits(driver.download(y)) == expected).all()
                every = before + list(taken)
            for start, end in watch.read + watch.written:
                assert any(x.address <= start and end <= x.end for x in every), (start, end)
            watch.read.clear()
            watch.written.clear()
        for tensor_or_matrix in (left, tensor, matrix, bias):
            tensor_or_matrix.free()


class Counting(ModelDevice):
    """A model whose counters run: each list takes the cycles and events it is told."""

    def __init__(self, style: str) -> None:
        plainly = small_device(style)
        super().__init__(plainly.geometry, 1 << 16, 1 << 32)
        self.cycles = (1 << 33) - 5
        self.events = dict.fromkeys(COUNTER_REGISTERS, 0xFFFF_FFFF)
        self.step: tuple[int, dict[str, int]] = (0, {})
        self.latched = self.upper_halves = 0

    def wait_irq(self, timeout: float) -> None:
        super().wait_irq(timeout)
        self.cycles += self.step[0]
        for name, more in self.step[1].items():
            self.events[name] += more

    def read32(self, offset: int) -> int:
        if offset == Reg.CNT_CYCLES_LO:
            return self.cycles & 0xFFFF_FFFF
        if offset == Reg.CNT_CYCLES_HI:
            return self.cycles >> 32
        for name, register in COUNTER_REGISTERS.items():
            if offset == register:
                self.latched = self.events[name] >> 32
                return self.events[name] & 0xFFFF_FFFF
            if offset == register + 4:
                self.upper_halves += 1
                return self.latched
        return super().read32(offset)


def test_counters_are_those_of_the_list() -> None:
    """Differences of running counters, of 64 bits, none mixed up."""
    device = Counting("per_bank")
    driver = PimDriver(device)
    a = driver.upload(plain(1, 2, 3))
    seen = OpStats()
    for number in (1, 3, 10):
        events = {name: number * (i + 1) for i, name in enumerate(COUNTER_REGISTERS)}
        device.step = (number << 32 | 7, events)
        totals = driver.totals
        driver.elementwise("add", a, a).free()
        assert driver.last.cycles == (number << 32) + 7
        assert driver.last.counters == events
        # Every column command of a per_bank device moves an atom over the channel.
        assert driver.last.channel_accesses == events["rd"] + events["wr"]
        assert driver.last.all_bank_accesses == 0
        assert (driver.last.lists, driver.last.descriptors) == (1, 2)
        assert driver.totals == totals + driver.last
        seen += driver.last
    assert seen.cycles == (14 << 32) + 21
    assert seen.counters == {name: 14 * (i + 1) for i, name in enumerate(COUNTER_REGISTERS)}
    assert (seen.lists, seen.descriptors) == (3, 6)


@pytest.mark.parametrize("more", [0, 1, 2**32 - 7, 2**32, 5 * 2**32 + 3])
def test_no_counter_of_a_long_list_wraps(more: int) -> None:
    """4 GiB and more over the host link, in one list: its upper half counts too."""
    device = Counting("per_bank")
    driver = PimDriver(device)
    a = driver.upload(plain(1, 2, 3))
    # At most 128 bytes move in a clock, and nothing else happens as often.
    for cycles, events in ((more // 128 + 1, more), (9, 4), (more // 128 + 1, more)):
        device.step = (cycles, dict.fromkeys(COUNTER_REGISTERS, events))
        read = device.upper_halves
        driver.elementwise("add", a, a).free()
        assert driver.last.cycles == cycles
        assert driver.last.counters == dict.fromkeys(COUNTER_REGISTERS, events)
        long = cycles * 128 >= 2**32
        assert device.upper_halves - read == (len(COUNTER_REGISTERS) if long else 0)


def test_sums_of_statistics() -> None:
    first = OpStats(1, {name: 2 + i for i, name in enumerate(COUNTER_REGISTERS)}, 30, 40, 50, 60)
    second = OpStats(700, dict.fromkeys(COUNTER_REGISTERS, 800), 900, 1000, 1100, 1200)
    total = first + second
    assert (total.cycles, total.descriptors, total.lists) == (701, 930, 1040)
    assert (total.host_bytes_in, total.host_bytes_out) == (1150, 1260)
    assert total.counters == {name: 802 + i for i, name in enumerate(COUNTER_REGISTERS)}
    assert first + OpStats() == first


def test_a_full_list_runs_and_goes_on() -> None:
    """More operations than the list has places for: in order, counted, the staged data in place."""
    driver = PimDriver(small_device("per_bank", buffer_bytes=1 << 14))
    places = (1 << 14) // 16 // 64  # a sixteenth of the buffer
    with driver.batch():
        a = driver.upload(plain(1, 2, 3))
        results = [driver.elementwise("add", a, a) for _ in range(3 * places)]
        b = driver.upload(plain(2, 2, 3))
    operations = 3 * places + 2
    runs = -(-operations // (places - 1))
    assert driver.last.lists == runs
    assert driver.last.descriptors == operations + runs
    for tensor in (results[0], results[-1]):
        assert (driver.download(tensor) == 2 * plain(1, 2, 3)).all()
    assert (driver.download(b) == plain(2, 2, 3)).all()
