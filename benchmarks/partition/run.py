"""Measure the partitioner: `python benchmarks/partition/run.py [--quick] [--out DIR]`.

Times are the best of three calls on the graph in memory (reading the file not included). The
script writes results.json, README.md and growth.svg; it says which targets are met and never fails
on a time.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workloads import encoder, random_dag, split_operators

from pimloop.host.common.files import write_json, write_text
from pimloop.partitioner.costs import CostGraph, costs_from_dict
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.profile.plan import plan_profile
from pimloop.partitioner.quantity import quantity

#: (name of a series and size, seconds to stay below).
TARGETS = {
    ("encoder, 2 memories", 12): 0.1,
    ("random DAG, 2 memories", 10_000): 2.0,
    ("encoder, 15 shares", 12): 0.5,
    ("random DAG, 3 shares", 10_000): 5.0,
}
COLOURS = ("#1b6ca8", "#c0392b", "#27864b", "#8e44ad", "#b7791f", "#0b7a75", "#555555")


def best_of(calls: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the shortest time of `calls` calls, in seconds, and the last result."""
    shortest = math.inf
    result = None
    for _ in range(calls):
        begin = time.perf_counter()
        result = work()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest, result


def optimum(costs: CostGraph) -> str:
    """Solve to optimality; return the method."""
    plan = partition(costs)
    assert plan.optimal
    return plan.method


def co_execution(costs: CostGraph) -> str:
    """Solve to optimality with splits; return the method and how many operators are split."""
    plan = partition(costs, COEXEC)
    assert plan.optimal
    return f"{plan.method}, {quantity(len(plan.splits), 'split', form=',')}"


def profile(costs: CostGraph) -> str:
    """Plan the profile runs; return how many there are."""
    plan = plan_profile(costs.graph)
    assert plan.proved
    return f"{quantity(len(plan.runs), 'run')}, proved"


def measure(quick: bool) -> list[dict[str, Any]]:
    """Return one row for each graph and question."""
    layers = (1, 4, 12) if quick else (1, 4, 12, 24, 48, 96)
    sizes = (100, 1000, 10_000) if quick else (100, 1000, 10_000, 30_000, 100_000)

    def graph(size: int, memories: int = 2) -> CostGraph:
        return costs_from_dict(encoder(size, memories))

    series: list[
        tuple[str, Sequence[int], Callable[[int], CostGraph], Callable[[CostGraph], str]]
    ] = [
        ("encoder, 2 memories", layers, graph, optimum),
        ("encoder, 3 memories", layers, lambda n: graph(n, 3), optimum),
        ("encoder, 4 memories", layers, lambda n: graph(n, 4), optimum),
        ("encoder, 15 shares", layers, lambda n: split_operators(encoder(n), 15), co_execution),
        ("random DAG, 2 memories", sizes, lambda n: costs_from_dict(random_dag(n)), optimum),
        (
            "random DAG, 3 shares",
            sizes[:4],
            lambda n: split_operators(random_dag(n), 3),
            co_execution,
        ),
        ("profile plan, encoder", layers, graph, profile),
    ]
    rows = []
    for name, steps, make, question in series:
        for size in steps:
            costs = make(size)
            seconds, answer = best_of(3, lambda c=costs, q=question: q(c))
            rows.append(
                {
                    "series": name,
                    "size": size,
                    "operators": len(costs.graph.operators),
                    "tensors": len(costs.graph.tensors),
                    "seconds": round(seconds, 5),
                    "answer": answer,
                    "target_s": TARGETS.get((name, size)),
                }
            )
            sys.stderr.write(f"{name} {size}: {seconds:.4f} s ({answer})\n")
    return rows


def growth(points: Sequence[tuple[float, float]]) -> float:
    """Return the exponent of a power law through `points` (least squares of the logarithms)."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum(
        (x - mean_x) ** 2 for x, _ in logs
    )


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Return a log-log plot of seconds over operators as SVG."""
    width, height, left, top, right, bottom = 760, 460, 70, 20, 250, 50
    low_x, high_x = 1, math.ceil(math.log10(max(row["operators"] for row in rows)))
    low_y = math.floor(math.log10(min(row["seconds"] for row in rows)))
    high_y = math.ceil(math.log10(max(row["seconds"] for row in rows)))

    def x(value: float) -> float:
        share = (math.log10(value) - low_x) / (high_x - low_x)
        return left + share * (width - left - right)

    def y(value: float) -> float:
        share = (math.log10(value) - low_y) / (high_y - low_y)
        return height - bottom - share * (height - top - bottom)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for power in range(low_x, high_x + 1):
        at = x(10**power)
        parts.append(f'<path d="M{at:.1f} {top}V{height - bottom}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{at:.1f}" y="{height - bottom + 18}" text-anchor="middle">'
            f"{10**power:,}</text>"
        )
    for power in range(low_y, high_y + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>'
        )
    parts.append(
        f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">'
        "operators</text>"
    )
    for i, name in enumerate(dict.fromkeys(row["series"] for row in rows)):
        mine = [(row["operators"], row["seconds"]) for row in rows if row["series"] == name]
        colour = COLOURS[i % len(COLOURS)]
        line = " ".join(f"{x(n):.1f},{y(s):.1f}" for n, s in mine)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x(n):.1f}" cy="{y(s):.1f}" r="3" fill="{colour}"/>' for n, s in mine
        ]
        label = f"{name} (n^{growth(mine):.2f})"
        parts.append(
            f'<text x="{width - right + 14}" y="{top + 16 + 20 * i}" fill="{colour}">{label}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "# Speed of the partitioner",
        "",
        "Measured by `python benchmarks/partition/run.py` on"
        f" {quantity(os.cpu_count() or 1, 'core')} ({platform.machine()}), Python"
        f" {platform.python_version()}; best of three, one process, graph already in memory.",
        "",
        "![growth with size](growth.svg)",
        "",
        "| graph | size | operators | tensors | seconds | target | answer |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        target = row["target_s"]
        verdict = (
            ""
            if target is None
            else f"< {target} s: {'met' if row['seconds'] < target else 'MISSED'}"
        )
        lines.append(
            f"| {row['series']} | {row['size']:,} | {row['operators']:,} | {row['tensors']:,} "
            f"| {row['seconds']:.4f} | {verdict} | {row['answer']} |"
        )
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args(argv)
    rows = measure(args.quick)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "results.json", rows)
    write_text(args.out / "growth.svg", plot(rows))
    write_text(args.out / "README.md", report(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
