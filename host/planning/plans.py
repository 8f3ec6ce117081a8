"""Plan files as the executor takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pimloop.partitioner.graph as cg
from pimloop.errors import PimloopError
from pimloop.partitioner.plan import Step
from pimloop.partitioner.plan_file import check_plan, check_splits
from pimloop.partitioner.typed_json import JsonError, read_json


@dataclass(frozen=True)
class PlanFile:
    """What is executed of a plan."""

    assignment: dict[str, str]  # operator id -> device
    objective: str  # one of `pimloop.partitioner.place.solve.OBJECTIVES`
    schedule: tuple[Step, ...] = ()  # of a makespan plan; empty: one step at a time
    #: Operator id -> what it computes, as far as the costs said.
    signatures: dict[str, str] = field(default_factory=dict)


def load_plan(path: Path) -> PlanFile:
    """Return the assignment of a plan file, and the schedule of a makespan plan.

    Whether they fit a graph is for `executor.check_assignment` and `pipeline.planning` to say.

    Raises
    ------
    PimloopError
        When the file cannot be read or is no plan.
    """
    try:
        plan = check_plan(read_json(path))
        check_splits(plan)
    except OSError as error:
        raise PimloopError(f"cannot read the plan {path}: {error.strerror}") from error
    except JsonError as error:
        raise PimloopError(f"the plan {path}: {error}") from error
    objective = plan.get("objective", "sequential")
    steps = plan["schedule"] if objective == "makespan" else ()
    return PlanFile(
        plan["assignment"],
        objective,
        tuple(Step.of(step) for step in steps),
        plan.get("signatures", {}),
    )


def other_shapes(plan: PlanFile, operators: cg.Graph) -> str:
    """Return the first operator that was another one when the plan was made, "" where none was.

    Parameters
    ----------
    plan
        A plan whose operators have the ids of the model's.
    operators
        The model as the partitioner sees it.
    """
    for operator in operators.operators:
        made = plan.signatures.get(operator.id, operator.signature)
        if made != operator.signature:
            return f"'{operator.id}' was {made} and is {operator.signature} in {operators.name}"
    return ""
