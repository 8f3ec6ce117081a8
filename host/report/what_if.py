"""What a change of the platform would do to the optimum, by the costs of the profile.

Each change alters costs and the partitioner finds the optimum of them again, so that operators go
where the changed platform has them. What is altered is exact where the costs are made of known
parts (the driver's call, the device's clocks, transfers); the lanes' part of the clocks is modelled
from counters (`_fewer_lane_clocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pimloop.host.devices.kinds import HOST_MEMORY
from pimloop.host.planning.outcome import Outcome
from pimloop.host.planning.shares import with_others
from pimloop.host.platforms.platform import Platform
from pimloop.host.report.format.placement import WhatIf, WhatIfTotal
from pimloop.host.report.placement import is_explained
from pimloop.host.report.roofline import command_clocks, counted, lane_clocks
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.place.solve import COEXEC, partition
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.quantity import quantity
from pimloop.partitioner.splits import Split

_PIM = "pim"

#: Seconds that an optimum may take where it is searched for by integer programming.
_TIME_LIMIT_S = 5.0


@dataclass(frozen=True)
class _Change:
    """A change of costs."""

    name: str
    title: str
    how: str
    #: (operator id, device, microseconds of the whole operator or of a part) -> microseconds
    operator_us: Callable[[str, str, float], float] = lambda name, device, us: us
    transfers: float = 1.0  # factor of every transfer and gather
    host_entry: float = 1.0  # factor of what the CPU's segments cost to enter


def what_if(outcome: Outcome) -> list[WhatIf]:
    """Return the changes with their optima; empty where the report has no proved optimum.

    Only for the sum of all times: a schedule whose steps overlap is found by a search.
    """
    costs = outcome.costs
    policies = [name for name, schedule in outcome.schedules.items() if is_explained(schedule.plan)]
    if costs is None or not policies:
        return []
    result: list[WhatIf] = []
    for change in _changes(outcome):
        totals: dict[str, WhatIfTotal] = {}
        for policy in policies:
            plan = outcome.schedules[policy].plan
            assert plan is not None  # `is_explained`
            bounded = _bounded(costs, change, outcome, policy)
            if bounded is None:
                continue
            new, least_us = bounded
            moved = sum(new.assignment[name] != old for name, old in plan.assignment.items())
            totals[policy] = {
                "total_us": new.total_us, "lower_bound_us": least_us, "moved": moved,
            }  # fmt: skip
        result.append(
            {"change": change.name, "title": change.title, "how": change.how, "totals": totals}
        )
    return result


def _bounded(
    costs: CostGraph, change: _Change, outcome: Outcome, policy: str
) -> tuple[Plan, float] | None:
    """Return the optimum of a policy after a change, and the least that it may be.

    The two differ where a share is chosen that was not simulated, because it cannot be the quickest
    without the change: its time is known within bounds. None: there is no proof.
    """
    others = outcome.other_shares if policy == COEXEC else {}
    known = {name: {split.name for split in splits} for name, splits in costs.splits.items()}
    plans = []
    for least in (True, False) if others else (True,):
        offered = with_others(costs, others, least=least) if others else costs
        changed = _changed(offered, change, outcome.platform)
        plan = partition(changed, policy, time_limit_s=_TIME_LIMIT_S)
        if not plan.optimal:
            return None
        plans.append(plan)
        if all(split.name in known[name] for name, split in plan.splits.items()):
            break  # the time of every share that it uses was simulated: it is exact
    return plans[-1], plans[0].total_us


def _changes(outcome: Outcome) -> list[_Change]:
    platform = outcome.platform
    call = platform.driver.call_overhead_us
    host = {name for name, kind in platform.devices.items() if kind.memory == HOST_MEMORY}

    def half_clocks(_: str, device: str, us: float) -> float:
        return call + (us - call) / 2 if device == _PIM else us

    def no_call(_: str, device: str, us: float) -> float:
        return us - call if device == _PIM else us

    def half_cpu(_: str, device: str, us: float) -> float:
        return us / 2 if device in host else us

    return [
        _lanes(outcome),
        _Change(
            "pim_clocks_half",
            "PIM twice as fast",
            "half the DRAM clocks of every operator on the PIM; the driver's call stays",
            half_clocks,
        ),
        _Change(
            "driver_call_free",
            "driver's calls free",
            f"every operator on the PIM without the driver's call, {call:g} us",
            no_call,
        ),
        _Change(
            "transfers_free", "transfers free", "no transfer and no gather takes time", transfers=0
        ),
        _Change(
            "cpu_2x",
            "CPU twice as fast",
            "half the time of every operator on the CPU; transfers stay",
            half_cpu,
            host_entry=0.5,
        ),
    ]


def _lanes(outcome: Outcome) -> _Change:
    """Return what twice the lanes would do, by the counters of each operator."""
    platform = outcome.platform
    lanes, columns = platform.device.lanes, platform.geometry().beat_columns
    title = "PIM lanes doubled"
    now, doubled = lane_clocks(platform, lanes), lane_clocks(platform, 2 * lanes)
    if now == doubled:
        each = platform.device.rows_per_beat
        rows = f" for each of {each} rows" if each > 1 else ""
        how = (
            f"nothing: a beat has {columns} elements{rows}, which {lanes} lanes multiply in one"
            " fabric clock"
        )
        return _Change("pim_lanes_2x", title, how)
    shares = _fewer_lane_clocks(outcome, now, doubled)
    unknown = sum(
        _PIM in by_device and name not in shares
        for name, by_device in (outcome.costs.cost_us.items() if outcome.costs else ())
    )
    how = (
        f"modelled from counters: {now:g} to {doubled:g} DRAM clocks a beat in the lanes, where"
        " they take longer than the column commands; a split's part shrinks as the whole operator"
        " does"
    )
    if unknown:
        how += "; " + quantity(
            unknown,
            "operator without counters stays as it is",
            "operators without counters stay as they are",
        )
    call = platform.driver.call_overhead_us

    def fewer(name: str, device: str, us: float) -> float:
        return call + (us - call) * shares.get(name, 1.0) if device == _PIM else us

    return _Change("pim_lanes_2x", title, how, fewer)


def _fewer_lane_clocks(outcome: Outcome, now: float, then: float) -> dict[str, float]:
    """Return by operator what is left of its DRAM clocks when a beat takes the lanes less.

    Lanes and column commands work at the same time, so the longer of the two is taken for their
    time, and all other clocks (row changes, set-up, refresh) stay.
    """
    left = {}
    for name, stats in counted(outcome).items():
        beats, commands = stats.counters["mac"], command_clocks(stats, outcome.platform)
        saved = max(beats * now, commands) - max(beats * then, commands)
        left[name] = 1 - min(saved, stats.cycles) / stats.cycles if stats.cycles else 1.0
    return left


def _changed(costs: CostGraph, change: _Change, platform: Platform) -> CostGraph:
    """Return the costs after a change, rounded to what the costs are held in."""
    devices = platform.devices

    def operator(name: str, by_device: Mapping[str, float]) -> dict[str, float]:
        return {d: _rounded(change.operator_us(name, d, us)) for d, us in by_device.items()}

    def split(name: str, offered: Split) -> Split:
        parts = zip(offered.devices, offered.part_us, strict=True)
        first, second = (_rounded(change.operator_us(name, d, us)) for d, us in parts)
        gathers = {
            tensor: {memory: _rounded(us * change.transfers) for memory, us in times.items()}
            for tensor, times in offered.gather_us.items()
        }
        return replace(offered, part_us=(first, second), gather_us=gathers)

    return replace(
        costs,
        cost_us={name: operator(name, by_device) for name, by_device in costs.cost_us.items()},
        transfer_us={
            tensor: {move: _rounded(us * change.transfers) for move, us in times.items()}
            for tensor, times in costs.transfer_us.items()
        },
        entry_us={
            device: _rounded(
                us * (change.host_entry if devices[device].memory == HOST_MEMORY else 1.0)
            )
            for device, us in costs.entry_us.items()
        },
        splits={
            name: tuple(split(name, s) for s in offered) for name, offered in costs.splits.items()
        },
    )


def _rounded(us: float) -> float:
    """Return a time to a femtosecond, and none below zero."""
    return max(0.0, round(us, 9))
