"""Plans of every policy, and what their execution took, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pimloop.partitioner.graph as cg
from pimloop.errors import PimloopError
from pimloop.host.devices.kinds import HOST_MEMORY, SplitDevice, device_parts, kinds
from pimloop.host.execution.execution import Transfer
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import ScheduleTimes
from pimloop.host.models.graph import Graph
from pimloop.host.planning.policies import Policy, make_plan
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import places_of
from pimloop.partitioner.makespan.schedule import (
    move_name,
    sequence_schedule,
    steps,
    task_graph,
)
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.plan import Step as PlanStep
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.quantity import quantity
from pimloop.partitioner.splits import Split
from pimloop.partitioner.ticks import to_ticks


@dataclass(frozen=True)
class Step:
    """One interval of an executed schedule."""

    kind: Literal["node", "transfer"]
    lane: str  # a device, or "dma"
    name: str  # the operator's id, or "tensor source>destination"
    start_us: float
    us: float
    node: str | None = None
    tensor: str | None = None


@dataclass(frozen=True)
class Executed:
    """When everything of an executed schedule happened, on the platform's clock."""

    total_us: float  # end of the last step
    steps: tuple[Step, ...]


def make_plans(
    costs: CostGraph,
    policies: Mapping[str, Policy | None],
    objective: str,
    time_limit_s: float,
) -> tuple[dict[str, Plan], dict[str, str]]:
    """Return the plan of every policy, and why there is none for the others.

    Parameters
    ----------
    policies
        Name to function, None for the partitioner's own
        (`pimloop.host.planning.policies.find_policies`).

    Raises
    ------
    PartitionerError
        When there is no optimal plan: then the graph is at fault, not the policy.
    """
    plans: dict[str, Plan] = {}
    failed: dict[str, str] = {}
    for name, policy in policies.items():
        try:
            plan = make_plan(costs, name, policy, objective, time_limit_s)
            if plan.overfull:
                raise PartitionerError(_overfull(costs, plan))
            plans[name] = plan
        except PartitionerError as error:
            if name == "optimal":
                raise
            failed[name] = str(error)
    return plans, failed


def _overfull(costs: CostGraph, plan: Plan) -> str:
    return "; ".join(
        f"its weights take {quantity(needed, 'byte')} in memory '{memory}', which has"
        f" {costs.capacity_bytes[memory]} for them: it cannot be executed"
        for memory, needed in plan.overfull.items()
    )


def in_sequence(
    graph: Graph,
    assignment: Mapping[str, str],
    transfers: Sequence[Transfer],
    times: ScheduleTimes,
) -> Executed:
    """Return the steps of an execution one after the other, as it made them.

    Parameters
    ----------
    graph, assignment
        What was executed.
    transfers
        In the order of `Execution.transfers`.
    times
        Of the same execution.
    """
    waiting: dict[str, list[tuple[Transfer, float]]] = {}
    for transfer, us in zip(transfers, times.transfers, strict=True):
        waiting.setdefault(transfer.tensor, []).append((transfer, us))
    made: list[Step] = []
    now = 0.0

    def move(names: Iterable[str], memory: str, *, outward: bool) -> None:
        nonlocal now
        for name in names:
            for item in list(waiting.get(name, ())):
                transfer, us = item
                if memory != (transfer.source if outward else transfer.destination):
                    continue
                step = f"{name} {transfer.direction}"
                made.append(Step("transfer", "dma", step, now, us, tensor=name))
                now += us
                waiting[name].remove(item)

    for node in graph.nodes:
        kind = kinds()[assignment[node.id]]
        for memory in kind.memories:
            move(node.inputs, memory, outward=False)
        us = times.nodes[node.id]
        for device, part in times.parts.get(node.id, {kind.name: us}).items():
            made.append(Step("node", device, node.id, now, part, node=node.id))
        now += us
        if kind.offloaded:
            for memory in kind.memories:
                move(node.outputs, memory, outward=True)
    move(graph.outputs, HOST_MEMORY, outward=False)
    waiting = {name: left for name, left in waiting.items() if left}
    assert not waiting, f"transfers of no operator: {sorted(waiting)}"
    return Executed(now, tuple(made))


def replay(
    operators: cg.Graph,
    result: Result,
    times: ScheduleTimes,
    schedule: Sequence[PlanStep] = (),
) -> Executed:
    """Return when everything of an execution happened.

    Parameters
    ----------
    operators
        The model as the partitioner sees it.
    result, times
        The execution.
    schedule
        The steps of the makespan plan that was executed; empty: one operator or transfer at a
        time.
    """
    transfers = result.execution.transfers
    if schedule:
        return overlapped(operators, result.assignment, schedule, transfers, times)
    return in_sequence(result.graph, result.assignment, transfers, times)


def overlapped(
    operators: cg.Graph,
    assignment: Mapping[str, str],
    schedule: Sequence[PlanStep],
    transfers: Sequence[Transfer],
    times: ScheduleTimes,
) -> Executed:
    """Return the steps of a makespan plan with the times of its execution, in the plan's order.

    Parameters
    ----------
    operators
        The model as the partitioner sees it.
    assignment, schedule
        The plan.
    transfers, times
        Of the plan's execution.

    Raises
    ------
    PimloopError
        When the schedule leaves out an operator or a transfer of the assignment.
    """
    problem = Problem.of(_executed_costs(operators, assignment, transfers, times))
    scale = 10**problem.decimals
    place = places_of(problem, assignment)
    compute = [to_ticks(times.nodes[operator.id], scale) for operator in operators.operators]
    tasks = task_graph(problem, place, compute)
    planned: dict[tuple[str, str, str], float] = {
        (step.kind, step.id, step.detail): (step.start_us + step.end_us) / 2 for step in schedule
    }
    needed = [
        ("operator", operator.id, assignment[operator.id]) for operator in operators.operators
    ]
    for number, source, destination in tasks.transfers:
        tensor = problem.tensors[number]
        needed.append(("transfer", tensor.id, move_name(problem, tensor, source, destination)))
    for kind, name, detail in needed:
        if (kind, name, detail) not in planned:
            raise PimloopError(
                f"the plan's schedule has no {kind} of '{name}' ({detail}), which its assignment"
                " needs; make the plan again"
            )
    starts = sequence_schedule(tasks, [planned[task] for task in needed])
    made = []
    for step in steps(problem, assignment, tasks, starts):
        us = step.end_us - step.start_us
        if step.kind == "operator":
            device, us = _part(step, us, times)
            made.append(Step("node", device, step.id, step.start_us, us, node=step.id))
        else:
            name = f"{step.id} {step.detail}"
            made.append(Step("transfer", "dma", name, step.start_us, us, tensor=step.id))
    made.sort(key=lambda step: step.start_us)
    return Executed(max(step.start_us + step.us for step in made), tuple(made))


def _part(step: PlanStep, us: float, times: ScheduleTimes) -> tuple[str, float]:
    """Return the device and the time of an operator's step: of a split one, of its part there."""
    kind = kinds()[step.detail]
    if not isinstance(kind, SplitDevice):
        return step.detail, us
    (device,) = [part.name for part in kind.parts if part.memory == step.resource]
    return device, times.parts[step.id][device]


def _executed_costs(
    operators: cg.Graph,
    assignment: Mapping[str, str],
    transfers: Sequence[Transfer],
    times: ScheduleTimes,
) -> CostGraph:
    """Return the graph with the devices, the transfers and the times of one execution alone."""
    moved: dict[str, dict[cg.Move, float]] = {}
    for transfer, us in zip(transfers, times.transfers, strict=True):
        moved.setdefault(transfer.tensor, {})[transfer.source, transfer.destination] = us
    used = {name: device_parts(device) for name, device in assignment.items()}
    graph = replace(
        operators,
        operators=tuple(replace(o, devices=used[o.id]) for o in operators.operators),
        tensors=tuple(replace(t, moves=frozenset(moved.get(t.id, ()))) for t in operators.tensors),
    )
    cost_us = {name: dict.fromkeys(used[name], us) for name, us in times.nodes.items()}
    made: dict[str | None, list[cg.Tensor]] = {}
    for tensor in operators.tensors:
        made.setdefault(tensor.producer, []).append(tensor)
    splits = {
        name: (_executed_split(assignment[name], parts, made[name], moved),)
        for name, parts in times.parts.items()
    }
    transfer_us = {t.id: moved.get(t.id, {}) for t in operators.tensors}
    return CostGraph(graph, cost_us, transfer_us, splits=splits)


def _executed_split(
    name: str,
    parts: Mapping[str, float],
    made: Sequence[cg.Tensor],
    moved: Mapping[str, Mapping[cg.Move, float]],
) -> Split:
    """Return an operator that was executed by two devices, with the times of its parts."""
    kind = kinds()[name]
    assert isinstance(kind, SplitDevice)
    first, second = kind.parts
    gathered = {
        tensor.id: {destination: us for (_, destination), us in moved.get(tensor.id, {}).items()}
        for tensor in made
    }
    return Split(
        (first.name, second.name), kind.share, kind.shares, (parts[first.name], parts[second.name]),
        gathered,
    )  # fmt: skip
