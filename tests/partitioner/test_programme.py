"""Integer programmes: what HiGHS says of them, and that it says it silently."""

from __future__ import annotations

import itertools
import math
import random

import highspy
import pytest

from pimloop.partitioner import programme as programme_room
from pimloop.partitioner.programme import Answer, Programme, Status


def test_the_least_cost_and_its_bound() -> None:
    programme = Programme()
    whole, part = programme.variable(3.0, integer=True), programme.variable(4.0)
    programme.row([(whole, 1.0), (part, 1.0)], low=0.5)
    answer = programme.solve()
    assert answer.status is Status.SOLVED
    assert answer.x == pytest.approx((0.0, 0.5))
    assert answer.bound == pytest.approx(2.0)
    programme.set_to_one(whole)
    again = programme.solve()
    assert again.x == pytest.approx((1.0, 0.0))
    assert again.bound == pytest.approx(3.0)


def test_without_integers_the_bound_is_the_cost() -> None:
    programme = Programme()
    part = programme.variable(2.0)
    programme.row([(part, 1.0)], low=0.25)
    answer = programme.solve()
    assert (answer.status, answer.bound) == (Status.SOLVED, pytest.approx(0.5))


def test_no_answer() -> None:
    programme = Programme()
    whole = programme.variable(1.0, integer=True)
    programme.row([(whole, 1.0)], low=0.25, high=0.75)
    answer = programme.solve()
    assert (answer.status, answer.x) == (Status.INFEASIBLE, None)


@pytest.mark.parametrize("wrong", [Status.INFEASIBLE, Status.FAILED])
def test_a_presolve_that_is_wrong_is_not_believed(
    wrong: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the same programme is solved again."""
    presolve: list[str] = []

    def run(solver: highspy.Highs) -> Answer:
        presolve.append(solver.getOptionValue("presolve")[1])
        return Answer(wrong, None, math.inf, "wrong") if len(presolve) == 1 else right(solver)

    right = programme_room._run
    monkeypatch.setattr(programme_room, "_run", run)
    programme = Programme()
    whole = programme.variable(3.0, integer=True)
    programme.row([(whole, 1.0)], low=0.5)
    answer = programme.solve()
    assert (answer.status, answer.x) == (Status.SOLVED, (1.0,))
    assert presolve == ["choose", "off"]


def test_a_limit_proves_nothing(capfd) -> None:
    """Stopped at once, a search has no answer or says how far it came; and nothing is printed."""
    rng = random.Random(1)
    programme = Programme()
    chosen = [programme.variable(rng.uniform(1, 2), integer=True) for _ in range(60)]
    for _ in range(40):
        programme.row([(v, rng.uniform(0.1, 1.0)) for v in chosen], low=rng.uniform(3, 6))
    answer = programme.solve(0.01)
    assert answer.status is Status.STOPPED
    assert answer.bound < math.inf
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(40))
def test_every_choice_tried_gives_the_same(seed: int) -> None:
    rng = random.Random(seed)
    costs = [rng.randint(-5, 9) for _ in range(8)]
    rows = [
        ([(v, rng.randint(-3, 6)) for v in rng.sample(range(8), 4)], rng.randint(-2, 12))
        for _ in range(4)
    ]
    programme = Programme()
    for cost in costs:
        programme.variable(float(cost), integer=True)
    for terms, low in rows:
        programme.row([(v, float(factor)) for v, factor in terms], low=float(low))
    answer = programme.solve()
    possible = [
        sum(cost * value for cost, value in zip(costs, x, strict=True))
        for x in itertools.product((0, 1), repeat=8)
        if all(sum(factor * x[v] for v, factor in terms) >= low for terms, low in rows)
    ]
    if not possible:
        assert answer.status is Status.INFEASIBLE
        return
    assert answer.status is Status.SOLVED
    assert answer.bound == pytest.approx(min(possible))
