"""What a report says of the model: its operators and tensors, their costs and how those came."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pimloop.partitioner.typed_json import Count, Number, Positive, Quantity, Us, doc


class Node(TypedDict):
    """An operator."""

    id: Annotated[str, doc("Name of the operator, different from all others.")]
    op: Annotated[str, doc("Operator type, as ONNX names it.")]
    signature: Annotated[str | None, doc("What it computes: type, shapes, attributes.")]
    shape: Annotated[list[Count], doc("Shape of its first result, elements.")]
    cost_us: Annotated[
        dict[str, Us], doc("Cost by device, microseconds; a device left out cannot run it.")
    ]
    source: Annotated[
        dict[str, str],
        doc("By device: `simulated`, `modelled` or `measured`; `, reused` of earlier runs."),
    ]


class Edge(TypedDict):
    """A tensor from its producer to one of its readers."""

    tensor: Annotated[str, doc("Id of the tensor.")]
    producer: Annotated[str | None, doc("Id of the operator that makes it; null: a model input.")]
    consumer: Annotated[str | None, doc("Id of a reader; null: it is a model output.")]
    bytes: Annotated[Count | None, doc("Size of one transfer, bytes; null: not known.")]
    transfer_us: Annotated[
        dict[str, Us],
        doc("Time by direction, `source>destination` of two memories, microseconds, modelled."),
    ]


class Graph(TypedDict):
    """The computational graph."""

    nodes: Annotated[list[Node], doc("Operators in topological order.")]
    edges: Annotated[list[Edge], doc("Tensors by reader; an edge leads to a later operator.")]


class Run(TypedDict):
    """A profile run."""

    name: Annotated[str, doc("Name for people.")]
    assignment: Annotated[dict[str, str], doc("Device by operator id.")]
    executed_us: Annotated[Us | None, doc("Its time, microseconds; null: costs were reused.")]


class PartFit(TypedDict):
    """How well the time of an operator's columns on the CPU is known, where it is measured."""

    columns: Annotated[list[Count], doc("Columns of the CPU that were measured.")]
    error: Annotated[
        Number | None,
        doc(
            "What the line through them misses the whole operator by, which was measured apart,"
            " as a fraction of its time; null: one share, measured itself."
        ),
    ]


class PartProfile(TypedDict):
    """How the times of split operators were measured, where the CPU or conversions are."""

    runs: Annotated[Count, doc("Runs beside the profile runs.")]
    runs_lower_bound: Annotated[Count, doc("The fewest that determine every share, proved.")]
    certificate: Annotated[str, doc("What proves the bound.")]
    from_cost_store: Annotated[bool, doc("Whether the times are those of earlier runs.")]
    median_error: Annotated[
        Quantity | None, doc("Median of the operators' errors without sign; null: none has one.")
    ]
    operators: Annotated[dict[str, PartFit], doc("By operator id.")]


class Profile(TypedDict):
    """How the costs were measured."""

    runs: Annotated[Count, doc("Profile runs.")]
    runs_lower_bound: Annotated[Count, doc("The fewest that can measure everything, proved.")]
    certificate: NotRequired[Annotated[str, doc("What proves the bound.")]]
    from_cost_store: Annotated[bool, doc("Whether the costs are those of earlier runs.")]
    disturbed: NotRequired[
        Annotated[bool, doc("Whether other work disturbed CPU times among the costs.")]
    ]
    entry_us: NotRequired[
        Annotated[
            dict[str, Us],
            doc("What a device costs at the first operator of a segment, microseconds, measured."),
        ]
    ]
    nodes: Annotated[Count, doc("Operator costs to measure: pairs of operator and device.")]
    nodes_covered: Annotated[Count, doc("Those that the runs measured.")]
    transfers: Annotated[Count, doc("Transfer costs to measure: pairs of tensor and direction.")]
    transfers_covered: Annotated[Count, doc("Those that the runs measured.")]
    matrix: Annotated[list[Run], doc("The runs.")]
    parts: NotRequired[
        Annotated[PartProfile, doc("Measured times of split operators; absent: there are none.")]
    ]


class RooflinePoint(TypedDict):
    """A PIM operator; what was not counted is null, and absent in version 2."""

    node: Annotated[str, doc("Id of the operator.")]
    op: Annotated[str, doc("Operator type, as ONNX names it.")]
    macs: Annotated[Quantity, doc("Multiply-adds of the operator, without padding.")]
    us: Annotated[Us, doc("Time with the driver's call, microseconds, simulated.")]
    bytes: Annotated[
        Quantity | None, doc("Bytes read and written in the banks, counted; version 2: once each.")
    ]
    ideal_bytes: NotRequired[Annotated[Quantity, doc("Bytes of operands and result once.")]]
    cycles: NotRequired[Annotated[Count | None, doc("DRAM clocks of its lists, simulated.")]]
    device_us: NotRequired[Annotated[Positive | None, doc("The same in microseconds.")]]
    macs_per_us: NotRequired[
        Annotated[Quantity | None, doc("Multiply-adds a microsecond, over `device_us`.")]
    ]
    bytes_per_us: NotRequired[
        Annotated[Quantity | None, doc("Bytes in the banks a microsecond, over `device_us`.")]
    ]
    bandwidth_share: NotRequired[
        Annotated[Quantity | None, doc("`bytes_per_us` as a fraction of the DRAM's peak.")]
    ]
    roof_share: NotRequired[
        Annotated[Quantity | None, doc("`macs_per_us` as a fraction of the roof above it.")]
    ]
    device_fj: NotRequired[
        Annotated[
            int | None,
            doc("Energy of DRAM, data bus and lanes while its lists ran, nominal, femtojoules."),
        ]
    ]
    limited_by: NotRequired[
        Annotated[
            str | None,
            doc("`driver_call`, `dram_bandwidth`, `channel`, `lanes` or `latency`: docs/usage.md."),
        ]
    ]


class Roofline(TypedDict):
    """The limits of the device and its operators."""

    peak_macs_per_us: Annotated[
        Positive, doc("The most multiply-adds a microsecond, by the platform's lanes and clock.")
    ]
    bandwidth_bytes_per_us: Annotated[
        Positive, doc("The most bytes a microsecond in the banks, by the platform's timings.")
    ]
    points: Annotated[list[RooflinePoint], doc("Every operator that has a PIM time.")]
