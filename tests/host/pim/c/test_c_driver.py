"""The C driver against the Python one: header, descriptors, lists, errors, a board, a program."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_driver import (
    BUFFER,
    BUSY,
    DEVICE,
    FULL,
    HERE,
    IO,
    OK,
    REFUSED,
    SOURCES,
    TIMEOUT,
    VERSION,
    CDriver,
    Product,
    Words,
    build,
    compiler,
    load,
)
from socket_server import run_on
from support.fake_board import FileModel, plant, shared_memory
from support.random_lists import HOST_BYTES, HOST_OFFSET, random_list
from support.raw import RawDevice

from pimloop.host.common import golden
from pimloop.host.pim.device.base import Device, DeviceTimeoutError
from pimloop.host.pim.device.cached import CachedDevice
from pimloop.host.pim.device.execution import Execution, RefusedError
from pimloop.host.pim.device.validate import Fields
from pimloop.host.pim.driver import PimDriver, descriptors
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables import isa
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    CTRL_IRQ_ENABLE,
    CTRL_SOFT_RESET,
    DEVICE_ID,
    DEVICE_VERSION,
    RESET,
    STATUS_RUNNING,
    Broadcast,
    Code,
    Field,
    Init,
    Opcode,
    Reg,
    Weights,
)

PLATFORM = load_platform("htg-z920")
BUFFER_BYTES = 4 << 20


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return load(tmp_path_factory.mktemp("c"))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Return a file for a buffer that begins at a page here, as a board's does."""
    path = tmp_path / "memory"
    with path.open("wb") as file:
        file.truncate(BUFFER_BYTES)
    return path


def on(memory: Path, kind: type[FileModel] = FileModel) -> FileModel:
    """Return a model, or a kind of it, whose buffer is a file."""
    return kind(PLATFORM.geometry(), memory, 1 << 32)


# ---- The header and the descriptors.


def test_the_header_has_the_tables_values() -> None:
    made = subprocess.run(
        [compiler(), "-E", "-dM", "-x", "c", SOURCES / "pim_isa.h"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    texts = dict(re.findall(r"#define (PIM_\w+) (\S+)", made))
    values = {
        name: int(text.removeprefix("UINT32_C(").rstrip(")"), 0)
        for name, text in texts.items()
        if name not in ("PIM_ISA_H", "PIM_CODES")
    }
    fields = {name: field for name, field in vars(isa).items() if isinstance(field, Field)}
    fields |= {f"CONTROL_{name.upper()}": field for name, field in CONTROL_FIELDS.items()}
    expected = {
        "PIM_DEVICE_ID": DEVICE_ID,
        "PIM_DEVICE_VERSION": DEVICE_VERSION,
        "PIM_DESCRIPTOR_BYTES": isa.DESCRIPTOR_BYTES,
        **{f"PIM_REG_{register.name}": int(register) for register in Reg},
        **{f"PIM_{name}_SHIFT": field.low for name, field in fields.items()},
        **{f"PIM_{name}_MASK": field.mask for name, field in fields.items()},
    }
    assert values == expected
    header = (SOURCES / "pim_isa.h").read_text(encoding="utf-8")
    for enum in (Opcode, Broadcast, Init, Weights, Code):
        prefix = f"PIM_{enum.__name__.upper()}_"
        defined = re.findall(rf"{prefix}(\w+) = (0x\w+),", header)
        assert {name: int(value, 0) for name, value in defined} == {e.name: int(e) for e in enum}


@pytest.mark.parametrize("seed", range(3))
def test_descriptors_have_the_same_bytes(library: ctypes.CDLL, seed: int) -> None:
    rng = random.Random(seed)

    def word() -> int:
        return rng.getrandbits(32)

    copy = (rng.getrandbits(64), *(word() for _ in range(5)))
    for name in ("copy_in", "copy_out"):
        mine = getattr(descriptors, name)(
            copy[0], copy[1], rows=copy[2], row_bytes=copy[3], host_stride=copy[4],
            device_stride=copy[5],
        )  # fmt: skip
        assert bytes(getattr(library, f"pim_{name}")(*copy)) == mine.tobytes()
    product = {name: word() for name, _ in Product._fields_}
    product["transposed"], product["out_f32"] = rng.getrandbits(1), rng.getrandbits(1)
    product["init"] = rng.randrange(3)
    product["weights"], product["group"] = rng.randrange(3), rng.randrange(16)
    arguments = {k: v for k, v in product.items() if k not in ("a", "b", "y")}
    arguments["transposed"], arguments["out_f32"] = map(
        bool, (product["transposed"], product["out_f32"])
    )
    mine = descriptors.matmul(product["a"], product["b"], product["y"], **arguments)
    theirs = library.pim_matmul(ctypes.byref(Product(**product)))
    assert bytes(theirs) == mine.tobytes()
    a, b, y, rows, cols, stride_a, stride_b, stride_y = (word() for _ in range(8))
    for opcode, kind in ((Opcode.ADD, Broadcast.NONE), (Opcode.MUL, Broadcast.SCALAR)):
        mine = descriptors.elementwise(
            opcode, a, b, y, rows=rows, cols=cols, stride_a=stride_a, stride_b=stride_b,
            stride_y=stride_y, broadcast=kind,
        )  # fmt: skip
        words = map(ctypes.c_uint32, (a, b, y, rows, cols, stride_a, stride_b, stride_y))
        assert bytes(library.pim_elementwise(opcode, kind, *words)) == mine.tobytes()
    mine = descriptors.unary(
        Opcode.RELU, a, y, rows=rows, cols=cols, stride_a=stride_a, stride_y=stride_y
    )
    words = map(ctypes.c_uint32, (a, y, rows, cols, stride_a, stride_y))
    assert bytes(library.pim_unary(Opcode.RELU, *words)) == mine.tobytes()
    assert bytes(library.pim_fence()) == descriptors.fence().tobytes()


def test_bfloat16(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 32, 4000, np.uint32)
    halves = rng.integers(0, 1 << 16, 2000, np.uint32) << 16 | 0x8000  # ties
    values = np.concatenate([bits, halves, halves + 1, halves - 1]).view(np.float32)
    made = [library.pim_bf16(value) for value in values.tolist()]
    assert made == golden.to_bf16_bits(values).tolist()
    for word in (0x0000, 0x8000, 0x3F80, 0xFF80, 0x0001):
        back = np.float32(library.pim_float(word))
        assert back == golden.bf16_to_f32(np.uint16(word))


# ---- Lists.


def outcome(
    library: ctypes.CDLL | None, device: Device, seed: int
) -> tuple[bytes, list[bytes], bool]:
    """Run the random list of a seed by the C driver, None: by a list made in Python.

    Returns the buffer, what is in device memory, and whether all was executed.
    """
    raw = RawDevice(device)
    raw.buffer[:] = 0
    case = random_list(np.random.default_rng(seed), raw.geometry, raw.base, faults=0.3)
    for address, content in case.areas:
        raw.write_memory(address, content)
    raw.buffer[:] = 0
    raw.buffer[HOST_OFFSET : HOST_OFFSET + HOST_BYTES] = case.host
    items = [np.array(case.descriptors[place]) for place in case.positions]
    for item in items:
        # One after the other, without room for records; the position is the list's.
        item["control"] &= ~np.uint32(CONTROL_FIELDS["record"].mask)
        item["next_lo"] = item["next_hi"] = item["status"] = 0
    if CONTROL_FIELDS["opcode"].get(int(items[-1]["control"])) == Opcode.END:
        items.pop()
    if library is None:
        done = {status.code for status in raw.run(items)} == {Code.DONE}
    else:
        driver = CDriver(library, device)
        assert driver.open() == OK
        assert [driver.add(item) for item in items] == [OK] * len(items)
        result = driver.run()
        assert result in (OK, REFUSED)
        done = result == OK
        if not done:
            code, place = driver.refusal
            assert int(raw.slot(64 * place)["status"][0]) == code | place << 8
            assert code >= Code.OPCODE
    buffer = raw.buffer.tobytes()
    areas = [raw.read_memory(address, content.size).tobytes() for address, content in case.areas]
    return buffer, areas, done


def test_lists_do_what_those_of_python_do(library: ctypes.CDLL, memory: Path) -> None:
    seeds = range(30)
    with on(memory) as device:
        results = {}
        for seed in seeds:
            results[seed] = outcome(None, device, seed)
            assert outcome(library, device, seed) == results[seed], seed
    assert {result[2] for result in results.values()} == {True, False}


def test_lists_with_products_by_integers(library: ctypes.CDLL, memory: Path) -> None:
    geometry = dataclasses.replace(PLATFORM.geometry(), rows_per_beat=4)
    with FileModel(geometry, memory, 1 << 32) as device:
        for seed in range(12):
            assert outcome(library, device, seed) == outcome(None, device, seed), seed


def test_lists_on_the_simulated_device(
    library: ctypes.CDLL, devices: Callable[[str], Device]
) -> None:
    device = devices("native-per_bank")
    for seed in range(8):
        assert outcome(library, device, seed) == outcome(None, device, seed), seed


# ---- Errors.


def test_what_cannot_be_opened(library: ctypes.CDLL, memory: Path) -> None:
    with on(memory) as device:
        assert CDriver(library, device).open() == OK
        assert CDriver(library, device).open(offset=32) == BUFFER
        assert CDriver(library, device).open(size=63 * 64) == BUFFER
        assert CDriver(library, device, slots=1).open() == BUFFER
        device._registers[Reg.VERSION] = DEVICE_VERSION + (1 << 16)
        assert CDriver(library, device).open() == VERSION
        device._registers[Reg.VERSION] = DEVICE_VERSION + 1
        assert CDriver(library, device).open() == OK
        device._registers[Reg.ID] = 0xFFFFFFFF
        assert CDriver(library, device).open() == DEVICE


def test_an_error_says_what_where_and_what_next(library: ctypes.CDLL, memory: Path) -> None:
    with on(memory) as device:

        def refused(error: int, **place: int) -> str:
            driver = CDriver(library, device, slots=place.pop("slots", 64))
            assert driver.open(**place) == error
            return driver.explain(library, error)

        assert re.fullmatch(
            r"the buffer begins at 0x100000020 for the device and at 0x\w+20 for the program, which"
            r" must be multiples of 64: give it whole pages",
            refused(BUFFER, offset=32),
        )
        assert refused(BUFFER, size=63 * 64) == (
            "the buffer has 4032 bytes, a list of 64 descriptors takes 64 each: make the buffer"
            " larger, or the list shorter"
        )
        assert refused(BUFFER, slots=1).startswith("a list of 1 descriptors has no place for one")
        version = DEVICE_VERSION + (1 << 16)
        device._registers[Reg.VERSION] = version
        assert refused(VERSION) == (
            f"register VERSION is 0x{version:08X}, this driver is for 0x{DEVICE_VERSION:08X}: build"
            " bitstream and driver from one commit"
        )
        device._registers[Reg.ID] = 0xFFFFFFFF
        assert refused(DEVICE).startswith(
            f"register ID is 0xFFFFFFFF, a PIM device's is 0x{DEVICE_ID:08X}: check the address of"
        )
        driver = CDriver(library, device)
        texts = [driver.explain(library, error) for error in (OK, IO, FULL, BUSY, -99)]
        assert len(set(texts)) == len(texts)
        assert all(texts)


def test_what_the_device_says_of_itself(library: ctypes.CDLL, memory: Path) -> None:
    with on(memory) as device:
        driver = CDriver(library, device)
        assert driver.open() == OK
        assert library.probe_capacity(driver.pim) == PLATFORM.geometry().capacity
        assert library.pim_data_offset(driver.pim) == 64 * 64
        assert library.probe_rows_per_beat(driver.pim) == PLATFORM.geometry().rows_per_beat


@pytest.mark.parametrize(
    ("rows_per_beat", "acc_groups", "scalar_depth"), [(1, 16, 4096), (2, 1, 4096), (4, 4, 4000)]
)
def test_products_by_integers_are_refused_as_in_python(
    library: ctypes.CDLL, memory: Path, rows_per_beat: int, acc_groups: int, scalar_depth: int
) -> None:
    geometry = dataclasses.replace(
        PLATFORM.geometry(),
        rows_per_beat=rows_per_beat, acc_groups=acc_groups, scalar_depth=scalar_depth,
    )  # fmt: skip
    with FileModel(geometry, memory, 1 << 32) as device:
        driver = CDriver(library, device)
        assert driver.open() == OK
        cases = [
            (inner, weights, group)
            for weights in (Weights.W8, Weights.W4)
            for inner, group in ((4000, 7), (4001, 5), (4097, 7), (4097, 12), (8192, 15))
        ]
        made = [driver.integers_refused(*case) for case in cases]
        assert driver.integers_refused(8192, Weights.BF16, 0) is None
        if rows_per_beat == acc_groups == 4:
            assert driver.integers_refused(64, Weights.W4, 16) == (
                "groups of 2 to the power of 16 rows: 15 is the most"
            )
            assert made[1] is None
            assert made[2] is not None
        with PimDriver(device) as python:
            assert made == [python.integers_refused(*case) for case in cases]


def test_a_list_that_is_full_or_running(library: ctypes.CDLL, memory: Path) -> None:
    with on(memory) as device:
        driver = CDriver(library, device, slots=4)
        assert driver.open() == OK
        added = [driver.add(descriptors.fence()) for _ in range(4)]
        assert added == [OK, OK, OK, FULL]
        assert library.pim_submit(driver.pim) == OK
        assert driver.add(descriptors.fence()) == BUSY
        assert library.pim_submit(driver.pim) == BUSY
        assert library.pim_wait(driver.pim, 1000) == OK
        assert driver.waits
        assert driver.add(descriptors.fence()) == OK
        assert driver.run() == OK
        assert library.pim_wait(driver.pim, 1000) == OK  # nothing to wait for


def test_a_refused_descriptor_has_its_code_and_place(library: ctypes.CDLL, memory: Path) -> None:
    with on(memory) as device:
        driver = CDriver(library, device)
        assert driver.open() == OK
        bad = descriptors.fence()
        bad["control"] = 0xFF
        for item in (descriptors.fence(), bad, descriptors.fence()):
            assert driver.add(item) == OK
        assert driver.run() == REFUSED
        assert driver.refusal == (Code.OPCODE, 1)
        assert driver.explain(library, REFUSED) == (
            "descriptor 1 of the list, opcode 0xFF, ended with OPCODE: Unknown opcode. Mend that"
            " descriptor; rtl/README.md has the rules of its opcode."
        )
        assert library.pim_code_text(Code.OPCODE) == b"OPCODE: Unknown opcode."
        assert driver.add(descriptors.fence()) == OK
        assert driver.run() == OK


class _Unseen(Execution):
    """Status words that never reach the host's eyes: the buffer is cached, or the bus refuses."""

    def set_status(self, address: int, status: int) -> None:
        """Write none."""


class Port(FileModel):
    """A device behind a port that may refuse its reads, and whose status words are not seen."""

    error: Code | None = None
    list_address: int | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._execution = _Unseen(self.geometry, self.memory, self._buffer, self.buffer_address)

    def _fetch(self, address: int, index: int) -> Fields:
        if self.error is not None and index == 1:
            raise RefusedError(self.error)
        return super()._fetch(address, index)

    def write32(self, offset: int, value: int) -> None:
        """Start another list than the driver's, where one is given."""
        if offset == Reg.DOORBELL and self.list_address is not None:
            super().write32(Reg.LIST_LO, self.list_address)
        super().write32(offset, value)


@pytest.mark.parametrize(
    ("error", "list_address", "code", "place", "text"),
    [
        (
            *(Code.AXI_READ, None, Code.AXI_READ, 1),
            "descriptor 1 of the list, opcode 0x08, ended with AXI_READ: The host memory answered a"
            " read with an error. Check the address range of the port in the block design: the"
            " buffer must be in it.",
        ),
        (
            *(Code.LOOP, None, Code.LOOP, 1),
            "descriptor 1 of the list, opcode 0x08, ended with LOOP: The status word is not"
            " PENDING: the chain loops, or it was not re-armed. Its status word does not say so:"
            " what the device writes is not seen in the buffer: is it cached? Set sync-mode of"
            " u-dma-buf to 2 or 3, or connect a coherent port.",
        ),
        (
            *(None, None, Code.PENDING, 0),
            "the list has ended without an error, but the status word of descriptor 0 of the list,"
            " opcode 0x08, is still PENDING: what the device writes is not seen in the buffer: is"
            " it cached? Set sync-mode of u-dma-buf to 2 or 3, or connect a coherent port.",
        ),
        (
            *(None, 32, Code.MISALIGNED, 0),
            "the list's address, 0x100000000, was refused with MISALIGNED: An address or stride is"
            " not a multiple of its granule. Is another program using the device?",
        ),
    ],
)
def test_a_status_word_that_was_not_written_does_not_hide_what_status_says(
    library: ctypes.CDLL,
    memory: Path,
    error: Code | None,
    list_address: int | None,
    code: Code,
    place: int,
    text: str,
) -> None:
    device = on(memory, Port)
    assert isinstance(device, Port)
    with device:
        driver = CDriver(library, device)
        assert driver.open() == OK
        device.error, device.list_address = error, list_address
        assert [driver.add(descriptors.fence()) for _ in range(2)] == [OK, OK]
        assert driver.run() == REFUSED
        assert driver.refusal == (code, place)
        assert driver.explain(library, REFUSED) == text


def test_a_list_that_does_not_end_is_dropped_before_the_next(
    library: ctypes.CDLL, memory: Path
) -> None:
    class Slow(FileModel):
        resets = 0
        slow = True

        def wait_irq(self, timeout: float) -> None:
            if self.slow:
                raise DeviceTimeoutError("slow")
            super().wait_irq(timeout)

        def write32(self, offset: int, value: int) -> None:
            self.resets += offset == Reg.CTRL and value & 1
            super().write32(offset, value)

    device = on(memory, Slow)
    assert isinstance(device, Slow)
    with device:
        driver = CDriver(library, device, slots=4)
        assert driver.open() == OK
        assert driver.add(descriptors.fence()) == OK
        assert driver.run(50) == TIMEOUT
        assert driver.explain(library, TIMEOUT).startswith(
            "no interrupt within 50 ms, register STATUS is 0x"
        )
        assert device.resets == 1
        device.slow = False
        assert driver.add(descriptors.fence()) == OK
        assert device.resets == 2  # before the list is written
        assert driver.run() == OK


def test_an_earlier_interrupt_does_not_end_a_wait(library: ctypes.CDLL, memory: Path) -> None:
    """The function waits again for what is left of the time, and gives up after it."""

    class Early(FileModel):
        def wait_irq(self, timeout: float) -> None:
            """Say that it came, and run nothing."""

    with on(memory, Early) as device:
        early = CDriver(library, device)
        assert early.open() == OK
        assert early.add(descriptors.fence()) == OK
        assert early.run(30) == TIMEOUT
        assert len(early.waits) > 1
        assert early.waits == sorted(early.waits, reverse=True)


def test_every_error_has_a_text(library: ctypes.CDLL) -> None:
    errors = (OK, TIMEOUT, IO, DEVICE, VERSION, BUFFER, FULL, BUSY, REFUSED)
    texts = [library.pim_error_text(error) for error in errors]
    assert len(set(texts)) == len(errors)
    assert library.pim_error_text(-99) == b"unknown error"
    assert {library.pim_code_text(code) for code in Code} == {
        f"{code.name}: {isa.CODE_TEXT[code]}".encode() for code in Code
    }
    assert library.pim_code_text(0x33) == b"unknown code"


# ---- A board.


class Board:
    """A board opened by pim_uio.c below a folder."""

    def __init__(self, library: ctypes.CDLL, root: Path | None) -> None:
        self.library = library
        self._board = ctypes.create_string_buffer(library.probe_uio_bytes())
        self.board = ctypes.byref(self._board)
        text = ctypes.create_string_buffer(512)
        self.result = library.pim_uio_open(
            *(self.board, None if root is None else os.fsencode(root), None, None),
            *(text, ctypes.c_size_t(512)),
        )
        self.message = text.value.decode()

    def close(self) -> None:
        self.library.pim_uio_close(self.board)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = plant(tmp_path, buffer_bytes=1 << 16, buffer_address=0x3_4000_0000)
    words = np.zeros(1024, np.uint32)
    for register, value in {**RESET, **PLATFORM.geometry().registers()}.items():
        words[register // 4] = value
    words.tofile(names.dev / "uio1")
    return tmp_path


def held(root: Path) -> list[str]:
    links = [f"/proc/self/fd/{entry}" for entry in os.listdir("/proc/self/fd")]
    names = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [line for line in (*names, *Path("/proc/self/maps").open()) if str(root) in line]


def test_a_board_is_opened_and_left(library: ctypes.CDLL, root: Path) -> None:
    board = Board(library, root)
    assert (board.result, board.message) == (OK, "")
    io = library.pim_uio_io(board.board)
    assert io.read(io.context, Reg.ID) == DEVICE_ID
    io.write(io.context, Reg.LIST_HI, 0x1234)
    assert library.probe_address(board.board) == 0x3_4000_0000
    ctypes.memset(library.probe_buffer(board.board), 7, 3)
    second = Board(library, root)
    assert second.result == IO
    assert "uio1 is used by another process" in second.message
    board.close()
    assert held(root) == []
    assert np.fromfile(root / "dev/uio1", np.uint32)[Reg.LIST_HI // 4] == 0x1234
    assert np.fromfile(root / "dev/udmabuf0", np.uint8)[:4].tolist() == [7, 7, 7, 0]


@pytest.mark.parametrize(("device_id", "running"), [(DEVICE_ID, 1), (DEVICE_ID, 0), (7, 1)])
def test_a_list_that_still_runs_is_stopped_when_the_board_is_left(
    library: ctypes.CDLL, root: Path, device_id: int, running: int
) -> None:
    """As after a time-out: it would go on writing to memory that others may get."""
    board = Board(library, root)
    io = library.pim_uio_io(board.board)
    io.write(io.context, Reg.ID, device_id)
    io.write(io.context, Reg.STATUS, STATUS_RUNNING.put(running))
    io.write(io.context, Reg.CTRL, CTRL_IRQ_ENABLE.mask)
    board.close()
    stopped = device_id == DEVICE_ID and running
    left = np.fromfile(root / "dev/uio1", np.uint32)[Reg.CTRL // 4]
    assert left == (CTRL_SOFT_RESET.mask if stopped else CTRL_IRQ_ENABLE.mask)


def test_a_device_of_any_number_is_found(library: ctypes.CDLL, root: Path) -> None:
    (root / "sys/class/uio/uio1").rename(root / "sys/class/uio/uio170")
    (root / "sys/class/uio/uio17x").mkdir()
    (root / "sys/class/uio/uio17x/name").write_text("pim")  # not a device's folder
    (root / "dev/uio1").rename(root / "dev/uio170")
    board = Board(library, root)
    assert (board.result, board.message) == (OK, "")
    board.close()


def test_a_root_that_is_null_is_the_machines_own(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_BOARD_UIO", "no board")
    board = Board(library, None)
    assert board.result == IO
    assert board.message.startswith("there is no UIO device called 'no board' in /sys/class/uio: ")


def test_a_wait_unmasks_the_interrupt_and_masks_it_when_none_came(
    library: ctypes.CDLL, root: Path
) -> None:
    board = Board(library, root)
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel.settimeout(5)
    kept = library.probe_set_uio(board.board, ours.fileno())
    io = library.pim_uio_io(board.board)
    with kernel, ours:
        assert io.wait(io.context, 20) == TIMEOUT
        assert [int.from_bytes(kernel.recv(4), "little") for _ in range(2)] == [1, 0]
        kernel.send((41).to_bytes(4, "little"))
        assert io.wait(io.context, 5000) == OK
        assert int.from_bytes(kernel.recv(4), "little") == 1
        kernel.close()  # the overlay is gone
        assert io.wait(io.context, 5000) == IO
        library.probe_set_uio(board.board, kept)
        board.close()
    assert held(root) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("uio/uio1/name", "dma", "or give its name in PIMLOOP_BOARD_UIO"),
        ("uio/uio0/name", "pim", "uio0 and uio1 are both called 'pim'"),
        ("uio/uio1/maps/map0/size", "0x800", "map0/size must say at least 4096 bytes: mend `reg`"),
        ("u-dma-buf/udmabuf0/size", "x", "or give its name in PIMLOOP_BOARD_BUFFER"),
        ("u-dma-buf/udmabuf0/phys_addr", "", "phys_addr: load u-dma-buf again"),
        ("u-dma-buf/udmabuf0/sync_mode", "1", "sync_mode must be 2 or 3, or the port coherent"),
    ],
)
def test_a_board_that_cannot_be_opened(
    library: ctypes.CDLL, root: Path, file: str, text: str, message: str
) -> None:
    (root / "sys/class" / file).write_text(text)
    board = Board(library, root)
    assert board.result == IO
    assert message in board.message
    assert board.message.endswith(" (docs/board-bring-up.md)")
    assert len(board.message) < 500  # none is cut off
    assert held(root) == []


def test_names_come_from_the_environment(
    library: ctypes.CDLL, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_BOARD_UIO", "gpio")
    board = Board(library, root)
    assert board.result == IO
    assert "uio0/maps/map0/size" in board.message  # it has no map


# ---- A program.

#: What the example prints on `PLATFORM`: its rows of 700 columns are two column tiles.
GEMM = r"gemm 4 x 64 x 700, tiles of 512 columns: 0 values wrong, (\d+) DRAM clocks\n"


def test_the_example_has_60_lines() -> None:
    text = (SOURCES / "examples" / "gemm.c").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 60


@pytest.mark.parametrize("target", ["native", "aarch64"])
def test_the_example_on_the_simulated_device(
    tmp_path: Path, devices: Callable[[str], Device], target: str
) -> None:
    sources = [SOURCES / "examples" / "gemm.c", SOURCES / "pim.c", HERE / "socket_board.c"]
    command: list[str | Path] = []
    if target == "native":
        # An access outside of the buffer, or a shift too far, ends it with a message.
        program = build(tmp_path / "gemm", sources, "-g", "-fsanitize=address,undefined")
    else:
        emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
        if emulator is None or shutil.which("aarch64-linux-gnu-gcc") is None:
            pytest.skip("no ARM tools (Debian: gcc-aarch64-linux-gnu qemu-user)")
        program = build(tmp_path / "gemm", sources, "-static", cc="aarch64-linux-gnu-gcc")
        command.append(emulator)
    device = devices("native-per_bank")
    assert isinstance(device, CachedDevice)
    device.reset()
    done = run_on(device, shared_memory(device.pid), [*command, program])
    assert (done.stderr, done.returncode) == ("", 0)
    match = re.fullmatch(GEMM, done.stdout)
    assert match is not None, done.stdout
    assert int(match[1]) == device.read32(Reg.CNT_CYCLES_LO) > 0


def test_the_example_on_what_it_cannot_use(tmp_path: Path, memory: Path) -> None:
    """A buffer too small for the list or the operands, and another device, in a line each."""
    sources = [SOURCES / "examples" / "gemm.c", SOURCES / "pim.c", HERE / "socket_board.c"]
    program = build(tmp_path / "gemm", sources, "-g", "-fsanitize=address,undefined")
    with on(memory) as device:
        for size, message in (
            (1000, "gemm: socket, opening the device: the buffer has 960 bytes, a list of 16"),
            (2048, "gemm: the DMA buffer has 2048 bytes, list and operands take "),
        ):
            done = run_on(device, memory, [program], size)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(message)
            assert done.stderr.count("\n") == 1
        device._registers[Reg.ID] = 7
        done = run_on(device, memory, [program])
        assert done.returncode == 2
        assert done.stderr.startswith("gemm: socket, opening the device: register ID is 0x00000007")


@pytest.mark.parametrize(("platform", "width"), [("htg-z920", 512), ("aim", 768)])
def test_the_example_on_models_of_both_styles(
    tmp_path: Path, memory: Path, platform: str, width: int
) -> None:
    sources = [SOURCES / "examples" / "gemm.c", SOURCES / "pim.c", HERE / "socket_board.c"]
    program = build(tmp_path / "gemm", sources, "-g", "-fsanitize=address,undefined")
    with FileModel(load_platform(platform).geometry(), memory, 1 << 32) as device:
        done = run_on(device, memory, [program])
    assert (done.stderr, done.returncode) == ("", 0)
    assert f" x 700, tiles of {width} columns: 0 values wrong, " in done.stdout


def test_the_example_stops_a_list_that_does_not_end(tmp_path: Path, memory: Path) -> None:
    class Endless(FileModel):
        running = False
        resets = 0

        def read32(self, offset: int) -> int:
            return (
                STATUS_RUNNING.mask
                if offset == Reg.STATUS and self.running
                else super().read32(offset)
            )

        def write32(self, offset: int, value: int) -> None:
            self.running |= offset == Reg.DOORBELL
            if offset == Reg.CTRL and value & CTRL_SOFT_RESET.mask:
                self.resets += self.running
                self.running = False
            super().write32(offset, value)

        def wait_irq(self, timeout: float) -> None:
            raise DeviceTimeoutError("slow")

    sources = [SOURCES / "examples" / "gemm.c", SOURCES / "pim.c", HERE / "socket_board.c"]
    device = on(memory, Endless)
    assert isinstance(device, Endless)
    with device:
        done = run_on(device, memory, [build(tmp_path / "gemm", sources)])
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "gemm: socket, running the list: no interrupt within 10000 ms, register STATUS is"
            " 0x00000001: the device still runs the list; wait longer (the next list resets it"
            " first)\n"
        )
        assert (device.running, device.resets) == (False, 1)


def test_the_example_where_there_is_no_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIMLOOP_BOARD_UIO", "no board")
    sources = [SOURCES / "examples" / "gemm.c", SOURCES / "pim.c", SOURCES / "pim_uio.c"]
    done = subprocess.run(
        [build(tmp_path / "gemm", sources)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("gemm: there is no UIO device called 'no board' in /sys")
    assert "or give its name in PIMLOOP_BOARD_UIO" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_descriptor_has_the_size_that_ctypes_has() -> None:
    assert ctypes.sizeof(Words) == isa.DESCRIPTOR_BYTES
