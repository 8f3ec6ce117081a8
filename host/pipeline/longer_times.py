"""What a step with a longer cache takes where times are measured on this machine.

Beside `pimloop.host.pipeline.growth`, which plans with it. An operator is timed alone with both
lengths, in turns, each kind once: it takes longer than profiled by the difference, so what a call
costs and how a profile counts it does not matter. A conversion is timed as executions time it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pimloop.host.cpu.buffers import TensorBuffers
from pimloop.host.cpu.profile import LEAST
from pimloop.host.cpu.segments import Segment, SessionCache, device_threads, timed_sessions
from pimloop.host.cpu.timing import Step
from pimloop.host.devices.kinds import HOST_MEMORY, PIM_MEMORY
from pimloop.host.execution.cpu_times import narrowing, widening
from pimloop.host.execution.runner import Runner
from pimloop.host.models.graph import Graph, Node
from pimloop.host.pim.resident import Part
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.graph import Move

#: A tensor, and the memories that it is moved between.
Transfer = tuple[str, Move]


@dataclass(frozen=True)
class LongerTimes:
    """Times that were measured of a longer step; empty where nothing is."""

    cpu_us: Mapping[tuple[str, str], float]  # by operator and device, without the entry
    move_us: Mapping[Transfer, float]  # of transfers to and from the PIM, whole
    disturbed: bool


def measure_longer(
    runner: Runner,
    step: Graph,
    costs: CostGraph,
    nodes: Mapping[str, Node],
    moves: Mapping[Transfer, str],
) -> LongerTimes:
    """Time what a longer step computes and converts on this machine.

    Parameters
    ----------
    runner
        Of the longer step.
    step, costs
        The step that was profiled, and what it costs.
    nodes
        The operators of the longer step that differ, by id; they are timed where the platform has
        no model of its CPU.
    moves
        The transfers to and from the PIM that differ, each with an operator that makes or reads
        the tensor; they are timed where the platform measures conversions.

    Raises
    ------
    SimError
        When a device that copies are simulated on fails twice.
    """
    platform = runner.platform
    if platform.cpu_model() is not None:
        nodes = {}
    if platform.driver.conversion != "measured":
        moves = {}
    pairs = _pairs(step, runner.graph, nodes)
    conversions = {_conversion(runner.graph, move): move for move in moves}
    if not pairs and not conversions:
        return LongerTimes({}, {}, disturbed=False)

    def steps() -> list[Step]:
        return [
            *_operator_steps(step, runner.graph, pairs),
            *(_conversion_step(runner.graph, name, move) for name, move in conversions.items()),
        ]

    times = runner.time(steps)
    cpu_us = {}
    for names in pairs.values():
        for device in device_threads():
            more = times[f"{names[0]} {device} longer"].us - times[f"{names[0]} {device}"].us
            for name in names:
                us = costs.cost_us[name][device]
                cpu_us[name, device] = max(us + more, LEAST * us)
    copies = {move: Part(node, moves=move) for move, node in moves.items()}
    clocks = runner.part_costs(copies.values())
    move_us = {
        move: platform.transfer_us(*move[1], runner.graph.tensors[move[0]].elements)
        + platform.device_us(clocks[part].cycles)
        + times[_conversion(runner.graph, move)].us
        for move, part in copies.items()
    }
    return LongerTimes(cpu_us, move_us, any(timing.disturbed for timing in times.values()))


def _pairs(step: Graph, longer: Graph, nodes: Mapping[str, Node]) -> dict[object, list[str]]:
    """Return the operators that are alike in both steps, by what they have in common."""
    alike: dict[object, list[str]] = {}
    for name, node in nodes.items():
        kinds = [
            next(iter(timed_sessions(graph, [Segment("cpu_serial", (own,))])))
            for graph, own in ((step, step.node(name)), (longer, node))
        ]
        alike.setdefault(tuple(kinds), []).append(name)
    return alike


def _operator_steps(step: Graph, longer: Graph, pairs: Mapping[object, list[str]]) -> list[Step]:
    sessions = SessionCache()
    buffers = [(step, "", TensorBuffers(step)), (longer, " longer", TensorBuffers(longer))]
    return [
        Step(
            f"{names[0]} {device}{ending}",
            sessions.bind(graph, Segment(device, (graph.node(names[0]),)), memory).run,
            device == "cpu_parallel",
        )
        for names in pairs.values()
        for device in device_threads()
        for graph, ending, memory in buffers
    ]


def _conversion(graph: Graph, move: Transfer) -> str:
    """Return what conversions that take the same time have in common."""
    name, (_, destination) = move
    info = graph.tensors[name]
    return f"{info.elements} {info.dtype} to {destination}"


def _conversion_step(graph: Graph, name: str, move: Transfer) -> Step:
    info = graph.tensors[move[0]]
    if move[1] == (HOST_MEMORY, PIM_MEMORY):
        return Step(name, narrowing(np.zeros(info.elements, info.dtype)))
    return Step(name, widening(np.zeros(info.elements, np.uint16), info.dtype))
