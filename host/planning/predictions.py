"""Where an execution must take exactly what its plan says, and where it did not.

Cycles of the device do not depend on the schedule, and modelled times depend on the operator
alone. So every PIM operator, every operator of a modelled CPU and every modelled transfer must
take the time that its plan counted, in every schedule. A difference is a fault: a stored cost
that is not of this operator, or a time that is found in two ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from pimloop.host.devices.kinds import HOST_MEMORY
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import ScheduleTimes
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.evaluation import places_of
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem

#: Two results of the same arithmetic in another order.
_ROUNDING = 1e-9


def prediction_errors(
    costs: CostGraph, plan: Plan, result: Result, times: ScheduleTimes
) -> list[str]:
    """Return what did not take the time that the plan counted, in words; empty: all did.

    Measured CPU times and conversions may differ and are left out, as are cycles where operators
    have no static addresses.

    Parameters
    ----------
    costs, plan
        What the execution was planned from.
    result, times
        The execution of the plan's assignment.
    """
    errors = [*_operators(costs, plan, result, times), *_moves(costs, plan, result)]
    return errors + list(_transfers(costs, plan, result, times))


def _operators(costs: CostGraph, plan: Plan, result: Result, times: ScheduleTimes) -> Iterator[str]:
    modelled, devices = result.platform.cpu_model() is not None, result.platform.devices
    for name, us in times.nodes.items():
        device = plan.assignment[name]
        split = plan.splits.get(name)
        predicted = {device: costs.cost_us[name][device]} if split is None else split.parts_us
        for part, part_us in times.parts.get(name, {device: us}).items():
            kind = devices[part]
            exact = modelled or kind.memory != HOST_MEMORY
            if kind.offloaded:
                exact = result.static_addresses
            if exact and not _equal(predicted[part], part_us):
                yield (
                    f"{name} on {part}: predicted {predicted[part]:.6g} us, executed"
                    f" {part_us:.6g} us"
                )


def _transfers(costs: CostGraph, plan: Plan, result: Result, times: ScheduleTimes) -> Iterator[str]:
    if result.platform.driver.conversion == "measured":
        return
    gathered = {
        (tensor, memory): us
        for split in plan.splits.values()
        for tensor, by_memory in split.gather_us.items()
        for memory, us in by_memory.items()
    }
    for transfer, us in zip(result.execution.transfers, times.transfers, strict=True):
        source, destination = transfer.source, transfer.destination
        predicted = gathered.get((transfer.tensor, destination))
        if predicted is None:
            predicted = costs.transfer_us[transfer.tensor].get((source, destination))
        if predicted is not None and not _equal(predicted, us):
            yield (
                f"transfer of {transfer.tensor} {transfer.direction}: predicted"
                f" {predicted:.6g} us, executed {us:.6g} us"
            )


def _moves(costs: CostGraph, plan: Plan, result: Result) -> Iterator[str]:
    problem = Problem.of(costs)
    place = places_of(problem, plan.assignment)
    predicted = [
        f"{tensor.id} {problem.memories[source]}>{problem.memories[to]}"
        for tensor in problem.tensors
        for to in problem.destinations(tensor, place)
        for source in problem.sources_of(tensor, place, to)
    ]
    executed = [
        f"{transfer.tensor} {transfer.direction}" for transfer in result.execution.transfers
    ]
    for move in sorted(set(predicted) - set(executed)):
        yield f"transfer of {move}: predicted, but not executed"
    for move in sorted(set(executed) - set(predicted)):
        yield f"transfer of {move}: executed, but not predicted"
    if len(executed) != len(set(executed)):
        twice = sorted({move for move in executed if executed.count(move) > 1})
        yield f"transfers executed more than once: {', '.join(twice)}"


def _equal(us: float, other: float) -> bool:
    return isclose(us, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
