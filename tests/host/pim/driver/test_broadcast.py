"""Runs of result rows: against a walk over the axes, row by row, for every pattern of axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimloop.host.pim.driver.broadcast import Run, row_map, runs

#: Axes of results; every way to set axes of the operands to 1 or leave them out is tried.
LEADS = [(), (1,), (4,), (2, 3), (3, 2), (2, 1), (2, 3, 2), (3, 1, 2), (2, 2, 3)]


def patterns(lead: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes that broadcast to `lead` or to a part of it."""
    shapes = []
    for cut in range(len(lead) + 1):
        rest = lead[cut:]
        for mask in itertools.product((False, True), repeat=len(rest)):
            shapes.append(tuple(1 if is_one else n for is_one, n in zip(mask, rest, strict=True)))
    return sorted(set(shapes))


def walked(lead: tuple[int, ...], result: tuple[int, ...]) -> list[int]:
    """Return the operand row of each result row: its index along each axis, or 0 where it has 1."""
    rows = []
    for place in itertools.product(*map(range, result)):
        own = place[len(result) - len(lead) :]
        row = 0
        for size, index in zip(lead, own, strict=True):
            row = row * size + (index if size > 1 else 0)
        rows.append(row)
    return rows


@pytest.mark.parametrize("result", LEADS, ids=str)
def test_row_map(result: tuple[int, ...]) -> None:
    for lead in patterns(result):
        assert row_map(lead, result).tolist() == walked(lead, result), lead
        assert row_map(lead, result).shape == (int(np.prod(result)),)


def all_runs(a: list[int], b: list[int]) -> list[Run]:
    """Return the runs of two maps; one too many where they do not end."""
    return list(itertools.islice(runs(np.array(a, np.int64), np.array(b, np.int64)), len(a) + 1))


def longest(a: list[int], b: list[int]) -> list[Run]:
    """Cut rows into runs, each as long as both steps stay what they are and do not fall."""
    runs, first = [], 0
    while first < len(a):
        last = first
        step_a = step_b = 0
        if first + 1 < len(a):
            up_a, up_b = a[first + 1] - a[first], b[first + 1] - b[first]
            if up_a >= 0 and up_b >= 0:
                step_a, step_b = up_a, up_b
                while last + 1 < len(a) and (a[last + 1] - a[last], b[last + 1] - b[last]) == (
                    step_a,
                    step_b,
                ):
                    last += 1
        runs.append(Run(first, last - first + 1, a[first], b[first], step_a, step_b))
        first = last + 1
    return runs


@pytest.mark.parametrize("result", LEADS, ids=str)
def test_runs_of_every_pattern(result: tuple[int, ...]) -> None:
    for lead_a, lead_b in itertools.product(patterns(result), repeat=2):
        whole = np.broadcast_shapes(lead_a, lead_b)
        a, b = walked(lead_a, whole), walked(lead_b, whole)
        got = all_runs(a, b)
        assert got == longest(a, b), (lead_a, lead_b)
        # Whatever the cuts: every row, once, in order, from its own operand rows.
        rows = [
            (run.first + i, run.a + i * run.step_a, run.b + i * run.step_b)
            for run in got
            for i in range(run.count)
        ]
        assert rows == list(zip(range(len(a)), a, b, strict=True))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_runs_of_any_maps(pairs: list[tuple[int, int]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert all_runs(a, b) == longest(a, b)
