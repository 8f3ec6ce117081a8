"""The device-mapped graph on a small model, counted by hand."""

from __future__ import annotations

import random

import networkx as nx
from support.cost_graphs import random_costs

from pimloop.partitioner.costs import costs_from_dict
from pimloop.partitioner.dcg import END, START, build_dcg, count_dcg

BOTH = {"cpu>pim": 1, "pim>cpu": 1}
DATA = {
    "format": "pimloop-costs/1",
    "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
    "nodes": [
        {"id": "a", "op": "Gather", "cost_us": {"cpu_serial": 1}},
        {"id": "b", "op": "Add", "cost_us": {"cpu_serial": 1, "cpu_parallel": 1, "pim": 1}},
        {"id": "c", "op": "Add", "cost_us": {"cpu_serial": 1, "pim": 1}},
    ],
    "tensors": [
        {"id": "x", "producer": None, "consumers": ["a"], "bytes": 8, "transfer_us": BOTH},
        {"id": "t", "producer": "a", "consumers": ["b", "c"], "bytes": 64, "transfer_us": BOTH},
        {"id": "u", "producer": "b", "consumers": ["c"], "bytes": 64, "transfer_us": BOTH},
        {
            "id": "y",
            "producer": "c",
            "consumers": [],
            "output": True,
            "bytes": 4,
            "transfer_us": BOTH,
        },
    ],
}


def test_counts_by_hand() -> None:
    counts = count_dcg(costs_from_dict(DATA).graph)
    assert (counts.cg_nodes, counts.cg_edges) == (3, 3)
    assert counts.dcg_nodes == 1 + 3 + 2
    # t: serial -> parallel, pim. u: serial -> pim, parallel -> serial, parallel -> pim,
    # pim -> serial.
    assert counts.dcg_edges == 2 + 4
    # t: serial -> serial. u: serial -> serial, pim -> pim.
    assert counts.dcg_edges_same_device == 1 + 2
    assert counts.offload_capable == 2
    # t to PIM and u to PIM are one class, u back is another; y home is no edge between operators.
    assert [(e.source, e.destination, e.bytes, e.tensors) for e in counts.da_edges] == [
        ("cpu", "pim", 64, ("t", "u")),
        ("pim", "cpu", 64, ("u",)),
    ]
    assert [(e.source, e.destination, e.bytes) for e in counts.io_da_edges] == [("pim", "cpu", 4)]


def test_type_and_missing_size_make_classes_of_their_own() -> None:
    data = {**DATA, "tensors": [dict(tensor) for tensor in DATA["tensors"]]}
    data["tensors"][2]["type"] = "float32"
    assert len(count_dcg(costs_from_dict(data).graph).da_edges) == 3
    del data["tensors"][1]["bytes"], data["tensors"][2]["bytes"], data["tensors"][2]["type"]
    assert len(count_dcg(costs_from_dict(data).graph).da_edges) == 3


def test_graph_matches_its_counts_and_its_paths_are_schedules() -> None:
    rng = random.Random(2)
    for _ in range(20):
        graph = costs_from_dict(random_costs(rng, 3, rng.randint(1, 10))).graph
        counts, dcg = count_dcg(graph), build_dcg(graph)
        assert dcg.number_of_nodes() == counts.dcg_nodes + 2
        assert nx.is_directed_acyclic_graph(dcg)
        inner = {
            (key, *data["devices"], tail == head)
            for tail, head, key, data in dcg.edges(keys=True, data=True)
            if tail != START and head != END
        }
        assert sum(d != e for _, d, e, _ in inner) == counts.dcg_edges
        assert sum(d == e for _, d, e, _ in inner) == counts.dcg_edges_same_device
        reached = nx.descendants(dcg, START)
        assert len(reached) == counts.dcg_nodes + 1, "a node or the end is cut off from the start"


def test_forbidden_moves_are_no_edges() -> None:
    data = {**DATA, "tensors": [dict(tensor) for tensor in DATA["tensors"]]}
    data["tensors"][1]["transfer_us"] = {}
    dcg = build_dcg(costs_from_dict(data).graph)
    assert not dcg.has_edge(("a", "cpu_serial"), ("b", "pim"))
    assert dcg.has_edge(("a", "cpu_serial"), ("b", "cpu_parallel"))
