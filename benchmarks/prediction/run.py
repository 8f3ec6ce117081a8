"""Predicted against executed totals of every schedule, with the spread of repetitions.

`python benchmarks/prediction/run.py` profiles and executes four models on the platform `native`,
whose CPU is this machine's, several times over, and writes README.md beside it. What the PIM and
the transfers take is simulated once; CPU operators and the entry into a segment are profiled anew
for each repetition, and every schedule is executed and timed anew. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from host.cpu.profile import CpuProfile
from host.models.inputs import random_inputs
from host.models.loader import LoadOptions, load_model
from host.pipeline.execute import Job, Runner
from host.pipeline.flow import Pipeline
from host.pipeline.keys import processor
from host.pipeline.options import Options, default_jobs
from host.platform import load_platform
from host.times import schedule_times
from partitioner.costs import CostGraph
from partitioner.problem import Problem
from partitioner.solve import POLICIES, partition

MODELS = ("bert-small", "bert", "roberta", "gpt2")
README = Path(__file__).with_name("README.md")


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


def measure(model: str, length: int, platform: str, repeat: int, rounds: int) -> list[Row]:
    """Return the rows of a model."""
    graph = load_model(model, LoadOptions(sequence_length=length))
    options = Options(jobs=default_jobs(), rounds=rounds)
    feeds = random_inputs(graph, 0)
    with Pipeline(graph, feeds, load_platform(platform), options) as pipeline:
        costs = pipeline.profile()
        plans: dict[tuple[str, ...], list[str]] = {}
        order = [node.id for node in graph.nodes]
        for policy in POLICIES:
            assignment = partition(costs, policy).assignment
            plans.setdefault(tuple(assignment[name] for name in order), []).append(policy)
        rows = []
        for devices, names in plans.items():
            assignment = dict(zip(order, devices, strict=True))
            count = segments(order, assignment)
            rows.append((assignment, Row(model, ", ".join(names), count, [], [], False)))
        for _ in range(repeat):
            _repeat(pipeline.runner, costs, rows)
    return [row for _, row in rows]


def _repeat(runner: Runner, costs: CostGraph, rows: list[tuple[dict[str, str], Row]]) -> None:
    """Add one repetition: a profile and an execution of every schedule."""
    profile = runner.profile_cpu()
    problem = Problem.of(with_profile(costs, profile))
    for assignment, row in rows:
        row.predicted.append(problem.to_us(problem.evaluate(assignment).total))
    jobs = [Job(row.schedules, assignment) for assignment, row in rows]
    for (_, row), result in zip(rows, runner.run(jobs), strict=True):
        times = schedule_times(result)
        assert times is not None
        row.executed.append(times.total_us)
        row.disturbed |= profile.disturbed or any(t.disturbed for t in result.cpu_times.values())


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
            f"{row.error:+.1%}",
            ("yes" if row.within else "**no**") + (", disturbed" if row.disturbed else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_range(times: Sequence[float]) -> str:
    low, mid, high = (us / 1000 for us in (min(times), median(times), max(times)))
    return f"{mid:.2f} ({low:.2f} - {high:.2f})"


def page(rows: Sequence[Row], args: argparse.Namespace) -> str:
    """Return README.md."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    worst = max(rows, key=lambda row: abs(row.error))
    return f"""# Predicted against executed

Made by `python benchmarks/prediction/run.py` on {day}, {len(os.sched_getaffinity(0))} cores of
{processor()}, load average {os.getloadavg()[1]:.1f} at its end; platform `{args.platform}`,
{args.length} tokens. Medians and ranges of {args.repeat} repetitions of {args.rounds} rounds: each
profiles the CPU anew and executes every schedule anew. Error is predicted to executed, of the
medians. *disturbed*: other work ran meanwhile, the times are not trusted. Worst error
{worst.error:+.1%} ({worst.model}: {worst.schedules}); {sum(row.within for row in rows)} of
{len(rows)} pairs of ranges meet.

{table(rows)}
"""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--length", type=int, default=16, help="tokens")
    parser.add_argument("--platform", default="native")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, default=README)
    args = parser.parse_args()
    rows: list[Row] = []
    for model in args.models:
        found = measure(model, args.length, args.platform, args.repeat, args.rounds)
        print(table(found), file=sys.stderr, flush=True)
        rows += found
        # After every model: a long measurement that is stopped leaves what it has.
        args.output.write_text(page(rows, args), encoding="utf-8")
    print(args.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
