"""Transfers between the board's memories, board and platform."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pimloop.host.board.data import load_board
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.platforms.platform import Platform

#: The memories, (from, to), of a direction as the published data call it.
DIRECTIONS = {"to_pim": (HOST_MEMORY, PIM_MEMORY), "to_cpu": (PIM_MEMORY, HOST_MEMORY)}


@dataclass(frozen=True)
class TransferTime:
    """Transfers of one size in one direction, microseconds."""

    direction: str
    nbytes: int  # at bfloat16
    samples: int
    mean_us: float
    least_us: float
    ours_us: float


def transfer_times(
    models: Iterable[str], lengths: Iterable[int], platform: Platform
) -> list[TransferTime]:
    """Return board and platform time of every size moved by these models at these lengths."""
    wanted = set(lengths)
    rows: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for model in models:
        for length, measured in load_board(model).measurements.items():
            if length not in wanted:
                continue
            for direction in DIRECTIONS:
                for row in measured.transfers[direction]:
                    rows.setdefault((direction, int(row["bytes"])), []).append(
                        (row["samples"], row["us_mean"], row["us_min"])
                    )
    times = []
    for (direction, nbytes), values in sorted(rows.items()):
        samples = sum(count for count, _, _ in values)
        times.append(
            TransferTime(
                direction=direction,
                nbytes=nbytes,
                samples=int(samples),
                mean_us=sum(count * mean for count, mean, _ in values) / samples,
                least_us=min(least for _, _, least in values),
                ours_us=platform.transfer_us(*DIRECTIONS[direction], nbytes // 2),
            )
        )
    return times
