"""The paper's board beside a run: published totals, and ours with the work of the board's driver.

The board's driver does work at each call that pimloop's does not
(`pimloop.host.board.driver_work`): a published total compares with ours plus that work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pimloop.host.board.data import BOARD_PLATFORM, BUILT_IN, load_board, published_totals
from pimloop.host.board.driver_work import node_work_us
from pimloop.host.board.paper.printed import PIM_FIRST_MS
from pimloop.host.models.graph import Graph
from pimloop.host.planning.outcome import Outcome
from pimloop.host.platforms.platform import load_platform
from pimloop.partitioner.paper.coexecution import PRODUCTS
from pimloop.partitioner.place.solve import partition

_PIM = "pim"


def published(outcome: Outcome) -> dict[str, float] | None:
    """Return the totals published for the paper's board, by schedule, us; None for other runs.

    They are of the board's models, whose operators it ran one after the other: comparable with
    built-in models of the same products on the platform made after it, unchanged. The GPT-2 here
    has a head that the board's has not.
    """
    graph, length = outcome.graph, outcome.graph.sequence_length
    model = _model(graph)
    comparable = (
        graph.built_in
        and length is not None
        and model is not None
        and _same_products(graph, model, length)
        and outcome.platform == load_platform(BOARD_PLATFORM)
        and outcome.options.objective == "sequential"
        and outcome.costs is not None
    )
    return published_totals(graph.name, length) if comparable and length is not None else None


def _model(graph: Graph) -> str | None:
    """Return the paper's name of a model; None where the paper has not measured it."""
    return next((model for model, ours in BUILT_IN.items() if ours == graph.name), None)


def _same_products(graph: Graph, model: str, length: int) -> bool:
    """Return whether the products with constant weights are those of the board's model."""
    board = load_board(model)
    theirs = (board.classes[kind] for kind in board.node_classes)
    weights = sorted(
        template.operands[1].at(length)
        for template in theirs
        if template.op in PRODUCTS and template.operands[1].kind == "constant"
    )
    return weights == sorted(
        graph.tensors[node.inputs[1]].shape
        for node in graph.nodes
        if node.op in PRODUCTS and node.inputs[1] in graph.constants
    )


def figure(outcome: Outcome, board: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return the totals that the paper's Figure 9 has beside those of its traces, us.

    `board`: what `published` returned; None without it.
    """
    model, length = _model(outcome.graph), outcome.graph.sequence_length
    if board is None or model is None or length is None:
        return None
    ms = PIM_FIRST_MS.get((model, length))
    return {} if ms is None else {"pim_first": 1e3 * ms}


def with_driver_work(
    outcome: Outcome, board: Mapping[str, float] | None
) -> dict[str, float] | None:
    """Return our totals with the work of the board's driver, by published schedule, us.

    `optimal` is planned anew: with that work other operators may be worth the PIM. `board`: what
    `published` returned; None without it.
    """
    costs = outcome.costs
    if board is None or costs is None:
        return None
    graph = outcome.graph
    work = {
        node.id: node_work_us(graph, node, outcome.platform)
        for node in graph.nodes
        if _PIM in costs.cost_us[node.id]
    }
    totals = {}
    for name, schedule in outcome.schedules.items():
        if name not in board or schedule.executed is None:
            continue
        assignment = schedule.result.assignment
        totals[name] = schedule.executed.total_us + sum(
            us for node, us in work.items() if assignment[node] == _PIM
        )
    if "optimal" in totals:
        slower = {
            name: {device: us + work[name] * (device == _PIM) for device, us in by_device.items()}
            if name in work
            else by_device
            for name, by_device in costs.cost_us.items()
        }
        totals["optimal"] = partition(replace(costs, cost_us=slower), "optimal").total_us
    return totals
