"""Operators without the entry into their segment, and the entry: from what is timed."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import TINY

import host.cpu.profile as module
import host.executor
from host.cpu.profile import profile_cpu, without_entry
from host.cpu.stretches import SessionCache
from host.cpu.timing import Step, Timing
from host.executor import Executor
from host.models.encoder import build_encoder
from host.models.graph import Graph
from host.models.inputs import random_inputs
from host.models.weights import RandomWeights

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
    """Where a session takes one entry and its operators, both are found."""
    alone = {str(i): us + entry for i, us in enumerate(net)}
    found, operators = without_entry(entry + sum(net), alone)
    assert found == pytest.approx(entry, abs=1e-6)
    for i, us in enumerate(net):
        assert operators[str(i)] == pytest.approx(us, abs=1e-5, rel=1e-5)


@given(whole=st.floats(0.1, 1e4), alone=st.lists(st.floats(0.1, 500), min_size=1, max_size=30))
def test_operators_and_one_entry_are_the_whole(whole: float, alone: list[float]) -> None:
    entry, operators = without_entry(whole, {str(i): us for i, us in enumerate(alone)})
    assert entry >= 0
    assert min(operators.values()) > 0  # `calibrate --costs` takes them as samples
    assert entry + sum(operators.values()) == pytest.approx(whole)


def test_every_operator_is_profiled_on_both_devices(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of single operators, a block of the whole model, and again; never mixed."""
    blocks: list[list[str]] = []

    def timed(steps: Sequence[Step], *, rounds: int) -> dict[str, Timing]:
        assert rounds == 3
        for step in steps:
            assert step.run() > 0
        blocks.append([step.name for step in steps])
        entry = 4.0 if not steps[0].parallel else 6.0
        whole = len(steps) == 1
        us = entry + (10.0 * len(graph.nodes) if whole else 10.0)
        return {step.name: Timing(us, us, rounds, False) for step in steps}

    monkeypatch.setattr(module, "time_rounds", timed)
    found = profile_cpu(graph, random_inputs(graph, 0), SessionCache(), rounds=5)
    names = [node.id for node in graph.nodes]
    assert blocks == [names, ["whole model"]] * 4
    assert found.entry_us == {"cpu_serial": pytest.approx(4.0), "cpu_parallel": pytest.approx(6.0)}
    for times in found.node_us.values():
        assert times == {name: pytest.approx(10.0) for name in names}
    assert not found.disturbed


def test_an_execution_is_timed_without_other_sessions_between(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments as they are executed in one block of rounds, single operators in another."""
    half = len(graph.nodes) // 2
    assignment = {
        node.id: "cpu_serial" if i < half else "cpu_parallel" for i, node in enumerate(graph.nodes)
    }
    executor = Executor(graph, assignment, {})
    executor.run(random_inputs(graph, 0))
    blocks: list[list[str]] = []

    def timed(steps: Sequence[Step], *, rounds: int) -> dict[str, Timing]:
        blocks.append([step.name for step in steps])
        us = 100.0 if len(steps) == 2 else 7.0
        return {step.name: Timing(us, us, rounds, False) for step in steps}

    monkeypatch.setattr(host.executor, "time_rounds", timed)
    times = executor.time_cpu(rounds=3)
    assert [len(block) for block in blocks] == [2, len(graph.nodes)]
    assert blocks[1] == [node.id for node in graph.nodes]
    assert times.keys() == set(blocks[1])
    assert sum(timing.us for timing in times.values()) == pytest.approx(200.0)
