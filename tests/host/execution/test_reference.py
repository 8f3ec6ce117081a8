"""Outputs against float32: no false alarm where a model amplifies rounding, none missed.

Every kind of output is executed right, and once with a fault: in CPU memory, where no check of PIM
results sees it, or in float32's place, as a wrong value of the run would look.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_reference
from pimloop.host.cpu.segments import SessionCache, split
from pimloop.host.execution.accuracy import compared_tensors
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.options import Options
from pimloop.host.execution.reference import decisions as decisions_of
from pimloop.host.execution.reference.judge import judge
from pimloop.host.execution.reference.segments import wrong_results
from pimloop.host.execution.reference.sensitivity import measure
from pimloop.host.execution.verification import Verifier
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.operators import pim_capable
from pimloop.host.pim.device.open import open_device
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.pipeline.pipeline import execute_once
from pimloop.host.pipeline.record import from_dict, to_dict
from pimloop.host.planning.policies import pim_first
from pimloop.host.platforms.platform import load_platform

AIM = load_platform("aim")
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((64, 64)).astype(np.float32)
TABLE = RNG.standard_normal((64, 64)).astype(np.float32)
ROWS = RNG.standard_normal((400, 64)).astype(np.float32)
PRODUCT = ("MatMul", ["x", "w"], ["l"], {})
ARGMAX = ("ArgMax", ["l"], ["a"], {"axis": -1, "keepdims": 0})
CONSTANTS = {
    "w": WEIGHT,
    "t": TABLE,
    "zero": np.zeros((), np.float32),
    "scale": np.array(0.5, np.float32),
    "point": np.array(0, np.int8),
    "k": np.array([5], np.int64),
    "near": np.array([1.001], np.float32),
    "step": np.full((64,), 0.01, np.float32),
    "one": np.ones((), np.float32),
}


def model(nodes, outputs, opset=17, kind="f4"):
    made = [helper.make_node(op, ins, outs, name=outs[0], **kw) for op, ins, outs, kw in nodes]
    used = {name for node in made for name in node.input}
    constants = {
        name: v.astype(kind) if v.dtype == np.float32 else v
        for name, v in CONSTANTS.items() if name in used
    }  # fmt: skip
    inputs = {"x": TensorInfo(ROWS.shape, np.dtype(kind))}
    return normalize(RawModel("small", made, constants, inputs, tuple(outputs), {"": opset}))


def executed(graph, feeds=None):
    feeds = feeds or {"x": ROWS.astype(graph.tensors["x"].dtype)}
    outcome = execute_once(
        graph, feeds, AIM, "pim_first", pim_first(graph, AIM.capabilities),
        Options(backend="model", jobs=1, rounds=1), lambda _: None,
    )  # fmt: skip
    result = outcome.schedules["pim_first"].result
    assert result.execution.pim
    return result


class Run:
    """A run whose values can be changed before they are judged."""

    def __init__(self, graph):
        self.graph = graph
        self.feeds = {"x": ROWS.astype(graph.tensors["x"].dtype)}
        operations = pim_capable(graph, AIM.capabilities)
        assignment = pim_first(graph, AIM.capabilities)
        with (
            open_device(AIM, "model") as device,
            PimDriver(device) as driver,
            ResidentModel(graph, operations, driver) as resident,
            Verifier(graph) as verifier,
        ):
            self.executor = Executor(
                graph, assignment, operations, resident,
                verifier=verifier, keep=compared_tensors(graph),
            )  # fmt: skip
            self.executor.load_weights()
            self.execution = self.executor.run(self.feeds)
            assert verifier.wait(60)
        outputs = tuple(dict.fromkeys((*graph.outputs, *compared_tensors(graph))))
        self.wanted = run_reference(graph, self.feeds, outputs=outputs)

    def judge(self):
        return judge(self.executor, self.execution, self.feeds, self.wanted)


# -- integers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "outputs", "rule"),
    [
        ([PRODUCT, ARGMAX], ["a"], "margin of ArgMax a"),
        ([PRODUCT, ("ArgMin", ["l"], ["a"], {"axis": 1})], ["a"], "margin of ArgMin a"),
        ([PRODUCT, ("TopK", ["l", "k"], ["v", "i"], {})], ["v", "i"], "margin of TopK v"),
        ([PRODUCT, ("Greater", ["l", "zero"], ["g"], {})], ["g"], "margin of Greater g"),
        ([PRODUCT, ("Cast", ["l"], ["c"], {"to": TensorProto.INT32})], ["c"], "margin of Cast c"),
        (
            [PRODUCT, ("QuantizeLinear", ["l", "scale", "point"], ["q"], {})],
            ["q"],
            "margin of QuantizeLinear q",
        ),
        (
            [PRODUCT, ("DynamicQuantizeLinear", ["l"], ["q", "s", "z"], {})],
            ["q", "s", "z"],
            "margin of DynamicQuantizeLinear q",
        ),
        ([PRODUCT, ("Round", ["l"], ["r"], {})], ["r"], "margin of Round r"),
    ],
)
@pytest.mark.parametrize("kind", ["f4", "f2"])
def test_integers_differ_by_their_margin_only(nodes, outputs, rule, kind):
    if kind == "f2" and {"QuantizeLinear", "DynamicQuantizeLinear"} & {node[0] for node in nodes}:
        pytest.skip("operator set 17 quantizes float32 only")
    graph = model(nodes, outputs, kind=kind)
    result = executed(graph)
    assert result.passed
    (comparison,) = (each for each in result.integers if each.rule == rule)
    exact = run_reference(graph, {"x": ROWS.astype(kind)}, outputs=(comparison.tensor,))[
        comparison.tensor
    ]
    assert 0 < comparison.different <= comparison.elements == exact.size
    assert comparison.different == (result.execution.values[comparison.tensor] != exact).sum()
    assert comparison.beyond == 0
    assert 0 < comparison.margin <= comparison.bound
    assert all(other.passed for other in result.integers)
    again = from_dict(to_dict(result), graph, AIM, result.options)
    assert again.integers == result.integers
    assert again.passed


@pytest.mark.parametrize("opset", [9, 17])
def test_an_index_that_no_rounding_gives_is_wrong(opset):
    run = Run(model([PRODUCT, ARGMAX], ["a"], opset))
    (right,) = run.judge().integers
    assert right.passed
    assert not run.executor.wrong_segments()
    values = run.executor.values(("l", "a"))
    row = int(np.argmax(np.ptp(values["l"], axis=1)))
    values["a"][row] = values["l"][row].argmin()  # in CPU memory: as a faulty segment leaves it
    run.execution.values["a"] = values["a"].copy()
    (wrong,) = run.judge().integers
    assert wrong.beyond == 1
    assert wrong.margin > 10 * wrong.bound
    (text,) = run.executor.wrong_segments()
    assert text.startswith("a: 1 of 400 elements differ from what the operators from a to a")


def test_the_margin_is_float32s():
    run = Run(model([PRODUCT, ARGMAX], ["a"]))
    (comparison,) = run.judge().integers
    logits = run_reference(run.graph, run.feeds, outputs=("l",))["l"].astype(np.float64)
    rows = np.flatnonzero(run.execution.values["a"] != run.wanted["a"])
    margins = logits.max(axis=1)[rows] - logits[rows, run.execution.values["a"][rows]]
    assert comparison.different == len(rows)
    assert min(abs(margins - comparison.margin)) < 1e-5


def test_integers_without_rounding_must_be_equal():
    nodes = [
        PRODUCT,
        ("Cast", ["x"], ["i"], {"to": TensorProto.INT32}),
        ("Neg", ["i"], ["n"], {}),
    ]
    run = Run(model(nodes, ["l", "n"]))
    assert [comparison.rule for comparison in run.judge().integers] == ["exact"]
    run.executor.values(("n",))["n"][7, 3] += 1
    run.execution.values["n"][7, 3] += 1
    # A decision, but of the model's input, which nothing rounds.
    (comparison,) = run.judge().integers
    assert comparison.beyond == 1
    assert run.executor.wrong_segments()


# -- behind decisions, cancellations, quantizers ---------------------------------------------------


@pytest.mark.parametrize("behind", ["table", "product"])
def test_what_follows_a_decision_is_compared_given_the_decision(behind):
    nodes = [PRODUCT, ARGMAX, ("Gather", ["t", "a"], ["g"], {})]
    if behind == "product":
        nodes.append(("MatMul", ["g", "w"], ["y"], {}))
    output = nodes[-1][2][0]
    run = Run(model(nodes, [output]))
    computed, wanted = run.execution.values[output], run.wanted[output]
    assert np.linalg.norm(computed - wanted) > 0.05 * np.linalg.norm(wanted)  # other rows
    verdict = run.judge()
    (comparison,) = verdict.comparisons
    assert comparison.passed
    assert comparison.given == "a"
    assert comparison.relative_l2 < 0.005
    (decision,) = verdict.integers
    assert decision.passed
    assert 0 < decision.different < 10
    run.execution.values[output][3] = run.execution.values[output][4]  # another row's values
    assert not run.judge().comparisons[0].passed


AMPLIFYING = {
    "difference": [
        PRODUCT, ("Mul", ["x", "near"], ["x2"], {}), ("MatMul", ["x2", "w"], ["l2"], {}),
        ("Sub", ["l", "l2"], ["y"], {}),
    ],
    "difference on the CPU": [
        PRODUCT, ("Add", ["l", "step"], ["l2"], {}), ("Neg", ["l"], ["n"], {}),
        ("Sum", ["l2", "n"], ["y"], {}),
    ],
    "division": [PRODUCT, ("Div", ["one", "l"], ["y"], {})],
    "exponential": [PRODUCT, ("Mul", ["l", "l"], ["s"], {}), ("Exp", ["s"], ["e"], {}),
                    ("Log", ["e"], ["g"], {}), ("Softmax", ["g"], ["y"], {})],
    "one element": [
        PRODUCT, ("ReduceSum", ["l"], ["y"], {"keepdims": 0}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in AMPLIFYING if name != "exponential"])
@pytest.mark.parametrize("opset", [11, 17])
def test_what_amplifies_rounding_has_a_measured_limit(name, opset):
    run = Run(model(AMPLIFYING[name], ["y"], opset))
    comparison = run.judge().comparisons[0]
    assert comparison.passed
    if name != "one element":
        assert comparison.measured
        assert comparison.relative_l2 > comparison.limit / 50
    run.execution.values["y"] = run.wanted["y"] * np.float32(1000)
    assert not run.judge().comparisons[0].passed


def test_runs_that_round_spread_as_the_rounding_does():
    graph = model([PRODUCT, ("Relu", ["l"], ["y"], {})], ["y"])
    feeds = {"x": ROWS}
    wanted = run_reference(graph, feeds, outputs=("l", "y"))
    on_pim = {"l": "pim", "y": "cpu_serial"}
    spread = measure(graph, on_pim, feeds, wanted)
    # Operands, weights and results are rounded, each by 2^-8.56 / sqrt(3) in the mean square, and
    # the first and the last were moved by up to 2^-9 before.
    assert 0.0025 < spread.relative_l2["l"] < 0.0045
    rounded = golden.bf16_to_f32(golden.matmul(*map(golden.to_bf16_bits, (ROWS, WEIGHT))))
    off = np.abs(rounded - wanted["l"])
    assert (off <= spread.bound("l")).mean() > 0.999
    nowhere = measure(graph, dict.fromkeys(on_pim, "cpu_serial"), feeds, wanted)
    assert nowhere.relative_l2["l"] < 1e-6
    whole = measure(graph, on_pim, {"x": np.zeros_like(ROWS)}, run_reference(
        graph, {"x": np.zeros_like(ROWS)}, outputs=("l",)))  # fmt: skip
    assert whole.relative_l2["l"] == 0  # zeros need no rounding


def test_an_error_within_the_model_is_no_rounding_of_it():
    """A dropped row of weights shows against the measured limit, however the output is made."""
    run = Run(model([PRODUCT, ("Exp", ["l"], ["e"], {}), ("Log", ["e"], ["y"], {})], ["y"]))
    assert run.judge().comparisons[0].passed
    dropped = WEIGHT.copy()
    dropped[3] = 0
    run.execution.values["y"] = ROWS @ dropped
    (comparison,) = run.judge().comparisons
    assert comparison.measured
    assert not comparison.passed


# -- CPU memory ------------------------------------------------------------------------------------


def test_a_value_changed_behind_the_pim_is_seen():
    graph = model([("Abs", ["x"], ["r"], {}), ("MatMul", ["r", "w"], ["l"], {}),
                   ("Neg", ["l"], ["y"], {})], ["y"])  # fmt: skip
    run = Run(graph)
    assert run.executor.wrong_segments() == []
    buffers = run.executor.values(("r", "l", "y"))
    for name, text in (("r", "took"), ("l", "made")):
        kept = buffers[name][5, 5]
        buffers[name][5, 5] = np.float32(3)
        wrong = run.executor.wrong_segments()
        assert any(f"{name}: CPU memory has changed since the PIM {text} it" in w for w in wrong)
        buffers[name][5, 5] = kept
    buffers["y"].view(np.uint32)[0, 0] ^= 1 << 22  # one bit of a float
    (text,) = run.executor.wrong_segments()
    assert "y: 1 of 25600 elements differ" in text


def test_segments_that_only_round_otherwise_are_right():
    graph = model([PRODUCT, ("Neg", ["l"], ["y"], {})], ["y"])
    on_cpu = dict.fromkeys(("l", "y"), "cpu_serial")
    (segment,) = split(graph, on_cpu)
    values = {"x": ROWS, **run_reference(graph, {"x": ROWS}, outputs=("y",))}
    assert not wrong_results(
        graph, segment, values.__getitem__, ("y",), SessionCache(prepack=False)
    )
    values["y"] = np.nextafter(values["y"], np.float32(0))
    assert not wrong_results(
        graph, segment, values.__getitem__, ("y",), SessionCache(prepack=False)
    )
    values["y"] = values["y"] * np.float32(1 + 1e-4)
    assert wrong_results(graph, segment, values.__getitem__, ("y",), SessionCache(prepack=False))


# -- outputs that are special ----------------------------------------------------------------------


def test_outputs_of_zeros_no_elements_and_one_element():
    zeros = executed(model([PRODUCT, ("Mul", ["l", "zero"], ["y"], {})], ["y"]))
    assert zeros.passed
    assert zeros.comparisons[0].relative_l2 == 0
    run = Run(model([PRODUCT, ("Mul", ["l", "zero"], ["y"], {})], ["y"]))
    run.execution.values["y"][1, 1] = 1e-3  # of zeros alone the error counts
    assert not run.judge().comparisons[0].passed
    empty = model([("Neg", ["x"], ["y"], {})], ["y"])
    empty = replace(
        empty, tensors={n: TensorInfo((0, 64), i.dtype) for n, i in empty.tensors.items()}
    )
    feeds = {"x": ROWS[:0]}
    outcome = execute_once(
        empty, feeds, AIM, "cpu", {"y": "cpu_serial"}, Options(backend="model", jobs=1, rounds=1),
        lambda _: None,
    )  # fmt: skip
    assert outcome.passed


def test_float64_beyond_the_squares_it_can_hold():
    made = [helper.make_node("Mul", ["x", "x"], ["y"], name="y")]
    graph = normalize(
        RawModel("wide", made, {}, {"x": TensorInfo((80,), np.dtype("f8"))}, ("y",), {"": 17})
    )
    for size in (1e150, 1e-150):
        feeds = {"x": np.linspace(1, 2, 80) * size}
        outcome = execute_once(
            graph, feeds, AIM, "cpu", {"y": "cpu_serial"},
            Options(backend="model", jobs=1, rounds=1), lambda _: None,
        )  # fmt: skip
        (comparison,) = outcome.schedules["cpu"].result.comparisons
        assert comparison.passed
        assert comparison.cosine == 1


def test_decisions_are_those_behind_rounded_values():
    ids = TensorInfo((4,), np.dtype(np.int64))
    nodes = [
        helper.make_node("Gather", ["t", "ids"], ["e"], name="e"),  # exact: a table by ids
        helper.make_node("Greater", ["e", "zero"], ["exact"], name="exact"),
        helper.make_node("MatMul", ["e", "w"], ["l"], name="l"),
        helper.make_node("Round", ["l"], ["r"], name="r"),
        helper.make_node("Cast", ["r"], ["c"], name="c", to=TensorProto.INT64),
        helper.make_node("ArgMax", ["l"], ["unused"], name="unused", axis=-1),
        helper.make_node("Neg", ["c"], ["y"], name="y"),
    ]
    graph = normalize(
        RawModel("ids", nodes, {k: CONSTANTS[k] for k in ("t", "w", "zero")}, {"ids": ids},
                 ("y", "exact"), {"": 17})
    )  # fmt: skip
    (only,) = decisions_of.decisions(graph, graph.outputs)
    assert (only.node.id, only.reads, only.results) == ("r", ("l",), ("r",))
