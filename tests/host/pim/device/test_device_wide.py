"""Every address bit of host (64) and device (32), and operations too large to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.random_lists import random_bits
from support.raw import RawDevice

from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.device.validate import Fields, validate
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import Geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import CONTROL_FIELDS, DESCRIPTOR, Broadcast, Code, Init, Opcode, Reg
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice

BUFFER_BYTES = 1 << 20
#: All 32 bits of a device address: 4 GiB.
ROWS = 32768
#: The most groups of accumulators, and no set-up time: thousands of rows in little time. Data of
#: writes come late: several are on their way at a time.
LARGEST = {"Rows": ROWS, "AccGroups": 64, "VectorSetup": 0, "TCwl": 20}
PARAMETERS = load_platform("htg-z920").rtl_parameters() | LARGEST

#: Neighbouring bits differ, in both senses; the last one ends at the last address.
PLACES = (0x5555_5555_5550_0000, 0xAAAA_AAAA_AAA0_0000, 2**64 - BUFFER_BYTES)
DATA, RESULT = 1 << 16, 1 << 17
LINE = 64

_RESET = 0b11
_IRQ_ENABLE = 0b10
_AXI_ERRORS = (Code.AXI_READ, Code.AXI_WRITE)


@pytest.fixture
def open_device() -> Iterator[Callable[[int], SimDevice]]:
    opened: list[SimDevice] = []

    def make(address: int) -> SimDevice:
        config = SimConfig(params=PARAMETERS, memory_bytes=BUFFER_BYTES, memory_address=address)
        opened.append(SimDevice(config))
        return opened[-1]

    yield make
    for device in opened:
        device.close()


def lines(rng: np.random.Generator, bits: int) -> int:
    """Return a multiple of 64 below 2**bits, small ones as likely as large ones."""
    return int(rng.integers(0, 1 << bits, dtype=np.uint64)) >> int(rng.integers(0, bits)) & -LINE


@pytest.mark.parametrize("address", PLACES, ids=hex)
def test_data_come_from_and_go_to_any_address(
    open_device: Callable[[int], SimDevice], address: int
) -> None:
    rng = np.random.default_rng(address % 1000)
    device = open_device(address)
    raw = RawDevice(device)
    model = ModelDevice(raw.geometry, BUFFER_BYTES, address)
    other = RawDevice(model)
    for _ in range(40):
        # Three different eighths of the memory, so that nothing overlaps.
        a, b, y = (
            (int(eighth) << 29) + int(rng.integers(0, (1 << 29) - (1 << 16))) // LINE * LINE
            for eighth in rng.permutation(8)[:3]
        )
        rows, stride = int(rng.integers(1, 4)), (1 << 12) + LINE * int(rng.integers(0, 64))
        columns = 32 * int(rng.integers(1, 40))
        data = rng.integers(0, 256, rows * 4096, np.uint8)
        nbytes = 2 * columns
        items = [
            descriptors.copy_in(
                raw.base + DATA, a, rows=rows, row_bytes=nbytes, host_stride=4096,
                device_stride=stride,
            ),
            descriptors.elementwise(
                Opcode.MUL, a, b, y, rows=rows, cols=columns, stride_a=stride, stride_b=stride,
                stride_y=stride,
            ),
            descriptors.copy_out(
                raw.base + RESULT, y, rows=rows, row_bytes=nbytes, host_stride=4096,
                device_stride=stride,
            ),
        ]  # fmt: skip
        image = slice(b, b + rows * stride)
        content = random_bits(rng, rows * stride // 2).view(np.uint8)
        for raw_device, memory in ((raw, device.memory), (other, model.memory)):
            raw_device.buffer[DATA : DATA + data.size] = data
            memory[image] = content
            assert {status.code for status in raw_device.run(items)} == {Code.DONE}
        assert np.array_equal(raw.buffer, other.buffer)
        for place in (a, b, y):
            part = slice(place, place + rows * stride)
            assert np.array_equal(device.memory[part], model.memory[part])


def test_lists_where_no_memory_is(open_device: Callable[[int], SimDevice]) -> None:
    """All addresses are announced, hardly any of them exists: the code says so, and where."""
    rng = np.random.default_rng(1)
    raw = RawDevice(open_device(PLACES[0]))
    raw.window(0, 2**64 - LINE)
    for _ in range(60):
        aligned = bool(rng.random() < 0.7)
        address = lines(rng, 64) + (0 if aligned else int(rng.integers(1, LINE)))
        if raw.base - LINE < address < raw.base + BUFFER_BYTES or address >= 2**64 - 2 * LINE:
            continue
        raw.ring(address)
        code = Code.AXI_READ if aligned else Code.MISALIGNED
        assert raw.finish() >> 8 & 0xFF == code
        assert raw.read64(Reg.DESC_LO) == address
        assert raw.device.read32(Reg.DESC_COUNT) == int(aligned)


def test_registers_keep_what_is_written(open_device: Callable[[int], SimDevice]) -> None:
    rng = np.random.default_rng(2)
    device = open_device(PLACES[1])
    registers = (
        *(Reg.LIST_LO, Reg.LIST_HI, Reg.HOST_BASE_LO, Reg.HOST_BASE_HI, Reg.HOST_SIZE_LO),
        *(Reg.HOST_SIZE_HI, Reg.CHAIN_LIMIT),
    )
    for _ in range(12):
        values = rng.integers(0, 1 << 32, len(registers)).tolist()
        for reg, value in zip(registers, values, strict=True):
            device.write32(reg, value)
        # Where no register is, a write does nothing and a read gives 0.
        for offset in rng.integers(0x140 // 4, 0x1000 // 4, 8).tolist():
            device.write32(4 * offset, int(rng.integers(0, 1 << 32)))
            assert device.read32(4 * offset) == 0
        assert [device.read32(reg) for reg in registers] == values


def test_largest_operands(open_device: Callable[[int], SimDevice]) -> None:
    """Widest tile, longest inner dimension, most rows of a column broadcast, as the model's."""
    rng = np.random.default_rng(4)
    device = open_device(PLACES[0])
    raw = RawDevice(device)
    geometry = raw.geometry
    model = ModelDevice(geometry, BUFFER_BYTES, PLACES[0])
    a, b, y = 1 << 30, 2 << 30, 3 << 30
    most, beat, atom = geometry.scalar_depth, geometry.beat_bytes, geometry.atom_bytes
    widest = geometry.tile_columns
    common = {"rows": 1, "stride_a": 0, "stride_y": 0}
    items = [
        descriptors.matmul(
            a, b, y, inner=most, cols=widest, tile=geometry.acc_groups, **common
        ),
        descriptors.matmul(
            a, b, y + (1 << 24), inner=most, cols=64, transposed=True, stride_b=atom,
            tile=64 * atom, **common,
        ),
        descriptors.matmul(
            a, b, y + (2 << 24), inner=33, cols=widest, transposed=True, stride_b=atom,
            tile=widest * atom, out_f32=True, **common,
        ),
        descriptors.elementwise(
            Opcode.ADD, a, b, y + (3 << 24), rows=most, cols=32, stride_a=beat, stride_y=beat,
            broadcast=Broadcast.COLUMN,
        ),
    ]  # fmt: skip
    for place, nbytes in ((a, most * beat), (b, most * widest * 2)):
        values = rng.standard_normal(nbytes // 2, np.float32).view(np.uint32) >> 16
        for memory in (device.memory, model.memory):
            memory[place : place + nbytes] = values.astype(np.uint16).view(np.uint8)
    for raw_device in (raw, RawDevice(model)):
        assert {status.code for status in raw_device.run(items)} == {Code.DONE}
    results = slice(y, y + (4 << 24))
    assert np.array_equal(device.memory[results], model.memory[results])
    assert np.count_nonzero(model.memory[results]) > most * beat // 2


def huge(rng: np.random.Generator, geometry: Geometry) -> Descriptor:
    """Return a descriptor with numbers of any size; few of them are legal."""
    opcode = Opcode(int(rng.integers(1, 8)))
    item: Descriptor = np.zeros((), DESCRIPTOR)
    control = int(opcode)
    for name in ("addr_a", "addr_b", "addr_y", "stride_a", "stride_b", "stride_y", "host_lo"):
        item[name] = lines(rng, 32)
    beats = 1 << int(rng.integers(0, 27))
    item["rows"] = 1 if rng.random() < 0.5 else int(rng.integers(1, 1 << int(rng.integers(1, 33))))
    item["cols"] = 32 * int(rng.integers(1, beats + 1))
    if opcode in (Opcode.COPY_IN, Opcode.COPY_OUT):
        item["inner"] = LINE * int(rng.integers(1, beats + 1))
        item["host_hi"] = lines(rng, 32)
        if opcode == Opcode.COPY_OUT:
            # Nothing forbids to send one row any number of times.
            item["stride_a"] = int(rng.choice([0, int(item["stride_a"])]))
            item["stride_y"] = max(int(item["inner"]), int(item["stride_y"]))
    elif opcode in (Opcode.MATMUL, Opcode.MATMUL_T):
        item["inner"] = int(rng.integers(1, geometry.scalar_depth + 1))
        item["tile"] = int(rng.integers(1, 17)) if opcode == Opcode.MATMUL else lines(rng, 32)
        item["host_hi"] = lines(rng, 32)
        control |= int(rng.choice(list(Init))) << CONTROL_FIELDS["init"][0]
        control |= int(rng.integers(0, 2)) << CONTROL_FIELDS["out_f32"][0]
    else:
        control |= int(rng.integers(0, 4)) << CONTROL_FIELDS["broadcast"][0]
        item["inner"] = int(rng.integers(0, 1 << 32))  # without meaning here
    item["control"] = control
    return item


def test_operations_too_large_to_end_are_dropped_by_a_reset(
    open_device: Callable[[int], SimDevice],
) -> None:
    rng = np.random.default_rng(3)
    device = open_device(PLACES[0])
    raw = RawDevice(device)
    window = (0, 2**64 - LINE)
    opcodes, in_flight = set(), 0
    for _ in range(250):
        while True:
            item = huge(rng, raw.geometry)
            following = raw.base + LINE
            item["next_lo"], item["next_hi"] = following & 0xFFFFFFFF, following >> 32
            fields = Fields.parse(item.tobytes())
            if validate(fields, raw.base, raw.geometry, window) is None:
                break
        opcodes.add(fields.opcode)
        raw.chain([item])
        raw.window(*window)
        raw.write64(Reg.LIST_LO, raw.base)
        status, after = device.script(
            [
                ("write", Reg.CTRL, _IRQ_ENABLE),
                ("write", Reg.DOORBELL, 1),
                ("delay", int(rng.integers(100, 2500))),
                ("read", Reg.STATUS),
                ("write", Reg.CTRL, _RESET),
                ("delay", 20),
                ("read", Reg.STATUS),
            ]
        )
        in_flight += status & 1
        assert after == 0
        assert raw.slot(0)["status"][0] & 0xFF in (Code.PENDING, Code.DONE, *_AXI_ERRORS)
    assert opcodes == {opcode for opcode in Opcode if opcode < Opcode.FENCE}
    assert in_flight > 100
    # The device works afterwards, and counts in a record from where it is.
    raw.prepare()
    data = rng.integers(0, 256, 4096, np.uint8)
    raw.buffer[DATA : DATA + data.size] = data
    there = 0xDEAD_BE00 & -LINE
    sizes = {"rows": 1, "row_bytes": data.size, "host_stride": 0, "device_stride": 0}
    items = [
        descriptors.copy_in(raw.base + DATA, there, **sizes),
        descriptors.copy_out(raw.base + RESULT, there, **sizes),
    ]
    assert {status.code for status in raw.run(items)} == {Code.DONE}
    assert np.array_equal(raw.buffer[RESULT : RESULT + data.size], data)
