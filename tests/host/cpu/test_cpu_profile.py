"""Operators without the entry into their segment, and the entry: from what is timed."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.graphs import build_encoder
from support.tiny_models import TINY

import pimloop.host.cpu.profile as module
import pimloop.host.execution.cpu_times
from pimloop.host.cpu.profile import profile_cpu, with_entry, without_call
from pimloop.host.cpu.segments import SessionCache
from pimloop.host.cpu.timing import OtherWork, Step, Timing
from pimloop.host.execution.executor import Executor
from pimloop.host.models.graph import Graph
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.weights import RandomWeights

CONFIG = replace(TINY["bert"], layers=1)


@pytest.fixture
def graph() -> Graph:
    return build_encoder(CONFIG, RandomWeights(CONFIG, 0), 4)


def test_doctests() -> None:
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed


@given(
    entry=st.floats(0, 20),
    net=st.lists(st.floats(0.1, 500), min_size=2, max_size=30),
)
def test_exact_times_come_back(entry: float, net: list[float]) -> None:
    """Where a session takes one call and its operators, both are found."""
    alone = {str(i): us + entry for i, us in enumerate(net)}
    measured, operators = without_call(entry + sum(net), alone)
    assert measured == pytest.approx(entry, abs=1e-6)
    for i, us in enumerate(net):
        assert operators[str(i)] == pytest.approx(us, abs=1e-5, rel=1e-5)


@given(
    entry=st.floats(0, 20),
    segments=st.lists(st.lists(st.floats(0.1, 50), min_size=1, max_size=8), min_size=1, max_size=5),
    products=st.lists(st.floats(50, 500), min_size=1, max_size=5),
    saved=st.floats(0, 0.5),
)
def test_what_products_save_is_no_part_of_the_call(
    entry: float, segments: list[list[float]], products: list[float], saved: float
) -> None:
    """Products that are faster within the whole model leave call and short operators exact."""
    assume(max(map(len, segments)) > 1)
    net = {f"{i}.{j}": us for i, part in enumerate(segments) for j, us in enumerate(part)}
    heavy = {f"product {i}": us for i, us in enumerate(products)}
    alone = {name: us + entry for name, us in (net | heavy).items()}
    timed = {
        tuple(f"{i}.{j}" for j in range(len(part))): entry + sum(part)
        for i, part in enumerate(segments)
    }
    whole = entry + sum(net.values()) + (1 - saved) * sum(products)
    measured, operators = without_call(whole, alone, timed)
    assert measured == pytest.approx(entry, abs=1e-6)
    for name, us in net.items():
        assert operators[name] == pytest.approx(us, abs=1e-5, rel=1e-5)
    for name, us in heavy.items():
        assert operators[name] == pytest.approx((1 - saved) * us, abs=1e-5, rel=1e-5)


@given(
    whole=st.floats(0.1, 1e4),
    alone=st.lists(st.floats(0.1, 500), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    segment=st.floats(0.1, 1e4),
)
def test_operators_and_one_call_are_the_whole(
    whole: float, alone: list[float], cut: int, segment: float
) -> None:
    """Whatever was measured: nothing negative, nothing free, and the whole kept."""
    names = tuple(map(str, range(len(alone))))
    timed = {names[:cut]: segment} if 1 < cut <= len(names) else {}
    entry, operators = without_call(whole, dict(zip(names, alone, strict=True)), timed)
    assert entry >= 0
    assert operators.keys() == set(names)
    assert min(operators.values()) > 0  # `calibrate --costs` takes them as samples
    assert entry + sum(operators.values()) == pytest.approx(whole)


@given(
    entry=st.floats(-100, 1e5),
    whole=st.floats(0.1, 1e4),
    net=st.lists(st.floats(0.1, 500), min_size=1, max_size=30),
)
def test_an_entry_keeps_the_whole(entry: float, whole: float, net: list[float]) -> None:
    kept, operators = with_entry(entry, whole, {str(i): us for i, us in enumerate(net)})
    assert kept == pytest.approx(min(max(entry, 0), 0.999 * whole))
    assert kept + sum(operators.values()) == pytest.approx(whole)
    for i, us in enumerate(net):
        assert operators[str(i)] / us == pytest.approx(operators["0"] / net[0])


@pytest.mark.parametrize(("slower", "busy"), [(1.0, False), (1.25, True)])
def test_every_operator_is_profiled_on_both_devices(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, slower: float, busy: bool
) -> None:
    """From a machine with known times come these times, also where it is slower in the end.

    A call takes 4 and 6 us, a change to a device 3 and 20 us more. A weightless operator takes 10
    and 11 us. A product takes 50 and 30 us, alone 5 us more. Blocks of rounds take turns.
    """
    monkeypatch.setattr(module, "WEIGHT_BYTES", 256)
    names = [node.id for node in graph.nodes]
    heavy = [
        any(name in graph.constants and graph.constants[name].nbytes > 256 for name in node.inputs)
        for node in graph.nodes
    ]
    heads = [n for i, n in enumerate(names) if i == 0 or heavy[i] or heavy[i - 1]]
    call, change = (4.0, 6.0), (3.0, 20.0)
    times = [[50.0 if h else 10.0 for h in heavy], [30.0 if h else 11.0 for h in heavy]]
    blocks: list[list[str]] = []

    def timed(steps: Sequence[Step], *, rounds: int, window: OtherWork) -> dict[str, Timing]:
        assert rounds == 3
        for step in steps:
            assert step.run() > 0
        blocks.append([step.name for step in steps])
        factor = slower if len(blocks) > 12 else 1.0
        ends = [*(names.index(step.name) for step in steps[1:]), len(names)]
        result, first, before = {}, 0, None
        for step, last in zip(steps, ends, strict=True):
            device = int(step.parallel)
            us = call[device] + sum(times[device][first:last])
            us += change[device] * (before not in (None, device))
            us += 5.0 * (heavy[first] and last - first == 1)
            result[step.name] = Timing(us * factor, us * factor, rounds, False)
            first, before = last, device
        return result

    monkeypatch.setattr(module, "time_rounds", timed)
    monkeypatch.setattr(OtherWork, "cores", lambda self: 0.5 if busy else 0.0)
    profile = profile_cpu(graph, random_inputs(graph, 0), SessionCache(), rounds=5)
    whole, turns = [names[:1]], [names, heads]
    operators = [*whole, *turns, *turns, *whole]
    assert blocks == operators * 2 + [*whole, heads, heads, *whole] * 2
    # Into `cpu_parallel` schedules change for products, which take 5 us more alone.
    entry = {"cpu_serial": 4.0 + 3.0, "cpu_parallel": 6.0 + 20.0 + 5.0}
    assert profile.entry_us == pytest.approx(entry)
    for device, expected, us in zip(entry, times, call, strict=True):
        # The whole is what was measured: operators and one call.
        factor = (us + sum(expected) - entry[device]) / sum(expected)
        assert profile.node_us[device] == pytest.approx(
            {name: factor * net for name, net in zip(names, expected, strict=True)}
        )
    assert profile.disturbed == busy


def test_an_operator_alone_is_all_that_its_session_takes() -> None:
    """Nothing says what of it the call is."""
    assert without_call(16.0, {"a": 16.0}) == (0.0, {"a": 16.0})


@pytest.mark.parametrize("disturbed", [0, 5, None])
def test_one_disturbed_block_marks_the_profile(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, disturbed: int | None
) -> None:
    """Whichever it is; later ones that nothing disturbed do not take the mark back."""
    blocks = 0

    def timed(steps: Sequence[Step], *, rounds: int, window: OtherWork) -> dict[str, Timing]:
        nonlocal blocks
        blocks += 1
        return {step.name: Timing(9.0, 9.0, rounds, blocks - 1 == disturbed) for step in steps}

    monkeypatch.setattr(module, "time_rounds", timed)
    monkeypatch.setattr(OtherWork, "cores", lambda self: 0.0)
    profile = profile_cpu(graph, random_inputs(graph, 0), SessionCache(), rounds=5)
    assert blocks > 6
    assert profile.disturbed == (disturbed is not None)


@pytest.mark.parametrize("busy", [False, True])
def test_an_execution_is_timed_without_other_sessions_between(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    """Segments as they are executed in one block of rounds, single operators in another."""
    half = len(graph.nodes) // 2
    assignment = {
        node.id: "cpu_serial" if i < half else "cpu_parallel" for i, node in enumerate(graph.nodes)
    }
    executor = Executor(graph, assignment, {})
    executor.run(random_inputs(graph, 0))
    blocks: list[list[str]] = []

    def timed(steps: Sequence[Step], *, rounds: int, window: OtherWork) -> dict[str, Timing]:
        blocks.append([step.name for step in steps])
        us = 100.0 if len(steps) == 2 else 7.0
        return {step.name: Timing(us, us, rounds, False) for step in steps}

    monkeypatch.setattr(pimloop.host.execution.cpu_times, "time_rounds", timed)
    monkeypatch.setattr(OtherWork, "cores", lambda self: 0.5 if busy else 0.0)
    times = executor.time_cpu(rounds=3)
    assert [len(block) for block in blocks] == [2, len(graph.nodes)]
    assert blocks[1] == [node.id for node in graph.nodes]
    assert times.keys() == set(blocks[1])
    assert sum(timing.us for timing in times.values()) == pytest.approx(200.0)
    disturbed = {name for name, timing in times.items() if timing.disturbed}
    assert disturbed == (
        {n for n, d in assignment.items() if d == "cpu_parallel"} if busy else set()
    )
