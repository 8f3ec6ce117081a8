"""What report.json holds, as far as anything reads it.

`pimloop.host.report.build.read_report` checks a file against it.

A part that a run can lack is null or absent. Keys that are not here are let through.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from pimloop.partitioner.typed_json import (
    Count,
    JsonError,
    Number,
    Positive,
    Quantity,
    Us,
    brief,
    check,
    place_text,
)


class TimelineStep(TypedDict):
    """An interval of a schedule."""

    lane: str  # a device, or "dma"
    start_us: Us
    us: Us
    name: str
    node: str | None
    tensor: str | None
    kind: str  # "node" or "transfer"


class OperatorRow(TypedDict):
    """Time of an operator type on a device."""

    op: str
    device: str
    count: Count
    us: Us | None


class Comparison(TypedDict):
    """A tensor against float32."""

    tensor: str
    elements: Count
    max_abs_error: Number | None  # null: not finite
    relative_l2: Number | None
    cosine: Number | None
    limit: Number
    measured: NotRequired[bool]  # whether the limit is
    given: NotRequired[str | None]  # decisions of the run that float32 was given
    min_cosine: NotRequired[Number | None]  # of earlier reports


class IntegerComparison(TypedDict):
    """Integers, or other results that jump, against float32."""

    tensor: str
    elements: Count
    different: Count
    beyond: Count  # how many of them rounding does not explain
    rule: str
    margin: Number | None
    bound: Number | None
    passed: bool


class OperatorErrors(TypedDict):
    """The worst PIM operator against float32."""

    worst: Number | None  # null: not finite
    node: str
    limit: Number
    passed: bool


class Verification(TypedDict):
    """What was checked of an execution."""

    passed: bool
    pim_bit_exact: bool
    pim_results_checked: Count
    pim_results_wrong: list[str]
    non_finite: NotRequired[list[str]]  # first operators with NaN or infinities float32 has not
    predictions_missed: NotRequired[list[str]]  # times that must be those of the plan and are not
    pim_operators_against_float32: OperatorErrors | None
    max_abs_error: Number | None
    cosine: Number | None
    compared: list[Comparison]
    integers: NotRequired[list[IntegerComparison]]
    cpu_results_wrong: NotRequired[list[str]]  # that their operators do not give


class OverallVerification(Verification):
    """The verdict on all executions of a run."""

    executions: Count
    schedules: NotRequired[dict[str, dict[str, Any]]]  # of early reports


class Weights(TypedDict):
    """Loading the constants of the PIM operators, once."""

    bytes: Count
    cycles: Count | None  # null: the device has no clock
    us: Us | None


class OnDevice(TypedDict):
    """The operators of one device in a schedule."""

    nodes: Count
    us: Us | None  # null: the device has no clock


class SplitOperator(TypedDict):
    """An operator that two devices compute together."""

    columns: dict[str, Count]  # of the result, by device
    us: dict[str, Us] | None  # of each part; null: the device has no clock


class Schedule(TypedDict):
    """An assignment, its prediction and its execution."""

    predicted_us: Us | None
    executed_us: Us | None  # null: the device has no clock
    compute_us: Us | None
    transfer_us: Us | None
    pim_us: Us | None
    cpu_us: Us | None
    pim_nodes: Count
    devices: NotRequired[dict[str, OnDevice]]  # early ones of version 3 lack it
    splits: NotRequired[dict[str, SplitOperator]]  # by operator id; absent: none
    nodes: Count
    transfers: Count
    transfer_bytes: Count
    optimal: bool
    method: str | None
    lower_bound_us: Us | None
    assignment: dict[str, str]
    timeline: list[TimelineStep]
    operators: list[OperatorRow]
    weights: NotRequired[Weights]  # new in version 3
    verification: Verification


class Node(TypedDict):
    """An operator."""

    id: str
    op: str
    signature: str | None
    shape: list[Count]
    cost_us: dict[str, Us]  # by device
    source: dict[str, str]  # by device: simulated, modelled or measured; ", reused" behind it


class Edge(TypedDict):
    """A tensor from its producer to one of its readers; null is outside the model."""

    tensor: str
    producer: str | None
    consumer: str | None
    bytes: Count | None
    transfer_us: dict[str, Us]


class Graph(TypedDict):
    """The computational graph, operators in topological order."""

    nodes: list[Node]
    edges: list[Edge]


class Run(TypedDict):
    """A profile run."""

    name: str
    assignment: dict[str, str]
    executed_us: Us | None


class Profile(TypedDict):
    """How the costs were measured."""

    runs: Count
    runs_lower_bound: Count
    certificate: NotRequired[str]
    from_cost_store: bool
    disturbed: NotRequired[bool]  # other work disturbed CPU times of the costs
    nodes: Count
    nodes_covered: Count
    transfers: Count
    transfers_covered: Count
    matrix: list[Run]


class RooflinePoint(TypedDict):
    """A PIM operator."""

    node: str
    op: str
    macs: Quantity
    us: Us
    bytes: Quantity | None  # in the banks, counted; version 2: operands and result once
    # From here on new in version 3; null where nothing was counted.
    ideal_bytes: NotRequired[Quantity]
    cycles: NotRequired[Count | None]
    device_us: NotRequired[Positive | None]
    macs_per_us: NotRequired[Quantity | None]
    bytes_per_us: NotRequired[Quantity | None]
    bandwidth_share: NotRequired[Quantity | None]
    roof_share: NotRequired[Quantity | None]
    limited_by: NotRequired[str | None]


class Roofline(TypedDict):
    """The limits of the device and its operators."""

    peak_macs_per_us: Positive
    bandwidth_bytes_per_us: Positive
    points: list[RooflinePoint]


class Simulation(TypedDict):
    """The simulator's work."""

    cycles: Count
    cycles_cached: Count
    lists_simulated: Count
    lists_cached: Count
    wall_s: Quantity
    cycles_per_s: Quantity
    flavour: str | None  # null: nothing was simulated
    lanes: NotRequired[str | None]  # which lanes computed, in words
    jobs: Count


class Phase(TypedDict):
    """A phase of a run and its wall time."""

    name: str
    wall_s: Quantity


class Machine(TypedDict):
    """Where a run was made."""

    cpu: str
    cores: Count


class BasisRow(TypedDict):
    """Operators of a type whose modelled CPU time is not calibrated."""

    op: str
    count: Count
    us: Us
    share: Quantity  # of the schedule's total


class CpuBasis(TypedDict):
    """What the CPU model does not know of a schedule."""

    schedule: str
    derived: list[BasisRow]
    unknown: list[BasisRow]


class Source(TypedDict):
    """The commit of the code."""

    commit: str
    modified: bool  # the code differs from it


class PlatformValue(TypedDict):
    """A value of the platform."""

    key: str  # section.key
    value: Any
    unit: str
    source: str
    file_value: NotRequired[Any]  # there where `--set` replaced it


class Report(TypedDict):
    """A run (`pimloop-report/3`; keys that version 2 lacks need not be there)."""

    format: str
    created: NotRequired[str]  # ISO 8601, UTC
    source: NotRequired[Source | None]  # null: no git checkout
    rtl_sha256: NotRequired[str]
    model: str
    sequence_length: Count | None
    platform: str
    platform_title: str
    platform_values: NotRequired[list[PlatformValue]]
    device: str
    objective: str
    main_schedule: str
    cpu_time_source: str | None
    cpu_time_method: str | None
    cpu_model: NotRequired[CpuBasis | None]
    executed_kind: NotRequired[Literal["simulated", "measured"] | None]  # null: no clock
    cpu_times_disturbed: bool
    profile: Profile | None
    graph: Graph
    schedules: dict[str, Schedule]
    failed_policies: dict[str, str]
    pim_capable: NotRequired[Count]  # operators that can run on the PIM
    cpu_only: NotRequired[dict[str, Count]]  # reason: number of the others
    kept_on_cpu: NotRequired[dict[str, str]]  # operator id: why it does not run on the PIM
    speedup: dict[str, Quantity]
    roofline: Roofline | None
    counters: dict[str, Number | None]
    verification: OverallVerification
    simulation: Simulation
    board: dict[str, Us] | None
    phases: list[Phase]
    versions: dict[str, str]
    machine: Machine
    command: list[str]


def check_report(report: Any) -> None:
    """Raise JsonError unless `report` is a report whose parts fit together."""
    check(report, Report)
    schedules = report["schedules"]
    if report["main_schedule"] not in schedules:
        raise JsonError(
            f"main_schedule is {brief(report['main_schedule'])}, which is none of schedules"
        )
    for name, schedule in schedules.items():
        _check_times(schedule, place_text(("schedules", name)))
    _check_graph(report["graph"])


def _check_times(schedule: Any, where: str) -> None:
    """Raise unless an executed schedule has the times of its parts."""
    if schedule["executed_us"] is None:
        return
    if schedule["transfer_us"] is None:
        raise JsonError(f"{where}.transfer_us must be a number where executed_us is one")
    for i, row in enumerate(schedule["operators"]):
        if row["us"] is None:
            raise JsonError(f"{where}.operators[{i}].us must be a number where executed_us is one")


def _check_graph(graph: Any) -> None:
    """Raise unless edges lead from an operator to a later one."""
    index: dict[str, int] = {}
    for i, node in enumerate(graph["nodes"]):
        if index.setdefault(node["id"], i) != i:
            raise JsonError(f"graph.nodes[{i}].id is the id of graph.nodes[{index[node['id']]}]")
    for i, edge in enumerate(graph["edges"]):
        for end in ("producer", "consumer"):
            if edge[end] is not None and edge[end] not in index:
                raise JsonError(
                    f"graph.edges[{i}].{end} is {brief(edge[end])}, which is no operator of the"
                    " graph"
                )
        producer, consumer = edge["producer"], edge["consumer"]
        if None not in (producer, consumer) and index[producer] >= index[consumer]:
            raise JsonError(f"graph.edges[{i}] leads back from {brief(producer)}")
