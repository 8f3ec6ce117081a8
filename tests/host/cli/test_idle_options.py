"""Every option of every command, in every mode: it changes what is done, or it is refused.

Commands run up to where their work begins. What that work is given is compared with and without an
option; what a backend has no use for is left out of the comparison, so that an option that is only
handed on to it counts as one that does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_checkpoints import write_checkpoint

import pimloop
import pimloop.host.cli
import pimloop.host.pipeline.generate as host_generate
from pimloop.errors import PimloopError
from pimloop.host.calibration import measure
from pimloop.host.cli import (
    bench,
    build_parser,
    calibrate,
    generate,
    generation_sweep,
    kernels,
    selftest,
    validate_board,
)
from pimloop.host.common import golden_compiled
from pimloop.host.common.idle import Idle
from pimloop.host.execution.options import Options
from pimloop.host.models import loader
from pimloop.host.models.graph import Graph
from pimloop.host.models.loader import build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline import cluster, pipeline, sweep, waves
from pimloop.host.planning import policies
from pimloop.host.planning.keys import model_key
from pimloop.host.platforms.platform import platform_path
from pimloop.partitioner import ort_trace
from pimloop.partitioner.place.optimum import DEFAULT_TIME_LIMIT_S
from pimloop.partitioner.profile import plan as profile_plan

#: How much is said, and where results go: done after the work, whatever it was.
AFTERWARDS = {"json", "quiet", "no_plots", "out", "output", "outputs", "write", "why", "help"}

#: They allow something and do nothing where it does not occur.
PERMISSIONS = {"other_shapes"}

#: What the functional model makes no use of: it has no clock, no lanes, no lists, and never waits.
UNUSED_ON_MODEL = ("flavour", "cache", "device_timeout", "objective", "time_limit_s", "shares")

#: Values other than the defaults, by option.
SAMPLES = {
    "--seq": "5", "--shape": "input_ids=2,6", "--axis": "sequence=6", "--batch": "2",
    "--inputs": "in.npz", "--seed": "3", "--platform": "aim", "--set": "pim.lanes=8",
    "--device": "model", "--lanes": "rtl", "--objective": "makespan", "--jobs": "7",
    "--generate": "2", "--why": "y", "--plan": "plan.json", "--node": "y", "--timeout": "5",
    "--waves": "w.fst", "--command-trace": "c.txt", "--command-trace-format": "drampower",
    "--broadcast": "row", "--method": "mincut",
    "--time-limit": "5", "--capacity-bytes": "1000", "--group": "signature", "--mode": "paper",
    "--edge": "e.json", "--statistic": "median", "--cores": "77", "--rounds": "3",
    "--models": "gpt2", "--scheduler": "tcp://x:1", "--parts": "lanes", "--runs": "2",
    "--costs": "costs.json", "--cpu-serial": "a", "--cpu-parallel": "b", "--pim": "c",
    "--policy": "greedy", "--shares": "8", "--quantize": "w8", "--steps": "2",
}  # fmt: skip
SAMPLES_OF = {
    "validate-board": {"--seq": "16"},
    "calibrate": {"--platform": "other.toml", "--costs": ["bert-small", "4", "costs.json"]},
    "run": {"--policy": "cpu_serial"},
    "models": {"--inputs": "two.npz"},
    "sweep": {"--seq": "5,6", "--axis": "sequence=6,7", "--set": "pim.lanes=8,16"},
}

MODES = {
    "profile": [["encoder", "-o", "x.json"],
                ["m.onnx", "--seq", "4", "-o", "x.json", "--device", "model"]],
    "waves": [["m.onnx", "--seq", "4", "--node", "y"],
              ["m.onnx", "--seq", "4", "--node", "y", "--device", "model"]],
    "gemm": [["1", "2", "3", *device]
             for device in ([], ["--device", "model"], ["--device", "board"])],
    "elementwise": [["add", "2", "3", *device]
                    for device in ([], ["--device", "model"], ["--device", "board"])],
    "selftest": [[], ["--device", "model"], ["--device", "board"]],
    "sweep": [["encoder"], ["m.onnx", "--seq", "4"], ["encoder", "m.onnx", "--seq", "4"],
              ["m.onnx", "--inputs", "in.npz"],
              ["encoder", "--scheduler", "tcp://x:1"],
              ["decoder", "--generate", "3"]],
    "models": [[], ["list"], ["show", "encoder"], ["show", "m.onnx", "--seq", "4"],
               ["show", "bert-small"]],
    "quantize": [["encoder", "--weights", "w8"]],
    "profile-plan": [["--costs", "costs.json"], ["--costs", "costs.json", "--mode", "paper"]],
    "dcg": [["--costs", "costs.json"]],
    "import-ort": [["--cpu-serial", "a", "--cpu-parallel", "b", "--pim", "c", "-o", "x.json"]],
    "calibrate": [[], ["--board"], ["--costs", "bert-small", "4", "costs.json"]],
    "validate-board": [[]],
    "bench sim": [[]],
    "platforms": [[], ["show", "aim"]],
    "report": [["folder"]],
    "policies": [[]],
    "schema": [[], ["pimloop-plan/2"]],
    "doctor": [[]],
}  # fmt: skip
MODES["sim"] = [
    [*model, *device]
    for model in (
        ["encoder"], ["m.onnx", "--seq", "4"], ["encoder", "--inputs", "encoder.npz"],
        ["m.onnx", "--inputs", "in.npz"], ["bert-small"], ["decoder", "--generate", "3"],
        ["decoder", "--generate", "3", "--policy", "cpu_serial"],
    )
    for device in ([], ["--device", "model"])
]  # fmt: skip
MODES["run"] = [
    [*model, *how, *device]
    for model in (["encoder"], ["m.onnx", "--seq", "4"], ["encoder", "--inputs", "encoder.npz"])
    for how in ([], ["--policy", "cpu_serial"], ["--policy", "optimal"], ["--plan", "plan.json"])
    for device in ([], ["--device", "model"])
]
MODES["partition"] = [
    ["--costs", "costs.json", "--policy", policy, "--objective", objective, *method]
    for policy in ("optimal", "coexec", "all", "greedy", "cpu_serial")
    for objective in ("sequential", "makespan")
    for method in ([], ["--method", "mincut"], ["--method", "ilp"])
    if not method or policy in ("optimal", "coexec", "all")
]


#: Modes that are refused by themselves: the model device has no signals, and a folder is missing.
WITHOUT_WORK = [
    *(mode for mode in MODES["waves"] if "model" in mode),
    ["folder"],
]


class Reached(Exception):
    """The work of a command begins; holds what it is given."""


def normal(value):
    """Return a value as text, by content, that is equal when the same work is asked for."""
    if isinstance(value, Graph):
        return model_key(value)
    if isinstance(value, np.ndarray):
        return repr((value.dtype, value.shape, value.tobytes()))
    if isinstance(value, Options):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        unused = ("command", *(UNUSED_ON_MODEL if value.backend == "model" else ()))
        return repr(sorted((k, repr(v)) for k, v in fields.items() if k not in unused))
    if isinstance(value, dict):
        return repr([(key, normal(each)) for key, each in value.items()])
    if isinstance(value, list | tuple):
        return repr([normal(each) for each in value])
    if hasattr(value, "prefill"):  # a generator of tokens
        return normal([value.prefill, value.step, value.tokens])
    if callable(value):
        return getattr(value, "__qualname__", "function").split("<")[0]
    return repr(value)


def stopping(name, *, keep=None):
    """Return a function that stops the command; `keep` of its positional arguments count."""

    def work(*arguments, **options):
        raise Reached(normal([name, arguments[:keep], options]))

    return work


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with models, inputs and files."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_files(folder)
    return folder


@pytest.fixture(scope="module")
def built_once():
    """Return a `build_graph` that draws random weights, and builds from them, once each."""
    graphs = {}

    def build(config, weights, options):
        if not isinstance(weights, RandomWeights):
            return build_graph(config, weights, options)
        given = [getattr(options, field.name) for field in dataclasses.fields(options)]
        key = normal([config, weights._seed, given])
        if key not in graphs:
            graphs[key] = build_graph(config, weights, options)
        return graphs[key]

    return build


@pytest.fixture
def work(tmp_path, files, built_once, monkeypatch):
    """Copy models, inputs and files to the current folder, and stop commands at their work."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(loader, "build_graph", built_once)
    # Loaded once a process; a command that loads it looks for the compiler, and so would run
    # into what stops the benchmark.
    golden_compiled._load()
    opened = {}

    @contextlib.contextmanager
    def open_device(platform, backend="sim", **options):
        unused = {"model": ("flavour", "timeout"), "board": ("flavour", "timeout")}.get(backend, ())
        options = {name: value for name, value in options.items() if name not in unused}
        opened.update(platform=platform, backend=backend, options=options)
        yield backend

    def kernel(device, *arguments, timeout, **options):
        waits = None if device == "model" else timeout
        raise Reached(normal([arguments, options, waits, opened]))

    def machine_samples(rounds, progress):
        opened["rounds"] = rounds
        return [], False

    monkeypatch.setattr(kernels, "open_device", open_device)
    monkeypatch.setattr(selftest, "open_device", open_device)
    monkeypatch.setattr(
        selftest,
        "run_selftest",
        lambda it, note: kernel(it.device, it.platform, timeout=it.timeout),
    )
    monkeypatch.setattr(kernels, "run_gemm", kernel)
    monkeypatch.setattr(kernels, "run_elementwise", kernel)
    monkeypatch.setattr(validate_board, "open_device", open_device)
    monkeypatch.setattr(
        validate_board, "compare", lambda *cell: stopping("compare")(cell[:2], opened)
    )
    monkeypatch.setattr(measure, "machine_samples", machine_samples)
    monkeypatch.setattr(calibrate, "samples_of", lambda *_, **__: [])
    monkeypatch.setattr(calibrate, "fit", lambda *given: stopping("fit")(given, opened))
    monkeypatch.setattr(generate, "planner", lambda *given: normal(given[:3]))
    monkeypatch.setattr(host_generate, "generate", stopping("generate", keep=5))
    monkeypatch.setattr(cluster, "on_cluster", lambda address: address)
    monkeypatch.setattr(sweep, "locally", lambda progress: "here")
    monkeypatch.setattr(sweep, "run_sweep", stopping("sweep", keep=4))
    monkeypatch.setattr(
        generation_sweep,
        "run_generation_sweep",
        lambda args, *given: stopping("generations", keep=3)(*given, args.generate),
    )
    monkeypatch.setattr(pipeline, "Pipeline", stopping("pipeline", keep=4))
    monkeypatch.setattr(pipeline, "execute_once", stopping("execute"))
    monkeypatch.setattr(waves, "record_operator", stopping("waves"))
    monkeypatch.setattr(policies, "make_plan", stopping("plan"))
    monkeypatch.setattr(profile_plan, "plan_profile", stopping("profile plan"))
    monkeypatch.setattr(ort_trace, "import_ort", stopping("import"))
    monkeypatch.setattr(bench.subprocess, "run", stopping("bench", keep=1))


def write_files(folder):
    for name, kind in (("encoder", "bert"), ("decoder", "gpt2")):
        write_checkpoint(folder / name, kind)
    axes = ["batch", "sequence"]
    x = helper.make_tensor_value_info("input_ids", TensorProto.FLOAT, axes)
    image, filtered = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, size, size])
        for name, size in (("image", 6), ("filtered", 4))
    )
    kernels_of = numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Mul", ["input_ids", "input_ids"], ["square"], "y"),
        helper.make_node("FusedMatMul", ["square", "square"], ["y"], "product",
                         domain="com.microsoft", transB=1),
        helper.make_node("Conv", ["image", "w"], ["filtered"], "conv"),
    ]  # fmt: skip
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "batch"])
    graph = helper.make_graph(nodes, "g", [x, image], [y, filtered], [kernels_of])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), "m.onnx")
    for name, batch in (("in.npz", 1), ("two.npz", 2)):
        values = {"input_ids": (batch, 4), "image": (1, 2, 6, 6)}
        np.savez(name, **{name: np.ones(shape, np.float32) for name, shape in values.items()})
    text = platform_path("htg-z920").read_text()
    changed = text.replace('value = 32768\nunit = "bytes"', 'value = 65536\nunit = "bytes"')
    assert changed != text
    (folder / "other.toml").write_text(changed)
    loaded = pimloop.load_model(folder / "encoder", tokens=4)
    np.savez("encoder.npz", **{name: np.ones((1, 4), np.int64) for name in loaded.graph.inputs})
    moves = {"cpu>pim": 1, "pim>cpu": 1}
    costs = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
        "nodes": [{"id": "a", "op": "Add", "cost_us": {"cpu_serial": 2, "pim": 9}}],
        "tensors": [
            {"id": "x", "producer": None, "consumers": ["a"], "output": False,
             "transfer_us": moves},
            {"id": "y", "producer": "a", "consumers": [], "output": True, "transfer_us": moves},
        ],
    }  # fmt: skip
    (folder / "costs.json").write_text(json.dumps(costs))
    plan = {"format": "pimloop-plan/1", "assignment": {}}
    (folder / "plan.json").write_text(json.dumps(plan))


def done(capsys, words):
    """Return what a command's work is given, or what it prints; None when it is refused."""
    try:
        code = pimloop.host.cli.main(words)
    except Reached as given:
        capsys.readouterr()
        return str(given)
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert code in (0, 1, 2), words
    assert "Traceback" not in captured.err
    return None if code == 2 else captured.out


def parsers():
    """Return the parser of every command, by its words."""
    waiting, complete = [("", build_parser())], {}
    while waiting:
        name, parser = waiting.pop()
        inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        waiting += [(f"{name} {word}".strip(), p) for a in inner for word, p in a.choices.items()]
        if not inner:
            complete[name] = parser
    return complete


def test_every_command_has_its_modes():
    assert set(MODES) == set(parsers())


@pytest.mark.parametrize(
    ("command", "mode"),
    [(command, mode) for command, modes in MODES.items() for mode in modes],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_an_option_changes_what_is_done_or_is_refused(command, mode, work, capsys):
    base = [*command.split(), *mode]
    without = done(capsys, base)
    assert (without is None) == (mode in WITHOUT_WORK)
    idle = []
    for action in parsers()[command]._actions:
        if not action.option_strings or action.dest in AFTERWARDS | PERMISSIONS:
            continue
        option = max(action.option_strings, key=len)
        option = "--lanes" if action.dest == "flavour" else option
        if option in mode:
            continue
        words = [option]
        if action.nargs != 0:
            sample = SAMPLES_OF.get(command, {}).get(option, SAMPLES[option])
            words += sample if isinstance(sample, list) else [sample]
        changed = done(capsys, [*base, *words])
        if changed is not None and changed == without:  # a refused mode has no options
            idle.append(option)
    assert idle == []


def test_the_values_of_options_that_are_not_given_are_the_parsers():
    checked = 0
    for name, parser in parsers().items():
        table = getattr(parser.get_default("func"), "idle", ())
        for idle in (rule for rule in table if isinstance(rule, Idle)):
            for option, unset in idle.options.items():
                if any(action.dest == option for action in parser._actions):
                    assert parser.get_default(option) == unset, (name, option)
                    checked += 1
    assert checked > 40
    assert DEFAULT_TIME_LIMIT_S == 60.0  # of `pimloop.partition`, in host/planning/idle.py


REFUSED = [
    (["partition", "--costs", "costs.json", "--policy", "greedy", "--method", "dp"],
     "--method would do nothing: it is how the optimum is found, and policy greedy places by a"),
    (["partition", "--costs", "costs.json", "--policy", "pim_first", "--time-limit", "5"],
     "--time-limit would do nothing: policy pim_first places by a rule of its own"),
    (["partition", "--costs", "costs.json", "--method", "mincut", "--time-limit", "5"],
     "--time-limit would do nothing: it bounds integer programming, which --method mincut does"),
    (["gemm", "1", "1", "1", "--device", "model", "--timeout", "5"],
     "--timeout would do nothing: the model device answers at once"),
    (["sim", "encoder", "--device", "model", "--objective", "makespan"],
     "--objective would do nothing: the model device has no clock"),
    (["sim", "encoder", "--device", "model", "--no-cache"],
     "--no-cache would do nothing: the model device simulates nothing"),
    (["sim", "encoder", "--policy", "greedy"], "--policy would do nothing: it is for coexec"),
    (["run", "encoder", "--policy", "cpu_serial", "--lanes", "rtl"],
     "--lanes would do nothing: policy cpu_serial puts no operator on the PIM"),
    (["run", "m.onnx", "--inputs", "in.npz", "--seed", "3"],
     "--seed would do nothing: the inputs are given, and m.onnx has weights of its own"),
    (["models", "show", "encoder", "--seed", "3"], "--seed would do nothing: a model is shown"),
    (["sim", "decoder", "--generate", "2", "--device", "model", "--jobs", "3"],
     "--jobs would do nothing: the model device has no clock, so --generate profiles nothing"),
    (["sweep", "encoder", "--im2col"], "--im2col would do nothing: no model of the sweep is an"),
    (["sim", "encoder", "--shares", "1", "--policy", "coexec"],
     "--policy coexec cannot be done with --shares 1: one share leaves every product whole; ask"),
    (["sim", "decoder", "--generate", "2", "--policy", "coexec", "--shares", "1"],
     "--policy coexec cannot be done with --shares 1: one share leaves every product whole; ask"),
    (["profile-plan", "--costs", "costs.json", "--mode", "paper", "--time-limit", "5"],
     "--time-limit would do nothing: the paper's algorithm asks no exact solver"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(w) for w, _ in REFUSED])
def test_the_reason_is_said(words, message, work, capsys):
    assert pimloop.host.cli.main(words) == 2
    assert message in capsys.readouterr().err


CALLS = [
    (lambda: pimloop.simulate("encoder", device="model", objective="makespan"),
     "objective would do nothing: the model device has no clock"),
    (lambda: pimloop.simulate("encoder", device="model", fresh=True),
     "fresh would do nothing: the model device measures nothing"),
    (lambda: pimloop.simulate("encoder", policies=["greedy"]),
     "policies would do nothing: they are coexec and policies of"),
    (lambda: pimloop.simulate("encoder", policies=["coexec"], shares=1),
     "policies coexec cannot be done with shares 1: one share leaves every product whole; ask"),
    (lambda: pimloop.partition("costs.json", "greedy", time_limit_s=5.0),
     "time_limit_s would do nothing: policy greedy places by a rule of its own"),
    (lambda: pimloop.load_model("m.onnx", inputs=np.load("in.npz"), seed=3),
     "seed would do nothing: the inputs are given, and m.onnx has weights of its own"),
    (lambda: pimloop.load_model("encoder", keep_fused=True),
     "--keep-fused would do nothing: model encoder has no fused operators"),
    (lambda: pimloop.load_model("encoder", axes={"past": 3}), "--axis is for .onnx files"),
    (lambda: pimloop.simulate(pimloop.load_model("encoder", tokens=4), tokens=4), "is loaded"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_the_functions_refuse_the_same(call, message, work):
    with pytest.raises(PimloopError) as caught:
        call()
    assert message in str(caught.value)


LENGTHS = [
    (["--axis", "sequence=8", "--seq", "16"], "8 by --axis sequence=8, 16 by --seq 16"),
    (["--shape", "input_ids=1,8", "--seq", "16"], "8 by --shape of 'input_ids', 16 by --seq 16"),
    (["--inputs", "in.npz", "--seq", "16"], "4 by the given values of 'input_ids', 16 by --seq"),
    (["--axis", "batch=3", "--seq", "4", "--batch", "2"], "3 by --axis batch=3, 2 by --batch 2"),
    (["--inputs", "in.npz", "--batch", "2"], "1 by the given values of 'input_ids', 2 by --batch"),
    (["--inputs", "in.npz", "--axis", "sequence=8"], "8 by --axis sequence=8"),
    (["--shape", "input_ids=1,8", "--axis", "sequence=9"], "9 by --axis sequence=9"),
]


@pytest.mark.parametrize(("options", "message"), LENGTHS, ids=[" ".join(o) for o, _ in LENGTHS])
def test_one_name_has_one_length_or_both_are_named(options, message, work, capsys):
    assert pimloop.host.cli.main(["models", "show", "m.onnx", *options]) == 2
    err = capsys.readouterr().err
    assert "would have two lengths: " in err
    assert message in err


@pytest.mark.parametrize(
    "options",
    [
        ["--axis", "sequence=8", "--seq", "8"],
        ["--shape", "input_ids=2,8", "--seq", "8", "--batch", "2"],
        ["--inputs", "in.npz", "--seq", "4", "--batch", "1"],
    ],
    ids=" ".join,
)
def test_the_same_length_may_be_said_twice(options, work, capsys):
    assert pimloop.host.cli.main(["models", "show", "m.onnx", *options]) == 0
