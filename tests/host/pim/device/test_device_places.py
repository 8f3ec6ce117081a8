"""Every operation at every size and place of a page, often enough to meet a refresh: the same
memory as the model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.random_lists import random_bits
from support.raw import RawDevice

from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.host.platforms.geometry import BF16_BYTES, Geometry
from pimloop.host.platforms.platform import load_platform
from pimloop.rtl.tables.isa import UNARY_OPCODES, Code, Opcode, Reg
from pimloop.sim.device.config import HostMemory, SimConfig
from pimloop.sim.device.process import SimDevice

BUFFER_BYTES = 1 << 20
PLATFORMS = {"per_bank": "htg-z920", "all_bank": "aim"}
OPERATIONS = [opcode for opcode in Opcode if opcode not in (Opcode.FENCE, Opcode.END)]

#: Times an operation is repeated in a list, so that the list is longer than a refresh interval;
#: products of a transposed operand take longer than any other.
REPEATS = dict.fromkeys(OPERATIONS, 100) | {Opcode.MATMUL_T: 20}
ROWS = 3
#: Of products: no whole number of blocks, and long enough that a refresh comes within some of them.
INNER = 37
HOST_DATA = 1 << 18

SLOW = HostMemory(read_latency=90, read_gap=4, write_latency=90, write_gap=4)
Pair = tuple[RawDevice, RawDevice, SimDevice, ModelDevice]


@pytest.fixture(scope="module", params=["per_bank", "all_bank"])
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pair(style: str) -> Iterator[Callable[[HostMemory], Pair]]:
    """Return a function that opens a simulated device and a model with the same memory."""
    platform = load_platform(PLATFORMS[style])
    opened: dict[HostMemory, Pair] = {}

    def get(memory: HostMemory) -> Pair:
        if memory not in opened:
            config = SimConfig(
                params=platform.rtl_parameters(), host_memory=memory, memory_bytes=BUFFER_BYTES
            )
            device = SimDevice(config)
            model = ModelDevice(platform.geometry(), BUFFER_BYTES, device.buffer_address)
            opened[memory] = RawDevice(device), RawDevice(model), device, model
        return opened[memory]

    yield get
    for _, _, device, _ in opened.values():
        device.close()


def page_bytes(geometry: Geometry) -> int:
    """Return the bytes of device addresses that share an open row."""
    return geometry.row_bytes * (geometry.banks if geometry.all_bank else 1)


def operation(
    opcode: Opcode, geometry: Geometry, base: int, *, rows: int, beats: int, offset: int
) -> Descriptor:
    """Return a descriptor with `rows` of `beats`, its result `offset` bytes into a page."""
    page, beat = page_bytes(geometry), geometry.beat_bytes
    a, b, y = 10 * page, 20 * page, 30 * page + offset
    stride = page
    if opcode in (Opcode.COPY_IN, Opcode.COPY_OUT):
        make = descriptors.copy_in if opcode == Opcode.COPY_IN else descriptors.copy_out
        return make(
            base + HOST_DATA,
            y,
            rows=rows,
            row_bytes=beats * 64,
            host_stride=beats * 64,
            device_stride=stride,
        )
    columns = beats * geometry.beat_columns
    if opcode in (Opcode.MATMUL, Opcode.MATMUL_T):
        transposed = opcode == Opcode.MATMUL_T
        return descriptors.matmul(
            a,
            b,
            y,
            rows=rows,
            inner=INNER,
            cols=columns,
            stride_a=beat,
            stride_y=stride,
            stride_b=geometry.atom_bytes if transposed else 0,
            tile=columns * geometry.atom_bytes if transposed else 2,
            transposed=transposed,
        )
    if opcode in UNARY_OPCODES:
        return descriptors.unary(
            opcode, a, y, rows=rows, cols=columns, stride_a=BF16_BYTES * columns, stride_y=stride
        )
    return descriptors.elementwise(
        opcode,
        a,
        b,
        y,
        rows=rows,
        cols=columns,
        stride_a=BF16_BYTES * columns,
        stride_b=BF16_BYTES * columns,
        stride_y=stride,
    )


def run_on(raw: RawDevice, items: list[Descriptor]) -> set[Code]:
    return {status.code for status in raw.run(items)}


@pytest.mark.parametrize("opcode", OPERATIONS, ids=lambda opcode: opcode.name)
def test_same_memory_at_every_size_and_place(
    pair: Callable[[HostMemory], Pair], opcode: Opcode
) -> None:
    copies = opcode in (Opcode.COPY_IN, Opcode.COPY_OUT)
    rng = np.random.default_rng(opcode)
    for memory in (HostMemory(), SLOW) if copies else (HostMemory(),):
        sim, model, device, reference = pair(memory)
        geometry = sim.geometry
        page = page_bytes(geometry)
        beat = 64 if copies else geometry.beat_bytes
        for rows, beats in ((1, 1), (1, 3), (ROWS, 3)):
            places = [0, beat] + ([page - beat] if beats > 1 else [])
            for offset in places:
                image = slice(8 * page, (31 + ROWS) * page)
                content = random_bits(rng, (image.stop - image.start) // 2).view(np.uint8)
                data = rng.integers(0, 256, ROWS * beats * 64, np.uint8)
                items = [
                    operation(opcode, geometry, sim.base, rows=rows, beats=beats, offset=offset)
                    for _ in range(2 if memory == SLOW else REPEATS[opcode])
                ]
                refreshes = sim.read64(Reg.CNT_REF_LO)
                for raw, array in ((sim, device.memory), (model, reference.memory)):
                    array[image] = content
                    raw.buffer[HOST_DATA : HOST_DATA + data.size] = data
                    assert run_on(raw, items) == {Code.DONE}
                assert memory == SLOW or sim.read64(Reg.CNT_REF_LO) > refreshes
                where = f"{rows} rows of {beats} beats at {offset} of a page"
                assert np.array_equal(device.memory[image], reference.memory[image]), where
                assert np.array_equal(sim.buffer, model.buffer), where
