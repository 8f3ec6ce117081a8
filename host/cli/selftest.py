"""`pimloop selftest`: does a device work? The first command on a new board."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from rich.text import Text

from pimloop.host.cli.arguments import idle
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.exit_codes import CHECK_FAILED
from pimloop.host.cli.options import add_device_options, add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import choose_lanes
from pimloop.host.cli.tables import print_table, prose, texts
from pimloop.host.execution.idle import ON_BOARD, ON_MODEL
from pimloop.host.execution.selftest import Subject, run_selftest
from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import DEFAULT_PLATFORM, load_platform
from pimloop.partitioner.quantity import quantity


def register(subparsers: Any) -> None:
    """Add `selftest` to `subparsers`."""
    parser = add_command(
        subparsers,
        "selftest",
        description=(
            "Check that a device is what its platform says and works: registers, both memories,"
            " every opcode against the golden model, errors, interrupt and reset. Exit code 1: a"
            " check failed."
        ),
    )
    add_device_options(parser, board=True)
    parser.set_defaults(platform=DEFAULT_PLATFORM)
    add_option(parser, "--timeout")
    add_option(parser, "--json")
    parser.set_defaults(func=run)


@idle(*ON_MODEL, *ON_BOARD)
def run(args: argparse.Namespace) -> int:
    """Run `pimloop selftest`; return 1 when a check failed."""
    choose_lanes(args)
    platform = load_platform(args.platform, dict(args.set))
    from pimloop.host.cli.progress import build_notes

    errors = console(stderr=True)

    def note(name: str) -> None:
        # Before it begins: a board that hangs the whole machine says here in which check.
        if args.device == "board" and not args.json:
            errors.print(f"checking: {name}", markup=False)

    with (
        build_notes(errors, quiet=args.json),
        open_device(platform, args.device, flavour=args.flavour, timeout=args.timeout) as device,
    ):
        subject = Subject(device, platform, args.device != "model", args.timeout)
        checks = list(run_selftest(subject, note))
    failed = [check for check in checks if not check.passed]
    if args.json:
        emit_json(
            {
                "platform": platform.name,
                "device": args.device,
                "passed": not failed,
                "checks": [asdict(check) for check in checks],
            }
        )
        return CHECK_FAILED if failed else 0
    out = console()
    rows = [
        (check.name, Text("yes") if check.passed else Text("NO", style="red"), check.detail)
        for check in checks
    ]
    title = f"selftest of {platform.name}, device {args.device}"
    print_table(out, [*texts("check", "passed"), *prose("what was done")], rows, title)
    count = quantity(len(checks), "check")
    out.print(f"{len(failed)} of {count} failed." if failed else f"{count}, all passed.")
    return CHECK_FAILED if failed else 0
