"""`pimloop policies`: what places operators, built in and of plug-ins."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.tables import print_table, prose, texts


def register(subparsers: Any) -> None:
    """Add `policies` to `subparsers`."""
    parser = add_command(
        subparsers,
        "policies",
        description="List the partition policies: those built in and those of plug-ins.",
    )
    add_option(parser, "--json")
    parser.set_defaults(func=run_policies)


def run_policies(args: argparse.Namespace) -> int:
    """Run `pimloop policies`."""
    from pimloop.host.planning.policies import DESCRIPTIONS
    from pimloop.host.plugins import registry as plugins

    rows = [
        {"name": name, "source": "built in", "description": text, "error": None}
        for name, text in DESCRIPTIONS.items()
    ]
    for plugin in plugins.plugins(plugins.POLICIES).values():
        row = {"name": plugin.name, "source": plugin.package, "description": "", "error": None}
        try:
            lines = (plugins.find_policy(plugin.name).__doc__ or "").strip().splitlines()
            row["description"] = lines[0] if lines else plugin.value
        except plugins.PluginError as error:
            row["error"] = str(error)
        rows.append(row)
    if args.json:
        emit_json({"policies": rows})
        return 0
    cells = [
        (str(row["name"]), str(row["source"]), str(row["error"] or row["description"]))
        for row in rows
    ]
    print_table(console(), [*texts("policy", "from"), *prose("places")], cells)
    return 0
