"""The makespan problem of a cost graph as plain JSON, and what another solver's schedule takes.

`python -m benchmarks.makespan.exchange --costs FILE -o PROBLEM.json` writes the problem of a cost
file (`pimloop profile`), for solvers that know nothing of pimloop. Its keys:

- `tick_us`: microseconds of a tick; all times are whole ticks.
- `memories`: names; `home`: the number of the one where outputs end, null without outputs.
- `operators`: `id` and `places`, each with `place` (its number), `memories` (those it occupies and
  reads its inputs in), `ticks` and `name`.
- `tensors`: `id`, `producer` (an operator's number; null: a model input, which is at home),
  `readers`, `output`, and `moves`: `from` (the producer's place), `to` (a memory), `ticks`. Place m
  below the number of memories is memory m. What has no move may not be moved.

A memory executes one operator at a time, one DMA engine moves tensors one at a time, each at most
once to a memory. The makespan is the end of the last task. An answer has `places` (one an
operator), `starts` (of the operators) and `copies` (`[tensor, memory, start]`), in ticks. `start`,
where a problem has it, is an answer for the solver to begin with.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pimloop.host.common.files import write_json
from pimloop.partitioner.costs import load_costs
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.makespan.schedule import makespan, task_graph
from pimloop.partitioner.makespan.search import schedule
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.problem import MODEL_INPUT, Problem

#: Begins the file, so that another one is not taken for it.
FORMAT = "pimloop-makespan-problem/1"


def export_problem(problem: Problem) -> dict[str, Any]:
    """Return the makespan problem as plain data; ticks are those of `problem.granularity`.

    Raises
    ------
    PartitionerError
        For a problem with entry costs or capacities, which the form does not have.
    """
    if problem.has_entries or problem.capacity:
        raise PartitionerError(
            f"{problem.costs.graph.name}: entry costs (entry_us) and capacities (capacity_bytes)"
            " are not exported; take them out of the cost file"
        )
    tick = problem.granularity
    graph = problem.costs.graph
    return {
        "format": FORMAT,
        "name": graph.name,
        "tick_us": problem.to_us(tick),
        "memories": list(problem.memories),
        "home": problem.home,
        "operators": [
            {
                "id": operator.id,
                "places": [
                    {
                        "place": place,
                        "name": problem.device[v][place],
                        "memories": list(problem.memories_at(v, place)),
                        "ticks": problem.ticks[v][place] // tick,
                    }
                    for place in domain
                ],
            }
            for v, (operator, domain) in enumerate(
                zip(graph.operators, feasible_domains(problem), strict=True)
            )
        ],
        "tensors": [
            {
                "id": tensor.id,
                "producer": None if tensor.producer == MODEL_INPUT else tensor.producer,
                "readers": list(tensor.consumers),
                "output": tensor.output,
                "moves": [
                    {"from": source, "to": destination, "ticks": ticks // tick}
                    for (source, destination), ticks in sorted(tensor.ticks.items())
                ],
            }
            for tensor in problem.tensors
        ],
    }


def answer_of(problem: Problem, place: Sequence[int]) -> dict[str, Any]:
    """Return the list schedule of a placement (the place of every operator) as an answer."""
    tick = problem.granularity
    _, tasks, starts = schedule(problem, place)
    operators = len(problem.ticks)
    return {
        "places": list(place),
        "starts": [at // tick for at in starts[:operators]],
        "copies": [
            [tensor, to, at // tick]
            for (tensor, _, to), at in zip(tasks.transfers, starts[operators:], strict=True)
        ],
    }


def checked_span(problem: Problem, answer: Mapping[str, Any]) -> int:
    """Return the makespan of an answer in ticks of `problem`, checked to the last tick.

    The tasks, their times and their order are those of the partitioner's own schedules.

    Raises
    ------
    PartitionerError
        When a task starts before what it needs, two overlap on a memory or the DMA engine, or a
        transfer is missing.
    """
    tick = problem.granularity
    place = [int(where) for where in answer["places"]]
    tasks = task_graph(problem, place, [problem.ticks[v][p] for v, p in enumerate(place)])
    copied = {(int(tensor), int(to)): int(at) * tick for tensor, to, at in answer["copies"]}
    starts = [int(at) * tick for at in answer["starts"]]
    for tensor, _, destination in tasks.transfers:
        if (tensor, destination) not in copied:
            name, memory = problem.tensors[tensor].id, problem.memories[destination]
            raise PartitionerError(f"tensor '{name}' is not moved to '{memory}'")
        starts.append(copied[tensor, destination])
    for task, (start, length) in enumerate(zip(starts, tasks.duration, strict=True)):
        if start < 0:
            raise PartitionerError(f"task {task} starts before 0")
        late = [s for s in tasks.successors[task] if starts[s] < start + length]
        if late:
            raise PartitionerError(f"task {late[0]} starts before the end of task {task}")
    on: dict[int, list[tuple[int, int]]] = {}
    for task, resources in enumerate(tasks.resources):
        for resource in resources:
            on.setdefault(resource, []).append((starts[task], starts[task] + tasks.duration[task]))
    for resource, intervals in on.items():
        for (_, end), (begin, _) in itertools.pairwise(sorted(intervals)):
            if begin < end:
                raise PartitionerError(f"two tasks overlap on resource {resource} at {begin}")
    return makespan(tasks, starts)


def main() -> int:
    """Write the problem of a cost file."""
    parser = argparse.ArgumentParser(description="Write the makespan problem of a cost file.")
    parser.add_argument("--costs", type=Path, required=True, help="pimloop-costs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="problem to write")
    parser.add_argument("--splits", action="store_true", help="with the splits of the costs")
    options = parser.parse_args()
    problem = Problem.of(load_costs(options.costs), with_splits=options.splits)
    write_json(options.output, export_problem(problem))
    print(json.dumps({"output": str(options.output), "operators": len(problem.ticks)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
