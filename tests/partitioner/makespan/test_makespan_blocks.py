"""The sum over blocks: never above the shortest schedule, equal to it where nothing overlaps."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from support.cost_graphs import random_costs
from support.makespans import shortest

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.evaluation import places_of
from pimloop.partitioner.makespan import blocks as room
from pimloop.partitioner.makespan.blocks import block_problem, find_blocks, solve_blocks
from pimloop.partitioner.makespan.mip import solve_makespan
from pimloop.partitioner.makespan.schedule import verify_schedule
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import MODEL_INPUT, Problem


@pytest.fixture
def _many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small graphs wherever a chain can: the bound must hold for every chain."""
    monkeypatch.setattr(room, "PER_BLOCK", 0.0)
    monkeypatch.setattr(room, "PER_PAIR", 1.0)
    monkeypatch.setattr(room, "BESIDE", 1.0)


def layers(rng: random.Random, number: int, width: int = 3) -> dict:
    """Return layers of `width` independent operators, each between two that everything passes."""
    names = ["begin"]
    tensors: list[dict] = []
    for layer in range(number):
        inner = [f"n{layer}_{i}" for i in range(width)]
        end = f"end{layer}"
        tensors.append({"id": f"t_{names[-1]}", "producer": names[-1], "consumers": inner})
        tensors += [
            {"id": f"t_{reader}", "producer": reader, "consumers": [end]} for reader in inner
        ]
        names += [*inner, end]
    tensors.append({"id": "result", "producer": names[-1], "consumers": []})
    for tensor in tensors:
        tensor["output"] = not tensor["consumers"]
        tensor["transfer_us"] = {"cpu>pim": rng.randint(1, 6), "pim>cpu": rng.randint(1, 6)}
    return {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {
                "id": name,
                "op": "X",
                "cost_us": {"cpu_serial": rng.randint(1, 20), "pim": rng.randint(1, 20)},
            }
            for name in names
        ],
        "tensors": tensors,
    }


@pytest.mark.usefixtures("_many_blocks")
@pytest.mark.parametrize("memories", [2, 3])
def test_the_sum_over_blocks_never_exceeds_the_shortest_schedule(memories: int) -> None:
    rng = random.Random(memories)
    tried = tight = 0
    while tried < 25:
        data = random_costs(rng, memories, rng.randint(3, 4), fan_in=2, reach=2)
        if len(data["tensors"]) > 6 or (best := shortest(data)) in (0, float("inf")):
            continue
        problem = Problem.of(costs_from_dict(data))
        domains = feasible_domains(problem)
        start = places_of(problem, partition(costs_from_dict(data)).assignment)
        answer = solve_blocks(problem, domains, [start], seconds=20)
        if answer is None:
            continue
        bound = problem.to_us(answer.bound)
        assert bound <= best
        tried += 1
        tight += bound == best
    assert tight >= 5


@pytest.mark.usefixtures("_many_blocks")
def test_layers_that_meet_in_one_operator_are_proved_block_by_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of a layer can be executed beside another, so the bound is the makespan itself."""
    monkeypatch.setattr(room, "BESIDE", 0.0)
    rng = random.Random(5)
    for _ in range(4):
        costs = costs_from_dict(layers(rng, 2))
        problem = Problem.of(costs)
        domains = feasible_domains(problem)
        start = places_of(problem, partition(costs).assignment)
        answer = solve_blocks(problem, domains, [start], seconds=30)
        assert answer is not None
        assert answer.blocks >= 2
        assert answer.solved
        whole = solve_makespan(problem, domains, problem.total_ticks, seconds=60)
        assert whole.exact
        assert whole.solved
        assert answer.bound == pytest.approx(whole.bound, rel=1e-5)


def test_a_deep_model_is_solved_by_its_blocks() -> None:
    """Twelve layers: the relaxation of the whole leaves a gap that the blocks close."""
    costs = costs_from_dict(layers(random.Random(1), 12))
    problem = Problem.of(costs)
    plan = partition(costs, objective="makespan", time_limit_s=30)
    verify_schedule(problem, plan)
    assert plan.optimal
    assert plan.proof["kind"] == "sum over blocks"
    domains = feasible_domains(problem)
    relaxed = solve_makespan(problem, domains, round(plan.total_us) * 10**problem.decimals, 2)
    assert relaxed.bound < 0.99 * plan.total_us * 10**problem.decimals


@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_without_time_the_bound_is_what_it_was(seconds: float) -> None:
    """It ends, though nothing is proved and no case has had any time."""
    costs = costs_from_dict(layers(random.Random(1), 12))
    problem = Problem.of(costs)
    start = places_of(problem, partition(costs).assignment)
    answer = solve_blocks(problem, feasible_domains(problem), [start], seconds)
    assert answer is not None
    assert not answer.solved
    assert 0 < answer.bound < problem.total_ticks


@pytest.mark.usefixtures("_many_blocks")
def test_blocks_are_disjoint_and_in_order() -> None:
    rng = random.Random(11)
    several = 0
    for _ in range(40):
        problem = Problem.of(costs_from_dict(random_costs(rng, 2, 14, fan_in=2, reach=3)))
        blocks = find_blocks(problem, feasible_domains(problem))
        several += len(blocks) > 1
        listed = [v for block in blocks for v in block.operators]
        assert len(set(listed)) == len(listed)
        assert all(a.end == b.begin for a, b in pairwise(blocks))
        for block in blocks:
            part = block_problem(problem, block)
            names = [tensor.id for tensor in part.tensors]
            assert len(part.ticks) == len(block.members)
            if block.begin is not None:
                assert set(part.ticks[0].values()) == {0}
                assert all(tensor.producer != MODEL_INPUT for tensor in part.tensors)
            for tensor in part.tensors:
                assert 0 not in tensor.consumers or block.begin is None
                assert tensor.consumers or tensor.output
            assert len(set(names)) == len(names)
    assert several >= 30
