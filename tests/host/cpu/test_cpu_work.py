"""Operators that are written differently and compute the same cost the same; the rest is named."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cpu_model import MODEL, PARAMETERS, graph_of, product, us

from pimloop.host.cpu.model import CpuModel
from pimloop.host.cpu.work import operator_work
from pimloop.host.models.graph import Graph

DEVICES = ("cpu_serial", "cpu_parallel")


def contrib(graph: Graph) -> Graph:
    """Return the graph with its operator in ONNX Runtime's own domain."""
    node = replace(graph.nodes[0], domain="com.microsoft")
    return replace(graph, nodes=(node,))


def basis(graph: Graph) -> str:
    return operator_work(graph, graph.nodes[0]).basis


def macs(graph: Graph) -> float:
    """Return the multiply-adds of all parts."""
    work = operator_work(graph, graph.nodes[0])
    return sum(
        part.amounts.get("product_mac_ns", 0) + part.amounts.get("batched_mac_ns", 0)
        for part in (work, *work.parts)
    )


def assert_equal_prices(graph: Graph, other: Graph) -> None:
    for device in DEVICES:
        assert us(graph, device) == pytest.approx(us(other, device), rel=1e-12), device


# ---- Einsum ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "left", "right", "out", "matmul"),
    [
        ("ij,jk->ik", (32, 64), (64, 48), (32, 48), ((32, 64), (64, 48))),
        ("ij,jk", (32, 64), (64, 48), (32, 48), ((32, 64), (64, 48))),
        (" i j , j k -> i k ", (32, 64), (64, 48), (32, 48), ((32, 64), (64, 48))),
        ("ij,kj->ik", (32, 64), (48, 64), (32, 48), ((32, 64), (64, 48))),
        ("kj,ik->ij", (64, 48), (32, 64), (32, 48), ((32, 64), (64, 48))),
        ("bij,jk->bik", (2, 32, 64), (64, 48), (2, 32, 48), ((2, 32, 64), (64, 48))),
        ("...ij,jk->...ik", (2, 3, 8, 64), (64, 48), (2, 3, 8, 48), ((2, 3, 8, 64), (64, 48))),
        ("...ij,...jk", (2, 8, 64), (2, 64, 48), (2, 8, 48), ((2, 8, 64), (2, 64, 48))),
        ("bij,bjk->bik", (4, 32, 64), (4, 64, 48), (4, 32, 48), ((4, 32, 64), (4, 64, 48))),
        ("bij,bjk->bik", (1, 32, 64), (1, 64, 48), (1, 32, 48), ((1, 32, 64), (1, 64, 48))),
        ("bhqd,bhkd->bhqk", (1, 12, 9, 64), (1, 12, 7, 64), (1, 12, 9, 7),
         ((1, 12, 9, 64), (1, 12, 64, 7))),
        ("abmk,bkn->abmn", (2, 3, 8, 16), (3, 16, 5), (2, 3, 8, 5), ((2, 3, 8, 16), (3, 16, 5))),
        ("mk,bkn->bmn", (8, 16), (3, 16, 5), (3, 8, 5), ((8, 16), (3, 16, 5))),
        ("...ij,...jk->...ik", (2, 3, 8, 16), (1, 3, 16, 5), (2, 3, 8, 5),
         ((2, 3, 8, 16), (1, 3, 16, 5))),
        ("ij,j->i", (32, 64), (64,), (32,), ((32, 64), (64,))),
        ("j,jk->k", (64,), (64, 48), (48,), ((1, 64), (64, 48))),
    ],
)  # fmt: skip
def test_an_einsum_that_is_a_matmul_costs_what_it_costs(
    equation: str, left: Any, right: Any, out: Any, matmul: Any
) -> None:
    einsum = graph_of("Einsum", [left, right], out, equation=equation)
    assert basis(einsum) == "derived"
    assert_equal_prices(einsum, graph_of("MatMul", list(matmul), out))


def test_the_einsum_of_the_issue() -> None:
    """A product of 18,023 us was priced 68.3 as an Einsum."""
    shapes: list[tuple[int, ...]] = [(16, 768), (768, 768)]
    einsum = graph_of("Einsum", shapes, (16, 768), equation=b"ij,jk->ik")
    assert us(einsum) == pytest.approx(us(product(16, 768, 768)))
    assert us(einsum) > 13_000


@given(data=st.data())
def test_an_einsum_counts_the_multiply_adds_of_its_labels(data: Any) -> None:
    """Every label once: that is how many multiply-adds a contraction of two operands takes."""
    sizes = {label: data.draw(st.integers(2, 5)) for label in "abcdef"}
    left = "".join(data.draw(st.permutations("abcd")))
    right = "".join(data.draw(st.permutations("cdef")))
    out = "".join(data.draw(st.permutations("abcef")))
    graph = graph_of(
        "Einsum",
        [tuple(sizes[x] for x in left), tuple(sizes[x] for x in right)],
        tuple(sizes[x] for x in out),
        equation=f"{left},{right}->{out}",
    )
    assert macs(graph) == prod(sizes.values())


def test_einsums_of_one_and_three_operands() -> None:
    trace = graph_of("Einsum", [(64, 64)], (64,), equation="ij->i")
    assert operator_work(trace, trace.nodes[0]).amounts == {"reduce_ns": 64 * 64}
    turned = graph_of("Einsum", [(64, 32)], (32, 64), equation="ij->ji")
    assert operator_work(turned, turned.nodes[0]).amounts == {"permute_ns": 64 * 32}
    chain = graph_of("Einsum", [(4, 8), (8, 16), (16, 2)], (4, 2), equation="ij,jk,kl->il")
    assert macs(chain) == 4 * 8 * 16 + 4 * 16 * 2
    scaled = graph_of("Einsum", [(4, 8), (4, 8)], (4, 8), equation="ij,ij->ij")
    assert operator_work(scaled, scaled.nodes[0]).amounts == {"stream_ns": 3 * 32}


# ---- convolutions ------------------------------------------------------------------------------


def test_the_convolution_of_the_issue() -> None:
    """115.6 M multiply-adds take a Cortex-A53 about 95,900 us by its own rate, not 778.6."""
    conv = graph_of("Conv", [(1, 64, 56, 56), (64, 64, 3, 3)], (1, 64, 56, 56), constants=(1,),
                    pads=[1, 1, 1, 1])  # fmt: skip
    assert macs(conv) == 115_605_504
    assert macs(conv) * PARAMETERS.product_mac_ns / 1e3 == pytest.approx(95_900, rel=1e-3)
    assert us(conv) == pytest.approx(95_900, rel=0.01)
    assert basis(conv) == "derived"


def test_a_pointwise_convolution_is_its_matrix_product() -> None:
    conv = graph_of("Conv", [(1, 96, 7, 7), (32, 96, 1, 1)], (1, 32, 7, 7), constants=(1,))
    assert_equal_prices(conv, product(49, 96, 32))


@pytest.mark.parametrize(
    ("weights", "out", "attributes"),
    [
        ((32, 16, 3, 3), (2, 32, 14, 14), {}),
        ((32, 16, 3, 3), (2, 32, 6, 6), {"strides": [2, 2]}),
        ((32, 16, 3, 3), (2, 32, 12, 12), {"dilations": [2, 2]}),
        ((32, 4, 3, 3), (2, 32, 14, 14), {"group": 4}),
        ((16, 1, 3, 3), (2, 16, 14, 14), {"group": 16}),
    ],
)
def test_a_convolution_counts_what_it_multiplies(
    weights: tuple[int, ...], out: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    conv = graph_of("Conv", [(2, 16, 16, 16), weights], out, constants=(1,), **attributes)
    assert macs(conv) == prod(out) * weights[1] * 9
    # The other way round: every input element meets every weight of its group.
    back = graph_of("ConvTranspose", [out, weights], (2, 16, 16, 16), constants=(1,), **attributes)
    assert macs(back) == macs(conv)


@pytest.mark.parametrize(("op", "index"), [("ConvInteger", 1), ("QLinearConv", 3)])
def test_integer_convolutions(op: str, index: int) -> None:
    shapes: list[tuple[int, ...]] = [(1, 16, 16, 16), (), (), ()]
    shapes.insert(index, (32, 16, 3, 3))
    conv = graph_of(op, shapes, (1, 32, 14, 14), constants=(index,))
    plain = graph_of("Conv", [(1, 16, 16, 16), (32, 16, 3, 3)], (1, 32, 14, 14), constants=(1,))
    assert_equal_prices(conv, plain)


# ---- other products ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "shapes", "domain", "attributes"),
    [
        ("MatMulInteger", [(8, 96), (96, 48)], "", {}),
        ("QLinearMatMul", [(8, 96), (), (), (96, 48), (), (), (), ()], "", {}),
        ("QGemm", [(8, 96), (), (), (48, 96), (48,), ()], "com.microsoft", {"transB": 1}),
        ("MatMulNBits", [(8, 96), (48, 1, 48), (48,)], "com.microsoft",
         {"K": 96, "N": 48, "bits": 4, "block_size": 96}),
        ("DynamicQuantizeMatMul", [(8, 96), (96, 48), (48,)], "com.microsoft", {}),
        ("FusedMatMul", [(96, 8), (48, 96)], "com.microsoft", {"transA": 1, "transB": 1}),
        ("FusedGemm", [(8, 96), (96, 48), (48,)], "com.microsoft", {"activation": "Relu"}),
    ],
)  # fmt: skip
def test_products_of_any_type_cost_what_the_matmul_costs(
    op: str, shapes: list[tuple[int, ...]], domain: str, attributes: dict[str, Any]
) -> None:
    graph = graph_of(op, shapes, (8, 48), **attributes)
    graph = contrib(graph) if domain else graph
    assert basis(graph) == "derived"
    assert_equal_prices(graph, product(8, 96, 48))


def test_a_fused_product_of_batches() -> None:
    fused = contrib(graph_of("FusedMatMul", [(4, 9, 64), (4, 7, 64)], (4, 9, 7), transB=1))
    assert_equal_prices(fused, graph_of("MatMul", [(4, 9, 64), (4, 64, 7)], (4, 9, 7)))
    turned = contrib(graph_of("FusedMatMul", [(9, 4, 64), (4, 64, 7)], (4, 9, 7), transBatchA=1))
    assert_equal_prices(turned, fused)


# ---- attention and recurrent layers ------------------------------------------------------------

B, S, T, H, D = 2, 6, 10, 4, 16
CORE = 2 * B * H * S * T * D


def as_operators(queries: int, keys: int) -> float:
    """Return the time of attention as MatMul, Softmax and MatMul, in one call."""
    scores, soft, values = (
        graph_of("MatMul", [(B, H, queries, D), (B, H, D, keys)], (B, H, queries, keys)),
        graph_of("Softmax", [(B, H, queries, keys)], (B, H, queries, keys)),
        graph_of("MatMul", [(B, H, queries, keys), (B, H, keys, D)], (B, H, queries, D)),
    )
    calls = PARAMETERS.function_call_us + PARAMETERS.batched_call_us
    return us(scores) + us(soft) + us(values) - calls


@pytest.mark.parametrize(
    "graph",
    [
        graph_of("Attention", [(B, H, S, D), (B, H, T, D), (B, H, T, D)], (B, H, S, D)),
        graph_of("Attention", [(B, S, H * D), (B, T, 2 * D), (B, T, 2 * D)], (B, S, H * D),
                 q_num_heads=H, kv_num_heads=2),
        contrib(graph_of("MultiHeadAttention", [(B, S, H * D), (B, T, H * D), (B, T, H * D)],
                         (B, S, H * D), num_heads=H)),
        contrib(graph_of("MultiHeadAttention", [(B, S, H * D), (B, H, T, D), (B, H, T, D)],
                         (B, S, H * D), num_heads=H)),
        contrib(graph_of("GroupQueryAttention",
                         [(B, S, H * D), (B, S, 2 * D), (B, S, 2 * D), (B, 2, T - S, D)],
                         (B, S, H * D), num_heads=H, kv_num_heads=2)),
    ],
    ids=["4d", "3d", "multi-head", "multi-head, heads apart", "group query"],
)  # fmt: skip
def test_attention_costs_its_products_and_softmax(graph: Graph) -> None:
    assert macs(graph) == CORE
    assert us(graph) == pytest.approx(as_operators(S, T))
    assert basis(graph) == "derived"


@pytest.mark.parametrize(("op", "past"), [("Attention", 4), ("QAttention", 8)])
def test_projected_attention_adds_its_projection(op: str, past: int) -> None:
    width = H * D
    shapes: list[tuple[int, ...]] = [(B, S, width), (width, 3 * width)]
    plain = contrib(graph_of(op, shapes, (B, S, width), num_heads=H))
    assert macs(plain) == B * S * width * 3 * width + 2 * B * H * S * S * D
    shapes += [(1,)] * (past - 2) + [(2, B, H, T - S, D)]
    cached = contrib(graph_of(op, shapes, (B, S, width), num_heads=H))
    assert macs(cached) == B * S * width * 3 * width + CORE


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_count_every_step(op: str, gates: int) -> None:
    steps, batch, width, hidden = 20, 2, 48, 32
    for directions in (1, 2):
        graph = graph_of(
            op,
            [(steps, batch, width), (directions, gates * hidden, width),
             (directions, gates * hidden, hidden)],
            (steps, directions, batch, hidden),
            constants=(1, 2),
            hidden_size=hidden,
        )  # fmt: skip
        count = steps * batch * directions * gates * hidden * (width + hidden)
        assert macs(graph) == count
        assert us(graph) > count * PARAMETERS.product_mac_ns / 1e3
        assert basis(graph) == "derived"


# ---- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "reads"),
    [
        (graph_of("MaxPool", [(1, 8, 16, 16)], (1, 8, 8, 8), kernel_shape=[3, 3]), 8 * 64 * 9),
        (graph_of("GlobalAveragePool", [(1, 8, 16, 16)], (1, 8, 1, 1)), 8 * 256),
        (graph_of("LayerNormalization", [(4, 64), (64,)], (4, 64)), 2 * 256),
        (graph_of("GroupNormalization", [(1, 64, 64)], (1, 64, 64)), 2 * 4096),
        (graph_of("RMSNormalization", [(4, 64), (64,)], (4, 64)), 256),
        (graph_of("ArgMax", [(4, 64)], (4, 1)), 256),
        (graph_of("CumSum", [(4, 64), ()], (4, 64)), 256),
        (graph_of("Resize", [(1, 8, 4, 4)], (1, 8, 8, 8), mode=b"linear"), 8 * 64 * 4),
        (contrib(graph_of("SkipLayerNormalization", [(4, 64), (4, 64)], (4, 64))), 2 * 256),
    ],
    ids=lambda value: value.name if isinstance(value, Graph) else str(value),
)
def test_windows_and_normalizations_count_what_they_read(graph: Graph, reads: int) -> None:
    work = operator_work(graph, graph.nodes[0])
    assert work.amounts == {"reduce_ns": reads}
    assert work.basis == "derived"
    assert us(graph) > PARAMETERS.reduce_call_us + reads * PARAMETERS.reduce_ns / 1e3 - 1e-9


@pytest.mark.parametrize(
    "graph",
    [
        graph_of("TopK", [(4, 64), (1,)], (4, 8)),
        graph_of("NonMaxSuppression", [(1, 100, 4), (1, 1, 100)], (10, 3)),
        graph_of("Einsum", [(4, 4)], (4, 4), equation="ij,jk->ik"),  # not of its type
        contrib(graph_of("NobodyKnows", [(4, 64)], (4, 64))),
    ],
    ids=lambda graph: graph.name,
)
def test_what_stays_unknown_is_named(graph: Graph) -> None:
    node = graph.nodes[0]
    rows = CpuModel.by_basis(graph, {"n": 7.0})
    ((op, count, time),) = [(row.op, row.count, row.us) for row in rows["unknown"]]
    assert op == (f"{node.domain}.{node.op}" if node.domain else node.op)
    assert (count, time) == (1, 7.0)
    assert not rows["derived"]
    assert not rows["calibrated"]


def test_a_price_that_is_not_calibrated_is_no_sample_of_a_fit() -> None:
    from pimloop.host.calibration.calibrate import Sample, fit

    conv = graph_of("Conv", [(1, 64, 56, 56), (64, 64, 3, 3)], (1, 64, 56, 56), constants=(1,))
    work = operator_work(conv, conv.nodes[0])
    plain = operator_work(product(8, 64, 64), product(8, 64, 64).nodes[0])
    samples = [
        Sample(priced, "cpu_serial", MODEL.work_us(priced, "cpu_serial") * factor, 1, "n", "m", 1)
        for priced, factor in ((work, 100.0), (plain, 1.0))
    ]
    assert fit(samples, PARAMETERS).parameters == fit(samples[1:], PARAMETERS).parameters
