"""CPU times of this machine as samples for `pimloop.host.calibration.calibrate`.

Small models that hold every operator of the big ones run natively, in model order, on one core and
on all of them; no simulator runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pimloop.host.calibration.calibrate import Sample, samples_of
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import execute_model
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.graph import Graph
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights
from pimloop.host.platforms.platform import load_platform
from pimloop.partitioner.quantity import quantity

#: The models measured, their layers, and the sequence lengths.
WORKLOADS = (("bert-small", 2), ("gpt2", 2))
LENGTHS = (8, 32, 128)

#: The platform whose CPU times are measured here.
_MEASURED = "native"


def workload(name: str, layers: int, length: int) -> Graph:
    """Return a built-in model with fewer layers."""
    config = replace(BUILT_IN[name], layers=layers, vocabulary=1024, head="none")
    return build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=length))


def machine_samples(
    *, rounds: int = 10, progress: Callable[[str], None] | None = None
) -> tuple[list[Sample], bool]:
    """Return samples measured here, and whether other work disturbed the measurement."""
    samples: list[Sample] = []
    disturbed = False
    platform = load_platform(_MEASURED)
    options = Options(backend="model", rounds=rounds, jobs=1)
    for name, layers in WORKLOADS:
        for length in LENGTHS:
            graph = workload(name, layers, length)
            feeds = random_inputs(graph, 0)
            times: dict[str, dict[str, float]] = {}
            for device in ("cpu_serial", "cpu_parallel"):
                if progress is not None:
                    progress(f"{name}, {quantity(length, 'token')}, {device}")
                assignment = {node.id: device for node in graph.nodes}
                result = execute_model(graph, feeds, assignment, platform, options)
                disturbed |= any(timing.disturbed for timing in result.cpu_times.values())
                for node in graph.nodes:
                    # A clock that counts in hundreds of nanoseconds can say 0 of a view.
                    us = max(result.cpu_times[node.id].us, 0.05)
                    times.setdefault(node.id, {})[device] = us
            samples += samples_of(graph, times, model=name, length=length)
    return samples, disturbed
