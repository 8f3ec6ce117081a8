"""The part of generation.json that compares schedules."""

from __future__ import annotations

from typing import TypedDict


class KindRow(TypedDict):
    """The operators of a kind in one execution of a phase."""

    kind: str  # an operator type; of products, what they multiply by
    group: str  # one of `numbers.GROUPS`
    count: int
    us: float  # microseconds; of a split operator the time of its slower part
    devices_us: dict[str, float]  # by device, microseconds: of a split operator each part's


class PhaseTime(TypedDict):
    """One execution of a phase under one schedule."""

    us: float  # microseconds, transfers included
    executed: bool  # False: planned, from the costs of the profile
    groups_us: dict[str, float]  # by group, microseconds; transfers too
    devices_us: dict[str, float]  # by device, microseconds
    pim_nodes: int  # operators on the PIM, split ones too
    nodes: int
    #: Joules, modelled, nominal constants: counted in the execution (of those that differ the
    #: average), or planned from the counts of the profile. None: not known of all operators.
    energy_j: float | None
    causes_j: dict[str, float] | None  # the same by cause
    average_w: float | None  # watts; None: the CPU's power, or an energy, is not known
    energy_delay_js: float | None  # joules x seconds, as of `average_w`


class ScheduleTimes(TypedDict):
    """Both phases under one policy."""

    schedule: str
    executed: bool
    optimal: bool  # whether both plans are proved the fastest by the costs
    time_to_first_token_us: float  # microseconds; of all sequences at once
    us_per_token: float | None  # of a step, for all sequences at once; None: there is none
    tokens_per_s: float | None  # of all sequences together
    prompt_j: float | None  # joules, as of the phases; of all sequences at once
    j_per_token: float | None  # of a step, for one sequence
    phases: dict[str, PhaseTime]


class PhaseEnergy(TypedDict):
    """The energy of an execution of a phase, of those that differ the average; joules, modelled."""

    low: float  # with the lowest of the constants' sources
    nominal: float
    high: float
    with_cpu: bool  # False: the platform does not know the power of its CPU
    causes: dict[str, float]  # nominal, by cause


class GrowthRow(TypedDict):
    """A step with a longer cache."""

    context: int  # rows of the cache
    us: dict[str, float]  # by schedule, microseconds
    attention: dict[str, float]  # by schedule, the share of attention
