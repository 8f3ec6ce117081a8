"""pim_check and `pimloop.host.pim.device.validate` give thousands of descriptors the same code."""

import os
from collections import Counter
from dataclasses import replace

import cocotb
import numpy as np
import pytest
from bench_tools import descriptor, seeded, start
from cocotb.triggers import RisingEdge

from pimloop.host.pim.device.validate import (
    Fields,
    copy_sides,
    operands,
    validate,
)
from pimloop.host.platforms.geometry import Geometry
from pimloop.rtl.tables.isa import (
    CONTROL_FIELDS,
    COPY_OPCODES,
    DESCRIPTOR,
    PRODUCT_OPCODES,
    UNARY_OPCODES,
    Broadcast,
    Code,
    Init,
    Opcode,
)
from pimloop.sim.bench.unit import rtl, run_bench

PER_BANK = Geometry(
    capacity=1 << 20, all_bank=False, native_lanes=False, banks=16, bank_groups=4, row_bytes=8192,
    atom_bytes=64, beat_bytes=64, lanes=32, acc_groups=16, scalar_depth=512, ck_ratio=4,
    tck_fs=833333, lane_latency=4,
)  # fmt: skip
GEOMETRIES = {
    "per_bank": PER_BANK,
    "all_bank": replace(PER_BANK, all_bank=True, atom_bytes=32, beat_bytes=512, capacity=1 << 32),
}
WORDS = [name for name in DESCRIPTOR.names if name not in ("control", "status")]
SPACE = 1 << 64


class Generator:
    """Descriptors that are mostly almost right."""

    def __init__(self, rng: np.random.Generator, geometry: Geometry) -> None:
        self.rng, self.g = rng, geometry

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def below(self, top):
        return int(self.rng.integers(max(1, top)))

    def window(self):
        """Return base and size of the host window."""
        size = self.pick(4096, 1 << 16, 1 << 32, 1 << 40)
        base = self.pick(
            0, 1 << 20, (1 << 32) - 4096, SPACE - size, SPACE - size - 4096, SPACE - 4096
        )
        return base, size

    def good(self, base, size):
        """Return (words, opcode, options) of a descriptor that is usually accepted."""
        g, rng = self.g, self.rng
        opcode = Opcode(self.pick(*Opcode))
        options = {"record": self.below(2)}
        words = {
            "next": (base + self.below(size // 64) * 64) % SPACE,
            "rows": self.pick(1, 2, 3, 17),
        }
        beat = g.beat_bytes
        for name in ("addr_a", "addr_b", "addr_y"):
            words[name] = self.below(min(g.capacity, 1 << 24) // beat) * beat
        if opcode in COPY_OPCODES:
            words["inner"] = 64 * self.pick(1, 2, 16)
            words["host"] = (base + self.below(size // 64) * 64) % SPACE
            for name in ("stride_a", "stride_y"):
                words[name] = words["inner"] + 64 * self.pick(0, 0, 1)
            return words, opcode, options
        words["cols"] = g.beat_columns * self.pick(1, 2, 5)
        if opcode in PRODUCT_OPCODES:
            words["inner"] = self.pick(1, 2, 33, g.scalar_depth)
            words["tile"] = self.pick(1, 3, g.acc_groups)
            options |= {"init": int(self.pick(*Init)), "out_f32": self.below(2)}
            words["host"] = self.below(min(g.capacity, 1 << 24) // beat) * beat
            words["stride_a"] = -(-2 * words["inner"] // beat) * beat
            if opcode == Opcode.MATMUL_T:
                words["cols"] = g.atom_columns * self.pick(1, 2, 5, 17)
                words["tile"] = g.atom_bytes * self.pick(1, 4, words["cols"])
                words["stride_b"] = g.atom_bytes * self.pick(1, 2)
            wide = -(-words["cols"] // g.beat_columns) * beat
            words["stride_y"] = wide * (1 + options["out_f32"])
            words["host"] |= 2 * wide << 32
        else:
            if opcode not in UNARY_OPCODES:
                options |= {"broadcast": int(self.pick(*Broadcast))}
            for name in ("stride_a", "stride_b", "stride_y"):
                words[name] = 2 * words["cols"] + beat * self.pick(0, 0, 1)
            if rng.random() < 0.3:
                words["addr_y"] = self.pick(words["addr_a"], words["addr_b"])
        return words, opcode, options

    def odd(self):
        """Return a value at which something may tip over."""
        g = self.g
        granule = self.pick(1, 2, 32, 64, g.atom_bytes, g.beat_bytes, g.beat_columns)
        centre = self.pick(
            0,
            g.capacity,
            g.scalar_depth,
            g.acc_groups,
            1 << 31,
            1 << 32,
            self.below(1 << 32),
            self.below(g.capacity),
        )
        return (centre + self.pick(-2, -1, 0, 0, 1, 2) * granule) & 0xFFFFFFFF

    def split(self, words):
        words = dict(words)
        for name in ("host", "next"):
            whole = words.pop(name, 0)
            words |= {f"{name}_lo": whole & 0xFFFFFFFF, f"{name}_hi": whole >> 32}
        return words

    def spoil(self, words, opcode, options, base, size):
        """Change one thing; return the opcode, which may be that thing."""
        way = self.pick(0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 6, 6, 7, 7)
        if way == 0:
            name = self.pick("broadcast", "init", "out_f32", "record")
            options[name] = self.below(1 << CONTROL_FIELDS[name][1])
        elif way == 1:
            options["reserved"] = 1 << self.below(18)
        elif way == 2:
            opcode = self.below(256)
        elif way == 3:
            words[self.pick(*WORDS)] = self.odd()
        elif way == 4:
            words["host_hi"] = self.pick(0, base >> 32, 0xFFFFFFFF, self.odd())
        elif way == 5:
            edge = base + self.pick(0, size) + self.pick(-128, -64, 0, 64)
            name = self.pick("next", "host")
            words |= {f"{name}_lo": edge & 0xFFFFFFFF, f"{name}_hi": edge >> 32 & 0xFFFFFFFF}
        elif way == 6:
            self.to_the_edge(words, opcode, options, base + size)
        else:
            name = self.pick("addr_a", "addr_b", "addr_y", "host_lo")
            other = self.pick("addr_a", "addr_b", "addr_y", "host_lo")
            words[name] = (
                words.get(other, 0) + self.pick(-1, 0, 1) * self.g.beat_bytes
            ) & 0xFFFFFFFF
        return opcode

    def to_the_edge(self, words, opcode, options, window_end):
        """Move an operand so that its hull ends at the end of its memory, or a granule beside."""
        fields = Fields.parse(descriptor(opcode, **words, **options).to_bytes(64, "little"))
        if options.get("reserved") or fields.opcode not in frozenset(Opcode) or fields.init == 3:
            return
        off = self.pick(-1, 0, 0, 1)
        if fields.opcode in COPY_OPCODES:
            host, device = copy_sides(fields)
            name = "addr_y" if fields.opcode == Opcode.COPY_IN else "addr_a"
            if self.below(2):
                words[name] = (words.get(name, 0) + self.g.capacity - device.end + off * 64) % (
                    1 << 32
                )
            else:
                to = (host.address + window_end - host.end + off * 64) % SPACE
                words |= {"host_lo": to & 0xFFFFFFFF, "host_hi": to >> 32}
        elif fields.opcode not in (Opcode.FENCE, Opcode.END):
            parts = operands(fields, self.g)
            name = self.pick("a", "b", "y", "c")
            part = getattr(parts, name)
            word = "host_lo" if name == "c" else f"addr_{name}"
            granule = (
                self.g.atom_bytes
                if fields.opcode == Opcode.MATMUL_T and name == "b"
                else self.g.beat_bytes
            )
            if part is not None:
                shift = self.g.capacity - part.end + off * granule
                words[word] = (words.get(word, 0) + shift) % (1 << 32)

    def draw(self):
        """Return descriptor bits, its host address, window base and size."""
        base, size = self.window()
        words, opcode, options = self.good(base, size)
        words = self.split(words)
        for _ in range(self.pick(0, 1, 1, 1, 2, 3)):
            opcode = self.spoil(words, opcode, options, base, size)
        room = min(size, SPACE - base)
        at = base + self.pick(0, room - 64, room - 128, self.below(room // 64) * 64)
        return descriptor(opcode, **words, **options), at, base, size


async def until_done(dut):
    """Return the clocks from `start_i` to `done_o`."""
    for clocks in range(1, 25):
        await RisingEdge(dut.clk_i)
        if int(dut.done_o.value):
            return clocks
    raise AssertionError("no verdict after 24 clocks")


def duration(fields, code, geometry):
    """Return the clocks of a check: part of the cycles of a list (rtl/README.md, "Timing")."""
    short = fields.opcode in (Opcode.FENCE, Opcode.END)
    match code:
        case Code.OPCODE | Code.RESERVED | Code.SIZE | Code.MISALIGNED:
            return 2
        case Code.RANGE:
            # The operands of device memory, three clocks each, up to the one that is outside.
            return 6 + 3 * next(
                place
                for place, part in enumerate(device_parts(fields, geometry))
                if part is not None and part.end > geometry.capacity
            )
        case Code.HOST_RANGE:
            return 3 if short else 19
        case _:
            return 4 if short else 20


def device_parts(fields, geometry):
    """Return A, B, C and Y, None where there is none."""
    if fields.opcode in COPY_OPCODES:
        _, device = copy_sides(fields)
        outward = fields.opcode == Opcode.COPY_OUT
        return (device if outward else None, None, None, None if outward else device)
    parts = operands(fields, geometry)
    return parts.a, parts.b, parts.c, parts.y


@cocotb.test()
@cocotb.parametrize(part=range(3))
async def codes(dut, part):
    geometry = GEOMETRIES[os.environ["STYLE"]]
    rng = seeded(dut)
    await start(dut, start_i=0, desc_i=0, desc_addr_i=0, window_base_i=0, window_size_i=0)
    generator = Generator(rng, geometry)
    seen = Counter()
    for _ in range(1500):
        bits, at, base, size = generator.draw()
        dut.desc_i.value, dut.desc_addr_i.value = bits, at
        dut.window_base_i.value, dut.window_size_i.value = base, size
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        clocks = await until_done(dut)
        fields = Fields.parse(bits.to_bytes(64, "little"))
        expected = validate(fields, at, geometry, (base, base + size)) or Code.DONE
        code = Code(int(dut.code_o.value))
        assert code == expected, (
            f"{code.name}, not {expected.name}: {fields}, at {at:#x}, {base:#x}"
        )
        assert clocks == duration(fields, code, geometry), (code.name, fields)
        seen[code] += 1
        await RisingEdge(dut.clk_i)
        await RisingEdge(dut.clk_i)
    dut._log.info("codes: %s", {code.name: count for code, count in seen.items()})
    wanted = {
        Code.DONE,
        Code.OPCODE,
        Code.RESERVED,
        Code.SIZE,
        Code.MISALIGNED,
        Code.RANGE,
        Code.HOST_RANGE,
        Code.OVERLAP,
    }
    assert all(seen[code] >= 10 for code in wanted), seen


@pytest.mark.parametrize("style", GEOMETRIES)
def test_pim_check(style):
    g = GEOMETRIES[style]
    params = {
        "Capacity": f"64'd{g.capacity}",
        "AtomBytes": g.atom_bytes,
        "BeatBytes": g.beat_bytes,
        "AccGroups": g.acc_groups,
        "ScalarDepth": g.scalar_depth,
    }
    run_bench(
        "pim_check",
        rtl("pim_check_static", "pim_check_hull", "pim_check"),
        bench=__file__,
        params=params,
        environment={"STYLE": style},
    )
