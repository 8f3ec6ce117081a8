"""DRAM clocks of single operations on the simulated device, and how well they use its slots.

    python benchmarks/device/efficiency.py [PLATFORM ...] [--set KEY=VALUE ...] [--only TEXT]

Each operation is one list, its operands resident. Simulated, whole list: fetch, checks, the exit
from self-refresh and the way back are counted. A slot is the least time from one beat to the next
(tCCD, or what the lanes take); `use` is the slots of the beats that the lanes work on, over the
clocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import Platform, load_platform

Run = Callable[[PimDriver], object]

#: (rows, inner, columns) of products.
PRODUCTS = (
    (1, 768, 768), (8, 768, 768), (1, 768, 3072), (1, 768, 256), (1, 768, 512), (8, 512, 2048),
    (16, 64, 16), (16, 64, 64),
)  # fmt: skip
#: (rows, columns) of element-wise operations.
VECTORS = ((8, 512), (16, 768), (128, 768), (16, 2048), (16, 3072), (16, 4096))


def _values(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def cases() -> Iterator[tuple[str, Callable[[PimDriver], Run]]]:
    """Yield operations: a name, and a function that loads the operands and returns the run."""
    for p, q, r in PRODUCTS:
        for opcode in ("MATMUL", "MATMUL_T"):

            def product(driver: PimDriver, p=p, q=q, r=r, opcode=opcode) -> Run:
                a = driver.upload(_values(1, p, q))
                b = driver.load_matrix(_values(2, q, r), opcode=opcode)
                return lambda d: d.matmul(a, b)

            yield f"{opcode} ({p},{q})x({q},{r})", product

        def turned(driver: PimDriver, p=p, q=q, r=r) -> Run:
            a, b = driver.upload(_values(1, p, q)), driver.upload(_values(2, r, q))
            return lambda d: d.matmul(a, b, transpose_b=True)

        yield f"MATMUL_T, rows as they lie ({p},{q})x({r},{q})'", turned
    for p, r in VECTORS:
        for name, shape in (
            ("", (p, r)), (" row", (r,)), (" column", (p, 1)), (" scalar", (1,)),
        ):  # fmt: skip
            for op in ("add", "mul"):

                def vector(driver: PimDriver, p=p, r=r, shape=shape, op=op) -> Run:
                    a, b = driver.upload(_values(1, p, r)), driver.upload(_values(2, *shape))
                    return lambda d: d.elementwise(op, a, b)

                yield f"{op}{name} ({p},{r})", vector

        def relu(driver: PimDriver, p=p, r=r) -> Run:
            a = driver.upload(_values(1, p, r))
            return lambda d: d.elementwise("relu", a)

        yield f"relu ({p},{r})", relu


def slot(platform: Platform) -> int:
    """Return the least DRAM clocks from one beat of a stream to the next."""
    device = platform.device
    beat = platform.geometry().beat_columns
    lanes = -(-beat // device.lanes) * device.ck_ratio
    return max(lanes, platform.dram.tccd_l)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("platforms", nargs="*", default=["htg-z920", "aim"])
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--only", default="", help="operations whose name has this text")
    args = parser.parse_args()
    settings = dict(item.split("=", 1) for item in args.set)
    for name in args.platforms:
        platform = load_platform(name, settings)
        print(f"{platform.name}: simulated, DRAM clocks of {platform.device.tck_fs / 1e6:g} ns")
        with open_device(platform) as device:
            for label, make in cases():
                if args.only not in label:
                    continue
                driver = PimDriver.for_platform(device, platform)
                run = make(driver)
                run(driver)
                last = driver.last
                use = 100 * last.counters["mac"] * slot(platform) / last.cycles
                print(f"{label:44} {last.cycles:>9} clocks {use:5.1f} % use", flush=True)


if __name__ == "__main__":
    main()
