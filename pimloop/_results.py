"""What the functions of `pimloop` return: objects that a notebook shows, and their tables.

A table is a list of records (dictionaries with the same keys), as `pandas.DataFrame` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimloop.errors import PimloopError
from pimloop.host.common.files import write_json
from pimloop.host.common.folders import make_folder
from pimloop.host.execution.result import Result
from pimloop.host.execution.times import schedule_times
from pimloop.host.models.graph import Array, Graph
from pimloop.host.report.format.report import Report
from pimloop.partitioner.costs import CostGraph, costs_to_dict
from pimloop.partitioner.plan import Plan as PlanFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]

#: Rows that a notebook shows of a table.
_SHOWN = 20


@dataclass(frozen=True)
class Model:
    """A model with values for its inputs.

    Attributes
    ----------
    graph
        Operators, tensors and constants.
    inputs
        Arrays by the names of the inputs.
    """

    graph: Graph
    inputs: Mapping[str, Array]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.graph.name

    def table(self) -> list[Record]:
        """Return a record for every operator.

        `operator`, `op`, `inputs` (their shapes) and `shape` (that of its first result).
        """
        return [
            {
                "operator": node.id,
                "op": node.op,
                "inputs": [self.graph.tensors[name].shape for name in node.inputs if name],
                "shape": self.graph.tensors[node.outputs[0]].shape,
            }
            for node in self.graph.nodes
        ]

    def _repr_html_(self) -> str:
        return _html(f"{self.name}, {len(self.graph.nodes)} operators", self.table())


@dataclass(frozen=True)
class Costs:
    """What every operator and transfer of a model takes, microseconds.

    Attributes
    ----------
    graph
        The costs as the partitioner and its plug-ins take them.
    """

    graph: CostGraph

    def table(self) -> list[Record]:
        """Return a record for every operator: `operator`, `op`, and its time on each device.

        None stands where a device cannot run the operator.
        """
        devices = list(self.graph.graph.memory_of)
        return [
            {"operator": operator.id, "op": operator.op}
            | {f"{device}_us": self.graph.cost_us[operator.id].get(device) for device in devices}
            for operator in self.graph.graph.operators
        ]

    def transfers(self) -> list[Record]:
        """Return a record for every transfer: `tensor`, `source` and `destination`, `us`."""
        return [
            {"tensor": tensor, "source": source, "destination": destination, "us": us}
            for tensor, moves in self.graph.transfer_us.items()
            for (source, destination), us in moves.items()
        ]

    def save(self, path: str | Path) -> Path:
        """Write a `pimloop-costs` file, which `pimloop partition` reads; return its path.

        Raises
        ------
        PimloopError
            When the file cannot be written.
        """
        write_json(Path(path), costs_to_dict(self.graph))
        return Path(path)

    def _repr_html_(self) -> str:
        return _html(f"costs of {len(self.graph.graph.operators)} operators", self.table())


@dataclass(frozen=True)
class Plan:
    """A placement with its predicted time and what is known about its optimality.

    Attributes
    ----------
    policy
        What made it.
    assignment
        Device by operator.
    total_us, lower_bound_us
        The predicted time of the objective; no placement takes less than the bound.
    optimal
        Whether both are equal.
    """

    policy: str
    assignment: Mapping[str, str]
    total_us: float
    lower_bound_us: float
    optimal: bool
    file: PlanFile

    @classmethod
    def of(cls, plan: PlanFile) -> Plan:
        """Return what a plan of the partitioner says."""
        return cls(
            plan.policy, plan.assignment, plan.total_us, plan.lower_bound_us, plan.optimal, plan
        )

    def table(self) -> list[Record]:
        """Return a record for every operator: `operator`, `device`."""
        return [{"operator": name, "device": device} for name, device in self.assignment.items()]

    def save(self, path: str | Path) -> Path:
        """Write a `pimloop-plan` file, which `pimloop run --plan` reads; return its path.

        Raises
        ------
        PimloopError
            When the file cannot be written.
        """
        write_json(Path(path), self.file.to_dict())
        return Path(path)

    def _repr_html_(self) -> str:
        proof = "proved optimal" if self.optimal else f"at least {self.lower_bound_us:,.1f} us"
        title = f"{self.policy}: predicted {self.total_us:,.1f} us, {proof}"
        return _html(title, self.table())


@dataclass(frozen=True)
class Execution:
    """A model executed under one placement, and checked.

    Attributes
    ----------
    passed
        Whether every check was passed.
    bit_exact
        Whether every result of the PIM has the bits of the golden model.
    outputs
        Arrays by the names of the model's outputs.
    total_us
        Operators and transfers, one after the other: PIM cycles simulated, CPU times measured or
        modelled as the platform says. None where the device has no clock.
    """

    passed: bool
    bit_exact: bool
    outputs: Mapping[str, Array]
    total_us: float | None
    result: Result

    @classmethod
    def of(cls, result: Result) -> Execution:
        """Return what an execution of the host found out."""
        times = schedule_times(result)
        total = None if times is None else times.total_us
        return cls(result.passed, result.pim_bit_exact, result.outputs, total, result)

    def table(self) -> list[Record]:
        """Return a record for every operator: `operator`, `op`, `device`, `us`."""
        times = schedule_times(self.result)
        return [
            {
                "operator": node.id,
                "op": node.op,
                "device": self.result.assignment[node.id],
                "us": None if times is None else times.nodes[node.id],
            }
            for node in self.result.graph.nodes
        ]

    def _repr_html_(self) -> str:
        total = "no clock" if self.total_us is None else f"{self.total_us:,.1f} us"
        bits = "bit exact" if self.bit_exact else "WRONG BITS"
        verdict = "verification passed" if self.passed else "VERIFICATION FAILED"
        return _html(f"{self.result.graph.name}: {total}, {bits}, {verdict}", self.table())


@dataclass(frozen=True)
class Run:
    """A model through the whole way: profiled, partitioned, executed and checked.

    Attributes
    ----------
    report
        The object of report.json (`pimloop-report`).
    graph
        The model.
    """

    report: Report
    graph: Graph

    @property
    def passed(self) -> bool:
        """Whether every execution passed every check and took what its plan counted."""
        return bool(self.report["verification"]["passed"])

    @property
    def main(self) -> str:
        """The name of the schedule that the report is about."""
        return str(self.report["main_schedule"])

    def table(self) -> list[Record]:
        """Return a record for every schedule, the fastest first.

        `schedule`, `predicted_us`, `executed_us`, `optimal`, `lower_bound_us`, `pim_operators`,
        `transfers`; times are None where the device has no clock.
        """
        records = [
            {
                "schedule": name,
                "predicted_us": schedule["predicted_us"],
                "executed_us": schedule["executed_us"],
                "optimal": schedule["optimal"],
                "lower_bound_us": schedule["lower_bound_us"],
                "pim_operators": schedule["pim_nodes"],
                "transfers": schedule["transfers"],
            }
            for name, schedule in self.report["schedules"].items()
        ]
        untimed = float("inf")
        return sorted(
            records,
            key=lambda row: untimed if row["executed_us"] is None else row["executed_us"],
        )

    def operators(self, schedule: str | None = None) -> list[Record]:
        """Return a record for every operator of a schedule (default: the report's).

        `operator`, `op`, `device`, and `us`, its cost there.

        Raises
        ------
        PimloopError
            When there is no such schedule; it names those that there are.
        """
        name = self.main if schedule is None else schedule
        if name not in self.report["schedules"]:
            known = ", ".join(self.report["schedules"])
            raise PimloopError(f"no schedule {name!r}; there are {known}")
        assignment = self.report["schedules"][name]["assignment"]
        return [
            {
                "operator": node["id"],
                "op": node["op"],
                "device": assignment[node["id"]],
                "us": node["cost_us"].get(assignment[node["id"]]),
            }
            for node in self.report["graph"]["nodes"]
        ]

    def figures(self) -> dict[str, Figure]:
        """Return schedules, breakdown, timeline and roofline as figures, those that have data."""
        from pimloop.host.report.plots import draw_plots

        return draw_plots(self.report)

    def save(self, folder: str | Path) -> list[Path]:
        """Write report.json, page, trace, plots and the annotated model; return the files.

        Raises
        ------
        PimloopError
            When a file cannot be written.
        """
        from pimloop.host.report.publish import publish

        make_folder(Path(folder))
        return publish(self.report, self.graph, Path(folder))

    def _repr_html_(self) -> str:
        verdict = "verification passed" if self.passed else "VERIFICATION FAILED"
        kind = self.report.get("executed_kind") or "no clock"
        title = f"{self.report['model']} on {self.report['platform_title']}: {kind}, {verdict}"
        return _html(title, self.table())


def _html(title: str, records: Sequence[Record]) -> str:
    """Return a table as HTML, its first rows where it is long."""
    keys = list(records[0]) if records else []
    head = "".join(f"<th>{escape(key)}</th>" for key in keys)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(record[key]))}</td>" for key in keys) + "</tr>"
        for record in records[:_SHOWN]
    )
    more = len(records) - _SHOWN
    rest = f"<p>{more} more rows: `.table()` has all</p>" if more > 0 else ""
    return (
        f"<div><p><b>{escape(title)}</b></p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{rest}</div>"
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return str(value)
