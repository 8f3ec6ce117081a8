"""A process that executes a model and prints, in MiB, what each stage took and its estimate.

    python -m support.memory_peaks KIND MODEL LAYERS LENGTH PLATFORM [TOKENS]

KIND is `pim` (all that the PIM can run is there), `products` (its products), `profile` (both CPU
devices and the PIM, then every operator on the CPU) or `generate`. The functional device stands in
for the simulator, whose memory is another process's.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pimloop.host.execution import runner as runners
from pimloop.host.execution.memory import Estimate
from pimloop.host.execution.options import Options
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.generator import build_generator
from pimloop.host.models.graph import Graph
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.pim.fit import pim_fit
from pimloop.host.pipeline import generate as generation
from pimloop.host.pipeline.generation import Placed
from pimloop.host.platforms.platform import Platform, load_platform

_MIB = 1 << 20


class _Stages:
    """What each stage takes beside what there was when its memory was asked for."""

    def __init__(self) -> None:
        self._before = 0
        self._needed: Estimate | None = None

    def begin(self, _model: str, needed: Estimate) -> None:
        """Stand in for `require_memory`."""
        self.end()
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak from now on
        self._before, self._needed = _status("VmRSS"), needed

    def end(self) -> None:
        if self._needed is not None:
            taken = _status("VmHWM") - self._before
            print(taken / _MIB, self._needed.nbytes / _MIB, self._needed, flush=True)
        self._needed = None


def _status(field: str) -> int:
    """Return the resident bytes of this process, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def _assignments(graph: Graph, kind: str, platform: Platform) -> list[dict[str, str]]:
    capable = pim_fit(graph, platform).operations

    def on_pim(*operators: str) -> dict[str, str]:
        return {
            node.id: "pim"
            if node.id in capable and (not operators or node.op in operators)
            else "cpu_parallel"
            for node in graph.nodes
        }

    if kind == "products":
        return [on_pim("MatMul", "Gemm")]
    devices = ("cpu_serial", "cpu_parallel") if kind == "profile" else ()
    alone = [{node.id: device for node in graph.nodes} for device in devices]
    return [on_pim(), *alone]


def _execute(graph: Graph, kind: str, platform: Platform) -> None:
    options = Options(backend="model", jobs=1, rounds=1)
    jobs = [
        runners.Job(str(number), assignment)
        for number, assignment in enumerate(_assignments(graph, kind, platform))
    ]
    profile = kind == "profile"
    with runners.Runner(graph, random_inputs(graph), platform, options, lambda _: None) as runner:
        if profile:  # as `Pipeline.profile`, which asks for both together
            runner.require_memory(jobs, profile=True)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(runner, "require_memory", lambda *_, **__: None)
                assert all(result.passed for result in runner.run(jobs))
                runner.profile_cpu()
        else:
            assert all(result.passed for result in runner.run(jobs, last=True))


def _generate(name: str, layers: int, length: int, platform: Platform, tokens: int) -> None:
    config = replace(BUILT_IN[name], layers=layers)
    weights = RandomWeights(config, 0)
    generator = build_generator(config, weights, tokens, LoadOptions(sequence_length=length))
    prompt = random_inputs(generator.prefill)["input_ids"]

    def plan(graph: Graph, *_: object) -> Placed:
        (assignment,) = _assignments(graph, "pim", platform)
        return Placed(assignment, "peaks")

    options = Options(backend="model", rounds=1)
    generation.generate(generator, prompt, platform, plan, options)


def main(kind: str, name: str, layers: str, length: str, platform: str, tokens: str = "4") -> None:
    """Execute and print."""
    stages = _Stages()
    stand_in: Callable[[str, Estimate], None] = stages.begin
    runners.require_memory = stand_in  # type: ignore[attr-defined]
    generation.require_memory = stand_in  # type: ignore[attr-defined]
    device = load_platform(platform)
    if kind == "generate":
        _generate(name, int(layers), int(length), device, int(tokens))
    else:
        config = replace(BUILT_IN[name], layers=int(layers))
        options = LoadOptions(sequence_length=int(length))
        _execute(build_graph(config, RandomWeights(config, 0), options), kind, device)
    stages.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
