"""A schedule of a report: an assignment, its prediction and its execution."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pimloop.host.report.format.placement import Placement
from pimloop.host.report.format.verification import Verification
from pimloop.partitioner.plan_file import PlanEnergyJson
from pimloop.partitioner.typed_json import Count, Quantity, Us, doc


class TimelineStep(TypedDict):
    """An interval of an executed schedule."""

    lane: Annotated[str, doc("Device that works, or `dma`, which moves tensors.")]
    start_us: Annotated[Us, doc("Start, microseconds after that of the schedule.")]
    us: Annotated[Us, doc("Duration, microseconds; measured, simulated or modelled as the lane's.")]
    name: Annotated[str, doc("Name for people.")]
    node: Annotated[str | None, doc("Id of the operator; null: a transfer.")]
    tensor: Annotated[str | None, doc("Id of the tensor that is moved; null: an operator.")]
    kind: Annotated[str, doc("`node` or `transfer`.")]


class OperatorRow(TypedDict):
    """Time of the operators of a type on a device."""

    op: Annotated[str, doc("Operator type, as ONNX names it.")]
    device: Annotated[str, doc("Device that executed them.")]
    count: Annotated[Count, doc("Number of operators.")]
    us: Annotated[Us | None, doc("Their time together, microseconds; null: no clock.")]


class Weights(TypedDict):
    """Loading the constants of the PIM operators: once, before the execution, in no other time."""

    bytes: Annotated[Count, doc("Bytes copied from the host, counted by the driver.")]
    cycles: Annotated[Count | None, doc("DRAM clocks, simulated; null: no clock.")]
    us: Annotated[Us | None, doc("The same in microseconds by the platform's clock.")]


class OnDevice(TypedDict):
    """The operators of a device in a schedule."""

    nodes: Annotated[Count, doc("Number of operators.")]
    us: Annotated[Us | None, doc("Their time together, microseconds; null: no clock.")]


class SplitOperator(TypedDict):
    """An operator that two devices compute together."""

    columns: Annotated[dict[str, Count], doc("Columns of the result that each device computes.")]
    us: Annotated[
        dict[str, Us] | None,
        doc("Time of each device's part, microseconds, as those of the device; null: no clock."),
    ]
    gather_us: NotRequired[
        Annotated[
            dict[str, Us],
            doc("By memory that needs it: time until the result is whole there, microseconds."),
        ]
    ]


class EnergySpread(TypedDict):
    """An energy by its sources, femtojoules."""

    low: Annotated[int, doc("With the lowest of the constants' sources.")]
    nominal: Annotated[int, doc("With the nominal constants.")]
    high: Annotated[int, doc("With the highest.")]


class Energy(TypedDict):
    """The energy of a schedule: counters and times by the platform's constants (docs/energy.md)."""

    total_fj: Annotated[EnergySpread, doc("The sum of its causes, femtojoules.")]
    causes_fj: Annotated[dict[str, EnergySpread], doc("By cause, femtojoules.")]
    with_cpu: Annotated[
        bool, doc("Whether the CPU is in it; false: the platform does not know its power.")
    ]
    average_w: Annotated[
        Quantity | None, doc("Nominal energy by time, watts; null: without the CPU, or no time.")
    ]
    energy_delay_js: Annotated[
        Quantity | None, doc("Nominal energy times time, joule seconds; null: without the CPU.")
    ]
    operators_fj: Annotated[
        dict[str, int], doc("By operator id, nominal, femtojoules; standing power in it.")
    ]
    transfers_fj: Annotated[int, doc("All transfers, nominal, femtojoules.")]
    overlap_fj: Annotated[
        int,
        doc(
            "What stands by during overlapping steps, counted once: nominal, femtojoules, not"
            " positive; 0 where nothing overlaps."
        ),
    ]


class ScheduleOptions(TypedDict, total=False):
    """What some schedules have."""

    splits: Annotated[dict[str, SplitOperator], doc("By operator id; absent: none is split.")]
    energy: Annotated[
        Energy, doc("Its energy; absent: no clock, or constants are missing (`energy_model`).")
    ]
    plan_energy: Annotated[
        PlanEnergyJson,
        doc("Energy by the costs of the profile; of the objectives `energy` and `edp`."),
    ]
    placement: Annotated[
        Placement,
        doc(
            "Why operators are where they are; absent: no optimum that is proved, of the sum of all"
            " times."
        ),
    ]


class Schedule(ScheduleOptions):
    """An assignment, its prediction and its execution."""

    predicted_us: Annotated[
        Us | None,
        doc("Time by the costs of the profile, microseconds; null: there are no costs."),
    ]
    executed_us: Annotated[
        Us | None,
        doc(
            "Time of the execution, microseconds: simulated PIM cycles, and CPU times measured or"
            " modelled as `executed_kind` says; null: no clock."
        ),
    ]
    executed_min_us: NotRequired[
        Annotated[
            Us | None,
            doc("The same of the quickest round where CPU times are measured, microseconds."),
        ]
    ]
    compute_us: Annotated[Us | None, doc("Operators of `executed_us`, microseconds.")]
    transfer_us: Annotated[
        Us | None, doc("Transfers between memories in `executed_us`, microseconds, modelled.")
    ]
    pim_us: Annotated[Us | None, doc("Operators on the PIM, microseconds, simulated.")]
    cpu_us: Annotated[Us | None, doc("Operators on the CPU, microseconds, measured or modelled.")]
    pim_nodes: Annotated[Count, doc("Operators on the PIM.")]
    devices: NotRequired[
        Annotated[dict[str, OnDevice], doc("By device; early reports of version 3 lack it.")]
    ]
    nodes: Annotated[Count, doc("Operators of the model.")]
    transfers: Annotated[Count, doc("Transfers between memories.")]
    transfer_bytes: Annotated[Count, doc("Bytes they moved.")]
    optimal: Annotated[
        bool, doc("Whether the plan is proved the best for the report's objective, by the costs.")
    ]
    method: Annotated[str | None, doc("The algorithm of the plan; null: no plan.")]
    lower_bound_us: Annotated[
        Us | None, doc("No placement takes less by the costs, microseconds; null: no bound.")
    ]
    assignment: Annotated[
        dict[str, str], doc("By operator id: its device, or the name of its split.")
    ]
    timeline: Annotated[list[TimelineStep], doc("The execution; empty without a clock.")]
    operators: Annotated[list[OperatorRow], doc("Time by type and device, the longest first.")]
    cycles: NotRequired[
        Annotated[Count, doc("DRAM clocks of the PIM operators, simulated; 0: no clock.")]
    ]
    weights: NotRequired[Annotated[Weights, doc("Loading weights; version 2 lacks it.")]]
    verification: Annotated[Verification, doc("What was checked of this execution.")]
