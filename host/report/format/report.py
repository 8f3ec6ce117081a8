"""report.json as a whole: its keys, and what must fit together in it."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from pimloop.host.report.format.model import Graph, Profile, Roofline
from pimloop.host.report.format.placement import WhatIf
from pimloop.host.report.format.run import (
    CpuBasis,
    Machine,
    Phase,
    PlatformValue,
    Simulation,
    Source,
)
from pimloop.host.report.format.schedule import Energy, Schedule
from pimloop.host.report.format.verification import OverallVerification
from pimloop.partitioner.typed_json import (
    Count,
    JsonError,
    Number,
    Quantity,
    Us,
    brief,
    doc,
    place_text,
)


class ReportCore(TypedDict):
    """Keys that the versions have alike."""

    created: NotRequired[Annotated[str, doc("When it was made, ISO 8601, UTC.")]]
    source: NotRequired[
        Annotated[Source | None, doc("The commit of the code; null: no git checkout.")]
    ]
    rtl_sha256: NotRequired[Annotated[str, doc("Hash of the device's SystemVerilog.")]]
    model: Annotated[str, doc("Name of the model.")]
    sequence_length: Annotated[Count | None, doc("Tokens; null: the model has no such axis.")]
    platform: Annotated[str, doc("Name of the platform.")]
    platform_title: Annotated[str, doc("What it is, in words.")]
    platform_values: NotRequired[
        Annotated[list[PlatformValue], doc("Every value of the platform, with unit and source.")]
    ]
    device: Annotated[str, doc("What answered as the PIM: `sim` (RTL) or `model` (functional).")]
    objective: Annotated[
        str, doc("What plans make least: `sequential`, `makespan`, `energy` or `edp`.")
    ]
    main_schedule: Annotated[str, doc("The schedule that the report is about.")]
    cpu_time_source: Annotated[str | None, doc("`measured` or `modelled`, in words.")]
    cpu_time_method: Annotated[str | None, doc("How CPU times came about, in words.")]
    cpu_model: NotRequired[
        Annotated[
            CpuBasis | None,
            doc("CPU times of the main schedule that are not calibrated; null: measured."),
        ]
    ]
    energy_model: NotRequired[
        Annotated[
            str,
            doc(
                "Where energies come from, in words, or why there are none; early reports lack it."
            ),
        ]
    ]
    executed_kind: NotRequired[
        Annotated[
            Literal["simulated", "measured"] | None,
            doc(
                "`simulated`: executed times are simulated PIM cycles and modelled CPU times;"
                " `measured`: CPU times are measured on this machine; null: no clock."
            ),
        ]
    ]
    cpu_times_disturbed: Annotated[
        bool, doc("Whether other work disturbed CPU times: they are not trusted.")
    ]
    profile: Annotated[Profile | None, doc("How the costs were measured; null: no costs.")]
    graph: Annotated[Graph, doc("Operators and tensors with their costs.")]
    schedules: Annotated[dict[str, Schedule], doc("By name: `optimal`, the baselines, policies.")]
    failed_policies: Annotated[dict[str, str], doc("Policies without a plan, and why.")]
    left_out_policies: NotRequired[
        Annotated[dict[str, str], doc("Policies not tried because nobody asked for them, and why.")]
    ]
    pim_capable: NotRequired[Annotated[Count, doc("Operators that can run on the PIM.")]]
    cpu_only: NotRequired[
        Annotated[dict[str, Count], doc("Number of the others by the reason they cannot.")]
    ]
    kept_on_cpu: NotRequired[
        Annotated[
            dict[str, str],
            doc("By operator id: why one of a kind that the PIM has does not run there."),
        ]
    ]
    speedup: Annotated[
        dict[str, Quantity],
        doc("How many times faster `optimal` is than each other schedule, by executed times."),
    ]
    what_if: NotRequired[
        Annotated[
            list[WhatIf],
            doc("Optima after changes of the platform; empty: no proved optimum to compare with."),
        ]
    ]
    roofline: Annotated[Roofline | None, doc("PIM operators against the limits of the device.")]
    counters: Annotated[
        dict[str, Number | None],
        doc(
            "DRAM counters of one execution of the main schedule, counted by the device, and rates"
            " as fractions; an all-bank command is an access to every bank."
        ),
    ]
    verification: Annotated[OverallVerification, doc("The verdict on all executions.")]
    simulation: Annotated[Simulation, doc("What was simulated and known from the cache.")]
    board: Annotated[
        dict[str, Us] | None,
        doc("Totals published for the paper's board by schedule, microseconds; null: none."),
    ]
    board_driver: NotRequired[
        Annotated[
            dict[str, Us] | None,
            doc(
                "By published schedule: the executed time with the work that the board's driver"
                " does at each call and pimloop's does not, microseconds; `optimal` is planned anew"
                " with it. What `board` compares with; null: nothing is published."
            ),
        ]
    ]
    board_figure: NotRequired[
        Annotated[
            dict[str, Us] | None,
            doc(
                "Totals of the paper's Figure 9, by schedule, where they are not those of its"
                " traces (`board`), microseconds; null: nothing is published."
            ),
        ]
    ]
    phases: Annotated[list[Phase], doc("The phases of the run and their wall time.")]
    resumed: NotRequired[Annotated[Count, doc("Executions taken up from an interrupted run.")]]
    versions: Annotated[dict[str, str], doc("Versions of what the run was made with.")]
    machine: Annotated[Machine, doc("Where it was made.")]
    command: Annotated[list[str], doc("The command and its arguments.")]


class Report2(ReportCore):
    """A run of `pimloop sim` (`pimloop-report/2`)."""

    format: Literal["pimloop-report/2"]


class Report(ReportCore):
    """A run of `pimloop sim` (`pimloop-report/3`)."""

    format: Literal["pimloop-report/3"]


def check_parts(report: Report) -> None:
    """Raise JsonError unless the parts of a report fit together."""
    schedules = report["schedules"]
    if report["main_schedule"] not in schedules:
        raise JsonError(
            f"main_schedule is {brief(report['main_schedule'])}, which is none of schedules"
        )
    for name, schedule in schedules.items():
        where = place_text(("schedules", name))
        _check_times(schedule, where)
        if "energy" in schedule:
            _check_energy(schedule["energy"], where)
    _check_graph(report["graph"])


def _check_times(schedule: Schedule, where: str) -> None:
    """Raise unless an executed schedule has the times of its parts."""
    if schedule["executed_us"] is None:
        return
    if schedule["transfer_us"] is None:
        raise JsonError(f"{where}.transfer_us must be a number where executed_us is one")
    for i, row in enumerate(schedule["operators"]):
        if row["us"] is None:
            raise JsonError(f"{where}.operators[{i}].us must be a number where executed_us is one")


def _check_energy(energy: Energy, where: str) -> None:
    """Raise unless an energy is exactly the sum of its parts."""
    total, causes = energy["total_fj"], energy["causes_fj"].values()
    sums = {
        "low": sum(cause["low"] for cause in causes),
        "nominal": sum(cause["nominal"] for cause in causes),
        "high": sum(cause["high"] for cause in causes),
    }
    if total != sums:
        raise JsonError(f"{where}.energy.total_fj is not the sum of causes_fj")
    steps = sum(energy["operators_fj"].values()) + energy["transfers_fj"] + energy["overlap_fj"]
    if total["nominal"] != steps:
        raise JsonError(f"{where}.energy.total_fj is not the sum of operators and transfers")


def _check_graph(graph: Graph) -> None:
    """Raise unless edges lead from an operator to a later one."""
    index: dict[str, int] = {}
    for i, node in enumerate(graph["nodes"]):
        if index.setdefault(node["id"], i) != i:
            raise JsonError(f"graph.nodes[{i}].id is the id of graph.nodes[{index[node['id']]}]")
    for i, edge in enumerate(graph["edges"]):
        producer, consumer = edge["producer"], edge["consumer"]
        for end, name in (("producer", producer), ("consumer", consumer)):
            if name is not None and name not in index:
                raise JsonError(
                    f"graph.edges[{i}].{end} is {brief(name)}, which is no operator of the graph"
                )
        if producer is not None and consumer is not None and index[producer] >= index[consumer]:
            raise JsonError(f"graph.edges[{i}] leads back from {brief(producer)}")
