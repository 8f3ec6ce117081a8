"""Compare solvers of the makespan: `python -m benchmarks.makespan.run [--ortools PYTHON]`.

For each of the paper's nine models, whose published costs ship: CP-SAT with one thread, without
and with a schedule to begin with; HiGHS on the whole model by the partitioner's own programme; and
the partitioner's method, block by block. Every schedule is checked to the last tick. Results go to
results.json after every run; the script goes on where it stopped and writes README.md from them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import highspy

from benchmarks.makespan.cp_sat import NO_SOLVER, cpu_s
from benchmarks.makespan.exchange import answer_of, checked_span, export_problem
from pimloop.host.board.paper.data import CASES, published_costs, table, title
from pimloop.host.common.files import write_json, write_text
from pimloop.host.planning.keys import processor
from pimloop.partitioner.evaluation import places_of
from pimloop.partitioner.makespan.bounds import settled_bound, trivial_bound
from pimloop.partitioner.makespan.mip import solve_makespan
from pimloop.partitioner.makespan.schedule import makespan, verify_schedule
from pimloop.partitioner.makespan.search import schedule, schedule_of_answer
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import Problem

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

#: Time limit of each run, wall seconds.
SECONDS = 60.0

Row = dict[str, Any]


def cp_sat(problem: Problem, python: str, *, begun: bool = False) -> Row:
    """Return what CP-SAT finds in another Python; `skipped` says why where it cannot run.

    With `begun` it begins with the schedule of the sequential optimum, as the others do.
    """
    data = export_problem(problem)
    if begun:
        data["start"] = answer_of(problem, _sequential_places(problem))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.json"
        write_json(path, data)
        command = [python, HERE / "cp_sat.py", path, "--seconds", SECONDS]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False
        )
    if done.returncode == NO_SOLVER:
        return {"skipped": done.stderr.strip()}
    done.check_returncode()
    answer = json.loads(done.stdout)
    span = None
    if answer["objective"] is not None:
        span = checked_span(problem, answer)
        # Stopped by time, the solver may still move tensors that nobody reads: then its makespan is
        # longer than the schedule's. It is never shorter, nor below the bound.
        assert answer["bound"] <= span // problem.granularity <= answer["objective"]
    return _row(
        problem, span, answer["bound"] * problem.granularity, answer["seconds"],
        answer["cpu_seconds"], answer["solver"],
    )  # fmt: skip


def whole(problem: Problem) -> Row:
    """Return what HiGHS finds for the whole model, from the schedule of the sequential optimum."""
    domains = feasible_domains(problem)
    began, cpu = time.monotonic(), cpu_s()
    span = makespan(*schedule(problem, _sequential_places(problem))[1:])
    answer = solve_makespan(problem, domains, span, SECONDS)
    solved = schedule_of_answer(problem, answer)
    if solved is not None:
        span = min(span, makespan(*solved[1:]))
    bound = max(trivial_bound(problem, domains), settled_bound(problem, answer, span))
    kind = "exact" if answer.exact else "relaxation"
    solver = f"HiGHS {highspy.Highs().version()}, {kind}"
    return _row(problem, span, bound, time.monotonic() - began, cpu_s() - cpu, solver)


def _sequential_places(problem: Problem) -> list[int]:
    return places_of(problem, partition(problem.costs).assignment)


def blocks(problem: Problem) -> Row:
    """Return what the partitioner finds, as `pimloop partition --objective makespan` does."""
    began, cpu = time.monotonic(), cpu_s()
    plan = partition(problem.costs, objective="makespan", time_limit_s=SECONDS)
    seconds, cpu_seconds = time.monotonic() - began, cpu_s() - cpu
    verify_schedule(problem, plan)
    span, bound = (round(us * 10**problem.decimals) for us in (plan.total_us, plan.lower_bound_us))
    return _row(
        problem,
        span,
        bound,
        seconds,
        cpu_seconds,
        f"{plan.proof['kind']}, {plan.proof['certainty']}",
    )


def _row(
    problem: Problem, span: int | None, bound: int, seconds: float, cpu_s: float, solver: str
) -> Row:
    return {
        "makespan_us": None if span is None else problem.to_us(span),
        "bound_us": problem.to_us(bound),
        "gap": None if span is None else (span - bound) / span,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_s, 1),
        "solver": solver,
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.date.today().isoformat(),
    }


def methods(python: str) -> dict[str, Callable[[Problem], Row]]:
    """Return what is compared, by its name in the table, in the order it is run in."""
    return {
        "block by block": blocks,
        "HiGHS, whole": whole,
        "CP-SAT": lambda problem: cp_sat(problem, python),
        "CP-SAT, begun": lambda problem: cp_sat(problem, python, begun=True),
    }


def readme(results: Mapping[str, Mapping[str, Row]], names: list[str]) -> str:
    """Return README.md."""
    rows, solvers, skipped = [], {}, {}
    for model, length in CASES:
        case = title(model, length)
        for name in names:
            row = results.get(name, {}).get(case)
            if row is None:
                continue
            if "skipped" in row:
                skipped[name] = row["skipped"]
                continue
            solvers.setdefault(name, {})[row["solver"]] = None
            span, gap = row["makespan_us"], row["gap"]
            rows.append(
                (
                    case,
                    name,
                    "none" if span is None else f"{span / 1e3:,.2f}",
                    f"{row['bound_us'] / 1e3:,.2f}",
                    "-" if gap is None else f"{gap:.2%}",
                    f"{row['seconds']:.1f}",
                    f"{row['cpu_seconds']:.1f}",
                )
            )
    loads = [row["load"] for by in results.values() for row in by.values() if "load" in row]
    dates = sorted({row["date"] for by in results.values() for row in by.values() if "date" in row})
    header = (
        "model",
        "method",
        "makespan, ms",
        "proved bound, ms",
        "gap",
        "seconds",
        "CPU seconds",
    )
    text = f"""# Solvers of the makespan

Measured by `python -m benchmarks.makespan.run` on {", ".join(dates)}: {processor()},
{os.cpu_count()} cores, Python {platform.python_version()}. Costs: the paper's published ones.
Time limit of each run: {SECONDS:.0f} s of wall time, one thread. The machine did other work
meanwhile (load average {min(loads, default=0)} to {max(loads, default=0)}), so CPU seconds are
beside the wall's. Every schedule is checked to the last tick by the partitioner's own task graph.
Gap: (makespan - bound) / makespan.

{table(header, rows)}

"""
    text += "".join(
        f"- {name}: {'; '.join(kinds)}.\n" for name, kinds in solvers.items()
    ) + "".join(f"- {name}: {why}.\n" for name, why in skipped.items())
    return (
        text
        + """
CP-SAT has each operator as an optional interval in each place, transfers on the DMA engine, no
overlap on a memory or the engine, and the loads as rows beside that (`cp_sat.py`). "Begun": its
search begins with the schedule of the sequential optimum. "HiGHS, whole" has that schedule too, and
improves it where the solver's placement gives a shorter one; a model of this size is a relaxation,
which it solves within two seconds. CP-SAT wants protobuf 6, which pimloop's packages do not allow,
so it has an environment of its own and is no dependency:

    python3 -m venv ortools && ortools/bin/pip install ortools==9.14.6206
    python -m benchmarks.makespan.run --ortools ortools/bin/python

Another solver can take the problem of any cost file as JSON (its keys: `exchange.py`):
`python -m benchmarks.makespan.exchange --costs costs.json -o problem.json`.
"""
    )


def main() -> int:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description="Compare solvers of the makespan.")
    parser.add_argument("--ortools", default=sys.executable, help="Python with OR-tools 9.14")
    parser.add_argument("--only", help="run this method alone, as it is called in the table")
    parser.add_argument("--fresh", action="store_true", help="run all again")
    options = parser.parse_args()
    kept = RESULTS.exists() and not options.fresh
    results: dict[str, dict[str, Row]] = json.loads(RESULTS.read_text()) if kept else {}
    chosen = methods(options.ortools)
    for name, run in chosen.items():
        for model, length in CASES:
            case = title(model, length)
            before = results.setdefault(name, {}).get(case, {"skipped": ""})
            if "skipped" not in before or options.only not in (None, name):
                continue
            row = run(Problem.of(published_costs(model, length), with_splits=False))
            results[name][case] = row
            print(f"{case}, {name}: {row}", flush=True)
            if "skipped" in row:
                break  # it is the same for all models
            write_json(RESULTS, results)
    write_text(HERE / "README.md", readme(results, list(chosen)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
