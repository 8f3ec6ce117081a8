"""What must hold of the optimum for any graph."""

from __future__ import annotations

import copy
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.cost_graphs import random_costs, total_cost

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.place.solve import partition

graphs = st.builds(
    lambda seed, memories, size: random_costs(
        random.Random(seed), memories, size, reach=6, fan_in=2, decimals=2
    ),
    seed=st.integers(0, 2**32),
    memories=st.integers(1, 4),
    size=st.integers(1, 30),
)


def optimum(data: dict) -> float:
    plan = partition(costs_from_dict(data))
    assert plan.optimal
    return plan.total_us


@settings(max_examples=80, deadline=None)
@given(data=graphs, seed=st.integers(0, 2**32))
def test_no_assignment_is_cheaper(data: dict, seed: int) -> None:
    rng = random.Random(seed)
    best = optimum(data)
    for _ in range(20):
        run = {node["id"]: rng.choice(list(node["cost_us"])) for node in data["nodes"]}
        total = total_cost(data, run)
        assert total is not None
        assert best <= float(total)


@settings(max_examples=40, deadline=None)
@given(data=graphs, seed=st.integers(0, 2**32))
def test_file_order_does_not_matter(data: dict, seed: int) -> None:
    shuffled = copy.deepcopy(data)
    rng = random.Random(seed)
    rng.shuffle(shuffled["nodes"])
    rng.shuffle(shuffled["tensors"])
    for tensor in shuffled["tensors"]:
        rng.shuffle(tensor["consumers"])
    assert optimum(shuffled) == optimum(data)


@settings(max_examples=40, deadline=None)
@given(data=graphs, seed=st.integers(0, 2**32), raised=st.floats(0, 50))
def test_a_dearer_cost_never_makes_the_optimum_cheaper(
    data: dict, seed: int, raised: float
) -> None:
    rng = random.Random(seed)
    dearer = copy.deepcopy(data)
    costs = rng.choice(dearer["nodes"])["cost_us"]
    device = rng.choice(list(costs))
    extra = round(raised, 2)
    costs[device] = round(costs[device] + extra, 2)
    before, after = optimum(data), optimum(dearer)
    assert before <= after <= before + extra + 1e-9


@settings(max_examples=40, deadline=None)
@given(data=graphs)
def test_two_copies_side_by_side_cost_twice_as_much(data: dict) -> None:
    both = copy.deepcopy(data)
    for node in copy.deepcopy(data["nodes"]):
        both["nodes"].append({**node, "id": f"copy of {node['id']}"})
    for tensor in copy.deepcopy(data["tensors"]):
        producer = tensor["producer"]
        both["tensors"].append(
            {
                **tensor,
                "id": f"copy of {tensor['id']}",
                "producer": producer and f"copy of {producer}",
                "consumers": [f"copy of {consumer}" for consumer in tensor["consumers"]],
            }
        )
    assert abs(optimum(both) - 2 * optimum(data)) < 1e-9
