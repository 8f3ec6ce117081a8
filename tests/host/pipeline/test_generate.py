"""Generation token by token: both phases, the cache, the tokens against float32."""

from __future__ import annotations

import copy
import html
import json
import re
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from support.tiny_checkpoints import write_checkpoint
from support.tiny_decoders import config_of, write_decoder
from support.tiny_models import TINY, decoder_logits

from pimloop.errors import PimloopError
from pimloop.host.cli import main
from pimloop.host.cli.generate import (
    generation_report,
    planner,
    print_generation,
    write_pages,
)
from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.timing import Timing
from pimloop.host.execution.accuracy import tolerance
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.options import Options
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.generator import LOGITS, Cache, build_generator, load_generator
from pimloop.host.models.graph import Node, TensorInfo
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pipeline import growth as growth_module
from pimloop.host.pipeline.generate import _judge, generate
from pimloop.host.pipeline.generation import Phase, Placed, Token
from pimloop.host.pipeline.growth import ENERGY, MAKESPAN, NO_COSTS, SPLIT, Growth, growth
from pimloop.host.planning.policies import cpu_serial, pim_first
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report import publish
from pimloop.host.report.format.versions import check_report
from pimloop.host.report.generation.energies import (
    energy_bars,
    energy_words,
    last_phase,
    token_energy,
    with_cpu,
)
from pimloop.host.report.generation.page import render
from pimloop.host.report.html.energies import GROUPS
from pimloop.host.report.html.labels import format_fj, format_js, format_number
from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.place.solve import assignment_plan, partition
from pimloop.partitioner.problem import Problem

PLATFORM = load_platform("htg-z920")
MODEL = Options(backend="model", rounds=1)


def tiny(length=6, tokens=5, seed=0):
    config = TINY["gpt2"]
    weights = RandomWeights(config, seed)
    return build_generator(config, weights, tokens, LoadOptions(sequence_length=length)), weights


def on_pim(graph, *_):
    return Placed(pim_first(graph, PLATFORM.capabilities), "pim_first")


def on_cpu(graph, *_):
    return Placed(cpu_serial(graph, PLATFORM.capabilities), "cpu_serial")


def prompt_of(generator, seed=1):
    return random_inputs(generator.prefill, seed)["input_ids"]


def test_the_two_graphs_share_their_parameters():
    generator, _ = tiny()
    assert generator.context == 9
    shared = set(generator.prefill.constants) & set(generator.step.constants)
    assert {"transformer.wte.weight.T", "transformer.h.1.mlp.c_fc.weight"} <= shared
    for name in shared:
        assert generator.prefill.constants[name] is generator.step.constants[name]


@pytest.mark.parametrize("length", [1, 7])
def test_steps_give_the_logits_of_the_whole_sequence(length):
    """In float32 on the CPU, against an independent forward pass."""
    generator, weights = tiny(length, 4)
    generation = generate(generator, prompt_of(generator), PLATFORM, on_cpu, MODEL)
    assert generation.passed
    sequence = [*generation.prompt, *(step.token for step in generation.tokens)]
    logits = decoder_logits(generator.config, weights, np.array(sequence[:-1]))
    wanted = logits[length - 1 :].argmax(-1)
    assert [step.token for step in generation.tokens] == wanted.tolist()
    assert [step.reference for step in generation.tokens] == wanted.tolist()
    for index, comparison in enumerate(c for phase in generation.phases for c in phase.comparisons):
        assert comparison.roundings == 0
        assert comparison.relative_l2 < 1e-5, index


@pytest.mark.parametrize("seed", range(3))
def test_tokens_on_the_pim(seed):
    generator, _ = tiny(6, 5, seed)
    generation = generate(generator, prompt_of(generator, seed), PLATFORM, on_pim, MODEL)
    assert generation.passed
    assert len(generation.tokens) == 5
    assert [len(phase.executions) for phase in generation.phases] == [1, 4]
    prefill, decode = (phase.result for phase in generation.phases)
    capable = [sum(d == "pim" for d in p.assignment.values()) for p in generation.phases]
    assert (prefill.checked, decode.checked) == (capable[0], 4 * capable[1])
    assert capable[1] > 0
    # Weights are loaded once: the step graph adds no more than its own small constants.
    first, second = (result.weights.host_bytes_in for result in (prefill, decode))
    assert 0 <= second < first / 50
    depth = {c.roundings for c in generation.phases[1].comparisons}
    assert len(depth) == 1, "the roundings behind a token must not grow with the steps"


@pytest.mark.parametrize(
    ("case", "count"),
    [("gpt2", 3), ("llama", 3), ("mistral", 3), ("gemma3", 3), ("gpt2", 16), ("llama", 16)],
)
def test_sequences_of_a_batch_are_generated_as_each_alone(case, count):
    """In float32, the tokens of a batch are those of its sequences; on the PIM they pass."""
    config = TINY["gpt2"] if case == "gpt2" else config_of(case)
    weights = RandomWeights(config, 6)
    prompts = np.random.default_rng(6).integers(0, 101, (count, 7))

    def run(prompt, plan):
        options = LoadOptions(sequence_length=7, batch=len(prompt))
        return generate(build_generator(config, weights, 5, options), prompt, PLATFORM, plan, MODEL)

    together = run(prompts, on_cpu)
    assert together.passed
    assert together.prompt == prompts.reshape(-1).tolist()
    assert [len(step) for step in together.chosen()] == [count] * 5
    for row, prompt in enumerate(prompts):
        alone = run(prompt[None], on_cpu)
        assert [step[row] for step in together.chosen()] == [step[0] for step in alone.chosen()]
    on_device = run(prompts, on_pim)
    assert on_device.passed
    assert len(on_device.tokens) == 5 * count
    assert all(result.checked and result.pim_bit_exact for result in
               (phase.result for phase in on_device.phases))  # fmt: skip


def test_a_wrong_token_of_a_batch_is_named_by_its_sequence():
    config = config_of("llama")
    options = LoadOptions(sequence_length=4, batch=2)
    generator = build_generator(config, RandomWeights(config), 3, options)
    generation = generate(generator, prompt_of(generator), PLATFORM, on_cpu, MODEL)
    assert generation.passed
    assert generation.wrong_steps() == []
    wrong = generation.tokens[3]  # of the second step, the second sequence
    generation.judge(1, [generation.tokens[2], replace(wrong, token=wrong.reference ^ 1)])
    (text,) = generation.wrong_steps()
    assert text.startswith(f"step 2 (decode): token {wrong.reference ^ 1} of sequence 2, float32's")
    assert not generation.passed


def test_each_phase_has_its_own_plan_made_on_its_own_inputs():
    generator, _ = tiny(5, 3)
    seen = []

    def plan(graph, feeds, before, filled):
        assert set(feeds) == set(graph.inputs)
        assert list(filled) == ([6, 7] if before else [])
        run_reference(graph, feeds)
        assert [phase.name for phase in before] == seen
        seen.append(graph.name)
        return (on_cpu if "prefill" in graph.name else on_pim)(graph, feeds)

    generation = generate(generator, prompt_of(generator), PLATFORM, plan, MODEL)
    assert seen == ["tiny-gpt2-prefill", "tiny-gpt2-step"]
    assert generation.passed
    assert not generation.phases[0].executions[0].pim
    assert generation.phases[1].executions[0].pim


def test_the_device_is_gone_when_the_cpu_is_timed(monkeypatch, without_collector):
    memories, alive = [], []
    init, time_cpu = ModelDevice.__init__, Executor.time_cpu

    def opened(device, *args, **kwargs):
        init(device, *args, **kwargs)
        memories.append(weakref.ref(device.memory))

    def timed(executor, **kwargs):
        alive.append(sum(memory() is not None for memory in memories))
        return time_cpu(executor, **kwargs)

    monkeypatch.setattr(ModelDevice, "__init__", opened)
    monkeypatch.setattr(Executor, "time_cpu", timed)
    generator, _ = tiny(tokens=2)
    generation = generate(generator, prompt_of(generator), load_platform("aim"), on_pim, MODEL)
    assert generation.passed
    assert memories
    assert alive == [0, 0]


def test_one_token_needs_no_step():
    generator, _ = tiny(4, 1)
    assert generator.step is None
    generation = generate(generator, prompt_of(generator), PLATFORM, on_cpu, MODEL)
    assert [phase.name for phase in generation.phases] == ["prefill"]
    assert len(generation.tokens) == 1


def test_the_cache_hides_what_is_not_written():
    generator, _ = tiny(3, 4)
    cache = Cache(generator)
    presents = {
        name.replace("past.", "present."): np.ones((1, 4, 3, 16), np.float32)
        for name in cache.arrays
    }
    cache.add(presents)
    feeds = cache.feeds([7])
    assert feeds["position_ids"].item() == 3
    assert feeds["cache_mask"].reshape(-1).tolist() == [0, 0, 0, 0, -10000, -10000]
    assert np.unique(feeds["cache_index"]).tolist() == [3]
    past = feeds["past.0.key"]
    assert past.shape == (1, 4, 6, 16)
    assert past[:, :, :3].all()
    assert not past[:, :, 3:].any()


@pytest.mark.parametrize(
    ("name", "tokens", "options", "message"),
    [
        ("bert", 4, LoadOptions(), "architecture is bert"),
        ("m.onnx", 4, LoadOptions(), "unknown model .m.onnx.: --generate takes gpt2"),
        (__file__, 4, LoadOptions(), "test_generate.py. cannot generate: --generate takes gpt2"),
        ("gpt2", 0, LoadOptions(), "at least 1"),
        ("gpt2", 4, LoadOptions(sequence_length=1022), "together at most 1024"),
    ],
)
def test_what_cannot_generate(name, tokens, options, message):
    with pytest.raises(PimloopError, match=message):
        load_generator(name, tokens, options)


def test_a_prompt_outside_the_vocabulary_is_refused():
    generator, _ = tiny(2, 2)
    with pytest.raises(PimloopError, match=r"outside 0\.\.100"):
        generate(generator, np.array([[3, 101]]), PLATFORM, on_cpu, MODEL)


def test_the_margin_decides_what_is_judged():
    generator, _ = tiny(2, 1)
    graph = generator.prefill
    phase = Phase("prefill", graph, on_pim(graph, {}))
    wanted = np.zeros((1, 1, 101), np.float32)
    wanted[..., 5], wanted[..., 9] = 4.0, 3.0
    logits = wanted.copy()
    logits[..., 9] = 4.5
    (token,) = _judge(phase, logits, wanted, tolerance(100))
    rms = np.sqrt((16 + 9) / 101)
    off = 2 * tolerance(100) * rms
    assert token == Token(9, 5, 1.0, off + 4.0 / 256)
    assert token.judged
    assert not token.passed
    assert replace(token, margin=0.01).passed
    on_the_cpu = Phase("prefill", graph, on_cpu(graph, {}))
    (token,) = _judge(on_the_cpu, logits, wanted, tolerance(100))
    assert token.tolerance == off


def test_a_generation_too_large_for_this_machine_is_refused_before_it_starts(monkeypatch):
    generator, _ = tiny(4, 2)
    monkeypatch.setattr("pimloop.host.execution.memory.available_bytes", lambda: 1000)
    monkeypatch.setattr("pimloop.host.pipeline.generate.open_pim", None)  # must not be reached
    with pytest.raises(PimloopError, match=r"model tiny-gpt2: the run needs about .* available"):
        generate(generator, prompt_of(generator), PLATFORM, on_pim, MODEL)


def test_a_wrong_token_fails_the_run():
    generator, _ = tiny(4, 2)
    generation = generate(generator, prompt_of(generator), PLATFORM, on_cpu, MODEL)
    assert generation.passed
    generation.tokens[1] = replace(generation.tokens[1], token=generation.tokens[1].reference ^ 1)
    assert not generation.passed


def cancelling(generator):
    """Return a generator whose later steps lose most of their logits' places, where they round."""
    step, offset = generator.step, np.array(4, np.float32)
    nodes = [
        replace(n, outputs=tuple("exact" if o == LOGITS else o for o in n.outputs))
        for n in step.nodes
    ]
    nodes += [
        Node("up", "Add", "", ("exact", "offset"), ("raised",), {}),
        Node("down", "Sub", "", ("raised", "offset"), (LOGITS,), {}),
    ]
    info = step.tensors[LOGITS]
    tensors = {"exact": info, "raised": info, "offset": TensorInfo((), offset.dtype)}
    amplified = replace(
        step,
        nodes=tuple(nodes),
        tensors={**step.tensors, **tensors},
        constants={**step.constants, "offset": offset},
    )
    return replace(generator, step=amplified)


def test_each_step_has_a_limit_of_its_own():
    """What later steps do to rounding is measured with the cache that the steps before left."""
    generator = cancelling(tiny(6, 4)[0])

    def plan(graph, feeds, *_):
        placed = on_pim(graph, feeds)
        up = {n: "pim" if n == "up" else d for n, d in placed.assignment.items()}
        return Placed(up, "up")

    generation = generate(generator, prompt_of(generator), load_platform("aim"), plan, MODEL)
    prefill, decode = generation.phases
    assert not prefill.comparisons[0].measured
    for comparison in decode.comparisons:
        behind = tolerance(comparison.roundings)
        assert comparison.measured
        assert comparison.relative_l2 > behind
        assert comparison.limit > behind
        assert comparison.passed
    assert len({comparison.limit for comparison in decode.comparisons}) == 3
    assert generation.wrong_steps() == []
    assert generation.passed


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("model", ["plain", "cancelling"])
def test_a_fault_in_a_later_step_is_caught_and_the_step_is_named(model, step, monkeypatch, capsys):
    """A row of the executed cache changes between steps: no operator and no segment shows it."""
    generator, _ = tiny(6, 5)
    if model == "cancelling":
        generator = cancelling(generator)
    run, runs = Executor.run, []  # those of steps

    def changed(executor, feeds, **options):
        states = executor.graph.states
        runs.extend([executor] if states else [])
        if states and len(runs) == step:
            # Before the first step what is handed over, later what the steps before left.
            there = executor._memories.buffers("cpu").array if step > 1 else dict(feeds).get
            row = feeds["position_ids"].item() - 1
            for state in states:
                there(state.past)[:, :, row] = 40
        return run(executor, feeds, **options)

    monkeypatch.setattr(Executor, "run", changed)
    generation = generate(generator, prompt_of(generator), PLATFORM, on_pim, MODEL)
    assert not generation.passed
    wrong = generation.wrong_steps()
    assert wrong
    assert wrong[0].startswith(f"step {step + 1} (decode): ")
    report = generation_report(generation, PLATFORM, Options(), [], Growth())
    assert report["verification"]["steps_wrong"] == wrong
    print_generation(Console(width=200), report)
    assert f"NOT AS FLOAT32: {wrong[0]}" in capsys.readouterr().out


def pimloop(*arguments):
    """Run a command line of `pimloop`; return its exit code."""
    return main([str(argument) for argument in arguments])


def test_the_command_on_a_folder(tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "gpt2")
    command = ["sim", tmp_path / "tiny", "--seq", 5, "--generate", 3, "--device", "model",
               "--out", tmp_path / "out"]  # fmt: skip
    assert pimloop(*command, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "generation.json").read_text())
    assert printed["verification"]["passed"]
    assert len(printed["prompt"]) == 5
    assert len(printed["tokens"]) == 3
    assert [phase["executions"] for phase in printed["phases"]] == [1, 2]
    # No clock: not 0 clocks.
    assert [phase["cycles_per_execution"] for phase in printed["phases"]] == [None, None]
    assert [phase["energy_j"] for phase in printed["phases"]] == [None, None]
    assert energy_words(printed).startswith("no energies: the device has no clock")
    assert token_energy(printed) is None
    assert printed["simulation"]["cycles"] is printed["simulation"]["weights_cycles"] is None
    assert pimloop(*command) == 0
    text = capsys.readouterr().out
    assert "verification: passed" in text
    assert "no clock" in text


def test_the_command_plans_each_phase_from_profiled_costs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "tiny", "gpt2")
    out = tmp_path / "out"
    command = ["sim", tmp_path / "tiny", "--seq", 4, "--generate", 3, "--out", out, "--json"]
    assert pimloop(*command) == 0
    report = json.loads(capsys.readouterr().out)
    assert [phase["schedule"] for phase in report["phases"]] == ["optimal", "optimal"]
    for phase in report["phases"]:
        assert list(phase["left_out_policies"]) == ["coexec"]
        assert "no product by constant weights is wider" in phase["left_out_policies"]["coexec"]
        assert phase["us_per_execution"] == pytest.approx(phase["predicted_us"], rel=1e-12)
        assert (
            phase["cycles_per_execution"]
            == phase["cycles_per_execution"][:1] * (phase["executions"])
        )
    assert report["command"][:2] == ["pimloop", "sim"]
    # All executions of a phase do the same, so its energy is that of the page of the phase.
    for phase in report["phases"]:
        whole = json.loads((out / phase["name"] / "report.json").read_text())
        total = whole["schedules"]["optimal"]["energy"]["total_fj"]
        assert (out / phase["name"] / "plots" / "timeline.png").stat().st_size > 1000
        for kind, femtojoules in total.items():
            assert phase["energy_j"][kind] == pytest.approx(1e-15 * femtojoules)
        assert phase["energy_j"]["with_cpu"] is True
    decode = report["phases"][1]["energy_j"]
    assert token_energy(report) == decode
    batched = token_energy(report | {"batch": 4})
    assert batched is not None
    assert batched["nominal"] == decode["nominal"] / 4
    assert f"a token {format_fj(1e15 * decode['nominal'])} (" in energy_words(report)
    page = (out / "report.html").read_text()
    assert f"a token {format_fj(1e15 * decode['nominal'])} (" in page
    check_energy_of_the_page(report, page)
    # What is planned for another schedule is what its execution counts.
    planned = {schedule["schedule"]: schedule for schedule in report["schedules"]}
    assert planned["optimal"]["j_per_token"] == decode["nominal"]
    assert pimloop(*command, "--policy", "pim_first", "--no-plots") == 0
    assert not any((out / phase["name"] / "plots").exists() for phase in report["phases"])
    again = json.loads(capsys.readouterr().out)
    assert all(phase["from_cost_store"] for phase in again["phases"])
    counted = {schedule["schedule"]: schedule for schedule in again["schedules"]}
    assert (planned["pim_first"]["executed"], counted["pim_first"]["executed"]) == (False, True)
    for name, schedule in planned.items():
        for key in ("prompt_j", "j_per_token"):
            assert schedule[key] == counted[name][key], (name, key)
        for phase, time in schedule["phases"].items():
            assert time["causes_j"] == counted[name]["phases"][phase]["causes_j"], (name, phase)
    joules = {schedule["j_per_token"] for schedule in planned.values()}
    assert len(joules) > 2
    print_generation(Console(width=80), report)
    printed = capsys.readouterr().out
    assert "energy, modelled, nominal constants" in printed
    assert all(len(line) <= 80 for line in printed.splitlines() if line[:1] in "┏┃│└ ")
    assert format_fj(1e15 * planned["pim_first"]["j_per_token"]) in page


def check_energy_of_the_page(report: dict[str, Any], page: str) -> None:
    """Bars, power and energy-delay product of every schedule are those of its energy and time."""
    for phase in report["phases"]:
        spent = phase["energy_j"]
        assert sum(spent["causes"].values()) == pytest.approx(spent["nominal"], rel=1e-12)
        bars = energy_bars(report["schedules"], phase["name"])
        assert bars is not None
        for schedule, bar in zip(report["schedules"], bars.bars, strict=True):
            time = schedule["phases"][phase["name"]]
            joules, seconds = time["energy_j"], time["us"] / 1e6
            assert bar.total == format_fj(1e15 * joules)
            assert time["average_w"] == pytest.approx(joules / seconds)
            assert time["energy_delay_js"] == pytest.approx(joules * seconds)
            if schedule["executed"]:
                assert time["causes_j"] == spent["causes"]
            by_cause = time["causes_j"]
            assert by_cause.keys() == spent["causes"].keys()
            assert sum(by_cause.values()) == pytest.approx(joules, rel=1e-12)
            for part in bar.parts:
                causes = next(causes for key, _, _, causes in GROUPS if key == part.key)
                of_part = sum(by_cause[cause] for cause in causes)
                assert f": {format_fj(1e15 * of_part)}, " in part.text
                assert part.text in page
    for schedule in report["schedules"]:
        last = last_phase(schedule)
        assert f">{format_number(last['average_w'])} W<" in page
        assert f">{format_js(last['energy_delay_js'])}<" in page
    assert report["pim_time_source"] == (
        "simulated clocks, the driver's calls modelled; transfers: modelled"
    )
    assert f"PIM time: {html.escape(report['pim_time_source'])}" in page.replace("&#39;", "&#x27;")


def test_without_the_power_of_the_cpu_there_is_no_power_of_a_phase():
    """One phase without it is enough, in the terminal as on the page."""
    spent = {"low": 1.0, "nominal": 1.0, "high": 1.0, "causes": {}}
    known, unknown = spent | {"with_cpu": True}, spent | {"with_cpu": False}
    assert with_cpu({"phases": [{"energy_j": known}, {"energy_j": known}, {"energy_j": None}]})
    assert not with_cpu({"phases": [{"energy_j": known}, {"energy_j": unknown}]})
    assert not with_cpu({"phases": [{"energy_j": unknown}, {"energy_j": known}]})


def test_the_policy_and_the_objective_are_those_of_both_phases(tmp_path, capsys, monkeypatch):
    """Overlapped, a token takes what the plan's schedule takes, not the sum of its parts."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "tiny", "gpt2")
    command = ["sim", tmp_path / "tiny", "--seq", 4, "--generate", 2, "--policy", "pim_first",
               "--out", tmp_path / "out", "--json", "--no-plots"]  # fmt: skip
    assert pimloop(*command, "--objective", "makespan") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["objective"], report["policy"]) == ("makespan", "pim_first")
    assert report["command"].count("pim_first") == 1
    assert pimloop(*command) == 0
    one_by_one = json.loads(capsys.readouterr().out)
    assert one_by_one["objective"] == "sequential"
    for overlapped, summed in zip(report["phases"], one_by_one["phases"], strict=True):
        assert overlapped["schedule"] == summed["schedule"] == "pim_first"
        assert overlapped["assignment"] == summed["assignment"]
        for phase in (overlapped, summed):
            assert phase["us_per_execution"] == pytest.approx(phase["predicted_us"], rel=1e-12)
        parts = [summed[key] for key in ("pim_us", "cpu_us", "transfer_us")]
        assert summed["us_per_execution"] == pytest.approx(sum(parts))
        assert max(parts) <= overlapped["us_per_execution"] < sum(parts)


@pytest.mark.parametrize("modelled", [True, False])
def test_a_cache_on_the_pim_is_in_every_time(modelled, tmp_path, capsys, monkeypatch):
    """Steps differ, and writing the cache there is part of them: parts add up to the average."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "tiny", "gpt2")
    platform = ["--platform", "aim"]
    if modelled:
        platform = ["--set", "capabilities.activation_matmul=true",
                    "--set", "capabilities.elementwise_max_rank=8",
                    "--set", "capabilities.operands=any"]  # fmt: skip
    command = ["sim", tmp_path / "tiny", "--seq", 4, "--generate", 3, "--policy", "pim_first",
               *platform, "--out", tmp_path / "out", "--json", "--no-plots"]  # fmt: skip
    assert pimloop(*command) == 0
    report = json.loads(capsys.readouterr().out)
    decode = report["phases"][1]
    kinds = {row["kind"]: row for row in decode["operator_kinds"]}
    assert kinds["ScatterElements"]["devices_us"].keys() == {"pim"}
    us = decode["us_per_execution"]
    if modelled:
        assert us == pytest.approx(decode["predicted_us"], rel=1e-12)
        assert len(set(decode["cycles_per_execution"])) == 2
    assert us == pytest.approx(sum(decode[k] for k in ("pim_us", "cpu_us", "transfer_us")))
    (row,) = (s["phases"]["decode"] for s in report["schedules"] if s["executed"])
    assert us == row["us"] == pytest.approx(sum(row["groups_us"].values()))
    assert sum(row["us"] for row in kinds.values()) == pytest.approx(us - decode["transfer_us"])
    assert row["devices_us"]["pim"] == pytest.approx(decode["pim_us"])
    page = json.loads((tmp_path / "out" / "decode" / "report.json").read_text())
    assert page["schedules"]["pim_first"]["executed_us"] == pytest.approx(us)
    # Standing power of the whole time is in it, so is what was handed over.
    energy = decode["energy_j"]
    assert 0 < energy["low"] < energy["nominal"] < energy["high"]
    assert energy["with_cpu"] == modelled
    assert (row["average_w"] is not None) == (row["energy_delay_js"] is not None) == modelled
    shown = (tmp_path / "out" / "report.html").read_text()
    assert (">Energy × time<" in shown) == (re.search("[µm]?J s<", shown) is not None) == modelled
    assert "Energy of a token by cause" in shown
    without = "without the CPU, whose power is not known: its" in energy_words(report)
    assert without != modelled
    # Every length of the cache is counted: the plans of the others have energies too.
    tokens = {schedule["schedule"]: schedule["j_per_token"] for schedule in report["schedules"]}
    assert tokens.pop("pim_first") == energy["nominal"]
    assert tokens
    assert all(joules > 0 for joules in tokens.values())
    for schedule in report["schedules"]:
        time = schedule["phases"]["decode"]
        assert (time["average_w"] is not None) == ("cpu_static" in time["causes_j"]) == modelled
    if not modelled:
        return
    # What is planned for steps whose cache is on the PIM is what they take, rounded once a cause.
    assert pimloop(*command[:6], "--policy", "optimal", *platform, "--objective", "energy",
                   "--out", tmp_path / "least", "--json", "--no-plots") == 0  # fmt: skip
    least = json.loads(capsys.readouterr().out)
    assert least["growth_left_out"] == ENERGY
    assert all(phase["from_cost_store"] for phase in least["phases"])
    planned = next(s for s in least["schedules"] if s["schedule"] == "pim_first")
    assert not planned["executed"]
    operators = decode["nodes"]
    for phase in ("prefill", "decode"):
        ours = planned["phases"][phase]["causes_j"]
        (theirs,) = (p["energy_j"]["causes"] for p in report["phases"] if p["name"] == phase)
        assert ours.keys() == theirs.keys()
        for cause, joules in theirs.items():
            assert abs(ours[cause] - joules) * 1e15 <= operators / 2, (phase, cause)
        best = {s["schedule"]: s["phases"][phase]["energy_j"] for s in least["schedules"]}
        assert best["optimal"] == min(best.values())


def test_an_execution_that_is_not_as_predicted_fails(tmp_path, capsys, monkeypatch):
    """On a modelled CPU and a simulated PIM every time is exact, in every step."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    generator, _ = tiny(4, 3)
    place = planner(PLATFORM, "pim_first", Options(cache=False), lambda _: None)

    def placed_with_wrong_costs(graph, feeds, before, filled):
        placed = place(graph, feeds, before, filled)
        name = next(name for name, device in placed.assignment.items() if device == "pim")
        if not before:
            return placed
        wrong = {**placed.costs.cost_us[name], "pim": placed.costs.cost_us[name]["pim"] * 1.00001}
        costs = {**placed.costs.cost_us, name: wrong}
        return replace(placed, costs=replace(placed.costs, cost_us=costs))

    exact = generate(
        generator, prompt_of(generator), PLATFORM, place, Options(rounds=1, cache=False)
    )
    assert exact.passed
    assert [phase.missed() for phase in exact.phases] == [[], []]
    assert any("pim" in phase.assignment.values() for phase in exact.phases)
    wrong = generate(
        generator, prompt_of(generator), PLATFORM, placed_with_wrong_costs, Options(rounds=1)
    )
    assert not wrong.passed
    prefill, decode = (phase.missed() for phase in wrong.phases)
    assert not prefill
    assert len(decode) == 1
    assert " on pim: predicted " in decode[0]
    report = generation_report(wrong, PLATFORM, Options(), [], Growth())
    assert report["verification"]["predictions_missed"] == [f"decode: {decode[0]}"]
    print_generation(Console(width=80), report)
    assert "NOT AS PREDICTED: 1 time that no schedule changes differs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policy", "greedy"], "policy 'greedy' needs costs, and the model device has no clock"),
        (["--policy", "best"], "unknown policy 'best'"),
        (["--policy", "cpu_serial", "--policy", "pim_first"], "executes one policy, not 2"),
    ],
)
def test_policies_that_a_generation_cannot_have(tmp_path, capsys, options, message):
    write_checkpoint(tmp_path / "tiny", "gpt2")
    command = ["sim", tmp_path / "tiny", "--generate", 2, "--device", "model", *options]
    assert pimloop(*command, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_coexecution_of_what_cannot_be_split_is_refused(tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "gpt2")
    command = ["sim", tmp_path / "tiny", "--seq", 4, "--generate", 2, "--policy", "coexec"]
    assert pimloop(*command, "--out", tmp_path / "out") == 2
    assert "no plan of policy 'coexec': no product by constant weights is wider than" in (
        " ".join(capsys.readouterr().err.split())
    )


def test_a_plan_beyond_the_capacity_is_not_executed(monkeypatch):
    costs = costs_from_dict(
        {
            "format": "pimloop-costs/1",
            "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
            "capacity_bytes": {"pim": 10},
            "nodes": [
                {
                    "id": "n",
                    "op": "MatMul",
                    "weight_bytes": 11,
                    "cost_us": {"cpu_serial": 9, "pim": 1},
                }
            ],
            "tensors": [],
        }
    )

    class Profiled:
        def __init__(self, *_, counted: bool):
            self.policies = {}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def profile(self):
            return costs

        outcome = SimpleNamespace(reused=False, cpu_profile_disturbed=False, left_out={})

    monkeypatch.setattr("pimloop.host.pipeline.pipeline.Pipeline", Profiled)
    generator, _ = tiny()
    plan = planner(load_platform("htg-z920"), "paper_dp", Options(), lambda _: None)
    with pytest.raises(
        PimloopError, match="no plan of policy 'paper_dp': its weights take 11 bytes"
    ):
        plan(generator.prefill, {}, ())
    plan = planner(load_platform("htg-z920"), "optimal", Options(), lambda _: None)
    assert plan(generator.prefill, {}, ()).assignment == {"n": "cpu_serial"}


def check_schedules(report, generation):
    """Every policy with the times of its plan, the executed one with its execution's."""
    schedules = {schedule["schedule"]: schedule for schedule in report["schedules"]}
    assert set(schedules) == {
        "optimal", "coexec", "cpu_serial", "cpu_parallel_first", "pim_first", "greedy", "paper_dp",
    }  # fmt: skip
    assert [name for name, s in schedules.items() if s["executed"]] == ["coexec"]
    for name, schedule in schedules.items():
        for phase in generation.phases:
            time = schedule["phases"][phase.name]
            executed = name == "coexec"
            wanted = phase.total_us() if executed else phase.placed.plans[name].total_us
            assert time["us"] == pytest.approx(wanted, rel=1e-12)
            if not executed:
                assert sum(time["groups_us"].values()) == pytest.approx(wanted, rel=1e-12)
            assert bool(time["pim_nodes"]) == bool(time["devices_us"].get("pim"))
            alone = name in ("cpu_serial", "cpu_parallel_first")
            assert time["pim_nodes"] == 0 if alone else time["nodes"] == len(phase.graph.nodes)
        prefill, decode = (schedule["phases"][phase.name]["us"] for phase in generation.phases)
        assert schedule["time_to_first_token_us"] == prefill
        assert schedule["us_per_token"] == decode
        assert schedule["tokens_per_s"] == pytest.approx(1e6 / decode)
    for entry, phase in zip(report["phases"], generation.phases, strict=True):
        kinds = {row["kind"]: row for row in entry["operator_kinds"]}
        assert sum(row["count"] for row in kinds.values()) == len(phase.graph.nodes)
        times = phase.times()
        assert sum(row["us"] for row in kinds.values()) == pytest.approx(times.compute_us)
        on_pim = sum(row["devices_us"].get("pim", 0) for row in kinds.values())
        assert on_pim == pytest.approx(times.pim_us)
        # Of one layer: query, key and value in one, output, two feed-forward ones, and the logits.
        assert kinds["product by weights"]["count"] == 5
        assert kinds["product of attention"]["count"] == 2
        groups = schedules["coexec"]["phases"][phase.name]["groups_us"]
        attention = kinds["product of attention"]["us"] + kinds["Softmax"]["us"]
        assert groups["attention"] == pytest.approx(attention)
        assert groups["transfers"] == pytest.approx(times.transfer_us)


def check_growth(longer, generation, place):
    """The last step costs what was planned; a longer one what its own profile says."""
    decode, config = generation.phases[1], generation.generator.config
    own, further = longer.rows
    assert (own["context"], further["context"]) == (5, 128)
    assert longer.left_out == ""
    steps = [decode.placed.costs_of(1), profiled_step(config, 128, place).costs_of(1)]
    for row, costs in zip(longer.rows, steps, strict=True):
        for name in decode.placed.plans:
            plan = partition(costs, name)
            # Operators that do not read the cache may lie elsewhere: a few clocks.
            exact = 1e-12 if row is own else 1e-4
            assert row["us"][name] == pytest.approx(plan.total_us, rel=exact)
            assert 0 < row["attention"][name] < 1
    for name in decode.placed.plans:
        assert own["us"][name] < further["us"][name]
        assert own["attention"][name] < further["attention"][name]


def profiled_step(config, context, place):
    """Return the placement of a step with a cache of so many rows, profiled as a run does."""
    options = LoadOptions(sequence_length=context - 1)
    generator = build_generator(config, RandomWeights(config, 0), 3, options)
    like = Cache(generator, used=context).feeds([0])
    return place(generator.step, like, (generator.prefill,), range(context, context + 2))


def check_no_growth(generation):
    """Nothing is made up where the costs of longer steps do not follow."""
    step, decode = generation.generator.step, generation.phases[1]
    (softmax,) = (n for n in step.nodes if n.op == "Softmax")
    costs = decode.placed.costs
    way = next(iter(costs.splits.values()))[0]
    gathered = dict.fromkeys(softmax.outputs, next(iter(way.gather_us.values())))
    reader = [replace(way, gather_us=gathered)]
    split = replace(costs, splits={**costs.splits, softmax.id: reader})
    states = replace(decode.placed.outcome, states=None)
    placed = replace(decode.placed, costs=split, outcome=states)
    for changes, reason in (
        ({"options": Options(objective="makespan")}, MAKESPAN),
        ({"phases": [*generation.phases[:1], replace(decode, placed=placed)]}, SPLIT),
        ({"phases": [*generation.phases[:1], replace(decode, placed=Placed({}, "x"))]}, NO_COSTS),
    ):
        nothing = growth(replace(generation, **changes), lambda _: None)
        assert (nothing.rows, nothing.left_out) == ((), reason)


def check_pages(report, generation, folder, capsys):
    """The page, and one of `sim`'s for each phase; the terminal at two widths."""
    published = []
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:  # what it draws is tested with `pimloop sim`
        patch.setattr(publish, "publish", lambda *arguments, plots: published.append(arguments))
        write_pages(generation, report, folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    for part in (
        "Co-execution", "CPU serial", "product of attention", 'href="decode/report.html"',
        "Planned anew for each length",
    ):  # fmt: skip
        assert part in text
    assert "<script" not in text
    times, *energies = re.split('<div class="breakdown" data-view="energy">', text)
    width = r'class="part [^"]*" style="width:([\d.]+)%'
    # Behind a phase's energy are the times of the next one.
    split = [re.split("</details>", part, maxsplit=1) for part in energies]
    causes = [list(map(float, re.findall(width, drawn))) for drawn, _ in split]
    # Of every schedule, executed or planned, in causes: 8 groups of them, 3 without the PIM.
    drawn = [
        sum(
            any(schedule["phases"][phase["name"]]["causes_j"][cause] for cause in group)
            for schedule in report["schedules"]
            for *_, group in GROUPS
        )
        for phase in report["phases"]
    ]
    assert [len(parts) for parts in causes] == drawn == [5 * 8 + 2 * 3] * 2
    shares = [float(x) for part in (times, *(rest for _, rest in split))
              for x in re.findall(width, part)]  # fmt: skip
    assert len(shares) == 2 * 7 * 4
    longest = max(sum(shares[at : at + 4]) for at in range(0, len(shares), 4))
    assert longest == pytest.approx(100, abs=0.001)
    assert [place for *_, place in published] == [folder / "prefill", folder / "decode"]
    for phase, (inner, graph, place) in zip(generation.phases, published, strict=True):
        assert place.is_dir()
        assert graph is phase.graph
        assert check_report(inner)["main_schedule"] == "coexec"
        took = inner["schedules"]["coexec"]["executed_us"]
        assert took == pytest.approx(phase.total_us(), rel=1e-12)
    wrong = copy.deepcopy(report)
    wrong["verification"] |= {"passed": False, "steps_wrong": ["step 2 <b>"]}
    page = render(wrong, {})
    assert "verification FAILED" in page
    assert "step 2 &lt;b&gt;" in page
    assert "decode/report.html" not in page
    for width in (80, 200):
        capsys.readouterr()
        print_generation(Console(width=width), report)
        printed = capsys.readouterr().out
        assert all(len(line) <= width for line in printed.splitlines() if line[:1] in "┏┃│└ ")
        for cell in ("coexec", "executed", "planned", "product by weights", "transfers", "cache"):
            assert cell in printed


def test_both_phases_split_products_between_cpu_and_pim(tmp_path, monkeypatch, capsys):
    """Planned with splits, executed as planned, bit for bit; the decode step behind the prompt's.

    Products so small are faster whole, so whole ones are made dear where a split is offered.
    """
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    config = replace(TINY["gpt2"], layers=1, intermediate=1536, positions=256)
    generator = build_generator(config, RandomWeights(config, 0), 3, LoadOptions(sequence_length=4))
    place = planner(PLATFORM, None, Options(rounds=1), lambda _: None)

    def split(graph, feeds, before, filled):
        placed = place(graph, feeds, before, filled)
        assert placed.policy == "coexec"
        costs = placed.costs
        assert costs.splits
        dear = {
            name: {d: us * 100 for d, us in times.items()} if name in costs.splits else times
            for name, times in costs.cost_us.items()
        }
        chosen = partition(replace(costs, cost_us=dear), "coexec").assignment
        problem = Problem.of(costs, with_splits=True)
        plan = assignment_plan(problem, "coexec", chosen, "sequential", method="test")
        assert set(plan.splits) == set(costs.splits)
        return replace(placed, assignment=chosen, plan=plan)

    generation = generate(generator, prompt_of(generator), PLATFORM, split, Options(rounds=1))
    assert generation.passed
    assert [phase.missed() for phase in generation.phases] == [[], []]
    for phase in generation.phases:
        assert phase.result.pim_bit_exact
        assert phase.total_us() == pytest.approx(phase.plan.total_us, rel=1e-12)
    whole = generate(generator, prompt_of(generator), PLATFORM, on_cpu, MODEL)
    for ours, theirs in zip(generation.tokens, whole.tokens, strict=True):
        if not ours.judged:
            break
        assert ours.token == theirs.token
    longer = growth(generation, lambda _: None)
    report = generation_report(generation, PLATFORM, Options(), [], longer)
    assert [phase["split_nodes"] for phase in report["phases"]] == [
        len(phase.plan.splits) for phase in generation.phases
    ]
    check_schedules(report, generation)
    check_growth(longer, generation, place)
    check_no_growth(generation)
    check_pages(report, generation, tmp_path / "out", capsys)
    # The plain command's plan is the one of the costs as they are.
    assert place(generator.prefill, {"input_ids": prompt_of(generator)}, ()).plan.optimal
    kept = planner(PLATFORM, "optimal", Options(rounds=1), lambda _: None)
    assert not kept(generator.prefill, {"input_ids": prompt_of(generator)}, ()).costs.splits


def test_longer_caches_on_the_pim_are_simulated(tmp_path, monkeypatch):
    """What reads the cache takes on the PIM what a profile of the longer step finds."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    config = replace(TINY["gpt2"], layers=1, positions=256)
    changes = {"activation_matmul": True, "elementwise_max_rank": 8, "operands": "any"}
    platform = load_platform("htg-z920", {f"capabilities.{k}": v for k, v in changes.items()})
    generator = build_generator(config, RandomWeights(config, 0), 3, LoadOptions(sequence_length=4))
    place = planner(platform, "pim_first", Options(rounds=1), lambda _: None)
    generation = generate(generator, prompt_of(generator), platform, place, Options(rounds=1))
    assert generation.passed
    longer = growth(generation, lambda _: None)
    check_growth(longer, generation, place)
    step = generation.generator.step
    states = {state.whole for state in step.states}
    readers = [node.id for node in step.nodes if states & set(node.inputs)]
    assert len(readers) == 2
    assert {generation.phases[1].assignment[name] for name in readers} == {"pim"}


@pytest.mark.parametrize("name", ["native", "aim"])
def test_longer_caches_are_measured_where_times_are(name, tmp_path, monkeypatch, capsys):
    """Conversions and copies cost what a profile of the longer step finds, operators more alone.

    All conversions are timed as 7 us, operators alone too, with the longer cache as 9 us.
    """
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))

    def timed(steps, *, rounds=10, warmup=2, window=None):
        assert min(step.run() for step in steps) >= 0
        us = {step.name: 9.0 if step.name.endswith("longer") else 7.0 for step in steps}
        return {step: Timing(us[step], us[step], rounds, disturbed=name == "aim") for step in us}

    for module in ("execution.cpu_times", "execution.runner"):
        monkeypatch.setattr(f"pimloop.host.{module}.time_rounds", timed)
    costs_of = {}
    row = growth_module._row

    def kept(graph, context, costs, policies):
        costs_of[context] = costs
        return row(graph, context, costs, policies)

    monkeypatch.setattr(growth_module, "_row", kept)
    config = replace(TINY["gpt2"], layers=2, positions=256)
    platform, options = load_platform(name), Options(rounds=1)
    generator = build_generator(config, RandomWeights(config, 0), 3, LoadOptions(sequence_length=4))
    place = planner(platform, "pim_first", options, lambda _: None)
    generation = generate(generator, prompt_of(generator), platform, place, options)
    longer = growth(generation, lambda _: None)
    assert longer.left_out == ""
    assert [entry["context"] for entry in longer.rows] == [5, 128]
    own, ours = costs_of[5], costs_of[128]
    assert longer.disturbed == (name == "aim" or own.cpu_times_disturbed)
    theirs = profiled_step(config, 128, place).costs_of(1)
    step = generator.step
    changed = {n for n, d in own.cost_us.items() if d["pim" if "pim" in d else "cpu_serial"]
               and ours.cost_us[n] != d}  # fmt: skip
    softmax = [node.id for node in step.nodes if node.op == "Softmax"]
    assert len(softmax) == 2
    assert changed >= set(softmax)
    for node in changed:
        for device in ("cpu_serial", "cpu_parallel"):
            assert ours.cost_us[node][device] == pytest.approx(own.cost_us[node][device] + 2)
        if "pim" in own.cost_us[node]:
            # Behind another prompt, so at other addresses: a few clocks.
            wanted = theirs.cost_us[node]["pim"]
            assert ours.cost_us[node]["pim"] == pytest.approx(wanted, rel=1e-3)
    moved = 0
    for tensor, moves in ours.transfer_us.items():
        for move, us in moves.items():
            if us != own.transfer_us[tensor][move]:
                assert us == pytest.approx(theirs.transfer_us[tensor][move], rel=1e-9)
                moved += 1
    assert moved >= 2 * len(softmax)
    report = generation_report(generation, platform, options, [], longer)
    print_generation(Console(width=100), report)
    assert "ms a token by rows of the cache, planned" in capsys.readouterr().out


def test_both_phases_overlap_beside_their_splits_when_asked(monkeypatch, tmp_path, capsys):
    """`--shares` asks for co-execution under the makespan objective too, which leaves it out."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    config = replace(TINY["gpt2"], layers=1, intermediate=1536)
    generator = build_generator(config, RandomWeights(config, 0), 2, LoadOptions(sequence_length=4))
    for shares, policy in ((16, "coexec"), (None, "optimal")):
        options = Options(rounds=1, objective="makespan", shares=shares, time_limit_s=5.0)
        place = planner(PLATFORM, None, options, lambda _: None)
        generation = generate(generator, prompt_of(generator), PLATFORM, place, options)
        assert generation.passed
        assert [phase.missed() for phase in generation.phases] == [[], []]
        assert [phase.placed.policy for phase in generation.phases] == [policy] * 2
        for phase in generation.phases:
            assert bool(phase.placed.costs.splits) == (policy == "coexec")
            assert phase.total_us() == pytest.approx(phase.plan.total_us, rel=1e-12)
        print_generation(
            Console(width=200), generation_report(generation, PLATFORM, options, [], Growth())
        )
        left_out = capsys.readouterr().out.count("coexec left out: with the objective makespan")
        assert left_out == (0 if shares else 2)


def test_a_policy_without_costs_places_on_the_model_device(tmp_path, capsys):
    write_checkpoint(tmp_path / "tiny", "gpt2")
    command = ["sim", tmp_path / "tiny", "--seq", 4, "--generate", 2, "--device", "model",
               "--policy", "cpu_parallel_first", "--out", tmp_path / "out", "--json"]  # fmt: skip
    assert pimloop(*command) == 0
    report = json.loads(capsys.readouterr().out)
    for phase in report["phases"]:
        assert set(phase["assignment"].values()) == {"cpu_parallel"}
        assert phase["schedule"] == "cpu_parallel_first"


def test_shapes_are_not_for_generation(tmp_path, capsys):
    assert pimloop("sim", "gpt2", "--generate", 2, "--shape", "input_ids=1,4") == 2
    assert "--seq, not from --shape" in capsys.readouterr().err


def test_steps_on_the_simulator_take_the_same_cycles():
    generator, _ = tiny(5, 4)
    options = Options(rounds=1, cache=False)
    generation = generate(generator, prompt_of(generator), PLATFORM, on_pim, options)
    assert generation.passed
    prefill, decode = generation.phases
    assert len(set(decode.cycles())) == 1
    assert 0 < decode.cycles()[0] < prefill.cycles()[0]
    assert decode.times().total_us > 0
    tokens = [step.token for step in generation.tokens]
    again = generate(generator, prompt_of(generator), PLATFORM, on_pim, MODEL)
    assert tokens == [step.token for step in again.tokens]


@pytest.mark.full
def test_gpt2_of_full_size():
    config = BUILT_IN["gpt2"]
    options = LoadOptions(sequence_length=64)
    generator = build_generator(config, RandomWeights(config), 16, options)
    prompt = prompt_of(generator)
    generation = generate(generator, prompt, PLATFORM, on_pim, Options(rounds=2))
    assert generation.passed
    assert len(set(generation.phases[1].cycles())) == 1
    assert sum(step.judged for step in generation.tokens) > 0
    assert generation.phases[0].graph.outputs[0] == LOGITS


def test_a_folder_of_a_decoder_generates_from_the_command_line(tmp_path, capsys):
    write_decoder(tmp_path / "tiny", "qwen3", dtype="BF16")
    command = ["sim", str(tmp_path / "tiny"), "--seq", "5", "--generate", "3", "--device", "model"]
    command += ["--batch", "2", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "6 of 6 tokens equal float32's" in printed
    report = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert (report["batch"], len(report["prompt"]), len(report["tokens"])) == (2, 10, 6)
    assert report["command"][-4:] == ["--batch", "2", "--generate", "3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--generate", "3", "--seq", "62"], "together at most 64"),
        (["--generate", "3", "--batch", "17"], "1 to 16 sequences are generated at once"),
        (["--seq", "65"], "sequence length 65 is outside 1..64"),
    ],
)
def test_what_a_decoder_cannot_do_is_one_error(options, message, tmp_path, capsys):
    write_decoder(tmp_path, "qwen3")
    assert main(["sim", str(tmp_path), "--device", "model", *options]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    "damage", ["truncated", "missing", "surplus", "shape", "heads", "key heads", "unknown"]
)
def test_a_damaged_folder_of_a_decoder_is_one_error(damage, tmp_path, capsys):
    write_decoder(tmp_path, "llama" if damage == "heads" else "gemma2")
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    data = json.loads(config.read_text())
    content, wanted = path.read_bytes(), ""
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
        wanted = "is truncated: weight 'model.layers."
    elif damage == "missing":
        path.write_bytes(content.replace(b"post_feedforward_layer", b"post_feedforward_lAyer"))
        wanted = "'model.layers.0.post_feedforward_layernorm.weight' of shape [48] is missing"
    elif damage == "surplus":
        data["num_hidden_layers"] = 2
        wanted = "11 weights have no place in the model that config.json names: model.layers.2."
    elif damage == "shape":
        data["intermediate_size"] = 71
        wanted = (
            "weight 'model.layers.0.mlp.gate_proj.weight' has the shape [72, 48], config.json asks"
            " for [71, 48]"
        )
    elif damage == "heads":
        data |= {"num_attention_heads": 5, "num_key_value_heads": 5}
        wanted = "hidden size 48 is no multiple of 5 heads"
    elif damage == "key heads":
        data["num_key_value_heads"] = 3
        wanted = "4 heads (num_attention_heads) are no multiple of the 3 heads"
    else:
        path.write_bytes(content.replace(b'"F32"', b'"F9 "', 1))
        wanted = "has the unknown type 'F9 '"
    config.write_text(json.dumps(data))
    assert main(["sim", str(tmp_path), "--generate", "2", "--device", "model"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert wanted in printed
    assert "Traceback" not in printed
