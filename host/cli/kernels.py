"""`pimloop gemm` and `pimloop elementwise`: one operation on the device, checked and timed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.cli.arguments import (
    idle,
    parse_path,
    whole_number,
)
from pimloop.host.cli.commands import add_command
from pimloop.host.cli.exit_codes import CHECK_FAILED
from pimloop.host.cli.options import add_device_options, add_option
from pimloop.host.cli.output import console, emit_json
from pimloop.host.cli.parsed import choose_lanes
from pimloop.host.cli.tables import print_table, prose, texts
from pimloop.host.common.files import write_text
from pimloop.host.execution.idle import ON_BOARD, ON_MODEL
from pimloop.host.execution.kernels import BroadcastName, KernelResult, run_elementwise, run_gemm
from pimloop.host.operators.registry import elementwise as operations
from pimloop.host.pim.device.base import Device
from pimloop.host.pim.device.open import open_device
from pimloop.host.platforms.platform import DEFAULT_PLATFORM, Platform, load_platform
from pimloop.partitioner.percent import percent
from pimloop.sim.check.drampower import drampower_lines
from pimloop.sim.check.protocol import Channel
from pimloop.sim.device.lanes import lanes_text


def register(subparsers: Any) -> None:
    """Add `gemm` and `elementwise` to `subparsers`."""
    gemm = add_command(
        subparsers,
        "gemm",
        description=(
            "Multiply random matrices (P,Q) x (Q,R) on the device, with the right operand "
            "resident, and compare every bit with the golden model. Exit code 1: bits differ."
        ),
    )
    for name, meaning in (("P", "rows"), ("Q", "inner dimension"), ("R", "columns")):
        gemm.add_argument(name.lower(), type=whole_number, metavar=name, help=meaning)
    gemm.add_argument(
        "--transposed", action="store_true", help="the right operand is (R,Q): opcode MATMUL_T"
    )
    gemm.add_argument("--bias", action="store_true", help="add a row (R)")
    _add_common(gemm)
    gemm.set_defaults(func=gemm_command)

    elementwise = add_command(
        subparsers,
        "elementwise",
        description=(
            "Run an operation of a random (P,R), and of an operand broadcast to it where the "
            "operation takes two, on the device, and compare every bit with the golden model. "
            "Exit code 1: bits differ."
        ),
    )
    elementwise.add_argument("op", choices=tuple(operations()), help="operation")
    elementwise.add_argument("p", type=whole_number, metavar="P", help="rows")
    elementwise.add_argument("r", type=whole_number, metavar="R", help="columns")
    elementwise.add_argument(
        "--broadcast",
        choices=("none", "row", "column", "scalar"),
        help="shape of the right operand: (P,R) (default), (R), (P,1), (1)",
    )
    _add_common(elementwise)
    elementwise.set_defaults(func=elementwise_command)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_device_options(parser, board=True)
    parser.set_defaults(platform=DEFAULT_PLATFORM)
    add_option(parser, "--seed", help="of the operands (default 0)")
    add_option(parser, "--timeout")
    parser.add_argument("--waves", type=parse_path, metavar="FILE.fst", help="record the operation")
    parser.add_argument(
        "--command-trace",
        type=parse_path,
        metavar="FILE",
        help="write every DRAM command, for"
        " `python -m pimloop.sim.check.protocol FILE --platform NAME`",
    )
    parser.add_argument(
        "--command-trace-format",
        choices=("text", "drampower"),
        help="of --command-trace: text (default), or the CSV that DRAMPower reads",
    )
    add_option(parser, "--json")


@idle(*ON_MODEL, *ON_BOARD)
def gemm_command(args: argparse.Namespace) -> int:
    """Run `pimloop gemm`."""
    return _run(
        args,
        {"operation": "gemm", "transposed": args.transposed, "bias": args.bias},
        lambda device, platform: run_gemm(
            device,
            platform,
            (args.p, args.q, args.r),
            transposed=args.transposed,
            bias=args.bias,
            seed=args.seed,
            timeout=args.timeout,
            waves=args.waves,
        ),
    )


@idle(*ON_MODEL, *ON_BOARD)
def elementwise_command(args: argparse.Namespace) -> int:
    """Run `pimloop elementwise`."""
    broadcast: BroadcastName = args.broadcast or "none"
    alone = operations()[args.op].operands == 1
    if alone and args.broadcast is not None:
        raise PimloopError(f"{args.op} has no right operand to broadcast: leave --broadcast out")
    return _run(
        args,
        {"operation": args.op, "broadcast": None if alone else broadcast},
        lambda device, platform: run_elementwise(
            device,
            platform,
            args.op,
            (args.p, args.r),
            broadcast=broadcast,
            seed=args.seed,
            timeout=args.timeout,
            waves=args.waves,
        ),
    )


def _run(
    args: argparse.Namespace,
    header: dict[str, Any],
    kernel: Callable[[Device, Platform], KernelResult],
) -> int:
    choose_lanes(args)
    platform = load_platform(args.platform, dict(args.set))
    if args.command_trace is not None and args.device != "sim":
        raise PimloopError(
            "only a simulated device shows its DRAM commands: trace them with --device sim"
        )
    if args.command_trace_format is not None and args.command_trace is None:
        raise PimloopError(
            "--command-trace-format would do nothing: name a file with --command-trace"
        )
    from pimloop.host.cli.progress import build_notes

    notes = build_notes(console(stderr=True), quiet=args.json)
    with (
        notes,
        open_device(
            platform,
            args.device,
            flavour=args.flavour,
            trace=args.waves is not None,
            command_trace=args.command_trace,
            timeout=args.timeout,
        ) as device,
    ):
        result = kernel(device, platform)
    if args.command_trace_format == "drampower":
        _as_drampower(args.command_trace, platform)
    report = header | _report(result, platform, args)
    if args.json:
        emit_json(report)
    else:
        _print(report)
    return 0 if result.passed else CHECK_FAILED


def _as_drampower(trace: Path, platform: Platform) -> None:
    """Write a command trace anew as DRAMPower reads it."""
    channel = Channel.of_parameters(platform.rtl_parameters())
    with trace.open(encoding="utf-8") as lines:
        text = "".join(drampower_lines(lines, channel))
    write_text(trace, text)


def _report(result: KernelResult, platform: Platform, args: argparse.Namespace) -> dict[str, Any]:
    """Return the JSON object; what the functional model cannot know is null."""
    simulated, timed = args.device == "sim", args.device != "model"
    cycles = result.stats.cycles
    report: dict[str, Any] = {
        "shape": list(result.shape),
        "platform": platform.name,
        "device": args.device,
        "flavour": args.flavour if simulated else None,
        "lanes": lanes_text(args.flavour) if simulated else None,
        "bit_exact": result.bit_exact,
        "wrong": None if result.mismatch is None else str(result.mismatch),
        "non_finite": None if result.non_finite is None else str(result.non_finite),
        "cycles": cycles if timed else None,
        "us": platform.pim_time_us(cycles) if timed else None,
        "device_us": platform.device_us(cycles) if timed else None,
        "call_overhead_us": platform.driver.call_overhead_us,
        "counters": result.stats.counters if timed else None,
        "useful_macs": result.useful_macs,
        "done_macs": result.done_macs if timed else None,
        "descriptors": result.stats.descriptors,
        "wall_s": result.wall_s,
        "cycles_per_s": cycles / result.wall_s if simulated else None,
    }
    return report


def _print(report: dict[str, Any]) -> None:
    shape = " x ".join(str(size) for size in report["shape"])
    rows = [("platform, device", f"{report['platform']}, {report['device']}")]
    if report["lanes"] is not None:
        rows.append(("lanes", report["lanes"]))
    rows.append(("bits equal to golden model", "yes" if report["bit_exact"] else "NO"))
    if report["cycles"] is not None:
        rows += [
            ("device time", f"{report['device_us']:.1f} us"),
            ("driver's cost of the call", f"{report['call_overhead_us']:.1f} us"),
            ("PIM time", f"{report['us']:.1f} us"),
            ("cycles (DRAM clocks)", f"{report['cycles']:,}"),
            *((f"  {name}", f"{value:,}") for name, value in report["counters"].items()),
        ]
        useful, done = report["useful_macs"], report["done_macs"]
        share = f" ({percent(useful / done)} useful)" if done else ""
        rows.append(("multiply-adds done", f"{done:,}{share}"))
    out = console()
    title = f"{report['operation']} {shape}"
    print_table(out, [*texts(""), *prose("")], rows, title)
    if report["wrong"] is not None:
        out.print(report["wrong"], style="red", markup=False, soft_wrap=True)
    if report["non_finite"] is not None:
        text = f"not finite: {report['non_finite']}"
        out.print(text, style="red", markup=False, soft_wrap=True)
    if report["cycles"] is None:
        out.print("The functional model has no time: use --device sim for cycles.")
    elif report["device"] == "board":
        out.print(f"{report['wall_s'] * 1e6:.0f} us of wall time on the board, Python included")
    else:
        speed = report["cycles_per_s"] / 1e6
        out.print(f"simulated {speed:.2f} M cycles/s, {report['wall_s']:.2f} s")
