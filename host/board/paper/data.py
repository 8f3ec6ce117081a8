"""What docs/paper.md is made from: the authors' measurements as they ship, in the authors' form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pimloop.host.board.compare import measured_costs
from pimloop.host.board.data import MODELS, load_board
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.paper.tables import LENGTHS

TITLES = {"bert": "BERT (small)", "roberta": "RoBERTa", "gpt2": "GPT-2"}

#: (model, length) of every published measurement.
CASES = tuple((model, length) for model in MODELS for length in LENGTHS)


def title(model: str, length: int) -> str:
    """Return the name of a row."""
    return f"{TITLES[model]}, p={length}"


@cache
def published_costs(model: str, length: int) -> CostGraph:
    """Return the cost graph of the published measurements."""
    return measured_costs(load_board(model), length)


@cache
def authors_data(model: str, length: int) -> Mapping[str, Any]:
    """Return one measurement as `pimloop.partitioner.paper.tables` takes it."""
    board = load_board(model)
    measured = board.measurements[length]
    nodes = []
    for i, (name, index) in enumerate(zip(board.node_ids, board.node_classes, strict=True)):
        template = board.classes[index]
        nodes.append(
            {
                "id": name,
                "op": template.op,
                "cost_us": {d: us[i] for d, us in measured.cost_us.items() if us[i] is not None},
                "activation_bytes": template.nbytes("activation", length),
                "parameter_bytes": template.nbytes("constant", length),
                "output_bytes": template.nbytes("output", length),
            }
        )
    return {
        "model": model,
        "nodes": nodes,
        "edges": [[board.node_ids[a], board.node_ids[b]] for a, b in board.edges],
        "transfers": measured.transfers,
    }


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|---|" + "---:|" * (len(header) - 1),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]
    return "\n".join(lines)


def verdict(ours: object, theirs: object) -> str:
    """Return the word for a count beside the published one."""
    return "equal" if ours == theirs else "differs"
