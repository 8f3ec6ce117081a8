"""Plan files (`pimloop-plan/1`) as the executor takes them."""

from __future__ import annotations

import json
from pathlib import Path

from host.errors import PimloopError

PLAN_FORMAT = "pimloop-plan/1"


def load_assignment(path: Path) -> dict[str, str]:
    """Return the assignment node id -> device of a plan file.

    Whether it fits a graph is for `executor.check_assignment` to say.

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
    return assignment
