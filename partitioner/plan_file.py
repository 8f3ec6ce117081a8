"""The plan file, `pimloop-plan`: what its JSON holds.

`pimloop.partitioner.plan` writes it. A plan of another tool needs `format` and `assignment` alone.
A new optional key goes into `PlanJson`, with a new `format` where a reader must not overlook it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

from pimloop.partitioner.cost_file import SplitJson
from pimloop.partitioner.splits import Split
from pimloop.partitioner.typed_json import (
    Count,
    JsonError,
    Number,
    Quantity,
    Us,
    advice,
    check,
    doc,
    type_of_version,
)

#: The format of plans without splits, and of those with them: a reader must not overlook them.
PLAN_FORMAT = "pimloop-plan/1"
PLAN_FORMAT_2 = "pimloop-plan/2"


#: What a plan is the best for, or measured by.
Objective = Literal["sequential", "makespan", "energy", "edp"]

#: Those that only the second version has.
ENERGY_OBJECTIVES: tuple[Objective, ...] = ("energy", "edp")


class StepJson(TypedDict):
    """An interval of a schedule."""

    kind: Annotated[Literal["operator", "transfer"], doc("What takes the time.")]
    id: Annotated[str, doc("Id of the operator, or of the tensor that is moved.")]
    resource: Annotated[str, doc("Memory whose devices compute, or `dma`, which moves tensors.")]
    start_us: Annotated[Number, doc("Predicted start, microseconds after the first operator's.")]
    end_us: Annotated[Number, doc("Predicted end, on the same clock.")]
    detail: Annotated[str, doc("Device of the operator, or `source>destination` of the transfer.")]


class TotalsJson(TypedDict):
    """What a placement takes, one operator or transfer at a time."""

    total_us: Annotated[Us, doc("Sum of all times, microseconds.")]
    total_fj: Annotated[Count, doc("Sum of all energies, femtojoules.")]
    optimal: Annotated[bool, doc("Whether none is better for its objective.")]


class PlanEnergyJson(TypedDict):
    """The energy of a plan, and what other objectives would give."""

    total_fj: Annotated[
        Count, doc("Sum of all energies by the costs the plan is from, femtojoules.")
    ]
    lower_bound_fj: NotRequired[
        Annotated[Quantity, doc("No placement takes less energy; of the objective `energy`.")]
    ]
    lower_bound_fj_us: NotRequired[
        Annotated[
            Quantity,
            doc(
                "No placement has a lower energy times time, femtojoules x microseconds; of the"
                " objective `edp`."
            ),
        ]
    ]
    others: Annotated[
        dict[str, TotalsJson],
        doc("By objective: what its best placement takes; none where the policy is no optimum."),
    ]


class PlanOptions(TypedDict):
    """What a plan of any version says."""

    assignment: Annotated[
        dict[str, str],
        doc("By operator id: the device that executes it, or the name of its split."),
    ]
    policy: NotRequired[Annotated[str, doc("What made the plan, as `optimal` or `greedy`.")]]
    objective: NotRequired[
        Annotated[
            Objective,
            doc(
                "What the plan is to make least: the sum of all times, the end of a schedule in"
                " which memories work at the same time (`makespan`), the sum of all energies, or"
                " that times the sum of all times (`edp`). Left out: sequential."
            ),
        ]
    ]
    total_us: NotRequired[
        Annotated[
            Us,
            doc(
                "End of the schedule of a makespan plan, else the sum of all times, by the costs"
                " the plan is from, microseconds."
            ),
        ]
    ]
    compute_us: NotRequired[Annotated[Us, doc("Sum of the operators' times, microseconds.")]]
    transfer_us: NotRequired[Annotated[Us, doc("Sum of the transfers' times, microseconds.")]]
    entry_us: NotRequired[
        Annotated[Us, doc("Sum of the entries of segments, where a device has any, microseconds.")]
    ]
    lower_bound_us: NotRequired[
        Annotated[Us, doc("No placement takes less by the same costs, microseconds.")]
    ]
    optimal: NotRequired[
        Annotated[bool, doc("Whether the objective's value is its lower bound, so none is better.")]
    ]
    method: NotRequired[Annotated[str, doc("The algorithm that made the plan.")]]
    proof: NotRequired[
        Annotated[dict[str, Any], doc("What shows the bound; its keys depend on the method.")]
    ]
    limit_reached: NotRequired[
        Annotated[bool, doc("Whether the time limit (`proof.time_limit_s`) ended the search.")]
    ]
    signatures: NotRequired[
        Annotated[
            dict[str, str],
            doc(
                "What each operator computes, by id, as far as the costs said: a plan is not"
                " executed at other shapes unnoticed."
            ),
        ]
    ]
    cpu_times_disturbed: NotRequired[
        Annotated[bool, doc("Whether other work disturbed CPU times among the costs.")]
    ]
    overfull_bytes: NotRequired[
        Annotated[
            dict[str, Count],
            doc("By memory: bytes of weights beyond its capacity, of a policy that knows none."),
        ]
    ]
    gap: NotRequired[
        Annotated[
            Quantity,
            doc(
                "(value - lower bound) / value of the objective, of a plan that is no sum of"
                " times; a fraction."
            ),
        ]
    ]
    schedule: NotRequired[
        Annotated[
            list[StepJson],
            doc("Start and end of every operator and transfer; a makespan plan must have it."),
        ]
    ]


class PlanJson1(PlanOptions):
    """A placement, its predicted time and what is known about faster ones (`pimloop-plan/1`)."""

    format: Literal["pimloop-plan/1"]


class EnergyOptions(TypedDict, total=False):
    """What plans for energy say."""

    energy: Annotated[
        PlanEnergyJson, doc("The energy of a plan of the objectives `energy` and `edp`.")
    ]


class PlanJson(PlanOptions, EnergyOptions):
    """A placement, its predicted time and what is known about faster ones (`pimloop-plan/2`)."""

    format: Literal["pimloop-plan/2"]
    splits: Annotated[
        dict[str, SplitJson], doc("By operator id: the split that it is executed as.")
    ]


#: The type of every version that is read.
VERSIONS: dict[str, Any] = {PLAN_FORMAT: PlanJson1, PLAN_FORMAT_2: PlanJson}


def check_plan(data: Any) -> PlanJson:
    """Return the object of a plan file of any version, as today's.

    Raises
    ------
    JsonError
        When it is none; says where and what was expected.
    """
    try:
        plan: PlanJson1 | PlanJson = check(data, type_of_version(data, VERSIONS))
    except JsonError as error:
        raise JsonError(f"{error}{advice(data, VERSIONS)}", error.place) from error
    if plan["format"] == PLAN_FORMAT:
        later = [key for key in ("splits", "energy") if key in plan]
        if plan.get("objective") in ENERGY_OBJECTIVES:
            later.append(f"the objective {plan['objective']!r}")
        if later:
            raise JsonError(
                f"{later[0]} is not of {PLAN_FORMAT!r}; call the format {PLAN_FORMAT_2!r}"
            )
    if plan.get("objective") == "makespan" and not plan.get("schedule"):
        raise JsonError(
            "it has no schedule, so its operators have no order; make it again with"
            " `pimloop partition --objective makespan`"
        )
    return cast(PlanJson, {"splits": {}, **plan, "format": PLAN_FORMAT_2})


def check_splits(plan: PlanJson) -> None:
    """Check that the splits of a plan are those that its assignment names.

    Raises
    ------
    JsonError
        Naming the operator for which they differ.
    """
    for name, split in plan["splits"].items():
        called = Split.of(split).name
        assigned = plan["assignment"].get(name)
        if assigned != called:
            raise JsonError(
                f"splits.{name} is {called!r}, but assignment has"
                f" {'nothing' if assigned is None else repr(assigned)} for it; make the plan again"
            )
