"""Plan files (`pimloop-plan/1`) as the executor takes them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pimloop.partitioner.graph as cg
from pimloop.errors import PimloopError
from pimloop.partitioner.place.solve import OBJECTIVES
from pimloop.partitioner.plan import PLAN_FORMAT, Step


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
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PimloopError(f"cannot read the plan {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PimloopError(f"the plan {path} is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != PLAN_FORMAT:
        raise PimloopError(f"{path} is no plan: its format is not '{PLAN_FORMAT}'")
    assignment = data.get("assignment")
    if not isinstance(assignment, dict) or not all(
        isinstance(device, str) for device in assignment.values()
    ):
        raise PimloopError(f"the plan {path} has no assignment of operators to devices")
    objective = data.get("objective", "sequential")
    if objective not in OBJECTIVES:
        raise PimloopError(
            f"the plan {path} has the objective {objective!r}; known: {', '.join(OBJECTIVES)}"
        )
    signatures = data.get("signatures", {})
    if not isinstance(signatures, dict) or not all(
        isinstance(text, str) for text in signatures.values()
    ):
        raise PimloopError(f"the plan {path} has signatures that are no mapping to texts")
    steps = () if objective == "sequential" else _schedule(data.get("schedule"), path)
    return PlanFile(assignment, objective, steps, signatures)


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


def _schedule(steps: Any, path: Path) -> tuple[Step, ...]:
    """Return the steps of a makespan plan."""
    if not isinstance(steps, list) or not steps:
        raise PimloopError(
            f"the makespan plan {path} has no schedule, so its operators have no order: make it"
            " again with `pimloop partition --objective makespan`"
        )
    schedule = []
    for number, step in enumerate(steps):
        values = step if isinstance(step, dict) else {}
        texts = [values.get(key) for key in ("kind", "id", "resource", "detail")]
        times = [values.get(key) for key in ("start_us", "end_us")]
        if not all(isinstance(text, str) for text in texts) or not all(
            isinstance(time, int | float) and math.isfinite(time) for time in times
        ):
            raise PimloopError(
                f"the plan {path}: step {number} of its schedule is not one of kind, id, resource,"
                " start_us, end_us and detail; make the plan again"
            )
        schedule.append(
            Step(**{attribute.name: values[attribute.name] for attribute in fields(Step)})
        )
    return tuple(schedule)
