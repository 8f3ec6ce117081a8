"""The C driver on a soft CPU in a simulated SoC: a matrix product against the golden model.

`python -m pimloop.host.execution.soc P Q R` builds the SoC of `pimloop.sim.soc` (LiteX, a VexRiscv
and the device), compiles `host/pim/c` for it, multiplies random matrices and compares every bit.
The CPU writes the descriptors, rings the doorbell, waits for the interrupt and prints the result.
It needs `requirements-soc.txt` and a RISC-V compiler; docs/soc.md has the whole.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from pimloop.errors import PimloopError
from pimloop.host.common import golden
from pimloop.host.execution.verification import Mismatch, find_mismatch
from pimloop.host.platforms.platform import DEFAULT_PLATFORM, load_platform
from pimloop.sim.paths import REPOSITORY
from pimloop.sim.soc.firmware import compile_program
from pimloop.sim.soc.machine import Bus, Machine, build_machine

DRIVER = REPOSITORY / "host" / "pim" / "c"
SOURCES = (DRIVER / "pim.c", DRIVER / "soc" / "pim_soc.c", DRIVER / "soc" / "gemm.c")

# More than any shape that fits: start, time-out of the program, and for an element its copies by
# the CPU, its transfers and its digits on the console.
_CLOCKS = 12_000_000
_CLOCKS_AN_ELEMENT = 600


@dataclass(frozen=True)
class SocProduct:
    """What a program on the SoC computed, and the clocks it took."""

    y: golden.Bits  # (p, r)
    cpu_clocks: int  # of the CPU, from the doorbell to the driver's return
    dram_clocks: int  # of the device's DRAM in the list, by its counter
    soc_clocks: int  # of the whole run, from reset to the end of the program


def compile_gemm(machine: Machine, *options: str) -> bytes:
    """Return the ROM with the C driver and `gemm.c`; `options` are added for the compiler.

    Raises
    ------
    SimError
        The compiler is missing or refuses the sources.
    PimloopError
        This is an installed package, which has no C driver.
    """
    if not DRIVER.is_dir():
        raise PimloopError(
            f"there is no C driver at {DRIVER}: an installed package has none; use a clone"
        )
    with tempfile.TemporaryDirectory(prefix="pimloop-soc-") as folder:
        includes = (DRIVER, DRIVER / "soc")
        return compile_program(SOURCES, includes, machine.header, Path(folder), options)


def run_product(machine: Machine, rom: bytes, a: golden.Bits, b: golden.Bits) -> SocProduct:
    """Return a x b as the SoC computes it.

    Parameters
    ----------
    machine, rom
        The SoC and its program, of `compile_gemm`.
    a, b
        (p, q) and (q, r) bfloat16 bits.

    Raises
    ------
    SimError
        The simulation fails.
    PimloopError
        The operands do not fit, or the driver reports an error: the message has its text.
    """
    (p, q), r = a.shape, b.shape[1]
    words = np.array([p, q, r], np.uint32).tobytes()
    operands = words + a.tobytes() + bytes(a.nbytes % 4) + b.tobytes()
    half = machine.address("MAIN_RAM_BYTES") // 2
    if len(operands) > half:
        raise PimloopError(
            f"the operands of {p} x {q} x {r} take {len(operands)} bytes, half of the SoC's main"
            f" memory has {half}: choose a smaller shape"
        )
    elements = p * q + q * r + p * r
    run = machine.run(rom, {half: operands}, _CLOCKS + _CLOCKS_AN_ELEMENT * elements)
    error = re.search(r"^(?:error|trap).*$", run.console, re.MULTILINE)
    clocks = re.search(r"^clocks (\d+) (\d+)$", run.console, re.MULTILINE)
    rows = re.findall(r"^y ([0-9a-f]+)$", run.console, re.MULTILINE)
    if error is not None or run.code != 0:
        said = error[0] if error is not None else f"exit code {run.code}"
        raise PimloopError(f"the program on the SoC failed: {said}")
    if clocks is None or [len(row) for row in rows] != [4 * r] * p:
        raise PimloopError(f"the program on the SoC printed no result:\n{run.console[-500:]}")
    y = np.array([[int(row[j : j + 4], 16) for j in range(0, 4 * r, 4)] for row in rows], np.uint16)
    return SocProduct(y, int(clocks[1]), int(clocks[2]), run.clocks)


def check_gemm(
    machine: Machine, shape: tuple[int, int, int], seed: int = 0
) -> tuple[SocProduct, Mismatch | None]:
    """Multiply random matrices on the SoC; return the result, and how the golden one differs.

    Parameters
    ----------
    shape
        (p, q, r).
    seed
        Of the operands, normally distributed.

    Raises
    ------
    PimloopError
        As `run_product`.
    """
    p, q, r = shape
    rng = np.random.default_rng(seed)
    a, b = (golden.to_bf16_bits(rng.standard_normal(size, np.float32)) for size in ((p, q), (q, r)))
    product = run_product(machine, compile_gemm(machine), a, b)
    return product, find_mismatch("gemm", product.y, golden.matmul(a, b))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 1 when bits differ, 2 when it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m pimloop.host.execution.soc",
        description="Multiply random matrices (P,Q) x (Q,R) by the C driver on a soft RISC-V CPU,"
        " in a simulated SoC with the device, and compare every bit with the golden model.",
    )
    for name, meaning in (("P", "rows"), ("Q", "inner dimension"), ("R", "columns")):
        parser.add_argument(name.lower(), type=_size, metavar=name, help=meaning)
    parser.add_argument("--bus", choices=get_args(Bus), default="axi", help="of the SoC")
    parser.add_argument("--platform", default=DEFAULT_PLATFORM, metavar="NAME", help="the device's")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the operands")
    args = parser.parse_args(argv)
    try:
        parameters = load_platform(args.platform).rtl_parameters()
        machine = build_machine(args.bus, parameters)
        product, mismatch = check_gemm(machine, (args.p, args.q, args.r), args.seed)
    except PimloopError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    fabric = product.dram_clocks / parameters["CkRatio"]
    rows = [
        ("SoC", f"VexRiscv RV32IM, {args.bus} bus of 32 bits (LiteX), simulated by Verilator"),
        ("device", f"{args.platform}, RTL with RTL lanes; AXI4-Lite slave and AXI4 master"),
        ("program", "host/pim/c: pim.c, soc/pim_soc.c, soc/gemm.c; no operating system"),
        ("gemm", f"{args.p} x {args.q} x {args.r}"),
        ("device clocks in the list", f"{product.dram_clocks:,} of DRAM = {fabric:,.0f} of clk_i"),
        ("CPU clocks, doorbell to return", f"{product.cpu_clocks:,}"),
        ("SoC clocks, reset to end", f"{product.soc_clocks:,}"),
        ("bits equal to golden model", "yes" if mismatch is None else f"NO: {mismatch}"),
    ]
    width = max(len(name) for name, _ in rows)
    sys.stdout.write("".join(f"{name:{width}}  {text}\n" for name, text in rows))
    return 0 if mismatch is None else 1


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1 << 16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65536")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
