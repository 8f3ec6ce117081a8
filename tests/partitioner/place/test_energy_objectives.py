"""The objectives energy and edp, exact: against every assignment, and integer programming."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support.cost_graphs import held, random_costs, shared_costs, with_entries
from support.energies import all_totals, random_energies, totals_of
from support.split_graphs import chosen, costs_with, random_splits

from pimloop.partitioner.costs import CostGraph, costs_from_dict
from pimloop.partitioner.energies import Energies
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.product import Answer, Point, least_product
from pimloop.partitioner.place.solve import COEXEC, OBJECTIVES, partition
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.plan_file import check_plan

SUMS = ("sequential", "energy", "edp")


def value(objective: str, time: int, energy: int) -> int:
    return {"sequential": time, "energy": energy, "edp": time * energy}[objective]


def with_energies(data: dict, splits: dict, energies: Energies) -> CostGraph:
    return replace(costs_with(data, splits), energies=energies)


def check(plan: Plan, objective: str, best: dict[str, int]) -> None:
    """Hold a plan that is proved against the true optima, by objective."""
    assert plan.optimal
    assert plan.objective == objective
    assert plan.gap == 0
    assert plan.energy is not None
    assert plan.energy.lower_bound == best[objective]
    assert plan.lower_bound_us == float(best["sequential"])
    others = plan.energy.others
    assert others.keys() == ({"sequential"} if objective == "energy" else {"sequential", "energy"})
    for name, totals in others.items():
        assert totals.optimal
        assert value(name, int(totals.total_us), totals.total_fj) == best[name]
    written = plan.to_dict()
    assert check_plan(written) == written


def agrees_with_every_assignment(seed: int, cases: int) -> None:
    rng = random.Random(seed)
    apart = 0
    for case in range(cases):
        memories, operators = rng.choice([(2, 2), (2, 3), (2, 4), (2, 5), (3, 2), (3, 3)])
        data = random_costs(rng, memories, operators, forbid=rng.choice([0.0, 0.0, 0.2]))
        if case % 4 == 0:
            data = with_entries(rng, data)
        splits = {}
        if case % 3 == 0:
            splits = random_splits(rng, data, rng.choice([1, 2]), often=0.4, ordered=case % 2 == 0)
        energies = random_energies(rng, data, splits)
        every = [(time, energy) for _, time, energy in all_totals(data, splits, energies)]
        costs = with_energies(data, splits, energies)
        if not every:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                partition(costs, COEXEC, objective="energy")
            continue
        best = {name: min(value(name, *totals) for totals in every) for name in SUMS}
        for objective in ("energy", "edp"):
            plan = partition(costs, COEXEC, objective=objective)
            check(plan, objective, best)
            totals = totals_of(data, energies, chosen(plan))
            assert plan.energy is not None
            assert totals == (plan.total_us, plan.energy.total_fj)
            assert value(objective, *totals) == best[objective]
            apart += plan.total_us > best["sequential"]
    assert apart > cases / 4, "the fastest plan is nearly always the best: the test proves little"


def test_every_assignment_agrees() -> None:
    agrees_with_every_assignment(1, 200)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(2, 6))
def test_every_assignment_agrees_on_thousands(seed: int) -> None:
    agrees_with_every_assignment(seed, 1000)


def ordered_energies(rng: random.Random, data: dict, splits: dict) -> Energies:
    """Return random energies in which gathering more takes no less, as it takes no less time."""
    drawn = random_energies(rng, data, splits, top=200)
    factor = {tensor["id"]: rng.randint(1, 3) for tensor in data["tensors"]}
    transfers = {}
    for tensor in data["tensors"]:
        name, times = tensor["id"], tensor["transfer_us"]
        moves = {tuple(pair.split(">")): us for pair, us in times.items()}
        for split in splits.get(tensor["producer"] or "", ()):
            moves |= {(split.name, to): us for to, us in split.gather_us[name].items()}
        transfers[name] = {move: factor[name] * int(us) ** 2 // 4 for move, us in moves.items()}
    operators = {  # splits are worth their gathers more often than not
        node: {name: fj // 4 if "+" in name else fj for name, fj in by_name.items()}
        for node, by_name in drawn.operators.items()
    }
    return replace(drawn, operators=operators, transfers=transfers)


def test_the_cut_with_labels_agrees_with_every_assignment() -> None:
    """Operators of up to five labels, two memories: the minimum cut alone finds every optimum."""
    rng = random.Random(11)
    cut = split = 0
    for _ in range(300):
        data = random_costs(rng, 2, rng.randint(2, 4))
        splits = random_splits(rng, data, rng.choice([1, 2, 3]), often=0.6)
        energies = ordered_energies(rng, data, splits)
        every = [totals[1:] for totals in all_totals(data, splits, energies)]
        best = {name: min(value(name, *totals) for totals in every) for name in SUMS}
        costs = with_energies(data, splits, energies)
        for objective in ("energy", "edp"):
            plan = partition(costs, COEXEC, objective=objective, method="mincut")
            check(plan, objective, best)
            assert value(objective, *totals_of(data, energies, chosen(plan))) == best[objective]
            methods = plan.proof.get("methods", [plan.method])
            # Where all operators have to be in one memory there is nothing to cut.
            assert set(methods) <= {"minimum s-t cut", "best device of every operator"}
            cut += "minimum s-t cut" in methods
            split += bool(plan.splits)
    assert cut > 400, "hardly a graph has two memories: the test proves little"
    assert split > 150, "hardly a plan splits an operator: the test proves little"


def test_integer_programming_agrees() -> None:
    rng = random.Random(11)
    differ = 0
    for case in range(12):
        memories = 2 + case % 2
        data = random_costs(rng, memories, rng.randint(8, 14), reach=6, fan_in=2)
        splits = random_splits(rng, data, 3, often=0.3)
        costs = with_energies(data, splits, random_energies(rng, data, splits))
        for objective in ("energy", "edp"):
            ours = partition(costs, COEXEC, objective=objective)
            oracle = partition(costs, COEXEC, objective=objective, method="ilp")
            assert ours.optimal
            assert oracle.optimal
            assert oracle.energy is not None
            assert ours.energy is not None
            assert ours.energy.lower_bound == oracle.energy.lower_bound
        differ += ours.assignment != partition(costs, COEXEC).assignment
    assert differ


def test_the_solvers_agree_on_weights_beyond_64_bits() -> None:
    rng = random.Random(12)
    for _ in range(10):
        data = random_costs(rng, 2, 20, reach=6, fan_in=2, decimals=9)
        costs = with_energies(data, {}, random_energies(rng, data, {}, top=10**15))
        cut, table = (partition(costs, objective="edp", method=m) for m in ("mincut", "dp"))
        assert cut.energy is not None
        assert table.energy is not None
        assert cut.energy.lower_bound == table.energy.lower_bound
        assert cut.optimal
        assert table.optimal


def test_capacities_hold_for_every_objective() -> None:
    rng = random.Random(13)
    bound = 0
    for _ in range(30):
        data = shared_costs(rng, 4)
        for node in data["nodes"]:  # the PIM is worth its weights
            node["cost_us"]["pim"] = rng.randint(0, 5)
        data["capacity_bytes"] = {"pim": rng.randint(0, 150)}
        energies = random_energies(rng, data, {})
        every = [
            (time, energy, held(data, choice) <= data["capacity_bytes"]["pim"])
            for choice, time, energy in all_totals(data, {}, energies)
        ]
        costs = replace(costs_from_dict(data), energies=energies)
        for objective in ("energy", "edp"):
            plan = partition(costs, objective=objective)
            fitting = [value(objective, time, energy) for time, energy, fits in every if fits]
            assert plan.energy is not None
            assert value(objective, int(plan.total_us), plan.energy.total_fj) == min(fitting)
            assert plan.optimal
            bound += min(fitting) > min(value(objective, time, energy) for time, energy, _ in every)
    assert bound > 5


def test_baselines_say_what_they_take() -> None:
    rng = random.Random(14)
    data = random_costs(rng, 2, 8)
    energies = random_energies(rng, data, {})
    costs = replace(costs_from_dict(data), energies=energies)
    for objective in ("energy", "edp"):
        best = partition(costs, objective=objective)
        plan = partition(costs, "greedy", objective=objective)
        assert plan.assignment == partition(costs, "greedy").assignment
        assert plan.objective == objective
        assert plan.energy is not None
        assert best.energy is not None
        assert totals_of(data, energies, dict(plan.assignment)) == (
            plan.total_us,
            plan.energy.total_fj,
        )
        assert plan.energy.lower_bound <= best.energy.lower_bound
        assert plan.gap > 0
        assert not plan.energy.others


def test_missing_and_wrong_energies_are_refused_by_name() -> None:
    rng = random.Random(15)
    data = random_costs(rng, 2, 3)
    energies = random_energies(rng, data, {})
    costs = costs_from_dict(data)
    for objective in set(OBJECTIVES) - {"sequential", "makespan"}:
        for policy in ("optimal", "greedy"):
            with pytest.raises(PartitionerError, match="the costs have no energies"):
                partition(costs, policy, objective=objective)
    lacking = replace(energies, operators={**energies.operators, "n1": {}})
    negative = replace(energies, transfers={**energies.transfers, "t1_0": {("cpu", "pim"): -1}})
    broken = replace(energies, entry={"pim": 0.5})
    for wrong, message in (
        (lacking, "node 'n1': there is a time for .* but no energy"),
        (negative, "tensor 't1_0': there is a time for 'pim>cpu' but no energy"),
        (broken, "entry: the energy of 'pim' is 0.5; give a whole number of fJ"),
    ):
        with pytest.raises(PartitionerError, match=message):
            partition(replace(costs, energies=wrong), objective="energy")


# ---- the search over weighted sums, on points ---------------------------------------------------


def points(rng: random.Random) -> list[Point[int]]:
    top = rng.choice([3, 20, 10**18])
    return [Point(rng.randint(0, top), rng.randint(0, top), i) for i in range(rng.randint(1, 12))]


def test_the_least_product_of_any_points() -> None:
    rng = random.Random(16)
    for _ in range(3000):
        some = points(rng)

        def solve(a: int, b: int, some=some) -> Answer[int]:
            best = min(some, key=lambda p: (a * p.time + b * p.energy, rng.random()))
            return Answer(best, a * best.time + b * best.energy)

        result = least_product(solve)
        assert result.optimal
        assert result.point.product == min(point.product for point in some)


def test_answers_without_proof_give_a_bound_that_holds() -> None:
    """Any point and any half-plane that holds all points: what a stopped solver knows."""
    rng = random.Random(17)
    closed = 0
    for _ in range(3000):
        some = points(rng)
        best = min(point.product for point in some)
        left = rng.randint(0, 6)

        def solve(a: int, b: int, some=some) -> Answer[int]:
            totals = [a * point.time + b * point.energy for point in some]
            least = min(totals)
            if rng.random() < 0.6:
                return Answer(some[totals.index(least)], least)
            return Answer(rng.choice(some), least * rng.randint(0, 4) // 4)

        def stopped() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        result = least_product(solve, stopped)
        assert result.bound <= best <= result.point.product
        assert result.optimal == (result.bound == result.point.product)
        closed += result.optimal
    assert 300 < closed < 2700
