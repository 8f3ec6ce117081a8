"""The assignment with the least product of two sums, as of energy and time, exactly.

Every assignment is a point (time, energy). A product of two quantities that are not negative is
quasi-concave, so over a convex polygon it is least at a corner, and over all points it is least at
a corner of their convex hull. Each corner that matters is the optimum of a x time + b x energy for
some weights a, b >= 0 (Geoffrion 1967): a problem that exact solvers have an answer for.

An answer is a point and a half-plane a x time + b x energy >= least that holds all points. The
half-planes known together are a polygon that holds them; its corner with the least product is a
lower bound, and the next weights are those of the line through the two points beside that corner
(Eisner and Severance 1976). The search ends where the bound is the product of a point that is
known. Nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import gcd
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Point(Generic[Item]):
    """Something that takes time and energy, both whole numbers that are not negative."""

    time: int
    energy: int
    item: Item

    @property
    def product(self) -> int:
        """Energy times time."""
        return self.time * self.energy


@dataclass(frozen=True)
class Answer(Generic[Item]):
    """The best point for some weights, and what no point is below; equal where it is proved."""

    point: Point[Item]
    least: int


@dataclass(frozen=True)
class Product(Generic[Item]):
    """The point with the least product, and what is known of lower ones."""

    point: Point[Item]
    bound: Fraction  # no point has a lower product
    answers: int  # weights that were asked for

    @property
    def optimal(self) -> bool:
        """Whether no point has a lower product."""
        return self.bound == self.point.product


class _Corner(NamedTuple):
    """A corner of the polygon, between two of its half-planes."""

    time: Fraction
    energy: Fraction


class _Line(NamedTuple, Generic[Item]):
    """The border of a half-plane: a x time + b x energy = least."""

    a: int
    b: int
    least: int
    point: Point[Item]  # the best for its weights

    def meets(self, other: _Line[Item]) -> _Corner:
        """Return where two lines that are not parallel cross."""
        det = self.a * other.b - other.a * self.b
        return _Corner(
            Fraction(self.least * other.b - other.least * self.b, det),
            Fraction(self.a * other.least - other.a * self.least, det),
        )


def least_product(
    solve: Callable[[int, int], Answer[Item]], stopped: Callable[[], bool] = lambda: False
) -> Product[Item]:
    """Return the point with the least product of time and energy.

    Parameters
    ----------
    solve
        From weights a, b of time and energy, not negative, not both zero, to the least
        a x time + b x energy of all points.
    stopped
        Asked after each answer: whether to end with the bound reached.

    Returns
    -------
    Product
        Optimal when every answer was proved and nothing stopped the search.

    Examples
    --------
    >>> points = [Point(2, 9, "fast"), Point(3, 4, "between"), Point(8, 2, "frugal")]
    >>> def solve(a, b):
    ...     best = min(points, key=lambda point: a * point.time + b * point.energy)
    ...     return Answer(best, a * best.time + b * best.energy)
    >>> result = least_product(solve)
    >>> result.point.item, result.bound, result.optimal, result.answers
    ('between', Fraction(12, 1), True, 5)
    """
    lines: dict[tuple[int, int], _Line[Item]] = {}

    def ask(a: int, b: int) -> None:
        answer = solve(a, b)
        lines[a, b] = _Line(a, b, answer.least, answer.point)

    ask(1, 0)
    ask(0, 1)
    while True:
        best = min((line.point for line in lines.values()), key=lambda point: point.product)
        corner, before, after = min(
            _corners(list(lines.values())), key=lambda entry: entry[0].time * entry[0].energy
        )
        bound = min(corner.time * corner.energy, Fraction(best.product))
        a = before.point.energy - after.point.energy
        b = after.point.time - before.point.time
        divisor = gcd(a, b) or 1
        weights = (a // divisor, b // divisor)
        # Without a proof of each answer, two neighbours may leave no weights to ask for.
        if bound == best.product or stopped() or min(weights) < 0 or not any(weights):
            break
        if weights in lines:
            break
        ask(*weights)
    return Product(best, bound, len(lines))


def _corners(
    lines: list[_Line[Item]],
) -> list[tuple[_Corner, _Line[Item], _Line[Item]]]:
    """Return the corners of the polygon above all lines, with the two lines of each."""
    lines.sort(key=lambda line: (line.b > 0, Fraction(-line.a, line.b or 1)))
    kept: list[_Line[Item]] = []
    for line in lines:
        # From the second kept line on, one that meets this before its own corner is below it.
        while len(kept) > 1 and kept[-1].meets(line).time <= kept[-2].meets(kept[-1]).time:
            kept.pop()
        kept.append(line)
    return [(first.meets(second), first, second) for first, second in pairwise(kept)]
