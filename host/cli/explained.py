"""What is explained of a report, or of plans: where operators are and what they cost elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pimloop.host.report.format.placement import Placement
from pimloop.host.report.format.report import Report
from pimloop.host.report.html.labels import schedule_key, schedule_order
from pimloop.host.report.html.splits import SplitRow, grouped, split_row
from pimloop.host.report.placement import placement
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.place.alternatives import transfers
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.problem import Problem


@dataclass(frozen=True)
class Parts:
    """What both devices of a split operator do."""

    share: Mapping[str, int]  # columns by device, or equal parts of them
    unit: str  # of `share`
    us: Mapping[str, float]  # time of each part; empty: no clock
    gather_us: Mapping[str, float]  # by memory


@dataclass(frozen=True)
class ExplainedSchedule:
    """An optimum."""

    name: str
    title: str
    assignment: Mapping[str, str]
    placement: Placement
    splits: Mapping[str, Parts]


@dataclass(frozen=True)
class ExplainedOperator:
    """An operator and its costs."""

    op: str
    signature: str
    cost_us: Mapping[str, float]


@dataclass(frozen=True)
class Explained:
    """Operators and the optima that say where they are."""

    model: str
    operators: Mapping[str, ExplainedOperator]
    schedules: tuple[ExplainedSchedule, ...]
    why_not: str = field(default="")  # why there are no schedules


def of_report(report: Report) -> Explained:
    """Return what a report explains."""
    schedules = tuple(_of_report(report))
    return Explained(
        report["model"],
        {
            node["id"]: ExplainedOperator(node["op"], node.get("signature") or "", node["cost_us"])
            for node in report["graph"]["nodes"]
        },
        schedules,
        "" if schedules else _why_not(report),
    )


def _of_report(report: Report) -> Iterator[ExplainedSchedule]:
    for name in schedule_order(report["schedules"]):
        schedule = report["schedules"][name]
        why = schedule.get("placement")
        if why is None:
            continue
        splits = {
            identifier: Parts(
                split["columns"], "columns", split["us"] or {}, split.get("gather_us", {})
            )
            for identifier, split in schedule.get("splits", {}).items()
        }
        title = schedule_key(name, schedule)
        yield ExplainedSchedule(name, title, schedule["assignment"], why, splits)


def _why_not(report: Report) -> str:
    """Return why no schedule of a report is explained, and what to do."""
    if report["objective"] != "sequential":
        return "only optima of the sum of all times are explained; use --objective sequential"
    schedules = report["schedules"].values()
    if all(schedule["predicted_us"] is None for schedule in schedules):
        return "its operators were placed without costs; use `pimloop sim` with --device sim"
    return "it is of an earlier version, or no optimum is proved; run `pimloop sim` again"


def of_plan(costs: CostGraph, plan: Plan) -> Explained:
    """Return what a plan explains, which was made from `costs`."""
    why = placement(costs, plan)
    operators = {
        operator.id: ExplainedOperator(
            operator.op, operator.signature or "", costs.cost_us[operator.id]
        )
        for operator in costs.graph.operators
    }
    schedules: tuple[ExplainedSchedule, ...] = ()
    if why is not None:
        parts = _parts(costs, plan)
        schedules = (ExplainedSchedule(plan.policy, plan.policy, plan.assignment, why, parts),)
    return Explained(
        costs.graph.name,
        operators,
        schedules,
        "" if schedules else "it is no proved optimum (optimal, coexec) of the sum of all times",
    )


def _parts(costs: CostGraph, plan: Plan) -> dict[str, Parts]:
    """Return the split operators of a plan, shares as equal parts of the columns."""
    problem = Problem.of(costs)
    made = {tensor.id: tensor.producer for tensor in costs.graph.tensors}
    gathers: dict[str, dict[str, float]] = {}
    for move in transfers(problem, plan.assignment) if plan.splits else ():
        maker = made[move.tensor]
        if maker is not None and maker in plan.splits:
            gathers.setdefault(maker, {})[move.destination] = move.us
    return {
        name: Parts(
            dict(zip(split.devices, (split.shares - split.share, split.share), strict=True)),
            f"of {split.shares} parts",
            split.parts_us,
            gathers.get(name, {}),
        )
        for name, split in plan.splits.items()
    }


def plan_split_rows(costs: CostGraph, plan: Plan) -> list[SplitRow]:
    """Return the split operators of a plan, as those of a report."""
    why = placement(costs, plan)
    operators = {operator.id: operator for operator in costs.graph.operators}
    return grouped(
        split_row(
            name, operators[name].op, operators[name].signature, parts.share, parts.us,
            parts.gather_us, why,
        )
        for name, parts in _parts(costs, plan).items()
    )  # fmt: skip
