"""States of a model in execution: in place, on the CPU and on the PIM, with the bits of the golden
model; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_decoders import config_of

from pimloop.errors import PimloopError
from pimloop.host.execution.device_states import filled_rows
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.verification import Verifier
from pimloop.host.models.generator import Cache, Generator, build_generator
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.loader import LoadOptions
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pim import forms
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.platforms.platform import Platform, load_platform

#: A device with everything that it can do.
PLATFORM = load_platform(
    "htg-z920",
    {
        "device.rows": "64",
        "capabilities.operators": '["all"]',
        "capabilities.activation_matmul": "true",
        "capabilities.operands": "any",
    },
)
AIM = load_platform("aim", {"device.rows": "64"})
PROMPT, TOKENS = 5, 6


@pytest.fixture(params=["rows", "blocks"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform whose keys lie in rows, and one where they lie in blocks, few as they are."""
    if request.param == "rows":
        return PLATFORM
    monkeypatch.setattr(forms, "append_clocks", lambda *_, **__: 0)
    return AIM


def generator(batch: int = 2) -> Generator:
    config = config_of("llama")
    options = LoadOptions(sequence_length=PROMPT, batch=batch)
    return build_generator(config, RandomWeights(config, 3), TOKENS, options)


def graph_of(made: Generator) -> Graph:
    assert made.step is not None
    return made.step


def placement(graph: Graph, platform: Platform, **devices: str) -> dict[str, str]:
    """Return a placement of everything on the PIM but for appending ("append") or products."""
    operations = pim_fit(graph, platform).operations
    assignment = {n.id: "pim" if n.id in operations else "cpu_parallel" for n in graph.nodes}
    for node in graph.nodes:
        reads = any(name in graph.state_named for name in node.inputs)
        if node.id in graph.state_of and "append" in devices:
            assignment[node.id] = devices["append"]
        elif reads and "read" in devices:
            assignment[node.id] = devices["read"]
    return assignment


@contextmanager
def executed(
    graph: Graph, assignment: Mapping[str, str], platform: Platform = PLATFORM
) -> Iterator[tuple[Executor, Verifier, ModelDevice]]:
    operations = pim_fit(graph, platform).operations
    device = ModelDevice(platform.geometry(), 1 << 20)
    device.memory[:] = 0xAA  # what nobody wrote
    with (
        device,
        PimDriver.for_platform(device, platform) as driver,
        ResidentModel(graph, operations, driver) as resident,
        Verifier(graph) as verifier,
    ):
        executor = Executor(
            graph, assignment, operations, resident, verifier=verifier, keep=graph.results
        )
        executor.load_weights()
        yield executor, verifier, device


def blocks_of(graph: Graph, platform: Platform) -> frozenset[str]:
    """Return the states that lie in blocks."""
    operations = pim_fit(graph, platform).operations
    with ModelDevice(platform.geometry(), 1 << 20) as device:
        driver = PimDriver.for_platform(device, platform)
        return forms.driver_forms(graph, operations, driver).in_blocks


def prompted(made: Generator) -> Cache:
    """Return a cache with the rows of a prompt, whatever they are."""
    cache, rng = Cache(made), np.random.default_rng(7)
    cache.add(
        {
            name.replace("past.", "present."): rng.standard_normal(
                (*array.shape[:2], PROMPT, array.shape[3])
            ).astype(np.float32)
            for name, array in cache.arrays.items()
        }
    )
    return cache


def steps(made: Generator, executor: Executor) -> Iterator[tuple[dict[str, Array], object]]:
    cache = prompted(made)
    for step in range(TOKENS - 1):
        feeds = cache.feeds([step, step + 1][: made.batch])
        execution = executor.run(feeds, goes_on=step > 0)
        cache.add(execution.values)
        yield feeds, execution


def test_only_the_new_rows_move_to_states_on_the_pim(platform: Platform) -> None:
    made = generator()
    graph = graph_of(made)
    with executed(graph, placement(graph, platform), platform) as (executor, verifier, _):
        keys = {n.inputs[1] for n in graph.nodes if n.op == "FusedMatMul"}
        assert blocks_of(graph, platform) == (keys if platform is AIM else set())
        runs = [execution for _, execution in steps(made, executor)]
        verifier.finish()
        assert verifier.mismatches == []
        assert executor.wrong_states() == []
    states = {s.whole for s in graph.states}
    scores = {n.outputs[0] for n in graph.nodes if n.op == "FusedMatMul"}
    assert {t.tensor for t in runs[0].handed_over} == states | scores
    rows = {state.rows for state in graph.states}
    for run in runs:
        moved = {t.tensor: t.elements for t in run.transfers if t.direction == "cpu>pim"}
        assert not moved.keys() & {*states, *(s.past for s in graph.states)}
        for name in moved.keys() & rows:
            assert moved[name] == graph.tensors[name].elements
        assert run is runs[0] or not run.handed_over
    # Every step moves the same: the state grows where it is.
    assert len({sum(t.nbytes for t in run.transfers) for run in runs}) == 1


@pytest.mark.parametrize("devices", [{}, {"append": "cpu_parallel"}, {"read": "cpu_serial"},
                                     {"append": "cpu_serial", "read": "cpu_serial"}])  # fmt: skip
def test_logits_are_those_of_float32_wherever_a_state_is(
    devices: dict[str, str], platform: Platform
) -> None:
    """A state that somebody reads in another memory is moved there whole."""
    made = generator(1)
    graph = graph_of(made)
    wholes = {state.whole for state in graph.states}
    with executed(graph, placement(graph, platform, **devices), platform) as (
        executor, verifier, _,
    ):  # fmt: skip
        for _, execution in steps(made, executor):
            moved = {t.tensor for t in execution.transfers}
            assert (wholes <= moved) == (len(devices) == 1)
            assert executor.wrong_segments() == []
        verifier.finish()
        assert verifier.mismatches == []
        assert max(verifier.errors.values()) <= 1
        assert executor.wrong_states() == []


def test_on_the_cpu_a_state_is_one_buffer() -> None:
    """Inputs do not say any more what it holds: it goes on from the last execution."""
    made = generator(1)
    graph = graph_of(made)
    assignment = dict.fromkeys((node.id for node in graph.nodes), "cpu_parallel")
    executor = Executor(graph, assignment, {}, keep=graph.results)
    cache = prompted(made)
    logits = []
    for step in range(TOKENS - 1):
        feeds = cache.feeds([step])
        wanted = Executor(graph, assignment, {}, keep=graph.results).run(feeds)
        if step:
            feeds |= {state.past: np.full_like(feeds[state.past], np.nan) for state in graph.states}
        execution = executor.run(feeds, goes_on=step > 0)
        assert np.array_equal(execution.values["logits"], wanted.values["logits"])
        logits.append(execution.values["logits"])
        cache.add(execution.values)
        for state in graph.states:
            there = executor.values([state.whole])[state.whole]
            assert np.array_equal(there, cache.arrays[state.past])
    assert len({values.tobytes() for values in logits}) == TOKENS - 1


def test_a_state_that_changes_on_the_device_is_seen() -> None:
    """By the products that read it, and at the end by itself."""
    made = generator(1)
    graph = graph_of(made)
    with executed(graph, placement(graph, PLATFORM)) as (executor, verifier, _):
        for number, _ in enumerate(steps(made, executor)):
            if number == 1:
                assert executor._offloaded is not None
                resident = executor._offloaded._resident
                state = resident._state(graph.states[1].whole)
                values = resident.driver.download(state)
                values[0, 0, 2, 0] += 1
                resident.driver.write(state, values)
        verifier.finish()
        readers = {node.id for node in graph.consumers[graph.states[1].whole]}
        assert {mismatch.node for mismatch in verifier.mismatches} == readers
        (wrong,) = executor.wrong_states()
        assert wrong.startswith(f"state {graph.states[1].whole}: 1 of ")


def test_rows_at_another_place_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    append = PimDriver.append
    monkeypatch.setattr(
        PimDriver, "append", lambda self, state, rows, first: append(self, state, rows, first - 1)
    )
    made = generator(1)
    graph = graph_of(made)
    with executed(graph, placement(graph, PLATFORM)) as (executor, verifier, _):
        for _ in steps(made, executor):
            pass
        verifier.finish()
        wrong = {mismatch.node for mismatch in verifier.mismatches}
        assert {state.node for state in graph.states} <= wrong
        assert len(executor.wrong_states()) == len(graph.states)


def test_a_full_context_is_refused() -> None:
    made = generator(2)
    graph = graph_of(made)
    feeds = Cache(made, used=made.context).feeds([1, 2])
    assert set(filled_rows(graph, feeds).values()) == {PROMPT + TOKENS - 1}
    beyond = {**feeds, "cache_index": feeds["cache_index"] + 1}
    message = (
        r"state 'past.0.key' has 10 rows, and row 10 \(input 'cache_index'\) is to be written: the"
        " context is full; generate fewer tokens, or build the model for a longer context"
    )
    with pytest.raises(PimloopError, match=message):
        filled_rows(graph, beyond)
    apart = feeds["cache_index"].copy()
    apart[1] -= 1
    with pytest.raises(PimloopError, match="'cache_index' has the rows 8 to 9: all sequences and"):
        filled_rows(graph, {**feeds, "cache_index": apart})


def test_states_that_do_not_fit_stay_on_the_cpu() -> None:
    """Counted at their full length, whatever is in them."""
    config = config_of("llama")
    on_pim = {}
    for tokens in (6, 300_000):
        options = LoadOptions(sequence_length=PROMPT)
        longer = replace(config, positions=400_000)
        made = build_generator(longer, RandomWeights(longer, 3), tokens, options)
        graph = graph_of(made)
        fit = pim_fit(graph, PLATFORM)
        on_pim[tokens] = sum(state.node in fit.operations for state in graph.states)
        if tokens > 6:
            reason = fit.kept_on_cpu[graph.states[0].node]
            assert "its state, at full length, takes" in reason
            assert "bytes in device memory, which has" in reason
    assert on_pim == {6: len(graph.states), 300_000: 0}
