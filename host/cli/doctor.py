"""`pimloop doctor`: every tool with its version, and how to mend what is missing."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from host.cli.output import console, emit_json
from sim.doctor import examine


def register(subparsers: Any) -> None:
    """Add `doctor` to `subparsers`."""
    parser = subparsers.add_parser(
        "doctor",
        help="name the tools found and how to mend what is missing",
        description="Name every tool with its version; exit 1 when one is missing.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run `pimloop doctor`; return 1 when something is missing."""
    findings = examine()
    missing = [finding for finding in findings if not finding.found]
    if args.json:
        tools = [
            {
                "name": finding.name,
                "found": finding.found,
                "version": finding.version,
                "place": finding.place,
                "remedy": finding.remedy,
            }
            for finding in findings
        ]
        emit_json({"ok": not missing, "tools": tools})
        return 1 if missing else 0
    table = Table("tool", "version", "where")
    for finding in findings:
        version = finding.version or "[red]missing[/red]"
        table.add_row(finding.name, version, finding.place)
    out = console()
    out.print(table)
    for finding in missing:
        out.print(f"{finding.name}: {finding.place}; mend it with:")
        # Not wrapped: the command is there to be copied.
        out.print(f"  {finding.remedy}", soft_wrap=True, markup=False)
    if not missing:
        out.print("Nothing is missing.")
    return 1 if missing else 0
