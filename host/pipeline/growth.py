"""What a step of a generation takes with longer caches: planned anew for each length.

Only operators whose tensors have the length of the cache change with it. Their times on the CPU
follow from the platform's model, or are measured (`pimloop.host.pipeline.longer_times`); on the PIM
each is simulated by itself, with every row filled, at the addresses that it has in every schedule
of the longer model. All others are as profiled, though the longer model has them at other
addresses, which makes a few clocks. No step is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

import pimloop.partitioner.graph as cg
from pimloop.host.cpu.model import CpuDevice
from pimloop.host.devices.kinds import PIM_MEMORY, SessionDevice
from pimloop.host.execution.runner import Event, Runner
from pimloop.host.models.architectures.base import CachedDecoder
from pimloop.host.models.architectures.registry import architecture_of
from pimloop.host.models.generator import Generator
from pimloop.host.models.graph import Array, Graph, Node
from pimloop.host.models.parameters import SharedWeights, Weights
from pimloop.host.models.quantize.products import with_integers_of
from pimloop.host.pim.resident import Part
from pimloop.host.pipeline.generation import Generation
from pimloop.host.pipeline.longer_times import measure_longer
from pimloop.host.planning.graph import partition_graph
from pimloop.host.planning.policies import find_policies
from pimloop.host.planning.schedules import make_plans
from pimloop.host.platforms.platform import Platform
from pimloop.host.report.generation.format import GrowthRow
from pimloop.host.report.generation.numbers import ATTENTION, phase_time, planned_parts
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.place.optimum import DEFAULT_TIME_LIMIT_S
from pimloop.sim.errors import SimError

#: Lengths of caches beside that of the run, as far as the model has positions.
LENGTHS = (128, 512, 2048, 8192)

NO_COSTS = "no costs, or no step"
MAKESPAN = "plans of the objective makespan take too long"
ENERGY = "energies of longer caches are not counted, only times are: use --objective sequential"
SPLIT = "an operator that reads the cache is split between devices"
OTHERS_FIT = "with a longer cache not the same operators fit the device memory"
TOO_LARGE = "weights and cache do not fit the device memory together, so clocks are not known ahead"


@dataclass(frozen=True)
class Growth:
    """A step with caches of several lengths."""

    rows: tuple[GrowthRow, ...] = ()
    left_out: str = ""  # why there are none, or none longer than the last one
    disturbed: bool = False  # times that were measured for it are not trusted


def growth(generation: Generation, progress: Callable[[Event], None]) -> Growth:
    """Return the time of a step under every policy, by the rows of the cache.

    Parameters
    ----------
    generation
        What was executed. Its own cache is the first one: its last step.
    progress
        Called while operators are simulated.
    """
    generator, decode = generation.generator, generation.phases[-1]
    costs = decode.placed.costs_of(max(generator.tokens - 2, 0))
    if costs is None or generator.step is None:
        return Growth(left_out=NO_COSTS)
    if generation.options.objective != "sequential":
        overlaps = generation.options.objective == "makespan"
        return Growth(left_out=MAKESPAN if overlaps else ENERGY)
    policies = tuple(decode.placed.plans)
    try:
        return _rows(generation, costs, policies, progress)
    except SimError as error:
        # What was generated is not lost with it.
        return Growth(left_out=f"{error}")


def _rows(
    generation: Generation,
    costs: CostGraph,
    policies: tuple[str, ...],
    progress: Callable[[Event], None],
) -> Growth:
    generator = generation.generator
    assert generator.step is not None
    rows = [_row(generator.step, generator.context, costs, policies)]
    disturbed = False
    for length in LENGTHS:
        if not generator.context < length < generator.config.max_sequence:
            continue
        longer = longer_step(generator, length)
        with Runner(
            longer, {}, generation.platform, generation.options, progress, (generator.prefill,)
        ) as runner:
            changed = _costs_of(runner, generator.step, length + 1, costs)
        if isinstance(changed, str):
            return Growth(tuple(rows) if len(rows) > 1 else (), changed, disturbed)
        disturbed |= changed.cpu_times_disturbed
        rows.append(_row(longer, length, changed, policies))
    return Growth(tuple(rows), disturbed=disturbed)


def longer_step(generator: Generator, context: int) -> Graph:
    """Return the graph of a step with a longer cache, with the weights that are in memory."""
    config, step = generator.config, generator.step
    architecture = architecture_of(config)
    assert isinstance(architecture, CachedDecoder)
    assert step is not None
    graph = architecture.step(config, _Shapes(), context, batch=generator.batch)
    graph = with_integers_of(graph, step)
    constants = {
        name: step.constants[name] if step.constants[name].shape == array.shape else array
        for name, array in graph.constants.items()
    }
    return replace(graph, constants=constants)


class _Shapes(SharedWeights):
    """Parameters of which only the shapes are asked for: they take no memory."""

    def __new__(cls, weights: Weights | None = None) -> _Shapes:
        return weights if isinstance(weights, _Shapes) else object.__new__(cls)

    def __init__(self, weights: Weights | None = None) -> None:
        pass

    def stored(self, name: str, shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(np.float32(0), shape)

    def transposed(self, name: str, shape: tuple[int, int]) -> Array:
        return np.broadcast_to(np.float32(0), shape[::-1])


def _row(graph: Graph, context: int, costs: CostGraph, policies: tuple[str, ...]) -> GrowthRow:
    functions = {name: find_policies([name])[name] for name in policies}
    plans, _ = make_plans(costs, functions, "sequential", DEFAULT_TIME_LIMIT_S)
    shares = {}
    for name, plan in plans.items():
        parts = planned_parts(costs, plan.assignment)
        time = phase_time(graph, plan.assignment, parts, plan.total_us, 0.0, executed=False)
        shares[name] = time["groups_us"][ATTENTION] / plan.total_us if plan.total_us else 0.0
    return {
        "context": context,
        "us": {name: plan.total_us for name, plan in plans.items()},
        "attention": shares,
    }


def _costs_of(runner: Runner, step: Graph, rows: int, costs: CostGraph) -> CostGraph | str:
    """Return the costs of a longer step, or why they are not known."""
    longer, platform = runner.graph, runner.platform
    operators = partition_graph(longer, runner.fit, platform)
    changed = {
        node.id: other
        for node, other in zip(step.nodes, longer.nodes, strict=True)
        if _shapes(step, node) != _shapes(longer, other)
    }
    if any(costs.splits.get(name) for name in changed):
        return SPLIT
    simulated = [
        operator.id
        for operator in operators.operators
        if operator.id in changed and _offloaded(operator, platform)
    ]
    moves = {
        (tensor.id, move): tensor.producer or tensor.consumers[0]
        for tensor in operators.tensors
        if step.tensors[tensor.id].shape != longer.tensors[tensor.id].shape
        for move in costs.transfer_us[tensor.id]
        if PIM_MEMORY in move
    }
    if simulated and not runner.fit.static:
        return TOO_LARGE
    if any(set(operator.devices) - costs.cost_us[operator.id].keys()
           for operator in operators.operators if operator.id not in changed):  # fmt: skip
        return OTHERS_FIT
    costs_on_pim = runner.part_costs([Part(name, filled=rows) for name in simulated])
    clocks = {part.node: cost.cycles for part, cost in costs_on_pim.items()}
    measured = measure_longer(runner, step, costs, changed, moves)
    cost_us: dict[str, Mapping[str, float]] = {}
    for operator in operators.operators:
        name, old = operator.id, costs.cost_us[operator.id]
        if name not in changed:
            cost_us[name] = {device: old[device] for device in operator.devices}
            continue
        cost_us[name] = {
            device: platform.pim_time_us(clocks[name])
            if platform.devices[device].offloaded
            else measured.cpu_us[name, device]
            if (name, device) in measured.cpu_us
            else _modelled_us(longer, changed[name], device, platform)
            for device in operator.devices
        }
    transfer_us = {
        tensor.id: dict(costs.transfer_us[tensor.id])
        if step.tensors[tensor.id].shape == longer.tensors[tensor.id].shape
        else {
            move: measured.move_us[tensor.id, move]
            if (tensor.id, move) in measured.move_us
            else platform.transfer_us(*move, longer.tensors[tensor.id].elements)
            for move in costs.transfer_us[tensor.id]
        }
        for tensor in operators.tensors
    }
    capacity = {**costs.capacity_bytes, "pim": runner.fit.weight_room}
    return replace(
        costs, graph=operators, cost_us=cost_us, transfer_us=transfer_us, capacity_bytes=capacity,
        energies=None, cpu_times_disturbed=costs.cpu_times_disturbed or measured.disturbed,
    )  # fmt: skip


def _offloaded(operator: cg.Operator, platform: Platform) -> bool:
    return any(platform.devices[device].offloaded for device in operator.devices)


def _modelled_us(graph: Graph, node: Node, device: str, platform: Platform) -> float:
    """Return the time of an operator in host memory or on an accelerator, by its model."""
    kind, model = platform.devices[device], platform.cpu_model()
    assert model is not None
    if isinstance(kind, SessionDevice):
        return kind.time_us(graph, node, platform.sections[device])
    return model.time_us(graph, node, cast(CpuDevice, device))


def _shapes(graph: Graph, node: Node) -> list[tuple[int, ...]]:
    return [graph.tensors[name].shape for name in (*node.inputs, *node.outputs) if name]
