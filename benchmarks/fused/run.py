"""Time on this machine's CPU of fused operators, whole and decomposed.

`python benchmarks/fused/run.py` writes a built-in model as an .onnx file, has ONNX Runtime's
transformer optimizer fuse its operators, loads the result with `--keep-fused` and without, and
executes both on the CPU of the platform `native` by turns, with one thread and with all. It writes
README.md beside it. The optimizer needs sympy. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from textwrap import fill

import onnx
from onnxruntime.transformers.optimizer import optimize_model

from pimloop.host.common.files import write_text
from pimloop.host.execution.options import Options
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Graph, to_model
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pipeline.pipeline import execute_once
from pimloop.host.planning.keys import processor
from pimloop.host.platforms.platform import load_platform

PAGE = Path(__file__).with_name("README.md")
PLATFORM = "native"
DEVICES = {"cpu_serial": "1 thread", "cpu_parallel": "all cores"}


class Times:
    """Microseconds of a whole execution, one of each repetition."""

    def __init__(self) -> None:
        self.us: list[float] = []
        self.disturbed = False

    def __str__(self) -> str:
        """Return median and range, milliseconds."""
        low, mid, high = (us / 1000 for us in (min(self.us), median(self.us), max(self.us)))
        return f"{mid:.2f} ({low:.2f} - {high:.2f}){', disturbed' if self.disturbed else ''}"


def fused_file(model: str, length: int, folder: Path) -> Path:
    """Write a built-in model with its operators fused; return the file."""
    plain, fused = folder / "plain.onnx", folder / "fused.onnx"
    graph = load_model(model, LoadOptions(length))
    onnx.save(to_model(graph, inline=True).proto, plain)
    config = BUILT_IN[model]
    optimized = optimize_model(
        str(plain), "bert", opt_level=0, num_heads=config.heads, hidden_size=config.hidden
    )
    optimized.save_model_to_file(str(fused))
    return fused


def measure(graphs: Mapping[str, Graph], repeat: int, rounds: int) -> dict[tuple[str, str], Times]:
    """Return times by form and device; forms and devices take turns."""
    platform = load_platform(PLATFORM)
    options = Options(backend="model", jobs=1, rounds=rounds)
    times: dict[tuple[str, str], Times] = {
        (form, device): Times() for form in graphs for device in DEVICES
    }
    for _ in range(repeat):
        for (form, device), taken in times.items():
            graph = graphs[form]
            assignment = {node.id: device for node in graph.nodes}
            outcome = execute_once(
                graph, random_inputs(graph), platform, device, assignment, options, lambda _: None
            )
            result = outcome.schedules[device].result
            executed = schedule_times(result)
            assert executed is not None
            taken.us.append(executed.total_us)
            taken.disturbed |= any(timing.disturbed for timing in result.cpu_times.values())
    return times


def page(args: argparse.Namespace, graphs: Mapping[str, Graph], rows: Sequence[str]) -> str:
    """Return README.md."""
    fused = Counter(node.op for node in graphs["whole"].nodes if node.domain)
    listed = ", ".join(f"{count} {op}" for op, count in fused.most_common())
    words = f"""\
Made by `python {" ".join(["benchmarks/fused/run.py", *sys.argv[1:]])}` on
{datetime.datetime.now(datetime.UTC).date().isoformat()}: {args.model} as ONNX Runtime's transformer
optimizer fuses it ({listed}; onnxruntime {version("onnxruntime")}), loaded with `--keep-fused`
(whole, {len(graphs["whole"].nodes)} operators) and without (parts, {len(graphs["parts"].nodes)}).
Measured, all operators on the CPU in one segment: medians and ranges of {args.repeat} executions of
{args.rounds} rounds, by turns; {len(os.sched_getaffinity(0))} cores of {processor()}, load average
{os.getloadavg()[0]:.1f} at the end. *disturbed*: other work ran meanwhile."""
    return f"""# Fused operators on the CPU, whole and decomposed

{fill(words, 100, break_long_words=False)}

| tokens | CPU | whole, ms (range) | parts, ms (range) | parts / whole |
|---|---|---|---|---|
{chr(10).join(rows)}
"""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bert-small", choices=("bert-small", "bert", "roberta"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128], help="tokens")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    rows: list[str] = []
    for length in args.lengths:
        with tempfile.TemporaryDirectory() as folder:
            path = str(fused_file(args.model, length, Path(folder)))
            graphs = {
                form: load_model(path, LoadOptions(decompose=Choice(keep_fused=form == "whole")))
                for form in ("whole", "parts")
            }
        times = measure(graphs, args.repeat, args.rounds)
        for device, cores in DEVICES.items():
            whole, parts = times["whole", device], times["parts", device]
            ratio = median(parts.us) / median(whole.us)
            rows.append(f"| {length} | {cores} | {whole} | {parts} | {ratio:.2f} |")
            print(rows[-1], flush=True)
    write_text(PAGE, page(args, graphs, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
