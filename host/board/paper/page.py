"""Make docs/paper.md: `python -m pimloop.host.board.paper.page`.

The page is a sequence of parts. Those that follow from the published data are computed anew each
time. Those that need more are made anew when it is given, and else stay as the page has them:

    --simulate          what the simulated platform takes (RTL simulation of every operator's shape)
    --measure           the seconds that planning and partitioning take on this machine
    --runs REPORT...    whole runs: report.json files of `pimloop sim MODEL --seq N --policy coexec`
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.host.board.data import BOARD_PLATFORM
from pimloop.host.board.paper import simulated
from pimloop.host.board.paper.costs import coexecution_section, runs_section, totals_section
from pimloop.host.board.paper.graphs import (
    example_section,
    left_section,
    seconds_section,
    table_1,
    table_3_counts,
)
from pimloop.host.board.paper.runs import read_run, runs_part
from pimloop.host.board.simulate import PimTimes
from pimloop.host.common.files import write_text
from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import load_platform
from pimloop.partitioner.paper.tables import CITATION

#: Every part of the page in order, with what makes it.
PARTS: Mapping[str, str] = {
    "introduction": "computed",
    "table-1": "computed",
    "figure-2b": "simulated",
    "figure-5": "computed",
    "edges-left": "computed",
    "profile-runs": "computed",
    "table-2": "simulated",
    "figure-8": "simulated",
    "figure-9": "simulated",
    "totals": "computed",
    "figures-10-12": "simulated",
    "figure-11": "simulated",
    "table-3": "computed",
    "seconds": "measured",
    "headlines": "simulated",
    "co-execution": "computed",
    "runs": "executed",
}

_PART = re.compile(r"^<!-- part: (\S+), \w+ -->\n(.*?)^<!-- end of part -->\n", re.M | re.S)


def introduction() -> str:
    """Return the head of the page."""
    return f"""# The paper re-done

Its tables and figures one by one, the published numbers beside pimloop's.

Source of all measurements: {CITATION}

Every number is one of these:

- *published*: printed in the paper, or in the ONNX Runtime traces published with it (HTG-Z920
  board, 4x Cortex-A53 at 1.5 GHz, Silent-PIM on the FPGA; lengths 8, 16 and 32);
- *computed here* from the published costs by pimloop's algorithms; nothing is measured for it;
- *simulated*: on platform `{BOARD_PLATFORM}`, whose PIM is the simulated RTL and whose CPU and
  transfers are a model fitted to the published costs ([docs/board.md](board.md));
- *measured*: seconds on the machine that wrote this page.

The authors' data ship with pimloop (`host/board/data`, `partitioner/paper/data`). The page is
written by `python -m pimloop.host.board.paper.page --simulate --measure --runs out/*/report.json`;
without an option its parts stay as they are and all others are made anew.
"""


COMPUTED: Mapping[str, Callable[[], str]] = {
    "introduction": introduction,
    "table-1": table_1,
    "figure-5": example_section,
    "edges-left": left_section,
    "profile-runs": runs_section,
    "totals": totals_section,
    "table-3": table_3_counts,
    "co-execution": coexecution_section,
}


def computed_parts() -> dict[str, str]:
    """Return the parts that follow from the published data."""
    return {name: make() for name, make in COMPUTED.items()}


def simulated_parts() -> dict[str, str]:
    """Return the parts that need the simulated platform."""
    platform = load_platform(BOARD_PLATFORM)
    with open_device(platform, "sim", cache=True) as device:
        board = simulated.SimulatedBoard(platform, PimTimes(platform, device).time_us)
        return {
            "figure-2b": simulated.figure_2b(platform, device),
            "table-2": simulated.table_2(board),
            "figure-8": simulated.figure_8(board),
            "figure-9": simulated.figure_9(board),
            "figures-10-12": simulated.figures_10_and_12(board),
            "figure-11": simulated.figure_11(board),
            "headlines": simulated.headlines(board),
        }


def parts_of(page: str) -> dict[str, str]:
    """Return the parts of a page by name."""
    return {match[1]: match[2] for match in _PART.finditer(page)}


def assemble(parts: Mapping[str, str]) -> str:
    """Return the page.

    Raises
    ------
    PimloopError
        When a part is missing.
    """
    options = {"simulated": "--simulate", "measured": "--measure", "executed": "--runs"}
    text = []
    for name, kind in PARTS.items():
        if name not in parts:
            raise PimloopError(f"the page has no part {name!r} yet: give {options[kind]}")
        text.append(f"<!-- part: {name}, {kind} -->\n{parts[name]}<!-- end of part -->\n")
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(
        prog="paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, default=Path("docs/paper.md"), metavar="FILE")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--runs", type=Path, nargs="+", metavar="REPORT")
    args = parser.parse_args(argv)
    try:
        parts = parts_of(args.write.read_text("utf-8")) if args.write.exists() else {}
        if args.runs:
            parts["runs"] = runs_part([read_run(path) for path in args.runs])
        if args.measure:
            parts["seconds"] = seconds_section()
        parts |= computed_parts()
        if args.simulate:
            parts |= simulated_parts()
        write_text(args.write, assemble(parts))
    except (OSError, PimloopError) as error:
        sys.stderr.write(f"paper: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
