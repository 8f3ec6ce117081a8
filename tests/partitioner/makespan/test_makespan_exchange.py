"""The makespan problem as JSON is the partitioner's, and answers of other solvers are checked."""

from __future__ import annotations

import copy
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cost_graphs import random_costs
from support.makespans import shortest
from support.paths import REPOSITORY
from support.split_graphs import costs_with, random_splits

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.makespan.schedule import list_schedule, makespan, task_graph
from pimloop.partitioner.problem import Problem

sys.path.insert(0, str(REPOSITORY))

from benchmarks.makespan import cp_sat
from benchmarks.makespan.exchange import answer_of, checked_span, export_problem

SEEDS = range(40)

#: A Python that has OR-tools; without it the solver's own test is skipped.
ORTOOLS = os.environ.get("PIMLOOP_ORTOOLS_PYTHON", sys.executable)


def least_span(data: dict[str, Any]) -> int | None:
    """Return the least makespan of an exported problem in ticks: all places, all orders."""
    best = None
    choices = [[choice["place"] for choice in o["places"]] for o in data["operators"]]
    for places in itertools.product(*choices):
        tasks = tasks_of(data, places)
        if tasks is not None:
            best = in_any_order(tasks, {}, {}, best)
    return best


def tasks_of(data: dict[str, Any], places: tuple[int, ...]) -> dict[Any, Any] | None:
    """Return task -> (resources, ticks, tasks before it); None: a move is not there."""
    at = [
        next(c for c in operator["places"] if c["place"] == place)
        for operator, place in zip(data["operators"], places, strict=True)
    ]
    tasks = {v: (tuple(choice["memories"]), choice["ticks"], set()) for v, choice in enumerate(at)}
    for number, tensor in enumerate(data["tensors"]):
        maker = tensor["producer"]
        source = data["home"] if maker is None else places[maker]
        ticks = {m["to"]: m["ticks"] for m in tensor["moves"] if m["from"] == source}
        needed = {memory for reader in tensor["readers"] for memory in at[reader]["memories"]}
        needed |= {data["home"]} if tensor["output"] else set()
        for memory in needed - {source}:
            if memory not in ticks:
                return None
            before = set() if maker is None else {maker}
            tasks[number, "to", memory] = (("dma",), ticks[memory], before)
        for reader in tensor["readers"]:
            for memory in at[reader]["memories"]:
                feeder = maker if memory == source else (number, "to", memory)
                tasks[reader][2].update(set() if feeder is None else {feeder})
    return tasks


def in_any_order(tasks: Any, finish: Any, free: Any, best: int | None) -> int | None:
    """Return the least end of any order of what is not in `finish` yet, or `best`."""
    if len(finish) == len(tasks):
        return max(finish.values())
    for task in tasks.keys() - finish.keys():
        resources, ticks, before = tasks[task]
        if before <= finish.keys():
            ready = [*(free.get(r, 0) for r in resources), *(finish[b] for b in before)]
            end = ticks + max(ready, default=0)
            if best is None or end < best:
                occupied = free | dict.fromkeys(resources, end)
                best = in_any_order(tasks, finish | {task: end}, occupied, best)
    return best


def small(seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    return random_costs(rng, 2, rng.randint(2, 4), fan_in=2, forbid=0.1, decimals=seed % 2)


def problem_of(seed: int) -> Problem:
    return Problem.of(costs_from_dict(small(seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_exported_problem_has_the_same_least_makespan(seed: int) -> None:
    problem = problem_of(seed)
    data = json.loads(json.dumps(export_problem(problem)))
    span = least_span(data)
    expected = shortest(small(seed))
    if span is None:
        assert expected == float("inf")
    else:
        assert span * data["tick_us"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_splits_are_exported_as_places_of_two_memories(seed: int) -> None:
    rng = random.Random(seed)
    costs = random_costs(rng, 2, 3, fan_in=2)
    problem = Problem.of(costs_with(costs, random_splits(rng, costs, 2)))
    data = export_problem(problem)
    places = {v: {c["place"]: c for c in o["places"]} for v, o in enumerate(data["operators"])}
    for v, splits in enumerate(problem.splits):
        for number, split in enumerate(splits):
            exported = places[v].get(len(data["memories"]) + number)
            if exported is not None:  # not without a feasible gather
                assert exported["memories"] == list(split.memories)
                assert exported["ticks"] * problem.granularity == max(split.ticks)


def random_answer(problem: Problem, rng: random.Random) -> tuple[dict[str, Any], int] | None:
    """Return an answer with random places, and its makespan; None: a move is forbidden."""
    place = [rng.choice(list(ticks)) for ticks in problem.ticks]
    try:
        tasks = task_graph(problem, place, [problem.ticks[v][p] for v, p in enumerate(place)])
    except PartitionerError:
        return None
    return answer_of(problem, place), makespan(tasks, list_schedule(tasks, tasks.ranks()))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_answer_is_checked_to_the_last_tick(seed: int) -> None:
    """What is right passes; any task a tick too early or a missing transfer does not."""
    rng, problem = random.Random(seed), problem_of(seed)
    made = random_answer(problem, rng)
    if made is None:
        return
    answer, span = made
    assert checked_span(problem, answer) == span
    early = copy.deepcopy(answer)
    last = max(range(len(answer["starts"])), key=answer["starts"].__getitem__)
    if answer["starts"][last] > 0:  # a list schedule leaves no task a tick to spare
        early["starts"][last] -= 1
        with pytest.raises(PartitionerError, match=r"before the end of task|overlap on resource"):
            checked_span(problem, early)
    if answer["copies"]:
        without = {**answer, "copies": answer["copies"][1:]}
        with pytest.raises(PartitionerError, match="is not moved to"):
            checked_span(problem, without)


def test_what_the_form_does_not_have_is_refused() -> None:
    for extra in ({"entry_us": {"pim": 3}}, {"capacity_bytes": {"pim": 10}}):
        problem = Problem.of(costs_from_dict({**small(0), "format": "pimloop-costs/2", **extra}))
        with pytest.raises(PartitionerError, match="are not exported; take them out"):
            export_problem(problem)


def solved(
    folder: Path, problem: Problem, start: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    path = folder / "problem.json"
    data = export_problem(problem) | ({} if start is None else {"start": start})
    path.write_text(json.dumps(data))
    script = REPOSITORY / "benchmarks" / "makespan" / "cp_sat.py"
    return subprocess.run(
        [ORTOOLS, script, path, "--seconds", "20"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_other_solver_is_skipped_with_the_reason_or_right(tmp_path: Path) -> None:
    first = solved(tmp_path, problem_of(0))
    if first.returncode == cp_sat.NO_SOLVER:
        assert first.stdout == ""
        assert first.stderr.startswith("skipped: this Python has ")
        assert "pip install ortools==9.14" in first.stderr
        pytest.skip(f"{first.stderr.strip()} (PIMLOOP_ORTOOLS_PYTHON names it)")
    for seed in SEEDS:
        problem = problem_of(seed)
        begun = random_answer(problem, random.Random(seed)) if seed % 2 else None
        done = solved(tmp_path, problem, None if begun is None else begun[0])
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        expected = shortest(small(seed))
        if expected == float("inf"):
            assert answer["status"] == "INFEASIBLE"
            continue
        assert answer["status"] == "OPTIMAL"
        assert answer["bound"] == answer["objective"]
        span = checked_span(problem, answer)
        assert span == answer["objective"] * problem.granularity
        assert problem.to_us(span) == pytest.approx(expected, abs=1e-9)
