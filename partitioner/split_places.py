"""Splits in index form, checked against their graph (`pimloop.partitioner.problem` uses them)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph
from pimloop.partitioner.splits import Split
from pimloop.partitioner.ticks import to_ticks

if TYPE_CHECKING:
    from pimloop.partitioner.costs import CostGraph


@dataclass(frozen=True)
class SplitPlace:
    """A split in index form."""

    split: Split
    memories: tuple[int, int]  # of its two devices
    ticks: tuple[int, int]  # of each part, with what its device costs to enter
    weights: tuple[int, int]  # resident bytes in each memory, shared weights apart


def split_places(
    costs: CostGraph, scale: int, number: Mapping[str, int]
) -> tuple[tuple[SplitPlace, ...], ...]:
    """Return the splits of every operator.

    Parameters
    ----------
    scale
        Ticks of a microsecond.
    number
        Memory name to its number.
    """
    graph = costs.graph
    result: list[tuple[SplitPlace, ...]] = []
    for operator in graph.operators:
        places = []
        for split in costs.splits.get(operator.id, ()):
            first, second = (number[graph.memory_of[device]] for device in split.devices)
            ticks = [
                to_ticks(us, scale) + to_ticks(costs.entry_us.get(device, 0.0), scale)
                for us, device in zip(split.part_us, split.devices, strict=True)
            ]
            weights = split.resident_bytes(operator.weight_bytes)
            places.append(SplitPlace(split, (first, second), (ticks[0], ticks[1]), weights))
        result.append(tuple(places))
    return tuple(result)


def check_splits(graph: Graph, offered: Mapping[str, Sequence[Split]]) -> None:
    """Check splits, by operator id, against their graph.

    Raises
    ------
    PartitionerError
        For unknown operators, devices, tensors or memories, devices of one memory, a split that is
        offered twice, under another name too, and times that are not finite and not negative.
    """
    made: dict[str | None, set[str]] = {}
    for tensor in graph.tensors if offered else ():
        made.setdefault(tensor.producer, set()).add(tensor.id)
    for operator, splits in offered.items():
        if operator not in graph.index:
            raise PartitionerError(
                f"{graph.name}: splits of the unknown node {operator!r}; add that node or remove"
                " its splits"
            )
        names: dict[frozenset[tuple[str, Fraction]], str] = {}
        for number, split in enumerate(splits):
            where = f"{graph.name}: node {operator!r}, split {split.name!r}"
            same = names.setdefault(split.columns, split.name)
            if len(names) <= number:
                how = "is offered twice" if same == split.name else f"is the same as {same!r}"
                raise PartitionerError(f"{where} {how}; remove one")
            _check_devices(graph, split, where)
            _check_times(graph, split, where, made.get(operator, set()))


def _check_devices(graph: Graph, split: Split, where: str) -> None:
    for device in split.devices:
        if device not in graph.memory_of:
            raise PartitionerError(
                f"{where}: unknown device {device!r}; the memories list {sorted(graph.memory_of)}"
            )
    first, second = (graph.memory_of[device] for device in split.devices)
    if first == second:
        raise PartitionerError(
            f"{where}: both devices compute in memory {first!r}; name devices of two memories"
        )


def _check_times(graph: Graph, split: Split, where: str, made: Collection[str]) -> None:
    if split.gather_us.keys() != made:
        raise PartitionerError(
            f"{where}: gather_us is about {sorted(split.gather_us)}, the node makes {sorted(made)};"
            " give the times of each tensor that it makes"
        )
    times = list(split.part_us)
    for tensor, by_memory in split.gather_us.items():
        for memory in by_memory:
            if memory not in graph.memories:
                raise PartitionerError(
                    f"{where}: tensor {tensor!r} is gathered in the unknown memory {memory!r}; the"
                    f" memories are {list(graph.memories)}"
                )
        times += by_memory.values()
    for time in times:
        if not (math.isfinite(time) and time >= 0):
            raise PartitionerError(f"{where}: the time is {time} us; give a finite one >= 0")
