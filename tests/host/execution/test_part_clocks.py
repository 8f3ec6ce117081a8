"""Shares of the PIM: one of those that take the same clocks is simulated, and all of them do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from support.small_devices import plain

from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job, Runner
from pimloop.host.models.graph import TensorInfo
from pimloop.host.models.normalize import RawModel, normalize
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
    wanted = {f"p{i}": (512,) for i in range(4)}
    with Runner(graph, feeds, platform, Options(jobs=1), lambda _: None) as runner:
        alike = runner.part_clocks(wanted)
        simulated = runner.usage["lists_simulated"]
        split = {f"p{i}": "cpu_parallel+pim 1/2" for i in range(4)}
        (result,) = runner.run([Job("split", split)], last=True)
        copies = 2 * len(nodes) + len(nodes)  # in, out and the weights
        assert runner.usage["lists_simulated"] <= simulated + copies
    assert set(alike) == {(f"p{i}", 512) for i in range(4)}
    assert 1 <= simulated < 4
    assert result.passed
    clocks = {name: stats.cycles for name, stats in result.execution.pim.items()}
    assert clocks == {name: alike[name, 512] for name in clocks}
    # Every one simulated at its own addresses.
    with Runner(graph, feeds, platform, Options(jobs=1, cache=False), lambda _: None) as runner:
        (each,) = runner.run([Job("split", split)], last=True)
        assert runner.usage["lists_cached"] == 0
    assert {name: stats.cycles for name, stats in each.execution.pim.items()} == clocks
    assert each.passed
