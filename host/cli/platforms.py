"""`pimloop platforms`: the platforms there are, and every number of one with its source."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pimloop.host.cli.arguments import parse_name
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.tables import numbers, print_table, prose, texts
from pimloop.host.platforms.geometry import memory_size
from pimloop.partitioner.quantity import quantity

if TYPE_CHECKING:
    from pimloop.host.common.schema import PlatformValue
    from pimloop.host.platforms.platform import Platform


def register(subparsers: Any) -> None:
    """Add `platforms` to `subparsers`."""
    parser = add_command(
        subparsers,
        "platforms",
        description="List the platforms, or show one with unit and source of every number.",
    )
    parser.add_argument("action", nargs="?", choices=("show",), help="show one platform")
    parser.add_argument(
        "name", type=parse_name, nargs="?", metavar="NAME", help="a platform, or a .toml file"
    )
    add_option(parser, "--json")
    parser.set_defaults(func=run_platforms, parser=parser)


def run_platforms(args: argparse.Namespace) -> int:
    """List the platforms or show one."""
    from pimloop.host.platforms.platform import load_platform, platform_names

    if args.action is None:
        platforms = [load_platform(name) for name in platform_names()]
        if args.json:
            emit_json({"platforms": [_summary(platform) for platform in platforms]})
            return 0
        rows = []
        for summary in map(_summary, platforms):
            memory, clock = (
                memory_size(summary["capacity_bytes"]),
                f"{summary['clock_mhz']:.0f} MHz",
            )
            rows.append(
                (summary["name"], summary["style"], memory, clock, summary["cpu"], summary["title"])
            )
        columns = [
            *texts("platform", "style"), *numbers("memory", "clock"),
            *prose("CPU times", "what it is"),
        ]  # fmt: skip
        print_table(console(), columns, rows)
        return 0
    if args.name is None:
        args.parser.error("show needs the NAME of a platform")
    return _show(load_platform(args.name), args)


def _show(platform: Platform, args: argparse.Namespace) -> int:
    if args.json:
        rows = {
            entry.key: {"value": entry.value, "unit": entry.unit, "source": entry.source}
            | ({"others": list(entry.others)} if entry.others else {})
            for entry in platform.values
        }
        emit_json({**_summary(platform), "values": rows})
        return 0
    cells = [(entry.key, _values(entry), entry.unit, entry.source) for entry in platform.values]
    columns = [*texts("key"), *prose("value", "unit", "source")]
    out = console()
    print_table(out, columns, cells, platform.title)
    out.print(f"CPU times: {_summary(platform)['cpu']}", markup=False, soft_wrap=True)
    return 0


def _values(entry: PlatformValue) -> str:
    """Return a value, and those of other sources behind it."""
    value = entry.value
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{text} ({', '.join(map(str, entry.others))})" if entry.others else text


def _summary(platform: Platform) -> dict[str, Any]:
    return {
        "name": platform.name,
        "title": platform.title,
        "style": platform.device.style,
        "capacity_bytes": platform.geometry().capacity,
        "clock_mhz": 1e9 / platform.device.tck_fs,
        "cpu": "measured on this machine"
        if platform.cpu is None
        else f"modelled, {quantity(platform.cpu.cores, 'core')}",
    }
