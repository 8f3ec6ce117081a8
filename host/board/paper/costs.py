"""The parts of docs/paper.md that follow from the published costs: runs, totals, co-execution."""

from __future__ import annotations

from pimloop.host.board.compare import authors_data, published_optimum
from pimloop.host.board.data import load_board
from pimloop.host.board.paper.data import CASES, published_costs, table, title
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.paper.coexecution import (
    PIM_PARTS,
    SHARES,
    TILE_COLUMNS,
    split_costs,
)
from pimloop.partitioner.paper.tables import PUBLISHED
from pimloop.partitioner.percent import percent
from pimloop.partitioner.place.solve import COEXEC, POLICIES, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.profile.plan import plan_profile

#: Our policy -> our name of the published schedule.
SCHEDULE_OF = {
    "cpu_serial": "cpu_serial",
    "cpu_parallel_first": "cpu_parallel_first",
    "pim_first": "pim_first",
    "paper_dp": "optimal",
}


def runs_section() -> str:
    """Return the comparison of the numbers of profile runs."""
    rows = []
    for model, length in CASES:
        graph = published_costs(model, length).graph
        paper = plan_profile(graph, "paper")
        each = plan_profile(graph, "minimal", "none")
        grouped = plan_profile(graph, "minimal", "signature")
        published = PUBLISHED[model]
        rows.append(
            (
                title(model, length),
                f"{published.node_runs} + {published.edge_runs}",
                f"{paper.node_runs} + {paper.edge_runs}",
                f"{len(each.runs)} (>= {each.lower_bound})",
                f"{each.nodes_covered} + {each.transfers_covered}",
                f"{len(grouped.runs)} (>= {grouped.lower_bound})",
                f"{grouped.nodes_covered} + {grouped.transfers_covered}",
            )
        )
    header = (
        "",
        "published",
        "`--mode paper`",
        "minimal, each",
        "operators + transfers measured",
        "minimal, grouped",
        "classes measured",
    )
    return f"""## Profile runs

The paper measures all operators in node runs and then all DA edges in edge runs. A run may do both:
the minimum is 3, proved by the lower bound in brackets (an operator with three devices), even when
every operator on every device and every tensor in both directions is measured by itself.

{table(header, rows)}
"""


def totals_section() -> str:
    """Return the comparison of every policy's total with the published one and the optimum."""
    rows, gains = [], []
    for model, length in CASES:
        graph, board = published_costs(model, length), load_board(model)
        published = board.measurements[length].totals_us
        listed = {board.node_ids[node] for node in board.measurements[length].optimal_pim}
        totals = {policy: partition(graph, policy) for policy in POLICIES}
        best = totals["optimal"]
        problem = Problem.of(graph)
        executed = problem.to_us(evaluate(problem, published_optimum(board, length)).total)
        ours = {name for name, device in totals["paper_dp"].assignment.items() if device == "pim"}
        for policy in POLICIES:
            plan = totals[policy]
            key = SCHEDULE_OF.get(policy)
            measured = published[key] if key else None
            rows.append(
                (
                    f"{title(model, length)}: {policy}",
                    "-" if measured is None else f"{measured:,}",
                    f"{plan.total_us:,.0f}",
                    "-"
                    if measured is None
                    else percent(plan.total_us / measured - 1, 2, signed=True),
                    percent(plan.total_us / best.total_us - 1, 3, signed=True),
                    sum(device == "pim" for device in plan.assignment.values()),
                )
            )
        gains.append(
            (
                title(model, length),
                len(listed),
                len(ours.symmetric_difference(listed)),
                f"{executed:,.1f}",
                f"{totals['paper_dp'].total_us:,.1f}",
                f"{best.total_us:,.1f}",
                percent(executed / best.total_us - 1, 3),
            )
        )
    header = ("", "published", "from the costs", "difference", "over the optimum", "PIM operators")
    gain_header = (
        "",
        "published PIM operators",
        "paper_dp differs in",
        "published set",
        "paper_dp",
        "optimum",
        "published over optimum",
    )
    return f"""## Totals, in microseconds

"published" is the time the authors measured for the schedule; "from the costs" is the sum over
pimloop's assignment for that policy, with the cost semantics of this project (a tensor is moved
once for each destination memory, at the mean time of transfers of its size). The CPU schedules
agree to the microsecond. The others contain transfers, whose times vary from one run to the next,
and the authors' optimum was measured in a run of its own.

{table(header, rows)}

## The paper's partition against the true optimum

The set of PIM operators that the authors published for their optimum, `paper_dp` (their dynamic
programme re-implemented from its definition) and the minimum cut, all evaluated on the same costs.
Non-PIM operators of the published set take the better CPU device.

{table(gain_header, gains)}

The optimum is proved: its minimum cut equals a maximum flow. `paper_dp` treats the topological
order as an assembly line and can miss it where edges skip operators; the margin on these nine
measurements is small; docs/partitioner.md gives a graph where it is not.
"""


def coexecution_section() -> str:
    """Return the totals with operators split between both devices."""
    rows = []
    for model, length in CASES:
        board = load_board(model)
        published = board.measurements[length].totals_us["optimal"]
        row: list[object] = [
            title(model, length),
            f"{published:,}",
            f"{partition(published_costs(model, length)).total_us:,.0f}",
        ]
        for assumption in PIM_PARTS:
            plan = partition(split_costs(authors_data(board, length), assumption), COEXEC)
            assert plan.optimal
            row += [
                f"{plan.total_us:,.0f}",
                len(plan.splits),
                f"{published / plan.total_us:.2f}",
            ]
        rows.append(row)
    header = ["", "published optimum", "optimum, whole operators"]
    for assumption in PIM_PARTS:
        header += [
            f"co-execution, {assumption}",
            "split operators",
            "times faster than published",
        ]
    return f"""## Co-execution, in microseconds

A matrix product with weights is computed by the CPU (all cores) and the PIM at the same time, each
some of the output's columns, in steps of 1/{SHARES}; the policy `coexec` finds the exact optimum
(docs/partitioner.md). The published optimum was measured; the two others are computed from the
published costs.

Modelled, not measured: nobody ran a part of an operator on the board. Assumed are

- the CPU's part takes its fraction of the columns of the whole operator's time;
- the PIM's part does too ("in proportion"), or it takes a whole tile of {TILE_COLUMNS} columns
  where it needs one column of it ("by tiles"): the board's PIM pads narrower weights. Then a part
  of 512 columns saves the PIM nothing, and 768 columns lose half of their time with the last 256;
- gathering moves the missing columns alone, in the time of a transfer of that size, a straight line
  between the sizes that were measured;
- the two devices have memories of their own, so neither slows the other down.

{table(header, rows)}
"""
