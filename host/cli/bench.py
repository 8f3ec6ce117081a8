"""`pimloop bench sim`: measure the simulator; the benchmarks are in a clone's benchmarks/sim."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.cli.arguments import parse_count
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.tables import print_table, prose, texts

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "benchmarks" / "sim" / "suite.py"

#: As in benchmarks/sim/suite.py, which is not imported: it need not be there.
PARTS = (
    "main_loop",
    "lanes",
    "checks",
    "macs",
    "start_up",
    "memory",
    "builds",
    "public",
    "end_to_end",
)


def register(subparsers: Any) -> None:
    """Add `bench` to `subparsers`."""
    bench = add_command(subparsers, "bench")
    kinds = bench.add_subparsers(dest="kind", metavar="WHAT", required=True)
    sim = kinds.add_parser(
        "sim",
        help="speed, memory and build times of the simulator",
        description=(
            "Measure the simulator; every number is the median of interleaved runs. Without "
            "--parts, those that take minutes (builds, public, end_to_end) are left out."
        ),
    )
    sim.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    sim.add_argument(
        "--runs", type=parse_count, default=5, metavar="N", help="of each side (default: 5)"
    )
    add_option(sim, "--json")
    sim.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run `pimloop bench sim`."""
    if not SUITE.is_file():
        raise PimloopError(
            f"the benchmarks are not installed ({SUITE} does not exist): run this from a clone of "
            "the repository, with `make setup` done there"
        )
    command = [sys.executable, "-m", "benchmarks.sim.suite", "--runs", str(args.runs)]
    if args.parts:
        command += ["--parts", *args.parts]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise PimloopError(f"the benchmark ended with exit code {done.returncode}; see above")
    result: dict[str, Any] = json.loads(done.stdout)
    if args.json:
        emit_json(result)
        return 0
    rows = [(part, *leaf) for part, numbers in result.items() for leaf in _flat(numbers)]
    print_table(console(), [*texts("part", "number"), *prose("value")], rows)
    return 0


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return the leaves of a JSON value as (path, text)."""
    if isinstance(value, dict):
        pairs = value.items()
        return [leaf for key, v in pairs for leaf in _flat(v, f"{name}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [(name, ", ".join(_text(item) for item in value))]
    return [(name, _text(value))]


def _text(value: Any) -> str:
    """Return a number with four digits, anything else as it is.

    >>> _text(5714285.7), _text(1.0543), _text("g++")
    ('5,714,286', '1.054', 'g++')
    """
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return str(value)
