"""Why operators are where they are, and what changes of the platform would do, in the report."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.cost_graphs import random_costs, with_entries
from support.split_graphs import brute_force_splits, costs_with, random_splits

from pimloop.host.execution.options import Options
from pimloop.host.pim.driver import OpStats
from pimloop.host.pim.driver.stats import COUNTER_REGISTERS
from pimloop.host.planning.outcome import Outcome, Schedule
from pimloop.host.planning.shares import ShareBounds
from pimloop.host.platforms.platform import Platform, load_platform
from pimloop.host.report.placement import placement
from pimloop.host.report.what_if import what_if
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.place.alternatives import alternatives, least_totals
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.splits import Split

PLATFORM = load_platform("htg-z920")
CALL = PLATFORM.driver.call_overhead_us

Splits = dict[str, tuple[Split, ...]]


def _stats(cycles: int, beats: int, accesses: int) -> OpStats:
    counters = {**dict.fromkeys(COUNTER_REGISTERS, 0), "mac": beats}
    return OpStats(cycles, counters, channel_accesses=accesses)


def _outcome(
    costs: CostGraph, platform: Platform = PLATFORM, pim: dict[str, OpStats] | None = None
) -> Outcome:
    """Return a run as far as plans and counters go."""
    operators: Any = costs.graph
    outcome = Outcome(operators, platform, Options(), {}, costs.graph, costs=costs)
    result: Any = SimpleNamespace(execution=SimpleNamespace(pim=pim or {}))
    for policy in ("optimal", COEXEC, "greedy"):
        outcome.schedules[policy] = Schedule(result, partition(costs, policy))
    return outcome


def _case(seed: int) -> tuple[dict[str, Any], Splits]:
    """Return a small graph and splits; every time is above the driver's call."""
    rng = random.Random(seed)
    data = random_costs(rng, 2, 4, decimals=2, incapable=0.0)
    for node in data["nodes"]:
        node["cost_us"] = {d: round(us + CALL, 3) for d, us in node["cost_us"].items()}
    splits = random_splits(rng, data, 2, decimals=2)

    def later(split: Split) -> Split:
        first, second = (round(us + CALL, 3) for us in split.part_us)
        return replace(split, part_us=(first, second))

    return data, {name: tuple(map(later, offered)) for name, offered in splits.items()}


def _with(data: dict[str, Any], splits: Splits, change: str) -> tuple[dict[str, Any], Splits]:
    """Return the costs after a change, said here again."""
    data = json.loads(json.dumps(data))

    def operator(device: str, us: float) -> float:
        if device == "pim":
            return {
                "pim_clocks_half": CALL + (us - CALL) / 2,
                "driver_call_free": us - CALL,
            }.get(change, us)
        return us / 2 if change == "cpu_2x" else us

    factor = 0.0 if change == "transfers_free" else 1.0
    for node in data["nodes"]:
        node["cost_us"] = {d: round(operator(d, us), 9) for d, us in node["cost_us"].items()}
    for tensor in data["tensors"]:
        tensor["transfer_us"] = {m: us * factor for m, us in tensor["transfer_us"].items()}

    if change == "cpu_2x" and "entry_us" in data:
        entries = data["entry_us"].items()
        data["entry_us"] = {d: us if d == "pim" else us / 2 for d, us in entries}

    def split(offered: Split) -> Split:
        first, second = (
            round(operator(d, us), 9)
            for d, us in zip(offered.devices, offered.part_us, strict=True)
        )
        gathers = {
            tensor: {memory: us * factor for memory, us in times.items()}
            for tensor, times in offered.gather_us.items()
        }
        return replace(offered, part_us=(first, second), gather_us=gathers)

    return data, {name: tuple(map(split, offered)) for name, offered in splits.items()}


#: Of these some optima have operators on the PIM, some split ones, some only after a change.
@pytest.mark.parametrize("seed", [1, 2, 3, 16, 22, 26])
def test_every_change_has_the_optimum_of_its_costs(seed: int) -> None:
    data, splits = _case(seed)
    costs = costs_with(data, splits)
    outcome = _outcome(costs)
    changes = {row["change"]: row for row in what_if(outcome)}
    assert list(changes) == [
        "pim_lanes_2x", "pim_clocks_half", "driver_call_free", "transfers_free", "cpu_2x",
    ]  # fmt: skip
    for name, change in changes.items():
        assert change["totals"].keys() == {"optimal", COEXEC}  # greedy is no optimum
        changed, offered = _with(data, splits, name)
        for policy, allowed in (("optimal", {}), (COEXEC, offered)):
            expected = brute_force_splits(changed, allowed)
            total = change["totals"][policy]
            assert total["total_us"] == pytest.approx(float(expected), abs=1e-9)
            plan = outcome.schedules[policy].plan
            assert plan is not None
            again = partition(costs_with(changed, allowed), policy)
            different = [n for n, d in plan.assignment.items() if again.assignment[n] != d]
            assert total["moved"] == len(different)


def test_shares_that_were_not_simulated_bound_what_a_change_does() -> None:
    """The optimum of all shares lies between the two numbers, which are one where it uses none."""
    exact = bounded = 0
    for seed in range(30):
        rng = random.Random(seed)
        data, splits = _case(seed)
        others: dict[str, tuple[ShareBounds, ...]] = {}
        simulated: Splits = {}
        for name, offered in splits.items():
            left_out = [split for split in offered if rng.random() < 0.5]
            simulated[name] = tuple(split for split in offered if split not in left_out)
            others[name] = tuple(
                ShareBounds(*(_with_pim_time(split, factor) for factor in (0.97, 1.04)))
                for split in left_out
            )
        outcome = _outcome(costs_with(data, simulated))
        outcome.other_shares = others
        for change in what_if(outcome):
            total = change["totals"][COEXEC]
            least, most = total["lower_bound_us"], total["total_us"]
            expected = brute_force_splits(*_with(data, splits, change["change"]))
            without = brute_force_splits(*_with(data, simulated, change["change"]))
            assert expected is not None
            assert without is not None
            assert least <= float(expected) + 1e-9
            assert float(expected) <= most + 1e-9
            assert most <= float(without) + 1e-9
            whole = change["totals"]["optimal"]
            assert whole["lower_bound_us"] == whole["total_us"]
            exact += least == most
            bounded += least < most
    assert exact > 20
    assert bounded > 5


def _with_pim_time(split: Split, factor: float) -> Split:
    first, second = (
        us * factor if device == "pim" else us
        for device, us in zip(split.devices, split.part_us, strict=True)
    )
    return replace(split, part_us=(first, second))


def test_what_segments_cost_to_enter_is_of_the_cpu_too() -> None:
    """Where entering a device costs something, as on a measured CPU."""
    dearer = 0
    for seed in (1, 3, 16, 26):
        data, splits = _case(seed)
        data = with_entries(random.Random(seed), data)
        (*_, change) = what_if(_outcome(costs_with(data, splits)))
        assert change["change"] == "cpu_2x"
        for policy, allowed in (("optimal", {}), (COEXEC, splits)):
            changed, offered = _with(data, allowed, "cpu_2x")
            expected = brute_force_splits(changed, offered)
            assert change["totals"][policy]["total_us"] == pytest.approx(float(expected), abs=1e-9)
            same_entries = {**changed, "entry_us": data["entry_us"]}
            dearer += brute_force_splits(same_entries, offered) > expected
    assert dearer


def test_lanes_that_multiply_a_beat_in_one_clock_gain_nothing_by_more() -> None:
    """htg-z920: a beat of 64 bytes has 32 elements, there are 32 lanes."""
    costs = costs_with(*_case(1))
    lanes = what_if(_outcome(costs, pim={"n0": _stats(9000, 2000, 100)}))[0]
    assert lanes["how"].startswith("nothing: a beat has 32 elements, which 32 lanes")
    total_us = partition(costs).total_us
    expected = {"total_us": total_us, "lower_bound_us": total_us, "moved": 0}
    assert lanes["totals"]["optimal"] == expected


@pytest.mark.parametrize(
    ("cycles", "beats", "accesses", "left"),
    [
        (60_000, 5000, 3000, 40_000),  # 8 to 4 clocks a beat
        (60_000, 5000, 7500, 50_000),  # down to the column commands, 4 clocks each
        (60_000, 5000, 20_000, 60_000),  # the commands take longer than the lanes
    ],
)
def test_fewer_clocks_in_the_lanes_where_they_take_longest(
    cycles: int, beats: int, accesses: int, left: int
) -> None:
    platform = load_platform("htg-z920", {"pim.lanes": "16"})
    us = platform.pim_time_us(cycles)
    data = random_costs(random.Random(3), 2, 1)
    data["nodes"][0]["cost_us"] = {"pim": us}
    for tensor in data["tensors"]:
        tensor["transfer_us"] = {"cpu>pim": 0.0, "pim>cpu": 0.0}
    costs = costs_with(data, {})
    (change, *_) = what_if(_outcome(costs, platform, {"n0": _stats(cycles, beats, accesses)}))
    expected = platform.pim_time_us(left)
    assert change["totals"]["optimal"]["total_us"] == pytest.approx(expected, abs=1e-6)
    assert "8 to 4 DRAM clocks a beat" in change["how"]
    (unknown, *_) = what_if(_outcome(costs, platform))
    assert unknown["how"].endswith("1 operator without counters stays as it is")
    assert unknown["totals"]["optimal"]["total_us"] == pytest.approx(us, abs=1e-6)


def test_only_proved_optima_of_the_sum_are_explained() -> None:
    costs = costs_with(*_case(2))
    assert placement(costs, partition(costs)) is not None
    assert placement(None, partition(costs)) is None
    assert placement(costs, None) is None
    assert placement(costs, partition(costs, "greedy")) is None
    assert placement(costs, partition(costs, objective="makespan")) is None
    assert placement(costs, replace(partition(costs), optimal=False)) is None
    outcome = _outcome(costs)
    for name, schedule in outcome.schedules.items():
        assert schedule.plan is not None
        unproved = replace(schedule.plan, optimal=False)
        outcome.schedules[name] = replace(schedule, plan=unproved)
    assert what_if(outcome) == []


def test_a_memory_that_weights_may_fill_makes_regrets_lower_bounds() -> None:
    data = random_costs(random.Random(4), 2, 4, weights=True)
    costs = costs_with(data, {})
    total = sum(node["weight_bytes"] for node in data["nodes"] if "pim" in node["cost_us"])
    for room, exact in ((total, True), (total - 1, False)):
        limited = costs.with_capacity({"pim": room})
        shown = placement(limited, partition(costs))
        assert shown is not None
        assert shown["exact"] is exact


def test_an_optimum_of_what_fits_has_no_regrets() -> None:
    """Where weights do not fit, the optimum costs more than the least of all assignments."""
    bound = 0
    for seed in range(40):
        costs = costs_with(random_costs(random.Random(seed), 2, 5, weights=True, incapable=0.0), {})
        limited = costs.with_capacity({"pim": 0})
        plan, free = partition(limited), partition(costs)
        shown = placement(limited, plan)
        assert (shown is None) == (plan.total_us > free.total_us)
        bound += shown is None
    assert 0 < bound < 40


def test_devices_the_next_shares_and_the_cheapest_split_are_shown() -> None:
    shown_splits = 0
    for seed in range(12):
        rng = random.Random(seed)
        data = random_costs(rng, 2, 3)
        costs = costs_with(data, random_splits(rng, data, 6, often=1.0))
        plan = partition(costs, COEXEC)
        shown = placement(costs, plan)
        assert shown is not None
        problem = Problem.of(costs)
        every = alternatives(problem, plan.assignment, least_totals(problem))
        for node in data["nodes"]:
            listed = [alternative["device"] for alternative in shown["alternatives"][node["id"]]]
            regrets = [
                alternative["regret_us"]
                for alternative in shown["alternatives"][node["id"]]
                if alternative["regret_us"] is not None
            ]
            known = [
                alternative.regret_us
                for alternative in every[node["id"]]
                if alternative.regret_us is not None
            ]
            assert min(regrets, default=None) == min(known, default=None)
            assert set(node["cost_us"]) - {plan.assignment[node["id"]]} <= set(listed)
            chosen = plan.splits.get(node["id"])
            if chosen is None:
                continue
            shares = sorted(
                split.share for split in costs.splits[node["id"]] if split.devices == chosen.devices
            )
            at = shares.index(chosen.share)
            for share in (*shares[max(0, at - 1) : at], *shares[at + 1 : at + 2]):
                assert f"{'+'.join(chosen.devices)} {share}/7" in listed
                shown_splits += 1
    assert shown_splits > 5
