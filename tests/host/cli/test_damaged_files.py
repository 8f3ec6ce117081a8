"""Every file that a command reads, damaged at random: read, or refused with one message."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.damage import damaged, damaged_bytes
from support.tiny_models import TINY

import pimloop.host.pipeline.state
from pimloop.errors import PimloopError
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job
from pimloop.host.models.inputs import check_inputs, random_inputs, read_arrays
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pipeline.state import State
from pimloop.host.planning.plans import load_plan
from pimloop.host.platforms.platform import load_platform, platform_path
from pimloop.partitioner.costs import costs_to_dict, load_costs
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.ort_trace import import_ort
from pimloop.partitioner.place.solve import partition

MUTATIONS = 300
SEEDS = range(MUTATIONS)
CONFIG = TINY["bert"]
GRAPH = build_graph(CONFIG, RandomWeights(CONFIG, 0), LoadOptions(sequence_length=4))
PLATFORM = load_platform("htg-z920")

COSTS = {
    "format": "pimloop-costs/1",
    "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
    "capacity_bytes": {"pim": 4096},
    "nodes": [
        {"id": "a", "op": "MatMul", "signature": "m", "weight_bytes": 64,
         "cost_us": {"cpu_serial": 3.0, "cpu_parallel": 2, "pim": 1.5}},
        {"id": "b", "op": "Erf", "cost_us": {"cpu_serial": 3.0, "cpu_parallel": 2.5}},
    ],
    "tensors": [
        {"id": "x", "producer": None, "consumers": ["a"], "output": False, "bytes": 8,
         "type": "FLOAT", "transfer_us": {"cpu>pim": 0.5, "pim>cpu": 0.25}},
        {"id": "y", "producer": "a", "consumers": ["b"], "output": False, "bytes": 8,
         "transfer_us": {"cpu>pim": 0.5, "pim>cpu": 0.25}},
        {"id": "z", "producer": "b", "consumers": [], "output": True, "transfer_us": {}},
    ],
}  # fmt: skip


def _event(name: str, op: str, provider: str, inputs: str, outputs: str) -> dict[str, Any]:
    sizes = {"activation_size": "16", "parameter_size": "32", "output_size": "16"}
    names = {"op_name": op, "provider": provider, "input_nodes": inputs, "output_nodes": outputs}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 5, "args": sizes | names}


TRACE = [
    {"cat": "Session", "name": "model_run", "dur": 50, "args": {}},
    _event("a", "MatMul", "PIMExecutionProvider", "", "up"),
    _event("up", "MemcpyToHost", "CPUExecutionProvider", "a", "b"),
    _event("down", "MemcpyFromHost", "CPUExecutionProvider", "", ""),
    _event("b", "Erf", "CPUExecutionProvider", "up", ""),
]


def every_damage(
    content: Callable[[int], bytes], path: Path, read: Callable[[Path], object]
) -> list[str]:
    """Read a file under every damage; return the messages of the refusals."""
    messages = []
    for seed in SEEDS:
        path.write_bytes(content(seed))
        try:
            read(path)
        except (PimloopError, PartitionerError) as error:
            messages.append(str(error))
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}")
    # Both happen: a reader that refuses everything, or nothing, shows nothing.
    assert MUTATIONS // 20 < len(messages) < MUTATIONS
    return messages


def test_costs(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"

    def read(path: Path) -> None:
        costs = load_costs(path)
        json.dumps(costs_to_dict(costs), allow_nan=False)
        partition(costs, "optimal").to_dict()

    for message in every_damage(lambda seed: damaged(COSTS, seed), path, read):
        assert str(path) in message


def test_plans(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(COSTS))
    plan = partition(load_costs(path), "optimal").to_dict()
    for message in every_damage(lambda seed: damaged(plan, seed), path, load_plan):
        assert str(path) in message


@pytest.mark.parametrize("place", range(4))
def test_traces(tmp_path: Path, place: int) -> None:
    """Each of the four traces that `import-ort` reads."""
    paths = [tmp_path / f"{name}.json" for name in ("serial", "parallel", "pim", "edge")]
    for path in paths:
        path.write_text(json.dumps(TRACE))

    def read(_: Path) -> None:
        json.dumps(costs_to_dict(import_ort(*paths)), allow_nan=False)

    # A list is wrapped: places of damage are counted from an object.
    for message in every_damage(
        lambda seed: damaged({"traceEvents": TRACE}, seed), paths[place], read
    ):
        assert any(str(path) in message for path in paths)


def test_platforms(tmp_path: Path) -> None:
    text = platform_path("htg-z920").read_bytes()
    lines = text.splitlines(keepends=True)
    path = tmp_path / "mine.toml"

    def content(seed: int) -> bytes:
        chance = random.Random(seed)
        if seed % 3:
            return damaged_bytes(text, seed)
        changed = list(lines)
        at = chance.randrange(len(changed))
        if seed % 2:
            del changed[at]
        else:
            values = (b"nan", b"inf", b"1e400", b"-1", b"[]", b"{}", b'"x"', b"9" * 5000, b"true")
            key = changed[at].partition(b"=")[0]
            changed[at] = key + b"= " + chance.choice(values) + b"\n"
        return b"".join(changed)

    def read(path: Path) -> None:
        platform = load_platform(str(path), {})
        platform.geometry()
        platform.rtl_parameters()

    for message in every_damage(content, path, read):
        assert str(path) in message


def test_inputs(tmp_path: Path) -> None:
    path = tmp_path / "inputs.npz"
    np.savez(path, **random_inputs(GRAPH, 0))  # type: ignore[arg-type]
    content = path.read_bytes()

    def read(path: Path) -> None:
        check_inputs(GRAPH, read_arrays(path), str(path))

    for message in every_damage(lambda seed: damaged_bytes(content, seed), path, read):
        assert str(path) in message


def test_state_of_an_interrupted_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the damage, the result is the one that was kept, or none."""
    kept = {"assignment": {"a": "pim"}, "us": [1.5, float("inf")], "pim": {"a": {"cycles": 3}}}
    monkeypatch.setattr(pimloop.host.pipeline.state, "to_dict", lambda result: kept)
    monkeypatch.setattr(pimloop.host.pipeline.state, "from_dict", lambda data, *_: data)
    state = State(tmp_path, "context", GRAPH, PLATFORM, Options())
    job = Job("run 1", {"a": "pim"})
    state.save(job, None)  # type: ignore[arg-type]
    (path,) = (tmp_path / "state").iterdir()
    assert state.load(job) == kept
    whole = path.read_bytes()
    damage = [damaged(json.loads(whole), seed) for seed in SEEDS]
    damage += [damaged_bytes(whole, seed) for seed in SEEDS]
    for content in damage:
        path.write_bytes(content)
        assert state.load(job) in (None, kept)
    assert "is no result of an earlier run" in caplog.text
