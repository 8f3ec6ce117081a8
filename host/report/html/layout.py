"""Where the operators of a model stand: a row for each layer, left to right by depth.

Deep networks repeat one block of operators, so the repetition is found in the sequence of operator
types; operator names are not asked, since exporters name as they like. Rows of equal layers line
up, which makes a layer that is placed differently stand out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Shortest block that counts as a layer, in operators.
MIN_LAYER = 8

#: Operators in a row of a model without repetition.
PLAIN_ROW = 48

#: A shorter block is taken for the layer when it covers nearly as much as the best one.
_NEARLY = 0.9


@dataclass(frozen=True)
class Group:
    """A row of the picture: a run of operators in topological order."""

    title: str
    first: int  # index of its first operator
    count: int  # operators
    columns: int
    lanes: int


@dataclass(frozen=True)
class Layout:
    """The rows, and (row, column, lane) of every operator."""

    groups: tuple[Group, ...]
    places: tuple[tuple[int, int, int], ...]


def lay_out(ops: Sequence[str], edges: Sequence[tuple[int, int]]) -> Layout:
    """Return the places of operators.

    Parameters
    ----------
    ops
        Operator types in topological order.
    edges
        (producer, consumer) as indices into `ops`.
    """
    producers: list[list[int]] = [[] for _ in ops]
    for producer, consumer in edges:
        producers[consumer].append(producer)
    groups: list[Group] = []
    places: list[tuple[int, int, int]] = []
    for row, (title, first, count) in enumerate(_rows(ops, producers)):
        columns, lanes = _place(first, count, producers)
        places += [(row, column, lane) for column, lane in zip(columns, lanes, strict=True)]
        groups.append(Group(title, first, count, max(columns) + 1, max(lanes) + 1))
    return Layout(tuple(groups), tuple(places))


def find_layers(ops: Sequence[str]) -> tuple[int, int, int] | None:
    """Return (first operator, operators in a layer, layers), None without repetition.

    >>> find_layers(["In"] + ["MatMul", "Add", "Erf", "Mul"] * 6 + ["Out"])
    (1, 8, 3)
    """
    codes = np.unique(np.asarray(ops, dtype=object).astype(str), return_inverse=True)[1]
    repeats: list[tuple[int, int, int]] = []  # (covered, first, period)
    for period in range(MIN_LAYER, len(codes) // 2 + 1):
        same = np.concatenate(([False], codes[:-period] == codes[period:], [False]))
        bounds = np.flatnonzero(same[1:] != same[:-1])
        if not bounds.size:
            continue
        lengths = bounds[1::2] - bounds[::2]
        longest = int(lengths.argmax())
        length, first = int(lengths[longest]), int(bounds[2 * longest])
        layers = (length + period) // period
        if layers >= 2:
            repeats.append((layers * period, first, period))
    if not repeats:
        return None
    most = max(repeats)[0]
    _, first, period = next(repeat for repeat in repeats if repeat[0] >= _NEARLY * most)
    covered = next(repeat[0] for repeat in repeats if repeat[2] == period)
    return first, period, covered // period


def _rows(ops: Sequence[str], producers: list[list[int]]) -> list[tuple[str, int, int]]:
    """Return (title, first, count) of every row."""
    layers = find_layers(ops)
    if layers is None or layers[1] * layers[2] < len(ops) // 2:
        return [
            (f"{start + 1}–{min(start + PLAIN_ROW, len(ops))}", start, len(ops[start:][:PLAIN_ROW]))
            for start in range(0, len(ops), PLAIN_ROW)
        ]
    _, period, count = layers
    first = _start_of_layers(ops, producers, layers)
    end = first + period * count
    rows = [("input", 0, first)] if first else []
    rows += [(f"layer {i + 1}", first + i * period, period) for i in range(count)]
    return [*rows, ("output", end, len(ops) - end)] if end < len(ops) else rows


def _start_of_layers(
    ops: Sequence[str], producers: list[list[int]], layers: tuple[int, int, int]
) -> int:
    """Return where to cut a repetition, which could begin at any of its operators.

    Between two layers the fewest tensors cross, and what crosses has the most readers: the queries,
    keys, values and the residual connection of the next layer.
    """
    first, period, count = layers
    end = first + period * count
    while end < len(ops) and ops[end] == ops[end - period]:
        end += 1

    def crossing(start: int) -> tuple[int, int]:
        cut = start + period
        read = [
            producer
            for consumer in range(cut, min(cut + period, len(ops)))
            for producer in set(producers[consumer])
            if producer < cut
        ]
        return len(set(read)), -len(read)

    return min(range(first, end - period * count + 1), key=crossing)


def _place(first: int, count: int, producers: list[list[int]]) -> tuple[list[int], list[int]]:
    """Return the columns and lanes of the operators of one row."""
    columns: list[int] = []
    lanes: list[int] = []
    taken: list[int] = []  # by lane: the last column in use
    for index in range(first, first + count):
        inside = [p - first for p in producers[index] if p >= first]
        column = max((columns[p] + 1 for p in inside), default=0)
        wanted = [lanes[p] for p in sorted(inside, key=lambda p: (-columns[p], lanes[p]))]
        free = [lane for lane in (*wanted, *range(len(taken))) if taken[lane] < column]
        lane = free[0] if free else len(taken)
        if lane == len(taken):
            taken.append(column)
        taken[lane] = column
        columns.append(column)
        lanes.append(lane)
    return columns, lanes
