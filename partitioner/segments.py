"""Devices within a memory: which of them an optimum may use, and the cheapest segments.

A segment, consecutive operators on one device in the order of execution, costs its device's entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pimloop.partitioner.problem import Problem


def useful_devices(problem: Problem, operator: int, memory: int) -> tuple[int, ...]:
    """Return the devices of `memory` that some optimum may use for `operator`.

    One is left out when another, with its entry and that of a segment which the change cuts
    in two, is no slower. Without entry costs the fastest is left.
    """
    kept = list(problem.devices_at(operator, memory))
    for device in reversed(list(kept)):  # of equals the preferred one is left
        cost = problem.runs[operator][device]
        if any(
            problem.runs[operator][d] + problem.entry[d] + problem.entry[device] <= cost
            for d in kept
            if d != device
        ):
            kept.remove(device)
    return tuple(kept)


def entry_ticks(problem: Problem, assignment: Mapping[str, str]) -> list[int]:
    """Return what each operator pays because a segment begins with it."""
    names = [operator.id for operator in problem.costs.graph.operators]
    ticks = [0] * len(names)
    for v in entered(problem, assignment):
        ticks[v] = problem.entry[problem.device_number(v, assignment[names[v]])]
    return ticks


def entered(problem: Problem, assignment: Mapping[str, str]) -> list[int]:
    """Return the operators that begin a segment."""
    names = [operator.id for operator in problem.costs.graph.operators]
    return [
        v
        for v, before in enumerate(problem.before)
        if before is None or assignment[names[before]] != assignment[names[v]]
    ]


def cheapest_assignment(problem: Problem, place: Sequence[int]) -> dict[str, str]:
    """Return the cheapest assignment that puts operator i into place `place[i]`."""
    if problem.has_entries:
        return _cheapest_segments(problem, place)
    return {
        operator.id: problem.device[v][place[v]]
        for v, operator in enumerate(problem.costs.graph.operators)
    }


def _cheapest_segments(problem: Problem, place: Sequence[int]) -> dict[str, str]:
    """Return the devices with the least operators and entries, by dynamic programming.

    Along the order of execution: the best way to have operator i on device d comes from the
    same device, or from the best of all devices and pays the entry.
    """
    best: dict[int, int] = {}  # device of the last operator -> ticks up to it
    came: list[dict[int, int]] = []  # for each operator, the device before, by its device
    for v in problem.order:
        first = min(best, key=lambda d: best[d]) if best else -1
        reached: dict[int, int] = {}
        origin: dict[int, int] = {}
        for device in useful_devices(problem, v, place[v]):
            price = (best[first] if best else 0) + problem.entry[device]
            origin[device] = first
            if device in best and best[device] <= price:
                price, origin[device] = best[device], device
            reached[device] = price + problem.runs[v][device]
        best = reached
        came.append(origin)
    device = min(best, key=lambda d: best[d])
    chosen: dict[str, str] = {}
    for v, origin in zip(reversed(problem.order), reversed(came), strict=True):
        chosen[problem.costs.graph.operators[v].id] = problem.device_name(v, device)
        device = origin[device]
    return {operator.id: chosen[operator.id] for operator in problem.costs.graph.operators}
