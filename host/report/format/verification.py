"""What a report says of checks: PIM bits, CPU segments, outputs against float32."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from pimloop.partitioner.typed_json import Count, Number, doc


class Comparison(TypedDict):
    """A tensor against the model in float32."""

    tensor: Annotated[str, doc("Name of the tensor.")]
    elements: Annotated[Count, doc("Number of elements compared.")]
    roundings: NotRequired[
        Annotated[Count, doc("Results rounded to bfloat16 on the longest path to it.")]
    ]
    max_abs_error: Annotated[
        Number | None, doc("Largest absolute difference, in the tensor's unit; null: not finite.")
    ]
    relative_l2: Annotated[
        Number | None, doc("Norm of the differences over that of float32; null: not finite.")
    ]
    cosine: Annotated[Number | None, doc("Cosine between both; null: not finite.")]
    limit: Annotated[Number, doc("The most that `relative_l2` may be.")]
    measured: NotRequired[
        Annotated[bool, doc("Whether the limit is measured on this model, not derived.")]
    ]
    given: NotRequired[
        Annotated[str | None, doc("Decisions of the run given to float32; null: none differ.")]
    ]
    min_cosine: NotRequired[
        Annotated[Number | None, doc("The least cosine allowed; of earlier reports.")]
    ]
    passed: NotRequired[Annotated[bool, doc("Whether the error is within its limit.")]]


class IntegerComparison(TypedDict):
    """Integers, or other results that jump, against float32."""

    tensor: Annotated[str, doc("Name of the tensor.")]
    elements: Annotated[Count, doc("Number of elements compared.")]
    different: Annotated[Count, doc("How many differ.")]
    beyond: Annotated[Count, doc("How many of them rounding does not explain.")]
    rule: Annotated[str, doc("How a difference is explained.")]
    margin: Annotated[Number | None, doc("The largest margin of a decision that fell otherwise.")]
    bound: Annotated[Number | None, doc("What rounding may move it by.")]
    passed: Annotated[bool, doc("Whether every difference is explained.")]


class OperatorErrors(TypedDict):
    """The worst PIM operator against float32 on the same operands."""

    worst: Annotated[
        Number | None,
        doc("Its worst element as a fraction of the rounding bound; null: not finite."),
    ]
    node: Annotated[str, doc("Id of the operator.")]
    limit: Annotated[Number, doc("The most that `worst` may be.")]
    passed: Annotated[bool, doc("Whether it is within its limit.")]


class Verification(TypedDict):
    """What was checked of an execution."""

    passed: Annotated[bool, doc("Whether every check was passed.")]
    pim_bit_exact: Annotated[
        bool, doc("Whether every PIM result has the bits of the golden model of its arithmetic.")
    ]
    pim_results_checked: Annotated[Count, doc("PIM results compared with the golden model.")]
    pim_results_wrong: Annotated[list[str], doc("Those that differ, in words.")]
    non_finite: NotRequired[
        Annotated[
            list[str], doc("First operators with NaN or infinities that float32 does not have.")
        ]
    ]
    predictions_missed: NotRequired[
        Annotated[list[str], doc("Times that must be those of the plan and are not, in words.")]
    ]
    pim_operators_against_float32: Annotated[
        OperatorErrors | None, doc("The worst PIM operator; null: none ran there.")
    ]
    max_abs_error: Annotated[
        Number | None, doc("Largest absolute error of the outputs; null: not finite.")
    ]
    cosine: Annotated[Number | None, doc("Least cosine of the outputs; null: not finite.")]
    compared: Annotated[list[Comparison], doc("Tensors compared with float32.")]
    integers: NotRequired[
        Annotated[list[IntegerComparison], doc("Integers compared with float32's.")]
    ]
    cpu_results_wrong: NotRequired[
        Annotated[list[str], doc("CPU segments whose operators give other results, in words.")]
    ]


class OverallVerification(Verification):
    """The verdict on all executions of a run, with the numbers of the main schedule."""

    executions: Annotated[Count, doc("Executions that were checked.")]
