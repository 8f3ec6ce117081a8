"""What an execution did, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from pimloop.host.execution.finite import Kinds
from pimloop.host.models.graph import Array
from pimloop.host.pim.driver import OpStats

#: Phase of a progress that counts the tokens of each sequence that are there.
TOKENS = "tokens"


@dataclass(frozen=True)
class Progress:
    """Where a run is; `done` and `total` count work (multiply-adds), not operators."""

    phase: str  # "weights", "run"
    label: str  # the operator, or the tensor being loaded
    done: int
    total: int
    cycles: int  # DRAM clocks simulated so far


@dataclass(frozen=True)
class Transfer:
    """One tensor moved between the memories."""

    tensor: str
    direction: str  # "cpu>pim", "pim>cpu": the memories
    elements: int  # that move: of a result that both sides computed, some columns
    nbytes: int  # that cross; to and from the PIM as bfloat16, whatever type the host has
    stats: OpStats

    @property
    def source(self) -> str:
        """The memory that it comes from."""
        return self.direction.partition(">")[0]

    @property
    def destination(self) -> str:
        """The memory that it goes to."""
        return self.direction.partition(">")[2]

    @property
    def key(self) -> str:
        """The name of the transfer's conversion in `Executor.time_cpu`."""
        return f"{self.direction} {self.tensor}"


@dataclass
class Execution:
    """What one run did."""

    values: dict[str, Array] = field(default_factory=dict)  # outputs and `keep`, by name
    pim: dict[str, OpStats] = field(default_factory=dict)  # by node id
    transfers: list[Transfer] = field(default_factory=list)
    #: States that were written before the run, because another one did not leave them.
    handed_over: list[Transfer] = field(default_factory=list)
    #: Results with NaN or infinities, by tensor, where they were seen: PIM results that were read,
    #: and what CPU segments hand over.
    non_finite: dict[str, Kinds] = field(default_factory=dict)
