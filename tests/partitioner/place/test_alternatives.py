"""What an operator would cost elsewhere, against brute force over all assignments."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from typing import Any

import pytest
from support.cost_graphs import random_costs, with_entries
from support.split_graphs import all_choices, costs_with, random_splits, split_cost, two_devices

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.alternatives import alternatives, least_totals
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.splits import Split


def _name(chosen: str | Split) -> str:
    return chosen if isinstance(chosen, str) else chosen.name


def _least(data: dict, splits: dict) -> dict[tuple[str, str], Fraction]:
    """Return the least total by operator and device, over all choices."""
    least: dict[tuple[str, str], Fraction] = {}
    for choice in all_choices(data, splits):
        total = split_cost(data, choice)
        if total is None:
            continue
        for operator, chosen in choice.items():
            key = operator, _name(chosen)
            least[key] = min(total, least.get(key, total))
    return least


def _moves(data: dict, choice: dict[str, str | Split]) -> set[tuple[str, str, str]]:
    """Return (tensor, destination, memory or split that it comes from) of every transfer."""
    memory = {device: name for name, names in data["memories"].items() for device in names}

    def memories(chosen: str | Split) -> set[str]:
        return {memory[d] for d in ([chosen] if isinstance(chosen, str) else chosen.devices)}

    moves = set()
    for tensor in data["tensors"]:
        ends = set().union(*(memories(choice[reader]) for reader in tensor["consumers"]))
        ends |= {"cpu"} if tensor["output"] else set()
        maker = choice[tensor["producer"]] if tensor["producer"] else "cpu_serial"
        whole = set() if isinstance(maker, Split) else memories(maker)
        source = maker.name if isinstance(maker, Split) else memory[maker]
        moves |= {(tensor["id"], end, source) for end in ends - whole}
    return moves


def _case(rng: random.Random, memories: int, *, entries: bool, split: bool) -> tuple[dict, dict]:
    data = random_costs(
        rng, memories, rng.randint(1, 4), forbid=rng.choice([0.0, 0.3]), incapable=0.3,
        decimals=rng.choice([0, 2]),
    )  # fmt: skip
    if entries:
        data = with_entries(rng, data)
    splits = random_splits(rng, data, 2, ordered=rng.random() < 0.7) if split else {}
    return data, splits


@pytest.mark.parametrize("memories", [2, 3])
@pytest.mark.parametrize("entries", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_brute_force_agrees(memories: int, entries: bool, split: bool) -> None:
    """Every regret, every difference with the others kept and every transfer, to the last tick."""
    rng = random.Random(100 * memories + 10 * entries + split)
    forbidden = unreachable = moved = 0
    for _ in range(40):
        data, splits = _case(rng, memories, entries=entries, split=split)
        least = _least(data, splits)
        problem = Problem.of(costs_with(data, splits))
        if not least:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                least_totals(problem)
            continue
        optimum = min(least.values())
        plan = partition(problem.costs, COEXEC)
        own: dict[str, str | Split] = {**plan.assignment, **plan.splits}
        made = alternatives(problem, plan.assignment, least_totals(problem))
        for node in data["nodes"]:
            options = [*node["cost_us"], *splits.get(node["id"], ())]
            others = {_name(o): o for o in options if _name(o) != plan.assignment[node["id"]]}
            by_device = {alternative.device: alternative for alternative in made[node["id"]]}
            assert by_device.keys() == others.keys()
            for name, alternative in by_device.items():
                changed = {**own, node["id"]: others[name]}
                total = split_cost(data, changed)
                expected = least.get((node["id"], name))
                forbidden += total is None
                unreachable += expected is None
                moved += bool(alternative.adds and alternative.saves)
                assert alternative.kept_us == (
                    None if total is None else pytest.approx(float(total - optimum), abs=1e-9)
                )
                assert alternative.regret_us == (
                    None if expected is None else float(expected - optimum)
                )
                before, after = _moves(data, own), _moves(data, changed)
                for moves, wanted in (
                    (alternative.adds, after - before),
                    (alternative.saves, before - after),
                ):
                    names = sorted((move.tensor, move.destination) for move in moves)
                    assert names == sorted((tensor, end) for tensor, end, _ in wanted)
    assert min(forbidden, unreachable, moved) > 0, "no case of a kind: the test proves little"


def test_the_regret_is_how_far_an_operator_is_from_changing() -> None:
    """Its cost may rise by the regret, and no more, before every optimum has it elsewhere."""
    rng = random.Random(8)
    changed = 0
    for _ in range(25):
        data = random_costs(rng, 2, 6, decimals=1)
        costs = costs_from_dict(data)
        plan = partition(costs)
        problem = Problem.of(costs)
        made = alternatives(problem, plan.assignment, least_totals(problem))
        for i, node in enumerate(data["nodes"]):
            regrets = [a.regret_us for a in made[node["id"]] if a.regret_us is not None]
            if not regrets:
                continue
            device, margin = plan.assignment[node["id"]], min(regrets)
            for step, stays in ((-0.05, True), (0.05, False)):
                if margin + step < 0:
                    continue
                dearer: dict[str, Any] = json.loads(json.dumps(data))
                dearer["nodes"][i]["cost_us"][device] += margin + step
                total = partition(costs_from_dict(dearer)).total_us
                kept = plan.total_us + margin + step
                assert (total == pytest.approx(kept, abs=1e-9)) == stays
                changed += not stays
    assert changed > 50


def test_a_forced_transfer_is_named_with_its_price() -> None:
    """`a` -> `b` on the CPU: moving `a` alone brings x and takes y back, 4 us each."""
    costs = two_devices()
    problem = Problem.of(costs)
    plan = partition(costs)
    assert set(plan.assignment.values()) == {"cpu_serial"}
    (there,) = alternatives(problem, plan.assignment, least_totals(problem))["a"]
    assert [move.name for move in there.adds] == ["x cpu>pim", "y pim>cpu"]
    assert [move.us for move in there.adds] == [4.0, 4.0]
    assert (there.saves, there.operator_us, there.kept_us) == ((), 10.0, 8.0)
    assert there.regret_us == 8.0  # whether b goes along or not, x and the result move


def test_what_is_no_optimum_and_what_is_too_wide_are_refused() -> None:
    problem = Problem.of(two_devices())
    with pytest.raises(PartitionerError, match="no optimum"):
        alternatives(problem, {"a": "pim", "b": "pim"}, least_totals(problem))
    wide = random_costs(random.Random(1), 3, 12)
    with pytest.raises(PartitionerError, match="more than the limit of 2"):
        least_totals(Problem.of(costs_from_dict(wide)), table_limit=2)
