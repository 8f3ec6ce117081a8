"""Shares of the PIM: one of those that take the same clocks is simulated, and all of them do."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from onnx import helper
from support.small_devices import plain

from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job, Runner
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
from pimloop.host.pim.resident import Copy, Part
from pimloop.host.platforms.platform import load_platform


def test_shares_that_are_alike_are_simulated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four equal products in turn: their weights are at addresses of their own."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    width = 1024
    nodes = [
        helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"], name=f"p{i}")
        for i in range(4)
    ]
    constants = {f"w{i}": plain(i, width, width) / 4096 for i in range(4)}
    inputs = {"t0": TensorInfo((2, width), np.dtype(np.float32))}
    graph = normalize(RawModel("chain", nodes, constants, inputs, ("t4",), {"": 17}))
    platform, feeds = load_platform("htg-z920"), {"t0": plain(9, 2, width) / 64}
    wanted = [Part(f"p{i}", 512) for i in range(4)]
    copies = [Part(f"p{i}", 512, copy=copy) for i in range(4) for copy in get_args(Copy)[:2]]
    with Runner(graph, feeds, platform, Options(jobs=1), lambda _: None) as runner:
        alike = runner.part_costs(wanted)
        simulated = runner.usage["lists_simulated"]
        gathered = runner.part_costs(copies)
        of_copies = runner.usage["lists_simulated"] - simulated
        split = {f"p{i}": "cpu_parallel+pim 1/2" for i in range(4)}
        (result,) = runner.run([Job("split", split)], last=True)
        moved = 2 * len(nodes) + len(nodes)  # in, out and the weights
        assert runner.usage["lists_simulated"] <= simulated + of_copies + moved
    assert set(alike) == set(wanted)
    assert 1 <= simulated < 4
    assert 2 <= of_copies < len(copies)
    assert result.passed
    assert result.execution.pim == {part.node: cost for part, cost in alike.items()}
    # What is gathered behind each share costs what its copies do.
    behind = {
        (transfer.tensor, transfer.destination): transfer.stats
        for transfer in result.execution.transfers
        if transfer.tensor != "t0"
    }
    assert len(behind) == 7  # the last result is read on the host alone
    for part, cost in gathered.items():
        tensor = graph.node(part.node).outputs[0]
        where = HOST_MEMORY if part.copy == "first" else PIM_MEMORY
        assert behind.get((tensor, where), cost) == cost
        assert (cost.host_bytes_in == 0) == (part.copy == "first")
        assert (cost.host_bytes_out == 0) == (part.copy == "others")
    clocks = {name: stats.cycles for name, stats in result.execution.pim.items()}
    # Every one simulated at its own addresses.
    with Runner(graph, feeds, platform, Options(jobs=1, cache=False), lambda _: None) as runner:
        (each,) = runner.run([Job("split", split)], last=True)
        assert runner.usage["lists_cached"] == 0
    assert {name: stats.cycles for name, stats in each.execution.pim.items()} == clocks
    assert each.passed
