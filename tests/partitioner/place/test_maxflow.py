"""The scaled maximum flow against networkx, and its check against flows that are none."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np
import pytest

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.place.maxflow import max_flow, verify


def random_network(rng: random.Random, nodes: int, arcs: int, largest: int) -> dict:
    network: dict[tuple[int, int], int] = {}
    while len(network) < arcs:
        tail, head = rng.sample(range(nodes), 2)
        network[tail, head] = rng.choice([1, rng.randint(1, 1000), rng.randint(1, largest)])
    return network


def as_arrays(network: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ends = np.array(list(network), dtype=np.int64)
    return ends[:, 0], ends[:, 1], np.array(list(network.values()), dtype=np.int64)


@pytest.mark.parametrize("largest", [10, 2**31, 2**45, 2**55])
def test_value_and_cut_agree_with_networkx(largest: int) -> None:
    rng = random.Random(largest)
    beyond_32_bits = 0
    for _ in range(25):
        nodes = rng.randint(2, 14)
        network = random_network(rng, nodes, rng.randint(1, nodes * (nodes - 1) // 2), largest)
        graph = nx.DiGraph()
        graph.add_nodes_from(range(nodes))
        for (tail, head), capacity in network.items():
            graph.add_edge(tail, head, capacity=capacity)
        expected = nx.maximum_flow_value(graph, 0, 1)
        result = max_flow(nodes, 0, 1, *as_arrays(network))
        assert result.value == expected
        side = result.source_side
        assert side[0]
        assert not side[1]
        cut = sum(c for (tail, head), c in network.items() if side[tail] and not side[head])
        assert cut == expected
        beyond_32_bits += expected >= 2**31
    assert (beyond_32_bits > 0) == (largest > 2**31)


def test_no_arcs_at_all() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    result = max_flow(3, 0, 2, nothing, nothing, nothing)
    assert result.value == 0
    assert list(result.source_side) == [True, False, False]


# Arcs 0 -> 1 -> 2 with their reverses, in row order.
ROWS, COLUMNS = np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1])
CAPACITY = np.array([5, 0, 3, 0])


def test_a_true_maximum_passes() -> None:
    side = verify(3, 0, 2, ROWS, COLUMNS, CAPACITY, np.array([3, -3, 3, -3]), 3)
    assert list(side) == [True, True, False]


@pytest.mark.parametrize(
    ("carried", "value", "message"),
    [
        ([4, -4, 4, -4], 4, "not a flow"),  # above a capacity
        ([3, -3, 2, -2], 3, "not a flow"),  # lost on the way
        ([3, -3, 3, -3], 2, "not a flow"),  # another value than it says
        ([2, -2, 2, -2], 2, "stopped before the maximum"),
        ([0, 0, 0, 0], 0, "stopped before the maximum"),  # the cut of what is reached has 0 too
    ],
)
def test_wrong_answers_of_a_solver_are_refused(carried: list, value: int, message: str) -> None:
    with pytest.raises(PartitionerError, match=message):
        verify(3, 0, 2, ROWS, COLUMNS, CAPACITY, np.array(carried), value)
