"""Rounds of CPU timing on recorded clocks: nothing here depends on how fast this machine is."""

from __future__ import annotations

import itertools
import os
import time

import pytest

from pimloop.host.cpu import timing
from pimloop.host.cpu.timing import WAIT, Step, Timing, realtime, shared_out, time_rounds


@pytest.fixture
def canary(monkeypatch):
    """Replace the canary's clock by a list of times, in the order they will be read."""
    times = []
    monkeypatch.setattr(timing._Canary, "run", lambda self: times.pop(0) if times else 100)
    return times


@pytest.fixture
def other_cores(monkeypatch):
    """Replace the count of other processes' work."""
    cores = [0.0]
    monkeypatch.setattr(timing.OtherWork, "cores", lambda self: cores[0])
    return cores


def recorded(name, nanoseconds, parallel=False):
    values = iter(nanoseconds)
    return Step(name, lambda: next(values), parallel)


def test_steps_run_in_order_and_warm_up_does_not_count(canary, other_cores):
    order = []

    def step(name):
        return Step(name, lambda: order.append(name) or 1000)

    times = time_rounds([step("a"), step("b")], rounds=3, warmup=2)
    assert order == ["a", "b"] * 5
    assert times == dict.fromkeys("ab", Timing(1.0, 1.0, 3, False))


def test_minimum_and_median_of_calm_rounds(canary, other_cores):
    # Five to find the best, then two a round; the second round was disturbed.
    canary += [100] * 5 + [100, 100] + [100, 400] + [120, 149] + [100, 100]
    times = time_rounds([recorded("a", [9000, 2000, 77000, 4000, 3000])], rounds=3, warmup=1)
    assert times["a"] == Timing(min_us=2.0, median_us=3.0, rounds=3, disturbed=False)


def test_when_all_rounds_are_disturbed_all_count_and_the_result_says_so(canary, other_cores):
    canary += [100] * 5 + [300] * 100
    times = time_rounds([recorded("a", range(1000, 8000, 1000))], rounds=2, warmup=0)
    assert times["a"] == Timing(min_us=1.0, median_us=3.5, rounds=6, disturbed=True)


def test_parallel_times_on_a_busy_machine_are_not_trusted(canary, other_cores):
    other_cores[0] = 0.5
    steps = [Step("serial", lambda: 1000), Step("parallel", lambda: 1000, parallel=True)]
    times = time_rounds(steps, rounds=2)
    assert not times["serial"].disturbed
    assert times["parallel"].disturbed


def test_other_work_is_what_is_busy_beyond_this_process(monkeypatch):
    clock, busy, own = iter([10.0, 12.0, 12.0]), iter([100.0, 103.0]), iter([50.0, 51.9])
    monkeypatch.setattr(timing, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(timing, "_own_seconds", lambda: next(own))
    with timing.OtherWork() as other:
        pass
    assert other.cores() == pytest.approx(0.55)


def test_work_too_short_to_count_is_waited_out(monkeypatch):
    """Until 0.2 s after the start: the load average would count this process too."""
    clock, waited = iter([10.0, 10.05, 10.2, 20.0, 20.3, 20.3]), []
    monkeypatch.setattr(timing, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing, "sleep", waited.append)
    monkeypatch.setattr(timing, "_busy_seconds", lambda: 100.0)
    monkeypatch.setattr(timing, "_own_seconds", lambda: 50.0)
    for _ in range(2):
        with timing.OtherWork() as other:
            pass
        assert not other.busy
    assert waited == [pytest.approx(0.15), 0.0]


def test_one_window_serves_several_blocks_of_rounds(canary, monkeypatch):
    """Its owner marks the times: rounds inside say nothing of other work."""
    monkeypatch.setattr(timing.OtherWork, "cores", lambda self: 0.2)
    steps = [recorded("a", [1000] * 9, parallel=True), recorded("b", [1000] * 9)]
    with timing.OtherWork() as window:
        times = time_rounds(steps, rounds=3, window=window)
    assert not times["a"].disturbed
    assert window.busy
    marked = timing.distrusted(times, timing.parallel_steps(steps))
    assert marked == {"a": Timing(1.0, 1.0, 3, True), "b": Timing(1.0, 1.0, 3, False)}


def test_the_host_waits_where_another_device_works(canary, other_cores):
    """Without a time of its own, and long enough for threads to sleep."""
    seen = []

    def work():
        seen.append(time.perf_counter())
        return 1000

    times = time_rounds([Step("a", work), WAIT, Step("b", work), WAIT], rounds=2, warmup=1)
    assert times.keys() == {"a", "b"}
    assert min(b - a for a, b in itertools.pairwise(seen)) >= 1e-4
    assert WAIT.run() >= 100_000


def test_the_load_average_serves_where_nothing_counts(monkeypatch):
    monkeypatch.setattr(timing, "_busy_seconds", lambda: None)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.5, 0, 0))
    with timing.OtherWork() as other:
        pass
    assert other.cores() == 1.5


def test_real_time_priority_is_given_back():
    before = os.sched_getscheduler(0)
    with realtime() as permitted:
        inside = os.sched_getscheduler(0)
    assert (inside == os.SCHED_FIFO) == permitted
    assert os.sched_getscheduler(0) == before
    assert ("refused" in timing.method()) == (not permitted)


def test_refused_priority_changes_nothing(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with realtime() as permitted:
        assert not permitted
    assert "no real-time priority (refused)" in timing.method()


def test_a_segment_is_shared_out_in_proportion():
    whole = Timing(8.0, 9.0, 10, True)
    parts = {"a": Timing(1.0, 2.0, 10, False), "b": Timing(3.0, 4.0, 10, False)}
    shared = shared_out(whole, parts)
    assert [shared[n].median_us for n in "ab"] == [3.0, 6.0]
    assert [shared[n].min_us for n in "ab"] == [1.5, 4.5]
    assert all(part.disturbed for part in shared.values())
