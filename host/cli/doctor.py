"""`pimloop doctor`: every tool with its version, and how to mend what is missing."""

from __future__ import annotations

import argparse
from typing import Any

from rich.text import Text

from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.tables import print_table, prose, texts
from pimloop.sim.verilator.doctor import examine


def register(subparsers: Any) -> None:
    """Add `doctor` to `subparsers`."""
    parser = add_command(
        subparsers,
        "doctor",
        description="Name every tool with its version; exit 1 when one is missing.",
    )
    add_option(parser, "--json")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run `pimloop doctor`; return 1 when something is missing."""
    findings = examine()
    missing = [finding for finding in findings if not finding.present]
    if args.json:
        tools = [
            {
                "name": finding.name,
                "found": finding.present,
                "version": finding.version,
                "place": finding.place,
                "remedy": finding.remedy,
            }
            for finding in findings
        ]
        emit_json({"ok": not missing, "tools": tools})
        return 1 if missing else 0
    rows = [
        (finding.name, finding.version or Text("missing", style="red"), finding.place)
        for finding in findings
    ]
    out = console()
    print_table(out, [*texts("tool", "version"), *prose("where")], rows)
    for finding in missing:
        text = f"{finding.name}: {finding.place}; mend it with:"
        out.print(text, soft_wrap=True, markup=False)
        # Not wrapped: the command is there to be copied.
        out.print(f"  {finding.remedy}", soft_wrap=True, markup=False)
    if not missing:
        out.print("Nothing is missing.")
    return 1 if missing else 0
