"""`pimloop schema`: the published JSON Schemas of the files."""

from __future__ import annotations

import argparse
from typing import Any

from pimloop.host.cli.arguments import parse_name
from pimloop.host.cli.commands import add_command


def register(subparsers: Any) -> None:
    """Add `schema` to `subparsers`."""
    parser = add_command(
        subparsers,
        "schema",
        description=(
            "Print the JSON Schema of a format, as `pimloop-costs/2`, with meaning and unit of each"
            " key; without a name the formats that are read. A file's own is under its key"
            " `format`."
        ),
    )
    parser.add_argument(
        "format", type=parse_name, nargs="?", metavar="FORMAT", help="as pimloop-report/3"
    )
    parser.set_defaults(func=run_schema)


def run_schema(args: argparse.Namespace) -> int:
    """Run `pimloop schema`."""
    from pimloop.host.report.schemas import FORMATS, read_schema

    print("\n".join(FORMATS) if args.format is None else read_schema(args.format).rstrip("\n"))
    return 0
