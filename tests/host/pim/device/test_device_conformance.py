"""What every device must do, on every backend: registers, lists, errors, interrupts, limits.

The arithmetic of each opcode is in test_device_opcodes.py, random lists in
test_device_equivalence.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support.raw import RawDevice, Status

from pimloop.host.pim.device.base import Device, DeviceTimeoutError
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    DESCRIPTOR_BYTES,
    DEVICE_ID,
    DEVICE_VERSION,
    RECORD,
    UNARY_OPCODES,
    Broadcast,
    Code,
    Init,
    Opcode,
    Reg,
)

GUARD = 0xA5
DATA = 1 << 16  # host data of these tests, offset in the buffer

# Device addresses of operands, far enough apart for each test.
A_AT, B_AT, Y_AT = 0, 8 << 20, 16 << 20


def copy_in(raw: RawDevice, address: int, **changes: int) -> Descriptor:
    """Return a legal copy of 2 rows of 128 bytes to `address`, with words changed."""
    item = descriptors.copy_in(
        raw.base + DATA, address, rows=2, row_bytes=128, host_stride=128, device_stride=128
    )
    return changed(item, **changes)


def copy_out(raw: RawDevice, address: int, **changes: int) -> Descriptor:
    item = descriptors.copy_out(
        raw.base + DATA, address, rows=2, row_bytes=128, host_stride=128, device_stride=128
    )
    return changed(item, **changes)


def matmul(raw: RawDevice, **changes: int) -> Descriptor:
    """Return a legal MATMUL of 2 x 32 by 32 x one beat, with words changed."""
    g = raw.geometry
    item = descriptors.matmul(
        A_AT,
        B_AT,
        Y_AT,
        rows=2,
        inner=32,
        cols=g.beat_columns,
        stride_a=g.beat_bytes,
        stride_y=2 * g.beat_bytes,
        tile=1,
    )
    return changed(item, **changes)


def matmul_t(raw: RawDevice, **changes: int) -> Descriptor:
    g = raw.geometry
    item = descriptors.matmul(
        A_AT,
        B_AT,
        Y_AT,
        rows=2,
        inner=32,
        cols=g.atom_columns,
        stride_a=g.beat_bytes,
        stride_b=64,
        stride_y=2 * g.beat_bytes,
        tile=g.atom_bytes,
        transposed=True,
    )
    return changed(item, **changes)


def add(raw: RawDevice, **changes: int) -> Descriptor:
    g = raw.geometry
    item = descriptors.elementwise(
        Opcode.ADD,
        A_AT,
        B_AT,
        Y_AT,
        rows=2,
        cols=g.beat_columns,
        stride_a=g.beat_bytes,
        stride_b=g.beat_bytes,
        stride_y=g.beat_bytes,
    )
    return changed(item, **changes)


def alone(raw: RawDevice, opcode: Opcode, **changes: int) -> Descriptor:
    """Return a legal operation of one operand, 2 rows of a beat; other words hold nonsense."""
    beat = raw.geometry.beat_bytes
    item = descriptors.unary(
        opcode, A_AT, Y_AT, rows=2, cols=beat // 2, stride_a=beat, stride_y=beat
    )
    nonsense = dict.fromkeys(("addr_b", "stride_b", "inner", "tile", "host_lo", "host_hi"), ~0)
    words = {name: value & 0xFFFFFFFF for name, value in (nonsense | changes).items()}
    return changed(item, **words)


def fence(raw: RawDevice, **changes: int) -> Descriptor:
    return changed(descriptors.fence(), **changes)


def changed(item: Descriptor, **words: int) -> Descriptor:
    """Change words of a descriptor, or fields of its control word."""
    for name, value in words.items():
        if name in CONTROL_FIELDS:
            low, width = CONTROL_FIELDS[name]
            item["control"] = int(item["control"]) & ~((1 << width) - 1 << low) | value << low
        else:
            item[name] = value
    return item


# ---- registers ---------------------------------------------------------------------------------


def test_identity_and_geometry(raw: RawDevice) -> None:
    assert raw.device.read32(Reg.ID) == DEVICE_ID
    assert raw.device.read32(Reg.VERSION) == DEVICE_VERSION
    name = "aim" if raw.geometry.all_bank else "htg-z920"
    expected = load_platform(name).geometry(native_lanes=raw.geometry.native_lanes)
    assert raw.geometry == expected


def test_registers_keep_what_is_written(raw: RawDevice) -> None:
    for register, value in (
        (Reg.LIST_LO, 0x12345640),
        (Reg.LIST_HI, 0x9ABCDEF0),
        (Reg.HOST_BASE_LO, 0x0FEDCBC0),
        (Reg.HOST_BASE_HI, 0x00000001),
        (Reg.HOST_SIZE_LO, 0x00010000),
        (Reg.HOST_SIZE_HI, 0x00000002),
        (Reg.CHAIN_LIMIT, 17),
    ):
        raw.device.write32(register, value)
        assert raw.device.read32(register) == value, register.name
    raw.device.reset()
    for register in (Reg.LIST_LO, Reg.LIST_HI, Reg.HOST_BASE_LO, Reg.HOST_SIZE_HI, Reg.CTRL):
        assert raw.device.read32(register) == 0, register.name
    assert raw.device.read32(Reg.CHAIN_LIMIT) == 1 << 20


def test_read_only_registers_ignore_writes(raw: RawDevice) -> None:
    for register in (Reg.ID, Reg.STATUS, Reg.CAPACITY_LO, Reg.BEAT_BYTES, Reg.CNT_CYCLES_LO):
        before = raw.device.read32(register)
        raw.device.write32(register, ~before & 0xFFFFFFFF)
        assert raw.device.read32(register) == before, register.name


def test_register_without_meaning_reads_zero(raw: RawDevice) -> None:
    raw.device.write32(0x7FC, 0xFFFFFFFF)
    assert raw.device.read32(0x7FC) == 0


# ---- lists, status words, interrupts -----------------------------------------------------------


def test_status_words_hold_code_and_index(raw: RawDevice) -> None:
    statuses = raw.run([fence(raw) for _ in range(5)])
    assert statuses == [Status(Code.DONE, index) for index in range(6)]
    assert raw.device.read32(Reg.STATUS) == 0
    assert raw.device.read32(Reg.DESC_COUNT) == 6
    assert raw.read64(Reg.DESC_LO) == raw.base + 5 * DESCRIPTOR_BYTES


def test_descriptors_need_not_be_neighbours(raw: RawDevice) -> None:
    order = [7, 2, 30, 11]
    for place, following in zip(order, [*order[1:], 19], strict=True):
        target = raw.base + following * DESCRIPTOR_BYTES
        item = fence(raw, next_lo=target & 0xFFFFFFFF, next_hi=target >> 32)
        raw.slot(place * DESCRIPTOR_BYTES)[0] = item
    raw.slot(19 * DESCRIPTOR_BYTES)[0] = descriptors.end()
    raw.ring(raw.base + 7 * DESCRIPTOR_BYTES)
    assert raw.finish() == 0
    words = [raw.statuses(1, place * DESCRIPTOR_BYTES)[0] for place in [*order, 19]]
    assert words == [Status(Code.DONE, index) for index in range(5)]


def test_interrupt_is_cleared_by_writing_one(raw: RawDevice) -> None:
    raw.chain([descriptors.end()])
    assert raw.device.read32(Reg.IRQ) == 0
    raw.ring(raw.base)
    raw.device.wait_irq(raw.timeout)
    raw.device.wait_irq(raw.timeout)
    assert raw.device.read32(Reg.IRQ) == 1
    raw.device.write32(Reg.IRQ, 0)
    assert raw.device.read32(Reg.IRQ) == 1
    raw.device.write32(Reg.IRQ, 1)
    assert raw.device.read32(Reg.IRQ) == 0
    with pytest.raises(DeviceTimeoutError):
        raw.device.wait_irq(0.05)


def test_polling_without_interrupt(raw: RawDevice) -> None:
    raw.device.write32(Reg.CTRL, 0)
    raw.chain([fence(raw), descriptors.end()])
    raw.ring(raw.base)
    for _ in range(10_000):
        if not raw.device.read32(Reg.STATUS) & 1:
            break
    else:
        pytest.fail("the list does not end")
    assert raw.device.read32(Reg.IRQ) == 1
    assert raw.statuses(2) == [Status(Code.DONE, 0), Status(Code.DONE, 1)]
    with pytest.raises(DeviceTimeoutError):
        raw.device.wait_irq(0.05)


def test_list_must_be_rearmed(raw: RawDevice) -> None:
    assert raw.run([fence(raw)])[0].code == Code.DONE
    raw.ring(raw.base)
    assert raw.finish() == 0b10 | Code.LOOP << 8
    assert raw.statuses(2) == [Status(Code.LOOP, 0), Status(Code.DONE, 1)]
    for slot in range(2):
        raw.slot(slot * DESCRIPTOR_BYTES)["status"] = 0
    raw.ring(raw.base)
    assert raw.finish() == 0
    assert raw.statuses(2) == [Status(Code.DONE, 0), Status(Code.DONE, 1)]


def test_doorbell_while_busy_is_dropped(raw: RawDevice) -> None:
    """Increase the work until the second doorbell meets a running list."""
    rows = 1
    while rows <= 4096:
        raw.prepare()
        work = matmul(raw, rows=rows, inner=4096, stride_a=0)
        raw.chain([work, descriptors.end()])
        raw.ring(raw.base)
        raw.device.write32(Reg.DOORBELL, 1)
        status = raw.finish()
        if raw.device.read32(Reg.DOORBELL_DROPPED) == 1:
            assert status == 0
            assert raw.statuses(2) == [Status(Code.DONE, 0), Status(Code.DONE, 1)]
            return
        # The list had ended: it was started again, and was not re-armed.
        assert raw.device.read32(Reg.DOORBELL_DROPPED) == 0
        if raw.statuses(1)[0].code == Code.DONE:
            raw.finish()
        assert raw.statuses(1)[0] == Status(Code.LOOP, 0)
        rows *= 4
    pytest.fail("no list was long enough to be met by a second doorbell")


def test_soft_reset_drops_the_list_and_keeps_memory(raw: RawDevice) -> None:
    kept = np.arange(256, dtype=np.uint8)
    raw.write_memory(24 << 20, kept)
    work = matmul(raw, rows=256, inner=4096, stride_a=0)
    raw.chain([work, descriptors.end()])
    raw.ring(raw.base)
    raw.prepare()
    assert raw.device.read32(Reg.STATUS) == 0
    assert raw.device.read32(Reg.IRQ) == 0
    assert raw.read64(Reg.CNT_CYCLES_LO) == 0
    assert (raw.read_memory(24 << 20, 256) == kept).all()
    raw.buffer[:4096] = 0
    assert raw.run([fence(raw)])[0].code == Code.DONE


# ---- records and counters ----------------------------------------------------------------------


def test_completion_record(raw: RawDevice, has_time: bool) -> None:
    raw.buffer[: 8 * DESCRIPTOR_BYTES] = GUARD
    items = [matmul(raw, record=1), copy_in(raw, 0), changed(descriptors.end(), record=1)]
    raw.chain(items, spacing=2 * DESCRIPTOR_BYTES)
    raw.ring(raw.base)
    assert raw.finish() == 0
    records = [
        descriptors.record_at(raw.buffer, (2 * index + 1) * DESCRIPTOR_BYTES) for index in (0, 2)
    ]
    for index, record in zip((0, 2), records, strict=True):
        assert Status.parse(int(record["status"])) == Status(Code.DONE, index)
        assert not record["unused"].any()
        assert int(record["cycles_hi"]) == 0
    counts = {name: int(records[0][name]) for name in ("cycles_lo", "rd", "wr", "mac")}
    if has_time:
        assert counts["mac"] == 2 * 32
        assert counts["wr"] == 2
        assert counts["rd"] >= 32
        assert counts["cycles_lo"] > 64
        assert counts["cycles_lo"] < raw.read64(Reg.CNT_CYCLES_LO)
    else:
        assert set(counts.values()) == {0}
    # A descriptor that asks for no record gets none.
    assert (raw.buffer[3 * DESCRIPTOR_BYTES : 4 * DESCRIPTOR_BYTES] == GUARD).all()


def test_no_record_of_a_refused_descriptor(raw: RawDevice) -> None:
    raw.buffer[: 4 * DESCRIPTOR_BYTES] = GUARD
    assert raw.run([matmul(raw, record=1, inner=0)], spacing=128)[0] == Status(Code.SIZE, 0)
    assert (raw.buffer[DESCRIPTOR_BYTES : 2 * DESCRIPTOR_BYTES] == GUARD).all()


def test_record_has_the_size_of_a_descriptor() -> None:
    assert RECORD.itemsize == DESCRIPTOR_BYTES


def test_cycles_do_not_depend_on_data(raw: RawDevice, has_time: bool) -> None:
    spent = []
    for fill in (0x0000, 0x3F80, 0x7FC0, 0x0001):
        raw.prepare()
        data = np.full(1024, fill, np.uint16)
        for address in (A_AT, B_AT):
            raw.write_memory(address, data)
        before = raw.read64(Reg.CNT_CYCLES_LO)
        items = [matmul(raw), add(raw), *(alone(raw, opcode) for opcode in UNARY_OPCODES)]
        assert {status.code for status in raw.run(items)} == {Code.DONE}
        spent.append(raw.read64(Reg.CNT_CYCLES_LO) - before)
    assert len(set(spent)) == 1
    assert (spent[0] > 0) == has_time


# ---- errors ------------------------------------------------------------------------------------

TOP = 1 << 29  # capacity of both test devices

ERRORS: list[tuple[str, Callable[[RawDevice], Descriptor], Code]] = [
    ("opcode 0", lambda r: fence(r, opcode=0), Code.OPCODE),
    ("the next opcode", lambda r: fence(r, opcode=max(Opcode) + 1), Code.OPCODE),
    ("opcode 255", lambda r: fence(r, opcode=255), Code.OPCODE),
    ("reserved bit", lambda r: fence(r, control=Opcode.FENCE | 1 << 14), Code.RESERVED),
    ("highest bit", lambda r: fence(r, control=Opcode.FENCE | 1 << 31), Code.RESERVED),
    ("broadcast of a copy", lambda r: copy_in(r, 0, broadcast=1), Code.RESERVED),
    ("broadcast of MATMUL", lambda r: matmul(r, broadcast=3), Code.RESERVED),
    ("init of ADD", lambda r: add(r, init=1), Code.RESERVED),
    ("out_f32 of ADD", lambda r: add(r, out_f32=1), Code.RESERVED),
    ("out_f32 of FENCE", lambda r: fence(r, out_f32=1), Code.RESERVED),
    ("init 3", lambda r: matmul(r, init=3), Code.RESERVED),
    ("copy of 0 rows", lambda r: copy_in(r, 0, rows=0), Code.SIZE),
    ("copy of 0 bytes", lambda r: copy_out(r, 0, inner=0), Code.SIZE),
    ("copy of 65 bytes", lambda r: copy_out(r, 0, inner=65), Code.SIZE),
    ("matmul of 0 rows", lambda r: matmul(r, rows=0), Code.SIZE),
    ("inner 0", lambda r: matmul(r, inner=0), Code.SIZE),
    ("inner too deep", lambda r: matmul(r, inner=4097), Code.SIZE),
    ("inner highest", lambda r: matmul_t(r, inner=0x80000000), Code.SIZE),
    ("cols 0", lambda r: matmul(r, cols=0), Code.SIZE),
    ("half a beat", lambda r: matmul(r, cols=r.geometry.beat_columns // 2), Code.SIZE),
    ("tile 0", lambda r: matmul(r, tile=0), Code.SIZE),
    ("tile too wide", lambda r: matmul(r, tile=r.geometry.acc_groups + 1), Code.SIZE),
    ("half an atom", lambda r: matmul_t(r, cols=r.geometry.atom_columns // 2), Code.SIZE),
    ("add of 0 rows", lambda r: add(r, rows=0), Code.SIZE),
    ("add of 0 columns", lambda r: add(r, cols=0), Code.SIZE),
    ("long column", lambda r: add(r, broadcast=Broadcast.COLUMN, rows=4097), Code.SIZE),
    ("next off", lambda r: fence(r, next_lo=1 << 5), Code.MISALIGNED),
    ("copy host", lambda r: copy_in(r, 0, host_lo=32), Code.MISALIGNED),
    ("copy device", lambda r: copy_in(r, 32), Code.MISALIGNED),
    ("copy stride", lambda r: copy_out(r, 0, stride_a=160), Code.MISALIGNED),
    ("a off", lambda r: matmul(r, addr_a=32), Code.MISALIGNED),
    ("b off", lambda r: matmul(r, addr_b=B_AT + 16), Code.MISALIGNED),
    ("y off", lambda r: matmul(r, addr_y=Y_AT + 2), Code.MISALIGNED),
    ("stride_a off", lambda r: matmul(r, stride_a=32), Code.MISALIGNED),
    ("bias off", lambda r: matmul(r, init=Init.ROW, host_lo=32), Code.MISALIGNED),
    ("c off", lambda r: matmul(r, init=Init.F32, host_lo=32), Code.MISALIGNED),
    ("stride_c off", lambda r: matmul(r, init=Init.F32, host_hi=32), Code.MISALIGNED),
    ("tile off", lambda r: matmul_t(r, tile=r.geometry.atom_bytes + 8), Code.MISALIGNED),
    ("stride_b off", lambda r: matmul_t(r, stride_b=r.geometry.atom_bytes + 8), Code.MISALIGNED),
    ("add b off", lambda r: add(r, addr_b=B_AT + 32), Code.MISALIGNED),
    ("add stride_b off", lambda r: add(r, stride_b=32), Code.MISALIGNED),
    ("copy past the end", lambda r: copy_in(r, TOP - 192), Code.RANGE),
    ("copy stride past the end", lambda r: copy_in(r, 0, stride_y=TOP), Code.RANGE),
    ("copy wraps", lambda r: copy_in(r, 0xFFFFFFC0), Code.RANGE),
    ("a past the end", lambda r: matmul(r, addr_a=TOP - r.geometry.beat_bytes), Code.RANGE),
    ("b past the end", lambda r: matmul(r, addr_b=TOP - r.geometry.beat_bytes), Code.RANGE),
    ("y past the end", lambda r: matmul(r, addr_y=TOP), Code.RANGE),
    ("rows past the end", lambda r: matmul(r, rows=0xFFFFFFFF), Code.RANGE),
    ("cols past the end", lambda r: matmul(r, cols=0xFFFFFE00), Code.RANGE),
    ("c past the end", lambda r: matmul(r, init=Init.F32, host_lo=TOP), Code.RANGE),
    ("bias past the end", lambda r: matmul(r, init=Init.ROW, host_lo=TOP), Code.RANGE),
    ("b_t past the end", lambda r: matmul_t(r, stride_b=TOP), Code.RANGE),
    ("blocks past the end", lambda r: matmul_t(r, inner=4096, tile=TOP), Code.RANGE),
    ("add rows past the end", lambda r: add(r, rows=0x80000000), Code.RANGE),
    ("scalar past the end", lambda r: add(r, broadcast=3, addr_b=TOP), Code.RANGE),
    ("next outside", lambda r: fence(r, next_lo=64, next_hi=0xFFFFFFFF), Code.HOST_RANGE),
    ("next below", lambda r: fence(r, next_lo=64), Code.HOST_RANGE),
    ("copy from outside", lambda r: copy_in(r, 0, host_hi=2), Code.HOST_RANGE),
    ("copy past the window", lambda r: copy_in(r, 0, stride_a=r.buffer.size), Code.HOST_RANGE),
    ("copy to outside", lambda r: copy_out(r, 0, stride_y=r.buffer.size), Code.HOST_RANGE),
    (
        "host wraps",
        lambda r: copy_in(r, 0, host_lo=0xFFFFFFC0, host_hi=0xFFFFFFFF),
        Code.HOST_RANGE,
    ),
    ("rows fold", lambda r: copy_in(r, 0, stride_y=64), Code.OVERLAP),
    ("host rows fold", lambda r: copy_out(r, 0, stride_y=64), Code.OVERLAP),
    ("y folds", lambda r: matmul(r, stride_y=0), Code.OVERLAP),
    ("f32 folds", lambda r: matmul(r, out_f32=1, stride_y=r.geometry.beat_bytes), Code.OVERLAP),
    ("y is a", lambda r: matmul(r, addr_y=0), Code.OVERLAP),
    ("y is b", lambda r: matmul(r, addr_y=B_AT), Code.OVERLAP),
    ("y is bias", lambda r: matmul(r, init=Init.ROW, host_lo=Y_AT), Code.OVERLAP),
    (
        "y is c in bf16",
        lambda r: matmul(r, init=Init.F32, host_lo=Y_AT, host_hi=2 * r.geometry.beat_bytes, rows=1),
        Code.OVERLAP,
    ),
    ("y is b_t", lambda r: matmul_t(r, addr_y=B_AT), Code.OVERLAP),
    ("add row", lambda r: add(r, broadcast=Broadcast.ROW, addr_y=B_AT), Code.OVERLAP),
    ("other stride", lambda r: add(r, addr_y=0, stride_y=4 * r.geometry.beat_bytes), Code.OVERLAP),
    ("status set", lambda r: fence(r, status=1), Code.LOOP),
]


def errors_of(opcode: Opcode) -> list[tuple[str, Callable[[RawDevice], Descriptor], Code]]:
    """Return what is refused of an operation of one operand."""
    faults: list[tuple[str, dict[str, int], Code]] = [
        ("broadcast", {"broadcast": 1}, Code.RESERVED),
        ("init", {"init": 1}, Code.RESERVED),
        ("out_f32", {"out_f32": 1}, Code.RESERVED),
        ("0 rows", {"rows": 0}, Code.SIZE),
        ("0 columns", {"cols": 0}, Code.SIZE),
        ("part of a beat", {"cols": 16}, Code.SIZE),
        ("a off", {"addr_a": 32}, Code.MISALIGNED),
        ("y off", {"addr_y": Y_AT + 32}, Code.MISALIGNED),
        ("stride_a off", {"stride_a": 32}, Code.MISALIGNED),
        ("stride_y off", {"stride_y": 32 + (1 << 20)}, Code.MISALIGNED),
        ("a past the end", {"addr_a": TOP}, Code.RANGE),
        ("y past the end", {"addr_y": TOP}, Code.RANGE),
        ("rows past the end", {"rows": 0x80000000}, Code.RANGE),
        ("y folds", {"stride_y": 0}, Code.OVERLAP),
        ("y over a", {"addr_y": A_AT, "stride_y": 1 << 20}, Code.OVERLAP),
    ]

    def maker(words: dict[str, int]) -> Callable[[RawDevice], Descriptor]:
        return lambda raw: alone(raw, opcode, **words)

    return [(f"{opcode.name}: {name}", maker(words), code) for name, words, code in faults]


ERRORS += [error for opcode in UNARY_OPCODES for error in errors_of(opcode)]


@pytest.mark.parametrize(("make", "code"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_bad_descriptor_is_refused(
    raw: RawDevice, make: Callable[[RawDevice], Descriptor], code: Code
) -> None:
    """The list ends at the bad one, nothing after it is touched, the device works on."""
    raw.buffer[DATA : DATA + 4096] = GUARD
    statuses = raw.run([fence(raw), make(raw), fence(raw)])
    assert statuses == [
        Status(Code.DONE, 0),
        Status(code, 1),
        Status(Code.PENDING, 0),
        Status(Code.PENDING, 0),
    ]
    assert raw.device.read32(Reg.STATUS) == 0b10 | code << 8
    assert raw.device.read32(Reg.DESC_COUNT) == 2
    assert (raw.buffer[DATA : DATA + 4096] == GUARD).all()
    raw.buffer[: 4 * DESCRIPTOR_BYTES] = 0
    assert raw.run([fence(raw), matmul(raw)])[1] == Status(Code.DONE, 1)
    assert raw.device.read32(Reg.STATUS) == 0


LEGAL: list[tuple[str, Callable[[RawDevice], Descriptor]]] = [
    ("copy to the last byte", lambda r: copy_in(r, TOP - 256)),
    ("copy source rows fold", lambda r: copy_in(r, 0, stride_a=0)),
    ("copy of 1 row, stride 0", lambda r: copy_out(r, 0, rows=1, stride_y=0)),
    ("broadcast ignores stride_b", lambda r: add(r, broadcast=2, stride_b=0xFFFFFFFF)),
    ("rows of a repeated", lambda r: add(r, stride_a=0)),
    ("rows of b repeated", lambda r: add(r, stride_b=0)),
    ("y in place of a", lambda r: add(r, addr_y=0)),
    ("y in place of b", lambda r: add(r, addr_y=B_AT)),
    ("a also b", lambda r: add(r, addr_b=0)),
    ("one row of any stride", lambda r: matmul(r, rows=1, stride_y=0)),
    ("bias is a", lambda r: matmul(r, init=Init.ROW, host_lo=0)),
    ("end at the limit", lambda r: matmul(r, addr_y=TOP - 3 * r.geometry.beat_bytes)),
    ("deepest", lambda r: matmul(r, inner=4096, stride_a=8192)),
    ("widest tile", lambda r: matmul(r, tile=16)),
    ("zero init ignores c", lambda r: matmul(r, host_lo=1, host_hi=1)),
]


def legal_of(opcode: Opcode) -> list[tuple[str, Callable[[RawDevice], Descriptor]]]:
    """Return what is accepted of an operation of one operand."""
    return [
        (f"{opcode.name}: no word about others", lambda r: alone(r, opcode)),
        (f"{opcode.name}: in place", lambda r: alone(r, opcode, addr_y=A_AT)),
        (f"{opcode.name}: rows of a repeated", lambda r: alone(r, opcode, stride_a=0)),
        (f"{opcode.name}: y where b would be", lambda r: alone(r, opcode, addr_b=Y_AT)),
        (
            f"{opcode.name}: to the last byte",
            lambda r: alone(r, opcode, addr_y=TOP - 2 * r.geometry.beat_bytes),
        ),
    ]


LEGAL += [case for opcode in UNARY_OPCODES for case in legal_of(opcode)]


@pytest.mark.parametrize("make", [e[1] for e in LEGAL], ids=[e[0] for e in LEGAL])
def test_descriptor_at_the_limit_is_accepted(
    raw: RawDevice, make: Callable[[RawDevice], Descriptor]
) -> None:
    assert raw.run([make(raw)])[0] == Status(Code.DONE, 0)


def test_first_of_several_faults_is_reported(raw: RawDevice) -> None:
    """Faults are added from the last check to the first; each addition wins."""
    faults: list[tuple[Code, dict[str, int]]] = [
        (Code.OVERLAP, {"stride_y": 0}),
        (Code.HOST_RANGE, {"next_lo": 64, "next_hi": 0}),
        (Code.RANGE, {"addr_a": 0xFFFFFE00}),
        (Code.MISALIGNED, {"addr_b": 2}),
        (Code.SIZE, {"inner": 0}),
        (Code.RESERVED, {"broadcast": 1}),
        (Code.OPCODE, {"opcode": 77}),
        (Code.LOOP, {"status": 5}),
    ]
    item = matmul(raw)
    for code, words in faults:
        changed(item, **words)
        raw.buffer[: 4 * DESCRIPTOR_BYTES] = 0
        assert raw.run([fence(raw), item])[1] == Status(code, 1), code.name
    raw.device.write32(Reg.CHAIN_LIMIT, 1)
    raw.buffer[: 4 * DESCRIPTOR_BYTES] = 0
    assert raw.run([fence(raw), item])[1] == Status(Code.CHAIN, 1)


# ---- loops, limits, places outside -------------------------------------------------------------


@pytest.mark.parametrize("target", [0, 1, 2])
def test_loop_is_noticed(raw: RawDevice, target: int) -> None:
    address = raw.base + target * DESCRIPTOR_BYTES
    back = fence(raw, next_lo=address & 0xFFFFFFFF, next_hi=address >> 32)
    raw.chain([fence(raw), fence(raw), back])
    raw.ring(raw.base)
    assert raw.finish() == 0b10 | Code.LOOP << 8
    expected = [Status(Code.DONE, index) for index in range(3)]
    expected[target] = Status(Code.LOOP, 3)
    assert raw.statuses(3) == expected


@pytest.mark.parametrize("limit", [0, 1, 3, 4])
def test_chain_limit(raw: RawDevice, limit: int) -> None:
    raw.device.write32(Reg.CHAIN_LIMIT, limit)
    statuses = raw.run([fence(raw)] * 3)
    expected = [Status(Code.DONE, index) for index in range(4)]
    if limit < 4:
        expected[limit] = Status(Code.CHAIN, limit)
        expected[limit + 1 :] = [Status(Code.PENDING, 0)] * (3 - limit)
    assert statuses == expected


@pytest.mark.parametrize(
    ("offset", "code"),
    [
        (8, Code.MISALIGNED),
        (-64, Code.HOST_RANGE),
        (4096, Code.HOST_RANGE),
        (4032, None),
    ],
)
def test_bad_list_address(raw: RawDevice, offset: int, code: Code | None) -> None:
    start = 1 << 14
    raw.window(raw.base + start, 4096)
    raw.buffer[start - 128 : start + 4096 + 128] = 0
    raw.slot(start + 4032)[0] = descriptors.end()
    before = raw.buffer.copy()
    raw.ring(raw.base + start + offset)
    status = raw.finish()
    if code is None:
        assert status == 0
        assert raw.statuses(1, start + offset) == [Status(Code.DONE, 0)]
        return
    assert status == 0b10 | code << 8
    assert raw.device.read32(Reg.DESC_COUNT) == 0
    assert (raw.buffer == before).all()
    raw.window()
    assert raw.run([fence(raw)])[0].code == Code.DONE


def test_window_bounds_next_record_and_copies(raw: RawDevice) -> None:
    """The last legal place of each is accepted, one line further refused."""
    end = 1 << 15
    raw.window(raw.base, end)
    last = raw.base + end - DESCRIPTOR_BYTES
    for address, code in ((last, Code.DONE), (last + 64, Code.HOST_RANGE)):
        raw.buffer[: 2 * end] = 0
        raw.slot(end - DESCRIPTOR_BYTES)[0] = descriptors.end()
        jump = fence(raw, next_lo=address & 0xFFFFFFFF, next_hi=address >> 32)
        raw.chain([jump])
        raw.ring(raw.base)
        raw.finish()
        assert raw.statuses(1) == [Status(code, 0)]
    for offset, code in ((end - 128, Code.DONE), (end - 64, Code.HOST_RANGE)):
        raw.buffer[: 2 * end] = 0
        raw.slot(offset)[0] = changed(descriptors.end(), record=1)
        raw.ring(raw.base + offset)
        raw.finish()
        assert raw.statuses(1, offset) == [Status(code, 0)]
        assert not raw.buffer[end : 2 * end].any()
    for offset, code in ((end - 256, Code.DONE), (end - 192, Code.HOST_RANGE)):
        raw.buffer[: 2 * end] = 0
        host = raw.base + offset
        item = copy_out(raw, 0, host_lo=host & 0xFFFFFFFF, host_hi=host >> 32)
        raw.chain([item, descriptors.end()])
        raw.ring(raw.base)
        raw.finish()
        assert raw.statuses(1) == [Status(code, 0)]
        assert not raw.buffer[end : 2 * end].any()


def test_memory_that_does_not_answer(raw: RawDevice) -> None:
    """Inside the window, outside the memory: the bus answers with an error."""
    raw.window(raw.base, raw.buffer.size + 4096)
    outside = raw.base + raw.buffer.size
    low, high = outside & 0xFFFFFFFF, outside >> 32
    assert raw.run([copy_in(raw, 0, host_lo=low, host_hi=high)])[0] == Status(Code.AXI_READ, 0)
    raw.buffer[:128] = 0
    assert raw.run([copy_out(raw, 0, host_lo=low, host_hi=high)])[0] == Status(Code.AXI_WRITE, 0)
    raw.buffer[:128] = 0
    raw.chain([fence(raw, next_lo=low, next_hi=high)])
    raw.ring(raw.base)
    assert raw.finish() == 0b10 | Code.AXI_READ << 8
    assert raw.statuses(1) == [Status(Code.DONE, 0)]
    raw.buffer[:128] = 0
    assert raw.run([matmul(raw)])[0] == Status(Code.DONE, 0)


# ---- what the backends agree on besides ---------------------------------------------------------


def test_backend_is_a_device(raw: RawDevice) -> None:
    assert isinstance(raw.device, Device)
    assert raw.device.buffer.dtype == np.uint8
    assert raw.device.buffer_address % 64 == 0
    # A view, not a copy: both sides see the same bytes.
    raw.device.buffer[100] = 7
    assert raw.buffer[100] == 7
