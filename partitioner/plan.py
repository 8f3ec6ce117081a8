"""The result of partitioning, written to plan files (`pimloop.partitioner.plan_file`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from pimloop.partitioner.plan_file import (
    EnergyOptions,
    Objective,
    PlanEnergyJson,
    PlanJson,
    PlanJson1,
    PlanOptions,
    StepJson,
)
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
class PlanTotals:
    """What an assignment takes, one operator or transfer at a time."""

    total_us: float
    total_fj: int
    optimal: bool  # proved the best for its objective


@dataclass(frozen=True)
class PlanEnergy:
    """The energy of a plan for energy, and what the optima of other objectives take."""

    total_fj: int
    lower_bound: Fraction  # of the objective: femtojoules, or femtojoules x microseconds
    others: Mapping[str, PlanTotals] = field(default_factory=dict)  # by objective

    def to_dict(self, objective: Objective) -> PlanEnergyJson:
        """Return it as a plan file has it.

        Parameters
        ----------
        objective
            Of the plan.
        """
        result: PlanEnergyJson = {
            "total_fj": self.total_fj,
            "others": {
                name: {
                    "total_us": totals.total_us,
                    "total_fj": totals.total_fj,
                    "optimal": totals.optimal,
                }
                for name, totals in self.others.items()
            },
        }
        if objective == "edp":
            result["lower_bound_fj_us"] = float(self.lower_bound)
        else:
            result["lower_bound_fj"] = float(self.lower_bound)
        return result


@dataclass(frozen=True)
class Plan:
    """An assignment with its exact cost and what is known about its optimality."""

    policy: str
    objective: Objective
    assignment: Mapping[str, str]  # operator id -> device, or the name of its split
    total_us: float  # the end of a schedule that overlaps, else the sum of all times
    compute_us: float  # sum of operator times
    transfer_us: float  # sum of transfer times
    lower_bound_us: float  # no assignment is cheaper than this
    optimal: bool  # the objective's value equals its lower bound
    method: str
    proof: Mapping[str, Any] = field(default_factory=dict)  # what shows the bound
    overfull: Mapping[str, int] = field(default_factory=dict)  # memory -> bytes over its capacity
    schedule: Sequence[Step] = ()  # only for the makespan objective
    limit_reached: bool = False  # the time limit ended the search
    signatures: Mapping[str, str] = field(default_factory=dict)  # operator id -> what it computes
    entry_us: float = 0.0  # sum of the entries of segments, where a device has such a cost
    cpu_times_disturbed: bool = False  # as of the costs that it was made from
    splits: Mapping[str, Split] = field(default_factory=dict)  # operator id -> split it is run as
    energy: PlanEnergy | None = None  # of the objectives energy and edp

    def to_dict(self) -> PlanJson1 | PlanJson:
        """Return the object of a plan file, of version 1 where that has all its keys."""
        options = self._options()
        if not self.splits and self.energy is None:
            return {"format": "pimloop-plan/1", **options}
        splits = {name: split.to_dict() for name, split in self.splits.items()}
        energy: EnergyOptions = {}
        if self.energy is not None:
            energy["energy"] = self.energy.to_dict(self.objective)
        return {"format": "pimloop-plan/2", **options, **energy, "splits": splits}

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
        if self.schedule or self.energy is not None:
            result["gap"] = self.gap
        if self.schedule:
            result["schedule"] = [step.to_dict() for step in self.schedule]
        return result

    @property
    def value(self) -> Fraction:
        """What the objective makes least: microseconds, femtojoules, or one times the other."""
        time = Fraction(self.total_us)
        if self.energy is None:
            return time
        return self.energy.total_fj * (time if self.objective == "edp" else Fraction(1))

    @property
    def gap(self) -> float:
        """Return the objective's distance to its bound as a fraction of its value."""
        value = self.value
        bound = Fraction(self.lower_bound_us) if self.energy is None else self.energy.lower_bound
        return max(float((value - bound) / value), 0.0) if value else 0.0
