"""What a report says of the run itself: simulator, machine, platform, what CPU times rest on."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from pimloop.partitioner.typed_json import Count, Quantity, Us, doc


class Simulation(TypedDict):
    """The simulator's work."""

    cycles: Annotated[Count, doc("DRAM clocks simulated in this run.")]
    cycles_cached: Annotated[Count, doc("DRAM clocks known from the cache.")]
    lists_simulated: Annotated[Count, doc("Descriptor lists simulated in this run.")]
    lists_cached: Annotated[Count, doc("Descriptor lists known from the cache.")]
    wall_s: Annotated[Quantity, doc("Time simulating, seconds on this machine, summed.")]
    cycles_per_s: Annotated[Quantity, doc("DRAM clocks a second of one simulator, measured.")]
    flavour: Annotated[str | None, doc("`native` or `rtl`; null: nothing was simulated.")]
    lanes: NotRequired[Annotated[str | None, doc("Which lanes computed, in words.")]]
    jobs: Annotated[Count, doc("Simulators at a time.")]


class Phase(TypedDict):
    """A phase of a run."""

    name: Annotated[str, doc("Name of the phase.")]
    wall_s: Annotated[Quantity, doc("Time on this machine, seconds, measured.")]


class Machine(TypedDict):
    """Where a run was made."""

    cpu: Annotated[str, doc("Processor, as the system names it.")]
    cores: Annotated[Count, doc("Cores that the run could use.")]


class BasisRow(TypedDict):
    """Operators of a type whose modelled CPU time is not calibrated."""

    op: Annotated[str, doc("Operator type, as ONNX names it.")]
    count: Annotated[Count, doc("Number of operators.")]
    us: Annotated[Us, doc("Their time together, microseconds, modelled.")]
    share: Annotated[Quantity, doc("Their fraction of the schedule's total.")]


class CpuBasis(TypedDict):
    """What the CPU model does not know of a schedule."""

    schedule: Annotated[str, doc("Name of the schedule.")]
    derived: Annotated[list[BasisRow], doc("Priced by the rate of another class.")]
    unknown: Annotated[list[BasisRow], doc("Priced by their elements alone.")]


class Source(TypedDict):
    """The commit of the code."""

    commit: Annotated[str, doc("40 hexadecimal digits.")]
    modified: Annotated[bool, doc("Whether the code differs from it.")]


class PlatformValue(TypedDict):
    """A value of the platform."""

    key: Annotated[str, doc("section.key of the platform's file.")]
    value: Annotated[Any, doc("The value the run had.")]
    unit: Annotated[str, doc("Its unit; empty: a word, a switch or a count.")]
    source: Annotated[str, doc("Where the value comes from.")]
    file_value: NotRequired[Annotated[Any, doc("That of the file, where `--set` replaced it.")]]
