"""The cost file, `pimloop-costs`: what its JSON holds, version by version.

`pimloop.partitioner.costs` makes a cost graph of it and back. A new optional key goes into
`CostsJson` with a new `format`; the type of the version before it stays for reading, and `upgrade`
says what it becomes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

import msgspec

from pimloop.partitioner.typed_json import Count, JsonError, Us, check, doc, type_of_version

#: The format without entry costs and marks of disturbed times, the one with them, the one with
#: splits of operators, and the one with energies.
COSTS_FORMAT = "pimloop-costs/1"
COSTS_FORMAT_2 = "pimloop-costs/2"
COSTS_FORMAT_3 = "pimloop-costs/3"
COSTS_FORMAT_4 = "pimloop-costs/4"

_TWO = msgspec.Meta(min_length=2, max_length=2)


class SplitJson(TypedDict):
    """An operator computed by two devices at once, each some columns of its outputs."""

    devices: Annotated[list[str], _TWO, doc("The two devices; their memories differ.")]
    share: Annotated[Count, doc("Parts of the columns that the second device computes.")]
    shares: Annotated[Count, doc("Equal parts that the columns are cut into.")]
    part_us: Annotated[list[Us], _TWO, doc("Time of each device's part, microseconds.")]
    gather_us: Annotated[
        dict[str, dict[str, Us]],
        doc(
            "For each tensor that the operator makes, by memory: time until it is whole there,"
            " microseconds. A memory that is left out is forbidden."
        ),
    ]
    weight_bytes: NotRequired[
        Annotated[
            Annotated[list[Count], _TWO] | None,
            doc("Bytes of weights that each device's memory holds; left out: its share."),
        ]
    ]


class NodeOptions(TypedDict, total=False):
    """What may be known of an operator."""

    op: Annotated[str, doc("Operator type, as ONNX names it: `MatMul`.")]
    signature: Annotated[
        str | None,
        doc(
            "What the operator computes: type, shapes, attributes. Operators of equal signature"
            " are one class, which is measured once."
        ),
    ]
    weight_bytes: Annotated[
        Count | None,
        doc("Bytes of weights that lie in the memory it runs from, beside the shared ones."),
    ]
    shared_weights: Annotated[
        list[str] | None,
        doc("Names of the file's `shared_weights` that it reads."),
    ]


class CostNode(NodeOptions):
    """An operator and what it costs on each device."""

    id: Annotated[str, doc("Name of the operator, different from all others in the file.")]
    cost_us: Annotated[
        dict[str, Us],
        doc(
            "Execution time by device, microseconds: measured, simulated or modelled by whoever"
            " wrote the file. A device that is left out cannot run the operator."
        ),
    ]


class TensorOptions(TypedDict, total=False):
    """What may be known of a tensor."""

    output: Annotated[bool, doc("Whether it is an output, which must end in the memory `cpu`.")]
    bytes: Annotated[Count | None, doc("Size of one transfer, bytes.")]
    type: Annotated[str | None, doc("Element type; tensors of equal size and type are one class.")]
    transfer_us: Annotated[
        dict[str, Us] | None,
        doc(
            "Time of a transfer by direction, `source>destination` of two memories,"
            " microseconds. A direction that is left out is forbidden."
        ),
    ]


class CostTensor(TensorOptions):
    """A tensor and what it costs to move."""

    id: Annotated[str, doc("Name of the tensor, different from all others in the file.")]
    producer: Annotated[
        str | None,
        doc("Id of the operator that makes it; null: an input, which starts in the memory `cpu`."),
    ]
    consumers: Annotated[list[str], doc("Ids of the operators that read it.")]


class CostsOptions(TypedDict, total=False):
    """What a cost file of any version may say."""

    capacity_bytes: Annotated[
        dict[str, Count | None] | None,
        doc("Room for weights by memory, bytes; null or left out: no limit."),
    ]
    shared_weights: Annotated[
        dict[str, Count] | None,
        doc("Bytes of weights that several operators read; they take room in a memory once."),
    ]
    stand_ins: Annotated[
        list[Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]] | None,
        doc(
            "Costs taken from another operator or tensor of the same class: [operator id, device]"
            " or [tensor id, `source>destination`]. No plan from them is called optimal."
        ),
    ]


class CostsOptions2(TypedDict, total=False):
    """What a cost file may say since version 2."""

    entry_us: Annotated[
        dict[str, Us] | None,
        doc(
            "What a device costs at the first of consecutive operators on it, beside them,"
            " microseconds (a session call, a kernel launch). A device that is left out costs"
            " nothing to enter."
        ),
    ]
    cpu_times_disturbed: Annotated[
        bool, doc("Whether other work disturbed CPU times among the costs: they are not trusted.")
    ]


class CostsOptions3(TypedDict, total=False):
    """What a cost file may say since version 3."""

    splits: Annotated[
        dict[str, list[SplitJson]],
        doc(
            "By operator id: ways to execute it on two devices at once, which the policy `coexec`"
            " may use."
        ),
    ]


class EnergiesJson(TypedDict):
    """The energy of everything that has a time, what stands by during that time in it."""

    operators: Annotated[
        dict[str, dict[str, Count]],
        doc(
            "By operator id, by device or name of a split: energy, femtojoules, modelled by whoever"
            " wrote the file. A split that is left out is in no plan for energy."
        ),
    ]
    transfers: Annotated[
        dict[str, dict[str, Count]],
        doc(
            "By tensor id, by direction: energy of a transfer, femtojoules. `source>destination` of"
            " two memories, or the name of the split that makes the tensor and a memory."
        ),
    ]
    entry: NotRequired[
        Annotated[dict[str, Count], doc("By device: energy of entering it, femtojoules.")]
    ]


class CostsOptions4(TypedDict, total=False):
    """What a cost file may say since version 4."""

    energies: Annotated[EnergiesJson, doc("Energies beside the times, for plans of least energy.")]


class CostsJson1(CostsOptions):
    """Costs of a model's operators and transfers, by device (`pimloop-costs/1`)."""

    format: Literal["pimloop-costs/1"]
    memories: Annotated[
        dict[str, list[str]], doc("Devices by the memory they compute in, the preferred one first.")
    ]
    nodes: Annotated[list[CostNode], doc("The operators; their order breaks ties.")]
    tensors: Annotated[list[CostTensor], doc("The tensors between them, inputs and outputs.")]


class CostsJson2(CostsOptions, CostsOptions2):
    """Costs of a model's operators and transfers, by device (`pimloop-costs/2`)."""

    format: Literal["pimloop-costs/2"]
    memories: Annotated[
        dict[str, list[str]], doc("Devices by the memory they compute in, the preferred one first.")
    ]
    nodes: Annotated[list[CostNode], doc("The operators; their order breaks ties.")]
    tensors: Annotated[list[CostTensor], doc("The tensors between them, inputs and outputs.")]


class CostsJson3(CostsOptions, CostsOptions2, CostsOptions3):
    """Costs of a model's operators and transfers, by device (`pimloop-costs/3`)."""

    format: Literal["pimloop-costs/3"]
    memories: Annotated[
        dict[str, list[str]], doc("Devices by the memory they compute in, the preferred one first.")
    ]
    nodes: Annotated[list[CostNode], doc("The operators; their order breaks ties.")]
    tensors: Annotated[list[CostTensor], doc("The tensors between them, inputs and outputs.")]


class CostsJson(CostsOptions, CostsOptions2, CostsOptions3, CostsOptions4):
    """Costs of a model's operators and transfers, by device (`pimloop-costs/4`)."""

    format: Literal["pimloop-costs/4"]
    memories: Annotated[
        dict[str, list[str]], doc("Devices by the memory they compute in, the preferred one first.")
    ]
    nodes: Annotated[list[CostNode], doc("The operators; their order breaks ties.")]
    tensors: Annotated[list[CostTensor], doc("The tensors between them, inputs and outputs.")]


#: The type of every version that is read.
VERSIONS: dict[str, Any] = {
    COSTS_FORMAT: CostsJson1,
    COSTS_FORMAT_2: CostsJson2,
    COSTS_FORMAT_3: CostsJson3,
    COSTS_FORMAT_4: CostsJson,
}

#: The keys that came with a version.
SINCE = {
    COSTS_FORMAT_2: CostsOptions2,
    COSTS_FORMAT_3: CostsOptions3,
    COSTS_FORMAT_4: CostsOptions4,
}


def check_costs(data: Any) -> CostsJson:
    """Return the object of a cost file of any version, as today's.

    Raises
    ------
    JsonError
        When it is none; says where and what was expected.
    """
    kind = type_of_version(data, VERSIONS)
    for version, options in SINCE.items():
        for key in options.__annotations__:
            if key in data and key not in kind.__annotations__:
                raise JsonError(
                    f"{key} is not of {data['format']!r}; call the format {version!r}", (key,)
                )
    return upgrade(check(data, kind))


def upgrade(data: CostsJson1 | CostsJson2 | CostsJson3 | CostsJson) -> CostsJson:
    """Return the object of a cost file as one of today's version.

    Version 1 is version 2 without what a segment costs and without the mark of disturbed times,
    version 2 is version 3 without splits, version 3 is version 4 without energies.
    """
    return cast(CostsJson, {**data, "format": COSTS_FORMAT_4})
