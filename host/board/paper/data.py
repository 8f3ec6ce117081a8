"""What docs/paper.md is made from: the authors' measurements as they ship, in the authors' form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pimloop.host.board.compare import measured_costs
from pimloop.host.board.data import MODELS, TITLES, load_board
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.paper.tables import LENGTHS

#: (model, length) of every published measurement.
CASES = tuple((model, length) for model in MODELS for length in LENGTHS)


def title(model: str, length: int) -> str:
    """Return the name of a row."""
    return f"{TITLES[model]}, p={length}"


@cache
def published_costs(model: str, length: int) -> CostGraph:
    """Return the cost graph of the published measurements."""
    return measured_costs(load_board(model), length)


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
