"""The policy `coexec`: exact against brute force and HiGHS, and what must hold of every answer."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
from support.cost_graphs import random_costs, with_entries
from support.split_graphs import (
    brute_force_splits,
    chosen,
    costs_with,
    half,
    random_splits,
    split_cost,
    two_devices,
)

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.place import optimum
from pimloop.partitioner.place.ilp import IlpResult
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.splits import Split


def check(data: dict, splits, plan, expected: Fraction) -> None:
    """Hold a plan against the true optimum and its own statements against its choice."""
    assert split_cost(data, chosen(plan)) == expected
    assert plan.total_us == plan.lower_bound_us == float(expected)
    assert plan.optimal
    assert plan.policy == COEXEC
    parts = plan.compute_us + plan.transfer_us + plan.entry_us
    assert parts == pytest.approx(plan.total_us, abs=1e-9)
    for name, split in plan.splits.items():
        assert split in splits[name]


def random_case(rng: random.Random, memories: int) -> tuple[dict, dict, bool]:
    """Return a small graph, splits of its operators, and whether these are ordered."""
    operators, shares = rng.choice([(1, 15), (2, 7), (2, 15), (3, 3), (4, 2), (5, 1)])
    data = random_costs(
        rng,
        memories,
        operators,
        forbid=rng.choice([0.0, 0.0, 0.3]),
        incapable=rng.choice([0.2, 0.5]),
        decimals=rng.choice([0, 2]),
    )
    pair = rng.choice([("cpu", "pim"), ("pim", "cpu")])
    if memories > 2 and rng.random() < 0.3:
        pair = rng.choice([("cpu", "gpu"), ("pim", "gpu")])
    ordered = rng.random() < 0.8
    splits = random_splits(
        rng,
        data,
        shares,
        memories=pair,
        ordered=ordered,
        top=rng.choice([2, 20]),
        decimals=rng.choice([0, 0, 3]),
    )
    return data, splits, ordered


def agree_with_brute_force(seed: int, memories: int, cases: int, entries: bool) -> None:
    rng = random.Random(seed)
    used = 0
    for case in range(cases):
        data, splits, ordered = random_case(rng, memories)
        if entries:
            data = with_entries(rng, data)
        expected = brute_force_splits(data, splits)
        costs = costs_with(data, splits)
        methods = ["auto", "dp"]
        if memories == 2 and ordered and not entries:
            methods.append("mincut")
        if case % 8 == 0:
            methods.append("ilp")
        for method in methods:
            if expected is None:
                with pytest.raises(PartitionerError, match="no feasible assignment"):
                    partition(costs, COEXEC, method=method)
                continue
            plan = partition(costs, COEXEC, method=method)
            check(data, splits, plan, expected)
            used += bool(plan.splits)
            if method == "auto" and memories == 2 and ordered and not entries:
                assert plan.method in ("minimum s-t cut", "best device of every operator")
    assert used > cases / 10, "too few optima with a split: the test proves little"


@pytest.mark.parametrize("entries", [False, True])
@pytest.mark.parametrize("memories", [2, 3])
def test_brute_force_agrees(memories: int, entries: bool) -> None:
    agree_with_brute_force(10 * memories + entries, memories, 120, entries)


@pytest.mark.full
@pytest.mark.parametrize("memories", [2, 3])
def test_brute_force_agrees_on_thousands(memories: int) -> None:
    agree_with_brute_force(100 + memories, memories, 2500, entries=False)


def highs_agrees(seed: int, memories: int, cases: int, shares: tuple[int, ...]) -> None:
    rng = random.Random(seed)
    used = 0
    for _ in range(cases):
        data = random_costs(rng, memories, rng.randint(8, 25), reach=6, fan_in=2)
        splits = random_splits(rng, data, rng.choice(shares), decimals=rng.choice([0, 2]))
        costs = costs_with(data, splits)
        ours, oracle = partition(costs, COEXEC), partition(costs, COEXEC, method="ilp")
        assert ours.method != oracle.method
        assert ours.total_us == oracle.total_us
        assert oracle.optimal
        used += bool(ours.splits)
    assert used > cases / 2


@pytest.mark.parametrize("memories", [2, 3])
def test_highs_agrees_on_larger_graphs(memories: int) -> None:
    highs_agrees(memories, memories, 20, (1, 3, 7))


@pytest.mark.full
@pytest.mark.parametrize("memories", [2, 3])
def test_highs_agrees_on_hundreds(memories: int) -> None:
    highs_agrees(50 + memories, memories, 150, (1, 2, 3, 7, 15))


@pytest.mark.parametrize("memories", [2, 3])
def test_never_above_the_optimum_of_whole_operators(memories: int) -> None:
    rng = random.Random(memories)
    gained = 0
    for _ in range(60):
        data = random_costs(rng, memories, rng.randint(5, 40), reach=5, fan_in=2)
        costs = costs_with(data, random_splits(rng, data, 3))
        split, whole = partition(costs, COEXEC), partition(costs)
        assert not whole.splits
        assert split.total_us <= whole.total_us
        gained += split.total_us < whole.total_us
        plain = partition(replace(costs, splits={}), COEXEC)
        assert (plain.total_us, plain.splits) == (whole.total_us, {})
        assert plain.assignment == whole.assignment
    assert gained > 20


def test_more_splits_never_cost_more() -> None:
    rng = random.Random(3)
    for _ in range(40):
        data = random_costs(rng, 2, rng.randint(4, 25), reach=5, decimals=2)
        splits = random_splits(rng, data, 7, decimals=3)
        last = math.inf
        for kept in range(8):
            offered = {name: some[:kept] for name, some in splits.items()}
            total = partition(costs_with(data, offered), COEXEC).total_us
            assert total <= last
            last = total


def test_dearer_parts_never_cost_less() -> None:
    rng = random.Random(4)
    for _ in range(40):
        data = random_costs(rng, 2, rng.randint(4, 25), reach=5)
        splits = random_splits(rng, data, 3)
        before = partition(costs_with(data, splits), COEXEC)
        dearer = {
            name: tuple(
                replace(split, part_us=tuple(us + rng.randint(0, 3) for us in split.part_us))
                for split in some
            )
            for name, some in splits.items()
        }
        assert partition(costs_with(data, dearer), COEXEC).total_us >= before.total_us


def test_a_split_reads_whole_inputs_and_gathers_the_missing_share() -> None:
    # x moves to the PIM (4), a takes 5; y is gathered in both memories (1 + 1), b takes 5; z: 1.
    plan = partition(two_devices(a=half("y"), b=half("z")), COEXEC)
    assert (plan.compute_us, plan.transfer_us, plan.total_us) == (10, 7, 17)
    assert plan.assignment == {"a": "cpu_serial+pim 1/2", "b": "cpu_serial+pim 1/2"}
    assert plan.proof["kind"] == "minimum cut equals maximum flow"
    assert plan.proof["cut_us"] + plan.proof["constant_us"] == plan.total_us
    # One of them split: x to the PIM (4), a takes 5, y gathered on the CPU only (1), b whole there.
    plan = partition(two_devices(a=half("y")), COEXEC)
    assert (plan.assignment["b"], plan.total_us) == ("cpu_serial", 4 + 5 + 1 + 10)
    # The slower part counts, and one that is too slow is left alone.
    slow = replace(half("y"), part_us=(5.0, 11.0))
    assert partition(two_devices(a=slow), COEXEC).assignment == dict.fromkeys("ab", "cpu_serial")


def test_a_split_holds_the_weights_of_its_share() -> None:
    costs = two_devices(a=half("y"), b=half("z"))
    operators = tuple(replace(o, weight_bytes=100) for o in costs.graph.operators)
    costs = replace(costs, graph=replace(costs.graph, operators=operators))
    both = costs.with_capacity({"pim": 100})
    assert partition(both, COEXEC).total_us == 17
    assert partition(costs.with_capacity({"pim": 99}), COEXEC).total_us == 20
    assert partition(costs.with_capacity({"pim": 49}), COEXEC).assignment["a"] == "cpu_serial"
    # The CPU's side counts too, and what a split says of its own.
    assert partition(both.with_capacity({"cpu": 100}), COEXEC).total_us == 17
    with pytest.raises(PartitionerError, match="no feasible assignment"):
        partition(both.with_capacity({"cpu": 99}), COEXEC)
    own = replace(half("y"), weight_bytes=(100, 49))
    costs = replace(costs, splits={"a": (own,)}).with_capacity({"pim": 49})
    assert set(partition(costs, COEXEC).splits) == {"a"}


def test_shared_weights_are_whole_on_both_sides() -> None:
    costs = two_devices(a=half("y"), b=half("z"))
    operators = tuple(replace(o, shared_weights=("w",)) for o in costs.graph.operators)
    graph = replace(costs.graph, operators=operators, shared_weights={"w": 100})
    costs = replace(costs, graph=graph)
    assert partition(costs.with_capacity({"pim": 100, "cpu": 100}), COEXEC).total_us == 17
    assert not partition(costs.with_capacity({"pim": 99}), COEXEC).splits


@pytest.mark.parametrize("memories", [2, 3])
def test_capacity_against_brute_force(memories: int) -> None:
    rng = random.Random(60 + memories)
    bound = 0
    for _ in range(80):
        data = random_costs(rng, memories, rng.randint(2, 4), weights=True)
        splits = random_splits(rng, data, 2, weights=rng.random() < 0.5)
        limits = {"pim": rng.randint(0, 60), "cpu": rng.randint(40, 160)}
        weight = {node["id"]: node["weight_bytes"] for node in data["nodes"]}
        memory = {device: name for name, names in data["memories"].items() for device in names}

        def fits(choice, weight=weight, limits=limits, memory=memory) -> bool:
            used = dict.fromkeys(limits, 0)
            for name, at in choice.items():
                if isinstance(at, str):
                    held = {memory[at]: weight[name]}
                else:
                    parts = at.weight_bytes or (
                        math.ceil(Fraction(weight[name] * (at.shares - at.share), at.shares)),
                        math.ceil(Fraction(weight[name] * at.share, at.shares)),
                    )
                    held = {memory[d]: part for d, part in zip(at.devices, parts, strict=True)}
                for where, amount in held.items():
                    if where in used:
                        used[where] += amount
            return all(used[name] <= limit for name, limit in limits.items())

        expected = brute_force_splits(data, splits, fits)
        costs = costs_with(data, splits).with_capacity(limits)
        if expected is None:
            with pytest.raises(PartitionerError, match="no feasible assignment"):
                partition(costs, COEXEC)
            continue
        plan = partition(costs, COEXEC)
        check(data, splits, plan, expected)
        assert fits(chosen(plan))
        assert not plan.overfull
        bound += plan.method == "integer programming" and bool(plan.splits)
    assert bound >= 5, "the capacity never bound: the test proves nothing"


def test_huge_costs_stay_exact() -> None:
    """Capacities far beyond 32 bits: a flow solver that overflows would be seen here."""
    rng = random.Random(5)
    for _ in range(30):
        data = random_costs(rng, 2, 4, incapable=0.0)
        for tensor in data["tensors"]:
            for pair in tensor["transfer_us"]:
                tensor["transfer_us"][pair] = rng.choice([1, rng.randint(1, 10**14)])
        for node in data["nodes"]:
            for device in node["cost_us"]:
                node["cost_us"][device] = rng.choice([rng.randint(0, 3), rng.randint(1, 10**14)])
        splits = random_splits(rng, data, 3, top=10**14)
        expected = brute_force_splits(data, splits)
        assert expected is not None
        check(data, splits, partition(costs_with(data, splits), COEXEC, method="mincut"), expected)


def test_a_search_that_is_stopped_is_never_above_the_optimum(monkeypatch) -> None:
    """The best split placement so far may be dear; the whole operators' optimum then counts."""
    costs = two_devices(a=half("y", 50.0)).with_capacity({"pim": 10**9})

    def stopped(problem: Problem, *_: object) -> IlpResult:
        place = (2, 0) if any(problem.splits) else (0, 0)
        return IlpResult(
            place, 15.0 * 10**problem.decimals, solved=False, variables=1, constraints=1
        )

    monkeypatch.setattr(optimum, "solve_by_ilp", stopped)
    plan = partition(costs, COEXEC, method="ilp")
    assert (plan.total_us, plan.lower_bound_us) == (20, 15)
    assert not plan.optimal
    assert plan.limit_reached
    assert not plan.splits


def test_times_that_rise_with_the_share_are_left_to_another_method() -> None:
    costs = two_devices()
    splits = [
        Split(("cpu_serial", "pim"), share, 3, (5.0, 5.0), {"y": {"cpu": gather, "pim": 1.0}})
        for share, gather in ((1, 2.0), (2, 1.0))
    ]
    costs = replace(costs, splits={"a": tuple(splits)})
    with pytest.raises(PartitionerError, match=r"tensor 'y'.*use --method dp or ilp"):
        partition(costs, COEXEC, method="mincut")
    plan = partition(costs, COEXEC)
    assert plan.method == "dynamic programming"
    assert plan.optimal


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devices": ("cpu_serial", "gpu")}, "unknown device 'gpu'"),
        ({"devices": ("pim", "pim")}, "devices of two memories"),
        ({"part_us": (math.nan, 1.0)}, "the time is nan us"),
        ({"part_us": (1.0, -1.0)}, "the time is -1.0 us"),
        ({"gather_us": {"y": {"cpu": math.inf}}}, "the time is inf us"),
        ({"gather_us": {"y": {"attic": 1.0}}}, "unknown memory 'attic'"),
        ({"gather_us": {}}, r"gather_us is about \[\], the node makes \['y'\]"),
        ({"gather_us": {"y": {}, "z": {}}}, "the node makes"),
    ],
)
def test_a_split_that_does_not_fit_is_named(change: dict, message: str) -> None:
    costs = two_devices(a=replace(half("y"), **change))
    with pytest.raises(PartitionerError, match=f"node 'a', split .*{message}"):
        partition(costs, COEXEC)


def test_splits_of_nobody_and_twice_are_named() -> None:
    with pytest.raises(PartitionerError, match="splits of the unknown node 'c'"):
        partition(two_devices(c=half("y")), COEXEC)
    twice = replace(two_devices(), splits={"a": (half("y"), half("y", 3.0))})
    with pytest.raises(PartitionerError, match="'cpu_serial\\+pim 1/2' is offered twice"):
        partition(twice, COEXEC)
    for share in (0, 4):
        with pytest.raises(PartitionerError, match=f"gives {share} of 4 parts to 'pim'"):
            Split(("cpu_serial", "pim"), share, 4, (1.0, 1.0), {})


def test_an_assignment_with_splits_is_priced_and_refused_by_name() -> None:
    costs = two_devices(a=half("y"))
    problem = Problem.of(costs)
    split = {"a": "cpu_serial+pim 1/2", "b": "cpu_serial"}
    assert problem.to_us(evaluate(problem, split).total) == 20
    assert problem.chosen_splits(split) == {"a": half("y")}
    with pytest.raises(PartitionerError, match=r"cannot run on 'cpu_serial\+pim 1/2'; its devices"):
        evaluate(problem.whole(), split)
    with pytest.raises(PartitionerError, match=r"'cpu_serial\+pim 1/2'\]"):
        evaluate(problem, {**split, "a": "gpu"})
