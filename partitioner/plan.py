"""The result of partitioning, written to plan files (`pimloop.partitioner.plan_file`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pimloop.partitioner.plan_file import PlanJson, PlanJson1, PlanOptions, StepJson
from pimloop.partitioner.splits import Split


@dataclass(frozen=True)
class Step:
    """One interval of a schedule."""

    kind: Literal["operator", "transfer"]
    id: str  # operator or tensor id
    resource: str  # memory whose devices compute, or "dma"
    start_us: float
    end_us: float
    detail: str  # the device, or "source>destination"

    @classmethod
    def of(cls, step: StepJson) -> Step:
        """Return a step of a plan file."""
        return cls(
            step["kind"],
            step["id"],
            step["resource"],
            step["start_us"],
            step["end_us"],
            step["detail"],
        )

    def to_dict(self) -> StepJson:
        """Return the step as a plan file has it."""
        return {
            "kind": self.kind,
            "id": self.id,
            "resource": self.resource,
            "start_us": self.start_us,
            "end_us": self.end_us,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Plan:
    """An assignment with its exact cost and what is known about its optimality."""

    policy: str
    objective: Literal["sequential", "makespan"]
    assignment: Mapping[str, str]  # operator id -> device, or the name of its split
    total_us: float  # the objective's value
    compute_us: float  # sum of operator times
    transfer_us: float  # sum of transfer times
    lower_bound_us: float  # no assignment is cheaper than this
    optimal: bool  # total_us equals lower_bound_us
    method: str
    proof: Mapping[str, Any] = field(default_factory=dict)  # what shows the bound
    overfull: Mapping[str, int] = field(default_factory=dict)  # memory -> bytes over its capacity
    schedule: Sequence[Step] = ()  # only for the makespan objective
    limit_reached: bool = False  # the time limit ended the search
    signatures: Mapping[str, str] = field(default_factory=dict)  # operator id -> what it computes
    entry_us: float = 0.0  # sum of the entries of segments, where a device has such a cost
    cpu_times_disturbed: bool = False  # as of the costs that it was made from
    splits: Mapping[str, Split] = field(default_factory=dict)  # operator id -> split it is run as

    def to_dict(self) -> PlanJson1 | PlanJson:
        """Return the object of a plan file, of version 1 where nothing is split."""
        options = self._options()
        if not self.splits:
            return {"format": "pimloop-plan/1", **options}
        splits = {name: split.to_dict() for name, split in self.splits.items()}
        return {"format": "pimloop-plan/2", **options, "splits": splits}

    def _options(self) -> PlanOptions:
        result: PlanOptions = {
            "policy": self.policy,
            "objective": self.objective,
            "total_us": self.total_us,
            "compute_us": self.compute_us,
            "transfer_us": self.transfer_us,
            "optimal": self.optimal,
            "method": self.method,
            "lower_bound_us": self.lower_bound_us,
            "proof": dict(self.proof),
            "limit_reached": self.limit_reached,
            "assignment": dict(self.assignment),
        }
        if self.signatures:
            result["signatures"] = dict(self.signatures)
        if self.entry_us:
            result["entry_us"] = self.entry_us
        if self.cpu_times_disturbed:
            result["cpu_times_disturbed"] = True
        if self.overfull:
            result["overfull_bytes"] = dict(self.overfull)
        if self.schedule:
            result["gap"] = self.gap
            result["schedule"] = [step.to_dict() for step in self.schedule]
        return result

    @property
    def gap(self) -> float:
        """Return the distance to the bound as a fraction of the total."""
        return (self.total_us - self.lower_bound_us) / self.total_us if self.total_us else 0.0
