"""Which shares are worth simulating: none that a plan could use is left out."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
from onnx import helper
from support.small_devices import plain

from pimloop.host.models.graph import Graph, TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.operators.integer_product import IntegerProduct
from pimloop.host.planning.shares import offered_columns, why_no_splits, worth_simulating
from pimloop.host.platforms.platform import load_platform
from pimloop.partitioner.costs import CostGraph, costs_from_dict

TILE, TOTAL = 512, 4000
PLATFORM = load_platform("htg-z920")
CALL_US = PLATFORM.driver.call_overhead_us
#: The last tile is not full.
FIT = SimpleNamespace(first_columns={"p": range(TILE, TOTAL, TILE)})
NEEDED = [(), ("cpu",), ("pim",), ("cpu", "pim")]


def graph() -> Graph:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="p")
    inputs = {"x": TensorInfo((1, 4), np.dtype(np.float32))}
    return normalize(RawModel("one", [node], {"w": plain(1, 4, TOTAL)}, inputs, ("y",), {"": 17}))


def costs(pim_us: float) -> CostGraph:
    moves = {"cpu>pim": 1.0, "pim>cpu": 1.0}
    return costs_from_dict(
        {
            "format": "pimloop-costs/1",
            "memories": {"cpu": ["cpu_parallel"], "pim": ["pim"]},
            "nodes": [{"id": "p", "op": "MatMul", "cost_us": {"cpu_parallel": 1, "pim": pim_us}}],
            "tensors": [
                {"id": "x", "producer": None, "consumers": ["p"], "transfer_us": moves},
                {"id": "y", "producer": "p", "consumers": [], "output": True,
                 "transfer_us": moves},
            ],
        }
    )  # fmt: skip


class Rest:
    """The parts of a split but the PIM's: so much a column and a call."""

    def __init__(self, cpu_us: float, home_us: float, pim_us: float) -> None:
        self._cpu_us, self._home_us, self._pim_us = cpu_us, home_us, pim_us

    def cpu_us(self, _name: str, columns: int) -> float:
        return 3 + self._cpu_us * (TOTAL - columns)

    def gather_us(self, _name: str, _tensor: str, columns: int) -> dict[str, float]:
        return {"cpu": 5 + self._home_us * columns, "pim": 5 + self._pim_us * (TOTAL - columns)}


def test_no_share_that_a_plan_could_use_is_left_out() -> None:
    """Whatever the PIM's shares take within a hundredth, and whoever reads the result."""
    rng, model = random.Random(5), graph()
    offered = offered_columns(FIT, model, 16)
    assert offered == {"p": tuple(range(TILE, TOTAL, TILE))}
    left_out = 0
    for _ in range(300):
        tile_us = rng.uniform(1, 400)
        rest = Rest(*(rng.choice([0, 0.001, 0.1, 1]) * rng.random() for _ in range(3)))
        whole = CALL_US + 8 * tile_us
        offer = worth_simulating(offered, FIT, model, PLATFORM, costs(whole), rest)
        kept, others = offer.simulated["p"], offer.others.get("p", ())
        left_out += len(offered["p"]) - len(kept)
        taken = {
            n: max(
                rest.cpu_us("p", n),
                (CALL_US + n / TILE * tile_us) * rng.uniform(0.9901, 1.0099),
            )
            for n in offered["p"]
        }
        assert {TOTAL * b.least.share // b.least.shares for b in others} == (
            set(offered["p"]) - set(kept)
        )
        for bounds in others:
            n = TOTAL * bounds.least.share // bounds.least.shares
            assert max(bounds.least.part_us) <= taken[n] <= max(bounds.most.part_us)
            assert bounds.least.gather_us == bounds.most.gather_us == {
                "y": rest.gather_us("p", "y", n)
            }  # fmt: skip
        for needed in NEEDED:
            total = {
                n: us + sum(rest.gather_us("p", "y", n)[memory] for memory in needed)
                for n, us in taken.items()
            }
            best = min(total, key=lambda n: total[n])
            assert best in kept
            # The shares beside it say how much another one would cost.
            assert {best - TILE, best + TILE} & set(offered["p"]) <= set(kept)
    assert left_out > 300


def test_products_by_integers_are_named_where_nothing_can_be_split() -> None:
    fit = SimpleNamespace(static=True, first_columns={}, operations={})
    plain_words = "no product by constant weights is wider than a column tile of the PIM"
    assert why_no_splits(fit, 16) == plain_words
    fit.operations["p"] = IntegerProduct("x", "w", None, (1, 4), weights=None)
    assert why_no_splits(fit, 16) == (
        f"{plain_words}, and products by weights of 8 and 4 bits stay whole"
    )
    assert why_no_splits(SimpleNamespace(**vars(fit) | {"first_columns": {"q": 1}}), 16) == ""
