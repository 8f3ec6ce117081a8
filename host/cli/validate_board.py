"""`pimloop validate-board`: the paper's Figure 9 on the simulated platform, cell by cell."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.board.compare import Cell, ClassTime, class_times, compare
from pimloop.host.board.data import MODELS, TITLES
from pimloop.host.board.driver_work import Explanation, explanations, repacked_products
from pimloop.host.board.page import page, summary
from pimloop.host.board.samples import board_samples
from pimloop.host.board.simulate import PimTimes
from pimloop.host.board.transfers import TransferTime, transfer_times
from pimloop.host.calibration.calibrate import held_out
from pimloop.host.cli.arguments import parse_path, whole_number
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.progress import build_notes
from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.common.files import require_writable, write_text
from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import DEFAULT_PLATFORM, Platform, load_platform
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

LENGTHS = (8, 16, 32)

#: Longest sequence of a model in the comparison: GPT-2's position table.
_LONGEST = 1024


def register(subparsers: Any) -> None:
    """Add `validate-board` to `subparsers`."""
    parser = add_command(
        subparsers,
        "validate-board",
        description="Price the paper's models, lengths and schedules on the simulated platform and "
        "compare them with the published totals: cell by cell, and by operator. The exit code is 1 "
        "when a cell differs by more than 7 %, or the median by more than 3 %.",
    )
    parser.set_defaults(func=run_validate_board, parser=parser)
    parser.add_argument(
        "--models", default=",".join(MODELS), metavar="A,B", help="of bert, roberta, gpt2"
    )
    parser.add_argument(
        "--seq",
        default=",".join(map(str, LENGTHS)),
        metavar="8,16",
        help="sequence lengths; those beyond 8, 16 and 32 have no board column",
    )
    add_option(parser, "--platform", default=DEFAULT_PLATFORM)
    add_option(parser, "--fresh", help="simulate every operator again, ignore the list cache")
    parser.add_argument(
        "--write", type=parse_path, metavar="FILE", help="write the page (docs/board.md)"
    )
    add_option(parser, "--json")


def run_validate_board(args: argparse.Namespace) -> int:
    """Compare, print, write; 1 when the limits are exceeded."""
    require_writable(args.write)
    models, lengths = _models(args.models), _lengths(args.seq)
    platform = load_platform(args.platform)
    cells: list[Cell] = []
    times: list[ClassTime] = []
    status = console(stderr=True)

    def show(name: str) -> None:
        if status.is_terminal and not args.json:
            status.print(f"simulating {name}")

    notes = build_notes(status, quiet=args.json)
    with notes, open_device(platform, "sim", cache=not args.fresh) as device:
        pim = PimTimes(platform, device, progress=show)
        for model in models:
            for length in lengths:
                cells += compare(model, length, platform, pim.time_us)
                if length in LENGTHS:
                    times += class_times(model, length, platform, pim.time_us)
        repacked = explanations(repacked_products(models, lengths, pim.time_us), platform)
    transfers = transfer_times(models, lengths, platform)
    if args.write is not None:
        write_text(args.write, _page(args, cells, times, transfers, repacked, platform))
    totals = summary(cells)
    if args.json:
        emit_json(_as_json(cells, times, transfers, platform, pim.simulated))
    else:
        _print(cells, totals)
    return 0 if totals["passed"] else 1


def _models(text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in MODELS]
    if unknown or not chosen:
        raise PimloopError(
            f"--models {text!r}: the board's models are {', '.join(MODELS)}, separated by commas"
        )
    return list(dict.fromkeys(chosen))


def _lengths(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        lengths = [whole_number(part, 1, _LONGEST) for part in parts]
    except argparse.ArgumentTypeError:
        lengths = []
    if not lengths:
        raise PimloopError(
            f"--seq {text!r}: give sequence lengths from 1 to {_LONGEST}, separated by commas"
        )
    return list(dict.fromkeys(lengths))


def _page(
    args: argparse.Namespace,
    cells: list[Cell],
    times: list[ClassTime],
    transfers: list[TransferTime],
    repacked: list[Explanation],
    platform: Platform,
) -> str:
    command = "pimloop validate-board"
    if args.models != ",".join(MODELS):
        command += f" --models {args.models}"
    if args.seq != ",".join(map(str, LENGTHS)):
        command += f" --seq {args.seq}"
    samples = board_samples()
    assert platform.cpu is not None  # `compare` has refused a platform without
    errors = {
        "held out by sequence length": held_out(samples, platform.cpu, attrgetter("length")),
        "held out by model": held_out(samples, platform.cpu, attrgetter("model")),
    }
    return page(
        cells, times, transfers, repacked, errors,
        platform=platform.name,
        command=f"{command} --write {args.write}",
    )  # fmt: skip


def _as_json(
    cells: list[Cell],
    times: list[ClassTime],
    transfers: list[TransferTime],
    platform: Platform,
    simulated: int,
) -> dict[str, Any]:
    return {
        "platform": platform.name,
        "operators_simulated": simulated,
        "summary": summary(cells),
        "cells": [{**asdict(cell), "error": cell.error} for cell in cells],
        "operators": [{**asdict(time), "error": time.error} for time in times],
        "transfers": [asdict(transfer) for transfer in transfers],
    }


def _print(cells: list[Cell], totals: dict[str, float | int | bool]) -> None:
    rows = [
        (
            TITLES[cell.model],
            str(cell.length),
            cell.schedule,
            "-" if cell.board_us is None else f"{cell.board_us / 1000:,.1f}",
            f"{cell.ours_us / 1000:,.1f}",
            "-" if cell.error is None else percent(cell.error, signed=True),
        )
        for cell in cells
    ]
    columns = [
        *texts("model"),
        *numbers("tokens"),
        *texts("schedule"),
        *numbers("board ms", "pimloop ms", "error"),
    ]
    out = console()
    print_table(out, columns, rows, "the paper's Figure 9 on the simulated platform")
    median, worst = percent(float(totals["median"])), percent(float(totals["worst"]))
    out.print(
        f"{quantity(int(totals['cells']), 'cell')}: median {median}, worst {worst}:"
        f" {'within' if totals['passed'] else 'OUTSIDE'} the limits (3 %, 7 %)",
        soft_wrap=True,
    )
