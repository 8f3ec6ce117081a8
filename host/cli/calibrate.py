"""`pimloop calibrate`: fit a platform's CPU model to measured times."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.console import Console

from pimloop.errors import PimloopError
from pimloop.host.board.samples import board_samples
from pimloop.host.calibration.calibrate import (
    REPORTED_US,
    Errors,
    Fit,
    Sample,
    errors,
    fit,
    held_out,
    merged,
    samples_of,
)
from pimloop.host.cli.arguments import (
    idle,
    parse_count,
    whole_number,
)
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.options import add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.tables import numbers, print_table, prose, texts
from pimloop.host.common.files import require_writable, write_text
from pimloop.host.common.idle import Idle
from pimloop.host.common.machine import cores
from pimloop.host.cpu.parameters import CpuSection
from pimloop.host.cpu.toml import entries, with_values
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.platforms.platform import load_platform, platform_path, sources, transfer_key
from pimloop.partitioner.costs import load_costs
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

#: The parameters from which a fit starts when the platform has no CPU model of its own.
_START = "htg-z920"

_BOARD = "published data of the paper's board"


def register(subparsers: Any) -> None:
    """Add `calibrate` to `subparsers`."""
    parser = add_command(
        subparsers,
        "calibrate",
        description="Fit the [cpu] section of a platform file to CPU times: those of this machine "
        "(measured now, the default), of the paper's board, or of your costs files. Prints the "
        "errors of the fit, and of predicting each sequence length, and each model, from a fit "
        "to the others.",
    )
    parser.set_defaults(func=run_calibrate, parser=parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--board", action="store_true", help=f"fit the {_BOARD}")
    source.add_argument(
        "--costs",
        nargs=3,
        action="append",
        metavar=("MODEL", "LENGTH", "FILE"),
        help="a costs file (pimloop-costs) of a model at a sequence length; give it repeatedly",
    )
    add_option(
        parser,
        "--platform",
        help="the platform to take all other values from (default: native; with --board htg-z920)",
    )
    parser.add_argument(
        "--cores", type=parse_count, metavar="N", help="cores that the times are of"
    )
    parser.add_argument(
        "--rounds",
        type=parse_count,
        default=10,
        metavar="N",
        help="rounds of measuring (default 10)",
    )
    add_option(parser, "--output", help="write a platform file (.toml)")
    add_option(parser, "--json")


@idle(
    Idle(
        {"rounds": 10},
        "nothing is measured here with --board or --costs",
        lambda values: bool(values["board"] or values["costs"]),
    ),
    Idle(
        {"platform": None},
        "{platform} has no CPU model to begin from, and no platform file is written (-o)",
        lambda values: values["output"] is None and load_platform(values["platform"]).cpu is None,
    ),
)
def run_calibrate(args: argparse.Namespace) -> int:
    """Fit, report, write."""
    _check(args)
    require_writable(args.output)
    base = args.platform or (_START if args.board else "native")
    text = platform_path(base).read_text(encoding="utf-8")
    own = load_platform(base).cpu
    model = own or load_platform(_START).cpu
    assert model is not None
    samples, source, disturbed = _samples(args)
    count = args.cores or (model.cores if args.board or args.costs else cores())
    start = replace(model, cores=count)
    fitted = fit(samples, start)
    tables = {"fit": errors(fitted.parameters, samples)}
    parts: dict[str, Callable[[Sample], object]] = {
        "held out: sequence length": attrgetter("length"),
        "held out: model": attrgetter("model"),
    }
    for title, key in parts.items():
        if len({key(s) for s in samples}) > 1:
            tables[title] = held_out(samples, start, key)
    if args.output is not None:
        described = _sources(fitted, source, base, own is not None)
        if count != model.cores:
            described["cores"] = f"the times are of {quantity(count, 'core')}"
        if fitted.parameters.speedup_cores != model.speedup_cores:
            described["speedup_cores"] = f"the times are of {quantity(count, 'core')}"
        text = with_values(text, "cpu", entries(fitted.parameters, described))
        if not (args.board or args.costs):
            text = _with_transfers(text, base, args.rounds)
        _write(args.output, text)
    if args.json:
        emit_json(_as_json(fitted, tables, source, disturbed))
        return 0
    _print(fitted, tables, source, disturbed, args.output)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.output is not None and args.output.suffix != ".toml":
        args.parser.error(f"--output must end in .toml, not {str(args.output)!r}")


def _samples(args: argparse.Namespace) -> tuple[list[Sample], str, bool]:
    """Return the samples, what they are in words, and whether measuring was disturbed."""
    if args.board:
        return board_samples(), _BOARD, False
    if args.costs:
        samples = [
            sample for name, length, path in args.costs for sample in _from_file(name, length, path)
        ]
        return samples, f"{quantity(len(args.costs), 'costs file')}", False
    # Models are executed only where something is measured.
    from pimloop.host.calibration.measure import machine_samples

    out = console(stderr=True)
    samples, disturbed = machine_samples(
        rounds=args.rounds,
        progress=None if args.json else lambda text: out.print(f"measuring {text}"),
    )
    return samples, f"measured on this machine, {quantity(cores(), 'core')}", disturbed


def _from_file(name: str, length: str, path: str) -> list[Sample]:
    try:
        tokens = whole_number(length, 1)
    except argparse.ArgumentTypeError as error:
        raise PimloopError(
            f"--costs {name} {length}: the sequence length must be at least 1: {error}"
        ) from error
    costs = load_costs(path)
    graph = load_model(name, LoadOptions(sequence_length=tokens))
    return samples_of(graph, costs.cost_us, model=name, length=tokens)


def _sources(fitted: Fit, source: str, base: str, has_model: bool) -> dict[str, str]:
    """Say where each parameter comes from; one that was kept keeps its source."""
    kept = sources(platform_path(base if has_model else _START))
    return {
        parameter.name: f"calibrated: {source}"
        if parameter.name in fitted.fitted
        else kept[f"cpu.{parameter.name}"][1]
        for parameter in fields(CpuSection)
    }


def _with_transfers(text: str, base: str, rounds: int) -> str:
    """Return the text with transfers as they are beside this machine."""
    # The driver is loaded only where something is measured.
    from pimloop.host.calibration.conversion import measured_transfers

    measured = measured_transfers(load_platform(base), rounds=rounds)
    for pair, transfer in measured.items():
        values = {
            transfer_key(*pair, name): entry
            for name, entry in entries(transfer.price, transfer.described).items()
        }
        text = with_values(text, "transfers", values)
    source = "float32 <-> bfloat16 as timed by pimloop calibrate, and the copy"
    return with_values(text, "driver", {"conversion": {"value": "modelled", "source": source}})


def _write(path: Path, written: str) -> None:
    write_text(path, written)
    load_platform(str(path))


def _as_json(
    fitted: Fit,
    tables: dict[str, dict[tuple[str, str], Errors]],
    source: str,
    disturbed: bool,
) -> dict[str, Any]:
    return {
        "samples": source,
        "disturbed": disturbed,
        "parameters": {
            parameter.name: {
                "value": getattr(fitted.parameters, parameter.name),
                "unit": parameter.metadata["unit"],
                "fitted": parameter.name in fitted.fitted,
            }
            for parameter in fields(CpuSection)
        },
        "reported_from_us": REPORTED_US,
        "errors": {
            title: [
                {
                    "class": kind,
                    "device": device,
                    "samples": len(errors_of.signed),
                    "median": errors_of.median,
                    "p90": errors_of.p90,
                    "worst": errors_of.worst[0],
                    "worst_operator": errors_of.worst[1],
                }
                for (kind, device), errors_of in sorted(table.items())
            ]
            for title, table in tables.items()
        },
    }


def _print(
    fitted: Fit,
    tables: dict[str, dict[tuple[str, str], Errors]],
    source: str,
    disturbed: bool,
    output: Path | None,
) -> None:
    out = console()
    rows = []
    for parameter in fields(CpuSection):
        value = getattr(fitted.parameters, parameter.name)
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
        note = "" if parameter.name in fitted.fitted else "kept: the data do not tell"
        rows.append((parameter.name, text, parameter.metadata["unit"], note))
    columns = [*texts("parameter"), *numbers("value"), *prose("unit", "")]
    print_table(out, columns, rows, source)
    for title, table in tables.items():
        print_errors(out, table, f"{title}; operators of {REPORTED_US:.0f} us and more")
    if disturbed:
        out.print("other work ran meanwhile: measure again on an idle machine")
    if output is not None:
        out.print(f"platform file: {output}")


def print_errors(out: Console, table: dict[tuple[str, str], Errors], title: str) -> None:
    """Print errors by class and device as a table, all of them in the last row."""
    rows = [(kind, device, *_numbers(errors)) for (kind, device), errors in sorted(table.items())]
    overall = merged(table.values())
    if overall.signed:
        rows.append(("all", "", *_numbers(overall)))
    columns = [
        *texts("class", "device"),
        *numbers("samples", "median", "90 %", "worst"),
        *prose("which"),
    ]
    print_table(out, columns, rows, title)


def _numbers(errors_of: Errors) -> tuple[str, ...]:
    worst, name = errors_of.worst
    return (
        str(len(errors_of.signed)),
        percent(errors_of.median),
        percent(errors_of.p90),
        percent(worst, 0, signed=True),
        name,
    )
