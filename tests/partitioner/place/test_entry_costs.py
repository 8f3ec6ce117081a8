"""Entry costs: what a segment costs beside its operators is counted, exactly, everywhere."""

from __future__ import annotations

import json
import random
from fractions import Fraction

import pytest
from support.cost_graphs import all_assignments, brute_force, random_costs, total_cost, with_entries

from pimloop.partitioner.costs import costs_from_dict, costs_to_dict
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate, evaluate_places
from pimloop.partitioner.makespan.schedule import verify_schedule
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.domains import feasible_domains
from pimloop.partitioner.place.ilp import solve_by_ilp
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.segments import useful_devices


def us(total: Fraction) -> float:
    return float(total)


def chain(costs: list[dict[str, float]], entry: dict[str, float], move: float = 5.0) -> dict:
    """Return operators one after the other."""
    tensors = [
        {
            "id": f"t{i}",
            "producer": None if i == 0 else f"n{i - 1}",
            "consumers": [f"n{i}"] if i < len(costs) else [],
            "output": i == len(costs),
            "transfer_us": {"cpu>pim": move, "pim>cpu": move},
        }
        for i in range(len(costs) + 1)
    ]
    nodes = [{"id": f"n{i}", "op": "A", "cost_us": cost} for i, cost in enumerate(costs)]
    return {
        "format": "pimloop-costs/2",
        "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
        "entry_us": entry,
        "nodes": nodes,
        "tensors": tensors,
    }


# ---- what is counted ---------------------------------------------------------------------------


def test_a_segment_pays_once_and_the_first_operator_begins_one() -> None:
    both = {"cpu_serial": 10.0, "cpu_parallel": 7.0, "pim": 1.0}
    costs = costs_from_dict(chain([both] * 4, {"cpu_serial": 4.5, "cpu_parallel": 6.0}))
    problem = Problem.of(costs)

    def entry(*devices: str) -> float:
        assignment = {f"n{i}": device for i, device in enumerate(devices)}
        return problem.to_us(evaluate(problem, assignment).entry)

    assert entry(*["cpu_serial"] * 4) == 4.5
    assert entry("cpu_serial", "cpu_parallel", "cpu_parallel", "cpu_serial") == 15.0
    assert entry("pim", "cpu_serial", "pim", "cpu_serial") == 9.0
    assert entry(*["pim"] * 4) == 0.0


def test_a_switch_within_a_memory_is_worth_it_or_not() -> None:
    """Two cores are faster at the middle operator, by less or more than two entries cost."""
    for gain, wanted in ((8.0, "cpu_serial"), (10.0, "cpu_parallel")):
        middle = {"cpu_serial": 20.0, "cpu_parallel": 20.0 - gain}
        ends = {"cpu_serial": 1.0, "cpu_parallel": 31.0}
        plan = partition(
            costs_from_dict(chain([ends, middle, ends], {"cpu_serial": 4.0, "cpu_parallel": 5.0}))
        )
        assert plan.assignment["n1"] == wanted
        assert plan.optimal
        assert plan.entry_us == (4.0 if wanted == "cpu_serial" else 13.0)


def test_the_order_of_execution_is_topological_not_that_of_the_file() -> None:
    data = chain(
        [{"cpu_serial": 1.0}, {"cpu_parallel": 1.0}, {"cpu_serial": 1.0}], {"cpu_serial": 4.0}
    )
    data["nodes"] = [data["nodes"][i] for i in (2, 0, 1)]
    assert partition(costs_from_dict(data)).entry_us == 8.0


@pytest.mark.parametrize("memories", [1, 2, 3])
def test_every_policy_is_charged_what_its_assignment_costs(memories: int) -> None:
    for seed in range(60):
        rng = random.Random(seed)
        data = with_entries(rng, random_costs(rng, memories, 7))
        costs = costs_from_dict(data)
        for policy in ("optimal", *BASELINES):
            plan = partition(costs, policy)
            assert plan.total_us == us(total_cost(data, dict(plan.assignment))), (seed, policy)
            assert plan.total_us == plan.compute_us + plan.transfer_us + plan.entry_us


def test_greedy_and_the_assembly_line_see_the_entry() -> None:
    """The middle operator is 3 us faster on the other device, which costs 4 to enter."""
    ends, middle = {"cpu_serial": 1.0}, {"cpu_serial": 5.0, "cpu_parallel": 2.0}
    data = chain([ends, middle, ends], {"cpu_serial": 4.0, "cpu_parallel": 4.0})
    for policy in ("greedy", "paper_dp"):
        assert partition(costs_from_dict(data), policy).assignment["n1"] == "cpu_serial"
        free = partition(costs_from_dict({**data, "entry_us": {}}), policy)
        assert free.assignment["n1"] == "cpu_parallel"


# ---- the optimum -------------------------------------------------------------------------------


#: Random graphs of a test in the quick suite, and in the full one.
SOME = pytest.param(1, id="some")
MANY = pytest.param(10, id="many", marks=pytest.mark.full)


@pytest.mark.parametrize("factor", [SOME, MANY])
@pytest.mark.parametrize("memories", [1, 2, 3, 4])
def test_the_optimum_is_that_of_all_assignments(memories: int, factor: int) -> None:
    for seed in range((80 if memories < 3 else 40) * factor):
        rng = random.Random(1000 * memories + seed)
        forbid = 0.15 if seed % 3 == 0 else 0.0
        data = random_costs(rng, memories, rng.randint(1, 6), forbid=forbid, decimals=seed % 2 * 3)
        data = with_entries(rng, data, top=rng.choice([2, 10, 30]), decimals=seed % 2 * 3)
        best = brute_force(data)
        costs = costs_from_dict(data)
        for method in ("auto", "dp"):
            if best is None:
                with pytest.raises(PartitionerError, match="no feasible assignment"):
                    partition(costs, method=method)
                continue
            plan = partition(costs, method=method)
            assert plan.optimal, seed
            assert plan.total_us == us(best), (seed, method)
            assert plan.total_us == us(total_cost(data, dict(plan.assignment)))


@pytest.mark.parametrize("factor", [SOME, MANY])
def test_integer_programming_agrees(factor: int) -> None:
    """HiGHS shares the definition of the cost with the dynamic programme, and nothing else."""
    for seed in range(30 * factor):
        rng = random.Random(seed)
        data = random_costs(rng, rng.choice([2, 2, 3]), rng.randint(8, 25), reach=6)
        costs = costs_from_dict(with_entries(rng, data))
        plan = partition(costs, method="dp")
        problem = Problem.of(costs)
        answer = solve_by_ilp(problem, feasible_domains(problem))
        assert answer.solved
        assert problem.to_us(evaluate_places(problem, answer.place).total) == plan.total_us, seed
        assert answer.bound == pytest.approx(plan.total_us * 10**problem.decimals, rel=1e-6)


def test_without_entries_nothing_changes() -> None:
    """The cut, and the same file with entries of zero by the other methods."""
    for seed in range(100):
        rng = random.Random(seed)
        data = random_costs(rng, 2, 9)
        plan = partition(costs_from_dict(data))
        assert plan.method == "minimum s-t cut"
        assert "entry_us" not in plan.to_dict()
        zero = {**data, "format": "pimloop-costs/2", "entry_us": {"cpu_serial": 0.0}}
        assert partition(costs_from_dict(zero)) == plan


def test_a_capacity_and_entries_together() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        data = with_entries(rng, random_costs(rng, 2, 6, weights=True))
        data["capacity_bytes"] = {"pim": 60}
        weights = {node["id"]: node["weight_bytes"] for node in data["nodes"]}

        def fits(assignment: dict[str, str], weights: dict[str, int] = weights) -> bool:
            return sum(w for n, w in weights.items() if assignment[n] == "pim") <= 60

        best = brute_force(data, fits)
        assert best is not None
        assert partition(costs_from_dict(data)).total_us == us(best), seed


def test_the_cut_says_that_it_does_not_see_entries() -> None:
    costs = costs_from_dict(chain([{"cpu_serial": 1.0, "pim": 1.0}] * 2, {"cpu_serial": 4.0}))
    with pytest.raises(PartitionerError, match=r"entry_us.*use --method dp or ilp"):
        partition(costs, method="mincut")


def test_a_device_that_is_left_out_is_in_no_optimum() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        data = with_entries(rng, random_costs(rng, 1, 5, incapable=0.0))
        problem = Problem.of(costs_from_dict(data))
        useful = [{problem.devices[d] for d in useful_devices(problem, v, 0)} for v in range(5)]
        kept = [
            a for a in all_assignments(data)
            if all(a[f"n{v}"] in devices for v, devices in enumerate(useful))
        ]  # fmt: skip
        assert min(total_cost(data, a) for a in kept) == brute_force(data)


# ---- makespan ----------------------------------------------------------------------------------


def test_the_makespan_counts_the_same_segments() -> None:
    for seed in range(12):
        rng = random.Random(seed)
        data = with_entries(rng, random_costs(rng, 2, 6))
        costs = costs_from_dict(data)
        problem = Problem.of(costs)
        for policy in ("optimal", "pim_first", "cpu_serial"):
            plan = partition(costs, policy, objective="makespan", time_limit_s=4)
            verify_schedule(problem, plan)
            busy = sum(s.end_us - s.start_us for s in plan.schedule if s.kind == "operator")
            assert busy == pytest.approx(plan.compute_us + plan.entry_us)
            assert plan.entry_us == problem.to_us(evaluate(problem, plan.assignment).entry)


def test_the_exact_makespan_of_small_chains() -> None:
    """On a chain nothing overlaps: both objectives have the same optimum."""
    for seed in range(12):
        rng = random.Random(seed)
        costs = [
            {d: rng.randint(1, 20) for d in ("cpu_serial", "cpu_parallel", "pim")} for _ in range(5)
        ]
        graph = costs_from_dict(chain(costs, {"cpu_serial": 3, "cpu_parallel": 5}))
        plan = partition(graph, objective="makespan", time_limit_s=10)
        assert plan.optimal
        assert plan.total_us == pytest.approx(partition(graph).total_us)


# ---- the file ----------------------------------------------------------------------------------


def test_the_file_with_entries_is_read_back() -> None:
    data = chain([{"cpu_serial": 1.0, "pim": 2.0}], {"cpu_serial": 4.25})
    costs = costs_from_dict(data)
    written = json.loads(json.dumps(costs_to_dict(costs)))
    assert written["format"] == "pimloop-costs/2"
    assert written["entry_us"] == {"cpu_serial": 4.25}
    assert costs_from_dict(written) == costs
    assert costs_to_dict(costs.with_entry({}))["format"] == "pimloop-costs/1"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "pimloop-costs/1"}, "entry_us is not of 'pimloop-costs/1'"),
        ({"format": "pimloop-costs/5"}, '"pimloop-costs/3" or "pimloop-costs/4"'),
        ({"entry_us": {"gpu": 1.0}}, "entry_us names the unknown device 'gpu'"),
        ({"entry_us": {"pim": -1.0}}, "entry_us.pim must be a number at least 0, not -1"),
        ({"entry_us": {"pim": None}}, "entry_us.pim must be a number, not null"),
        ({"entry_us": [1]}, "entry_us must be an object, not a list"),
    ],
)
def test_mistakes_are_named(changed: dict, message: str) -> None:
    data = chain([{"cpu_serial": 1.0, "pim": 2.0}], {"cpu_serial": 4.25})
    with pytest.raises(PartitionerError, match=message):
        costs_from_dict({**data, **changed}, name="mine.json")
