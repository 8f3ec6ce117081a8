"""Values that bfloat16 cannot hold: constants kept off the PIM, NaN and infinities found and named.

The models are the shapes in which exporters and bug reports have them, on devices of both styles.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from pimloop.host.common import golden
from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.accuracy import compare
from pimloop.host.execution.executor import Executor
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import execute_model
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.operators import Capabilities, kept_on_cpu, pim_capable
from pimloop.host.pipeline.pipeline import execute_once
from pimloop.host.pipeline.record import from_dict, to_dict
from pimloop.host.planning.policies import pim_first
from pimloop.host.platforms.platform import load_platform

FINFO_MIN = np.finfo(np.float32).min
LARGEST = float(golden.bf16_to_f32(np.array([0x7F7F], np.uint16))[0])
PLATFORMS = ("htg-z920", "aim", "native")


def model(nodes, inputs, outputs, constants=None):
    def infos(shapes):
        return {name: TensorInfo(shape, np.dtype(kind)) for name, (shape, kind) in shapes.items()}

    made = [helper.make_node(op, ins, outs, name=outs[0], **kw) for op, ins, outs, kw in nodes]
    raw = RawModel("small", made, constants or {}, infos(inputs), tuple(outputs), {"": 17})
    return normalize(raw)


def masked_softmax(shape, mask_shape):
    """(1 - mask) * finfo.min added to scores, as exporters write a padding mask."""
    return model(
        [
            ("Sub", ["one", "mask"], ["i"], {}),
            ("Mul", ["i", "fm"], ["b"], {}),
            ("Add", ["s", "b"], ["z"], {}),
            ("Softmax", ["z"], ["y"], {"axis": -1}),
        ],
        {"s": (shape, "f4"), "mask": (mask_shape, "f4")},
        ["y"],
        {"one": np.float32(1).reshape(()), "fm": np.float32(FINFO_MIN).reshape(())},
    )


def executed(graph, feeds, platform):
    outcome = execute_once(
        graph, feeds, platform, "pim_first", pim_first(graph, platform.capabilities),
        Options(backend="model", jobs=1, rounds=1), lambda _: None,
    )  # fmt: skip
    return outcome, outcome.schedules["pim_first"].result


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize(
    ("shape", "mask_shape"), [((1, 2, 8, 8), (1, 1, 1, 8)), ((1, 8, 8), (1, 1, 8))]
)
def test_a_mask_of_the_least_float32_gives_float32s_values(name, shape, mask_shape):
    graph = masked_softmax(shape, mask_shape)
    platform = load_platform(name)
    feeds = {
        "s": np.random.default_rng(0).standard_normal(shape).astype(np.float32),
        "mask": (np.arange(8) < 5).astype(np.float32).reshape(mask_shape),
    }
    outcome, result = executed(graph, feeds, platform)
    assert result.passed
    wanted = run_reference(graph, feeds)["y"]
    np.testing.assert_allclose(result.outputs["y"], wanted, rtol=0.02, atol=1e-6)
    assert (result.outputs["y"][..., 5:] == 0).all()
    four_axes_on_the_board = name == "htg-z920" and len(shape) == 4
    assert list(outcome.kept_on_cpu) == ([] if four_axes_on_the_board else ["b"])
    assert result.assignment["b"] != "pim"
    if not four_axes_on_the_board:
        assert result.assignment["z"] == "pim"


def test_constants_are_judged_by_their_values():
    def capable(value):
        graph = model(
            [("Mul", ["x", "c"], ["y"], {})], {"x": ((2, 32), "f4")}, ["y"],
            {"c": np.full((1,), value, np.float32)},
        )  # fmt: skip
        kept = kept_on_cpu(graph, Capabilities())
        assert bool(kept) != bool(pim_capable(graph, Capabilities()))
        assert all("'c'" in reason for reason in kept.values())
        return not kept

    limit = np.float32(golden.OVERFLOW)
    assert not capable(limit)
    assert not capable(-limit)
    assert capable(np.nextafter(limit, np.float32(0)))
    assert capable(np.float32(LARGEST))
    for special in (np.inf, -np.inf, np.nan):
        assert capable(special)  # bfloat16 has them too
    assert golden.overflows(np.array([np.inf, np.nan, FINFO_MIN], np.float32))
    assert not golden.overflows(np.array([np.inf, np.nan, -LARGEST], np.float32))
    assert not golden.overflows(np.zeros(0, np.float32))


def test_operators_without_an_operation_are_not_named():
    graph = model(
        [("Div", ["x", "c"], ["y"], {})], {"x": ((2, 32), "f4")}, ["y"],
        {"c": np.full((1,), FINFO_MIN, np.float32)},
    )  # fmt: skip
    assert kept_on_cpu(graph, Capabilities()) == {}


def test_finite_operands_stay_finite():
    values = np.array([3.4e38, -3.4e38, np.inf, -np.inf, np.nan, 1.0, 3.39e38], np.float32)
    bits = golden.operand_bits(values)
    back = golden.bf16_to_f32(bits)
    assert back[:2].tolist() == [LARGEST, -LARGEST]
    assert back[2:4].tolist() == [np.inf, -np.inf]
    assert bits[4] == golden.NAN_BF16
    finite = np.isfinite(values)
    assert (np.abs(back[finite] / values[finite] - 1) < 2.0**-8).all()
    ordinary = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    assert (golden.operand_bits(ordinary) == golden.to_bf16_bits(ordinary)).all()


@pytest.mark.parametrize("name", PLATFORMS)
def test_activations_near_the_largest_float32(name):
    graph = model(
        [("Mul", ["x", "c"], ["y"], {})], {"x": ((4, 32), "f4")}, ["y"],
        {"c": np.array([0.5], np.float32)},
    )  # fmt: skip
    feeds = {"x": np.full((4, 32), 3.4e38, np.float32)}
    _, result = executed(graph, feeds, load_platform(name))
    assert result.passed
    assert result.execution.pim
    np.testing.assert_allclose(result.outputs["y"], 1.7e38, rtol=2.0**-8)


@pytest.mark.parametrize("name", PLATFORMS)
def test_nan_and_infinities_that_float32_has_pass(name):
    platform = load_platform(name)
    roots = model([("Sqrt", ["x"], ["y"], {})], {"x": ((80,), "f4")}, ["y"])
    _, result = executed(roots, {"x": np.linspace(-1, 4, 80, dtype=np.float32)}, platform)
    assert result.passed
    assert np.isnan(result.outputs["y"][0])
    rng = np.random.default_rng(2)
    mask = np.where(np.arange(100) < 40, -np.inf, 0).astype(np.float32)
    logits = model(
        [("MatMul", ["x", "w"], ["l"], {}), ("Add", ["l", "m"], ["y"], {})],
        {"x": ((2, 16), "f4")}, ["y"],
        {"w": rng.standard_normal((16, 100)).astype(np.float32), "m": mask},
    )  # fmt: skip
    _, result = executed(logits, {"x": rng.standard_normal((2, 16)).astype(np.float32)}, platform)
    assert result.passed
    assert len(result.execution.pim) == 2
    assert (result.outputs["y"][:, :40] == -np.inf).all()
    comparison = result.comparisons[0]
    assert 0 < comparison.relative_l2 <= comparison.limit
    assert comparison.elements == 200


@pytest.mark.parametrize("name", PLATFORMS)
def test_subnormal_products_are_within_their_rounding(name):
    graph = model(
        [("Mul", ["x", "c"], ["y"], {})], {"x": ((4, 32), "f4")}, ["y"],
        {"c": np.array([3e-20], np.float32)},
    )  # fmt: skip
    platform = load_platform(name)
    _, result = executed(graph, {"x": np.full((4, 32), 1e-20, np.float32)}, platform)
    assert result.passed
    # 3e-40 is 3.27 of the distance of subnormals, 2^-133.
    assert (result.outputs["y"] == np.float32(3 * 2.0**-133)).all()


def test_subnormal_constants_are_within_their_rounding_and_no_more():
    rng = np.random.default_rng(3)
    graph = model(
        [("MatMul", ["x", "w"], ["y"], {})], {"x": ((8, 16), "f4")}, ["y"],
        {"w": (rng.standard_normal((16, 64)) * 1e-39).astype(np.float32)},
    )  # fmt: skip
    feeds = {"x": rng.standard_normal((8, 16)).astype(np.float32)}
    _, result = executed(graph, feeds, load_platform("htg-z920"))
    assert 0 < result.operator_errors["y"] <= 1
    values = {"y": result.outputs["y"] + np.float32(2.0**-131)}
    (comparison,) = compare(graph, result.assignment, values, run_reference(graph, feeds))
    assert not comparison.passed  # four distances off are no rounding


def overflowing_sum(tail=()):
    """2e38 + 1.4e38: 3.4e38 in float32, infinite in bfloat16."""
    return model(
        [
            ("Relu", ["x"], ["r"], {}),
            ("Add", ["r", "x2"], ["s"], {}),
            ("Tanh", ["s"], ["t"], {}),
            *tail,
            ("ArgMax", ["t"], ["y"], {"axis": -1}),
        ],
        {"x": ((70, 32), "f4"), "x2": ((70, 32), "f4")}, ["y"],
    )  # fmt: skip


def overflowing_feeds():
    feeds = {name: np.zeros((70, 32), np.float32) for name in ("x", "x2")}
    feeds["x"][3, 5], feeds["x2"][3, 5] = 2e38, 1.4e38
    return feeds


@pytest.mark.parametrize("name", ["htg-z920", "aim"])
def test_an_infinity_that_float32_does_not_have_fails_and_is_named(name):
    graph, platform = overflowing_sum(), load_platform(name)
    _, result = executed(graph, overflowing_feeds(), platform)
    # The only output is integer and right: nothing else would say so.
    assert all(comparison.passed for comparison in result.comparisons)
    assert not result.passed
    (first,) = result.non_finite
    assert (first.node, first.device, first.first) == ("s", "pim", (3, 5))
    assert (first.computed, first.wanted, first.different) == ("+inf", "finite", 1)
    assert "s (Add, pim)" in str(first)
    again = from_dict(to_dict(result), graph, platform, result.options)
    assert again.non_finite == result.non_finite
    assert not again.passed
    assignment = pim_first(graph, platform.capabilities)
    alone = execute_model(graph, overflowing_feeds(), assignment, platform, result.options)
    assert alone.non_finite == result.non_finite


def test_the_first_operator_is_named_inside_a_segment():
    # bfloat16 rounds 1 + 2^-12 to 1: its logarithm is 0, and the reciprocal of that infinite.
    graph = model(
        [
            ("Add", ["x", "one"], ["s"], {}),
            ("Log", ["s"], ["l"], {}),
            ("Reciprocal", ["l"], ["q"], {}),
            ("Neg", ["q"], ["y"], {}),
        ],
        {"x": ((4, 32), "f4")}, ["y"],
        {"one": np.ones((32,), np.float32)},
    )  # fmt: skip
    feeds = {"x": np.full((4, 32), 2.0**-12, np.float32)}
    _, result = executed(graph, feeds, load_platform("aim"))
    assert not result.passed
    assert [(f.node, f.op, f.computed) for f in result.non_finite] == [("q", "Reciprocal", "+inf")]


def test_a_plan_that_puts_such_an_operator_on_the_pim_is_refused():
    graph = masked_softmax((1, 8, 8), (1, 1, 8))
    operations = pim_capable(graph, Capabilities())
    assignment = {node.id: "cpu_serial" for node in graph.nodes} | {"b": "pim"}
    with pytest.raises(Exception, match="constant 'fm' overflows bfloat16"):
        Executor(graph, assignment, operations)
