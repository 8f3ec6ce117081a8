"""What a user may choose about a run of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pimloop.host.common.machine import cores
from pimloop.host.pim.device.open import Flavour, PipelineBackend
from pimloop.sim.device.lanes import default_flavour

Objective = Literal["sequential", "makespan", "energy", "edp"]


@dataclass(frozen=True)
class Options:
    """How to run the pipeline; what to run it on is given apart."""

    objective: Objective = "sequential"
    backend: PipelineBackend = "sim"
    flavour: Flavour = field(default_factory=default_flavour)
    jobs: int = field(default_factory=cores)  # simulators at a time
    fresh: bool = False  # measure stored costs and what an interrupted run left again
    cache: bool = True  # use the cache of simulated lists
    policies: tuple[str, ...] = ()  # further policies, of plug-ins
    #: Costs for plans of least energy: with energies, and of every share of an operator, also of
    #: those that cannot be the quickest. In any case where the objective is one of energy.
    energies: bool = False
    #: Steps in which a product may be split between CPU and PIM; 1: it is whole. None: the usual
    #: number, where co-execution is the default or asked for as a policy.
    shares: int | None = None
    rounds: int = 10  # of CPU timing
    device_timeout: float = 600.0  # bound of every wait for a device, wall seconds
    time_limit_s: float = 60.0  # bound on integer programming and on the makespan search
    command: tuple[str, ...] = ()  # what repeats the run, for the report
    folder: Path | None = None  # where plans, costs, state and report go; None: nowhere
