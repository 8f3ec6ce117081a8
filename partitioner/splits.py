"""Splits: an operator computed by two devices at the same time, each some of the output's columns.

A cost graph offers the splits of an operator beside its devices (`CostGraph.splits`), and the
policy `coexec` chooses among both. `split_times` makes splits from the times of whole operators,
under assumptions it names; whoever measures parts builds `Split` directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from pimloop.partitioner.cost_file import SplitJson
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.split_names import SplitName


@dataclass(frozen=True)
class Split:
    """One way to execute an operator on two devices of two memories at the same time.

    Each device computes its columns of every output from whole inputs, which both memories need.
    The operator ends when both are done. A device's memory holds the weights of its columns only;
    weights that several operators share are whole in both memories.

    Parameters
    ----------
    devices
        The two devices; their memories differ.
    share, shares
        The second device computes `share` of `shares` equal parts of the columns, at least one and
        not all of them.
    part_us
        Time of each device's part, in microseconds, what it costs to enter the device left out.
    gather_us
        For each tensor that the operator makes, by memory: the time in microseconds until it is
        whole there. In a memory of `devices` the other one's columns are missing, elsewhere all. A
        memory that is left out is forbidden.
    weight_bytes
        Bytes of weights that each device's memory holds; None for the shares of the operator's.
    """

    devices: tuple[str, str]
    share: int
    shares: int
    part_us: tuple[float, float]
    gather_us: Mapping[str, Mapping[str, float]]
    weight_bytes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < self.shares:
            raise PartitionerError(
                f"a split gives {self.share} of {self.shares} parts to {self.devices[1]!r}; give it"
                f" 1 to {self.shares - 1}"
            )

    @classmethod
    def of(cls, data: SplitJson) -> Split:
        """Return a split of a cost or plan file."""
        first, second = data["devices"]
        held = data.get("weight_bytes")
        return cls(
            devices=(first, second),
            share=data["share"],
            shares=data["shares"],
            part_us=(float(data["part_us"][0]), float(data["part_us"][1])),
            gather_us={
                tensor: {memory: float(us) for memory, us in by_memory.items()}
                for tensor, by_memory in data["gather_us"].items()
            },
            weight_bytes=None if held is None else (held[0], held[1]),
        )

    def to_dict(self) -> SplitJson:
        """Return the split as files have it."""
        result: SplitJson = {
            "devices": list(self.devices),
            "share": self.share,
            "shares": self.shares,
            "part_us": list(self.part_us),
            "gather_us": {tensor: dict(times) for tensor, times in self.gather_us.items()},
        }
        if self.weight_bytes is not None:
            result["weight_bytes"] = list(self.weight_bytes)
        return result

    @property
    def name(self) -> str:
        """What an assignment calls it.

        >>> Split(("cpu_parallel", "pim"), 5, 16, (1.0, 2.0), {}).name
        'cpu_parallel+pim 5/16'
        """
        return str(SplitName(self.devices, self.share, self.shares))

    @property
    def columns(self) -> frozenset[tuple[str, Fraction]]:
        """The part of the columns that each device computes: equal of splits that are the same."""
        second = Fraction(self.share, self.shares)
        return frozenset(zip(self.devices, (1 - second, second), strict=True))

    @property
    def parts_us(self) -> dict[str, float]:
        """Return the time of each device's part, by device."""
        return dict(zip(self.devices, self.part_us, strict=True))

    @property
    def time_us(self) -> float:
        """Return the time of the operator: that of the slower part."""
        return max(self.part_us)

    def resident_bytes(self, whole: int) -> tuple[int, int]:
        """Return the bytes of weights of each part, of an operator with `whole` bytes.

        >>> Split(("cpu_parallel", "pim"), 5, 16, (1.0, 2.0), {}).resident_bytes(1600)
        (1100, 500)
        """
        if self.weight_bytes is not None:
            return self.weight_bytes
        second = -(-whole * self.share // self.shares)
        return -(-whole * (self.shares - self.share) // self.shares), second


def split_times(
    devices: tuple[str, str],
    shares: Iterable[int],
    of: int,
    part_us: Callable[[str, float], float],
    gather_us: Callable[[float, float], Mapping[str, Mapping[str, float]]],
) -> tuple[Split, ...]:
    """Return one split for each of `shares`.

    Parameters
    ----------
    devices
        As in `Split`.
    shares
        The parts of the second device, each between 1 and `of` - 1.
    of
        The parts that the columns are cut into.
    part_us
        Device and its fraction of the columns to its time in microseconds.
    gather_us
        Fractions that the first and the second device compute to what `Split.gather_us` is.

    Examples
    --------
    >>> whole = {"cpu_parallel": 80.0, "pim": 40.0}
    >>> splits = split_times(
    ...     ("cpu_parallel", "pim"), (2, 3), 4, lambda device, part: whole[device] * part,
    ...     lambda first, second: {"y": {"cpu": 8.0 * second, "pim": 6.0 * first}},
    ... )
    >>> [(split.part_us, split.gather_us["y"]) for split in splits]
    [((40.0, 20.0), {'cpu': 4.0, 'pim': 3.0}), ((20.0, 30.0), {'cpu': 6.0, 'pim': 1.5})]
    """
    result = []
    for share in shares:
        second = share / of
        times = part_us(devices[0], 1 - second), part_us(devices[1], second)
        result.append(Split(devices, share, of, times, gather_us(1 - second, second)))
    return tuple(result)
