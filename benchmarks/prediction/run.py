"""Predicted against executed totals of every schedule, with the spread of repetitions.

`python benchmarks/prediction/run.py` profiles and executes four models on the platform `native`,
whose CPU is this machine's, several times over, and writes results.json and README.md beside it.
What the PIM and the transfers take is simulated once; CPU operators and the entry into a segment
are profiled anew for each repetition, and every schedule is executed and timed anew. A machine's
speed drifts by ten percent and more over seconds (a virtual one's most), so profiles and executions
alternate, and an execution is held against the mean of the profiles before and after it. Processes
differ too, for as long as they live, so repetitions are spread over several. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

from pimloop.host.common.files import write_json, write_text
from pimloop.host.common.machine import cores
from pimloop.host.cpu.profile import CpuProfile
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.planning.keys import processor
from pimloop.host.platforms.platform import load_platform
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.percent import percent
from pimloop.partitioner.place.solve import POLICIES, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.quantity import quantity

MODELS = ("bert-small", "bert", "roberta", "gpt2")
HERE = Path(__file__).parent


@dataclass
class Row:
    """The totals of one schedule, microseconds, one of each repetition."""

    model: str
    schedules: str  # names of the policies that make it
    segments: int  # on the CPU
    predicted: list[float]
    executed: list[float]
    disturbed: bool

    @property
    def error(self) -> float:
        """Predicted to executed, minus one, of the medians."""
        return median(self.predicted) / median(self.executed) - 1

    @property
    def within(self) -> bool:
        """Whether some predicted total lies among the executed ones or between two of them."""
        return min(self.predicted) <= max(self.executed) and min(self.executed) <= max(
            self.predicted
        )


def with_profile(costs: CostGraph, profile: CpuProfile) -> CostGraph:
    """Return the costs with the CPU operators and entries of a profile."""
    cost_us = {
        name: {
            device: profile.node_us[device][name] if device in profile.node_us else us
            for device, us in by_device.items()
        }
        for name, by_device in costs.cost_us.items()
    }
    return replace(costs, cost_us=cost_us).with_entry(profile.entry_us)


def segments(order: Sequence[str], assignment: Mapping[str, str]) -> int:
    """Return how many segments of an assignment are on the CPU."""
    devices = [assignment[name] for name in order]
    begins = [d for i, d in enumerate(devices) if i == 0 or devices[i - 1] != d]
    return sum(device != "pim" for device in begins)


def measure(model: str, args: argparse.Namespace) -> list[Row]:
    """Return the rows of a model, each repetition from a process of its own."""
    rows: dict[str, Row] = {}
    for _ in range(args.processes):
        command = [sys.executable, __file__, "--once", "--models", model]
        for key in ("length", "platform", "rounds", "repeat"):
            command += [f"--{key}", str(getattr(args, key))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for values in json.loads(done.stdout):
            row = rows.setdefault(values["schedules"], Row(**values))
            if row.predicted is not values["predicted"]:
                row.predicted += values["predicted"]
                row.executed += values["executed"]
                row.disturbed |= values["disturbed"]
    return list(rows.values())


def once(model: str, args: argparse.Namespace) -> list[Row]:
    """Return the rows of one process: profiles and executions of every schedule in alternation."""
    graph = load_model(model, LoadOptions(sequence_length=args.length))
    options = Options(jobs=cores(), rounds=args.rounds)
    feeds = random_inputs(graph, 0)
    with Pipeline(graph, feeds, load_platform(args.platform), options) as pipeline:
        # From the cost store after the first process: all repetitions have the same schedules.
        costs = pipeline.profile()
        order = [node.id for node in graph.nodes]
        plans: dict[tuple[str, ...], list[str]] = {}
        for policy in POLICIES:
            assignment = partition(costs, policy).assignment
            plans.setdefault(tuple(assignment[name] for name in order), []).append(policy)
        jobs = [
            Job(", ".join(names), dict(zip(order, devices, strict=True)))
            for devices, names in plans.items()
        ]
        rows = [
            Row(model, job.name, segments(order, job.assignment), [], [], False) for job in jobs
        ]
        before = pipeline.runner.profile_cpu()
        for _ in range(args.repeat):
            results = pipeline.runner.run(jobs)
            after = pipeline.runner.profile_cpu()
            problems = [Problem.of(with_profile(costs, profile)) for profile in (before, after)]
            for row, job, result in zip(rows, jobs, results, strict=True):
                times = schedule_times(result)
                assert times is not None
                row.predicted.append(
                    mean(p.to_us(evaluate(p, job.assignment).total) for p in problems)
                )
                row.executed.append(times.total_us)
                row.disturbed |= before.disturbed or after.disturbed
                row.disturbed |= any(timing.disturbed for timing in result.cpu_times.values())
            before = after
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| model | schedule | CPU segments | predicted, ms (range) | executed, ms (range) | error |"
        " ranges meet |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row.model,
            row.schedules,
            str(row.segments),
            _with_range(row.predicted),
            _with_range(row.executed),
            percent(row.error, signed=True),
            ("yes" if row.within else "**no**") + (", disturbed" if row.disturbed else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_range(times: Sequence[float]) -> str:
    low, mid, high = (us / 1000 for us in (min(times), median(times), max(times)))
    return f"{mid:.2f} ({low:.2f} - {high:.2f})"


@dataclass(frozen=True)
class Conditions:
    """How the rows of a model were measured."""

    day: str
    cores: int
    processor: str
    load: float  # average over five minutes, at the end
    platform: str
    length: int  # tokens
    processes: int
    repeat: int  # executions in each process
    rounds: int

    @classmethod
    def of(cls, args: argparse.Namespace) -> Conditions:
        """Return those of the measurement that ends now."""
        return cls(
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            len(os.sched_getaffinity(0)),
            processor(),
            round(os.getloadavg()[1], 1),
            args.platform,
            args.length,
            args.processes,
            args.repeat,
            args.rounds,
        )

    def text(self, models: str) -> str:
        """Return them as a list entry of the page."""
        return (
            f"- {models}: {self.day}, {quantity(self.cores, 'core')} of {self.processor}, load"
            f" average {self.load:.1f} at the end; platform `{self.platform}`,"
            f" {quantity(self.length, 'token')};"
            f" {quantity(self.processes * self.repeat, 'repetition')} of"
            f" {quantity(self.rounds, 'round')}, in"
            f" {quantity(self.processes, 'process', 'processes')}"
        )


def page(results: Mapping[str, tuple[Conditions, Sequence[Row]]]) -> str:
    """Return README.md, of the conditions and rows of each model."""
    rows = [row for _, measured in results.values() for row in measured]
    worst = max(rows, key=lambda row: abs(row.error))
    error, meet = percent(worst.error, signed=True), sum(row.within for row in rows)
    by_conditions: dict[Conditions, list[str]] = {}
    for model, (conditions, _) in results.items():
        by_conditions.setdefault(conditions, []).append(model)
    measured = "\n".join(c.text(", ".join(models)) for c, models in by_conditions.items())
    return f"""# Predicted against executed

Made by `python benchmarks/prediction/run.py`, which measures the models that `--models` names and
keeps the others' results. Medians and ranges of repetitions: each executes every schedule anew,
between two new profiles of the CPU whose mean is the prediction. Error is predicted to executed, of
the medians. *disturbed*: other work ran meanwhile, the times are not trusted. Worst error
{error} ({worst.model}: {worst.schedules}); {meet} of {quantity(len(rows), "pair")} of ranges meet.

{measured}

{table(rows)}
"""


def read_results(path: Path) -> dict[str, tuple[Conditions, list[Row]]]:
    """Return the results kept in a file, none where there is none."""
    if not path.exists():
        return {}
    return {
        model: (Conditions(**kept["conditions"]), [Row(**row) for row in kept["rows"]])
        for model, kept in json.loads(path.read_text(encoding="utf-8")).items()
    }


def write_results(path: Path, results: Mapping[str, tuple[Conditions, Sequence[Row]]]) -> None:
    """Keep the results in a file."""
    write_json(
        path,
        {
            model: {"conditions": vars(conditions), "rows": [vars(row) for row in rows]}
            for model, (conditions, rows) in results.items()
        },
    )


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--length", type=int, default=16, help="tokens")
    parser.add_argument("--platform", default="native")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3, help="executions in each process")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, default=HERE)
    parser.add_argument("--once", action="store_true", help="one process, as JSON")
    args = parser.parse_args()
    if args.once:
        print(json.dumps([vars(row) for model in args.models for row in once(model, args)]))
        return 0
    kept = args.output / "results.json"
    results = read_results(kept)
    for model in args.models:
        measured = measure(model, args)
        print(table(measured), file=sys.stderr, flush=True)
        results[model] = (Conditions.of(args), measured)
        # After every model: a long measurement that is stopped leaves what it has.
        write_results(kept, results)
        write_text(args.output / "README.md", page(results))
    print(args.output / "README.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
