"""Numbers that the paper prints and its published traces do not hold.

Sizes of the graphs and numbers of runs are in `pimloop.partitioner.paper.tables.PUBLISHED`, totals
and costs in the data that `pimloop.host.board.distil` makes from the traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The least and the greatest of some numbers."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:.1f} to {self.most:.1f}"


@dataclass(frozen=True)
class Parts:
    """Computation and transfers of a schedule, milliseconds."""

    compute_ms: float
    transfer_ms: float


#: Table 1: edges of the DCG with the two devices CPU and PIM.
DCG_EDGES: Mapping[str, int] = {"bert": 221, "roberta": 628, "gpt2": 527}

#: Table 3, three devices: DA edges; seconds of the traversal and of the partitioning.
DA_EDGES: Mapping[str, int] = {"bert": 20, "roberta": 20, "gpt2": 24}
SECONDS: Mapping[str, tuple[float, float]] = {
    "bert": (0.04, 0.02),
    "roberta": (0.04, 0.07),
    "gpt2": (0.07, 0.21),
}

#: Figure 8, lengths 8 to 64: time on a CPU device over the PIM's.
SPEED_UPS: Mapping[tuple[str, str], Range] = {
    ("Add", "cpu_serial"): Range(2.1, 3.4),
    ("Add", "cpu_parallel"): Range(2.2, 2.8),
    ("MatMul", "cpu_serial"): Range(5.6, 10.4),
    ("MatMul", "cpu_parallel"): Range(1.5, 3.1),
}

#: Figure 9: pim_first, milliseconds, by model and length. The traces add up to other values.
PIM_FIRST_MS: Mapping[tuple[str, int], float] = {
    ("bert", 8): 112.0,
    ("bert", 16): 143.7,
    ("bert", 32): 206.1,
    ("roberta", 8): 445.1,
    ("roberta", 16): 668.3,
    ("roberta", 32): 1110.8,
    ("gpt2", 8): 292.7,
    ("gpt2", 16): 512.7,
    ("gpt2", 32): 935.9,
}

#: Figure 11, 16 tokens.
PARTS: Mapping[str, Mapping[str, Parts]] = {
    "bert": {"optimal": Parts(60.3, 8.2), "pim_first": Parts(132.5, 11.3)},
    "roberta": {"optimal": Parts(413.9, 35.5), "pim_first": Parts(623.8, 44.5)},
    "gpt2": {"optimal": Parts(410.4, 35.6), "pim_first": Parts(412.9, 99.8)},
}

#: Difference between the predicted and the measured time of the optimum.
PREDICTION: Mapping[str, float] = {"bert": 0.0081, "roberta": 0.0023, "gpt2": 0.0013}

#: Headlines: how many times faster the optimum is than a schedule.
FASTER: Mapping[str, Range] = {
    "pim_first": Range(1.1, 2.1),
    "cpu_parallel_first": Range(1.1, 3.0),
}
