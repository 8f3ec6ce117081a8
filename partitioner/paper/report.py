"""Make docs/paper.md and the shipped tables.

Run it as `python -m pimloop.partitioner.paper.report --paper-dir DIR`.

Every number of the report is computed here from the paper's published measurements; nothing is
typed in but the published numbers it is held against.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.dcg import count_dcg
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.paper.coexecution import (
    PIM_PARTS,
    SHARES,
    TILE_COLUMNS,
    split_costs,
)
from pimloop.partitioner.paper.tables import (
    CITATION,
    LENGTHS,
    MODELS,
    PUBLISHED,
    distil,
    load_paper_file,
    paper_costs,
    with_paper_capability,
)
from pimloop.partitioner.percent import percent
from pimloop.partitioner.place.solve import COEXEC, POLICIES, partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.profile.plan import plan_profile

TITLES = {"bert": "BERT (small)", "roberta": "RoBERTa", "gpt2": "GPT-2"}

#: Our policy -> key of the published total.
PUBLISHED_KEYS = {
    "cpu_serial": "cpu_serial_only",
    "cpu_parallel_first": "priority_cpu_parallel_pim_cpu_serial",
    "pim_first": "priority_pim_cpu_parallel_cpu_serial",
    "paper_dp": "opt",
}

INTRODUCTION = f"""# The paper re-done

Source of all measurements: {CITATION}

The costs are the authors' own, read from the ONNX Runtime traces published with the paper (HTG-Z920
board, 4x Cortex-A53 at 1.5 GHz, Silent-PIM on the FPGA). Nothing here was measured by pimloop: its
algorithms are run on the paper's costs.

This page is written by a program: `python -m pimloop.partitioner.paper.report --paper-dir DIR`,
where DIR holds the nine files `<model>_seq<length>.json`. Small tables distilled from them ship in
`partitioner/paper/data/paper_tables.json` and need no DIR.
"""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|---|" + "---:|" * (len(header) - 1),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]
    return "\n".join(lines)


def counts_section(costs: dict[tuple[str, int], CostGraph]) -> str:
    """Return the comparison of the graph sizes."""
    rows = []
    for model in MODELS:
        graph = costs[model, LENGTHS[0]].graph
        ours, all_parallel = count_dcg(with_paper_capability(graph)), count_dcg(graph)
        paper = PUBLISHED[model]
        for name, mine, theirs, everything in (
            ("CG nodes", ours.cg_nodes, paper.cg_nodes, all_parallel.cg_nodes),
            ("CG edges", ours.cg_edges, paper.cg_edges, all_parallel.cg_edges),
            ("DCG nodes", ours.dcg_nodes, paper.dcg_nodes, all_parallel.dcg_nodes),
            ("DCG edges", ours.dcg_edges, paper.dcg_edges, all_parallel.dcg_edges),
            ("PIM-capable", ours.offload_capable, paper.pim_capable, all_parallel.offload_capable),
            ("DA edges", len(ours.da_edges), paper.da_edges, len(all_parallel.da_edges)),
        ):
            verdict = "equal" if mine == theirs else "differs"
            rows.append((f"{TITLES[model]}: {name}", theirs, mine, verdict, everything))
    return f"""## Graph sizes

A DCG node is an operator on a capable device. A DCG edge is a tensor between two operators together
with the producer's and the consumer's device, where the two devices differ; several consumers that
can run on one device count once. The paper counts CPU parallel as a device only of Add, Sub, Mul,
Div, MatMul and Gemm; with these definitions its counts come out exactly. The traces hold a time
with all cores for every operator; the last column counts with that.

{table(("", "published", "pimloop", "", "CPU parallel everywhere"), rows)}
"""


def runs_section(costs: dict[tuple[str, int], CostGraph]) -> str:
    """Return the comparison of the numbers of profile runs."""
    rows = []
    for model in MODELS:
        for length in LENGTHS:
            graph = costs[model, length].graph
            paper = plan_profile(graph, "paper")
            each = plan_profile(graph, "minimal", "none")
            grouped = plan_profile(graph, "minimal", "signature")
            published = PUBLISHED[model]
            rows.append(
                (
                    f"{TITLES[model]}, p={length}",
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


def totals_section(
    data: dict[tuple[str, int], dict[str, object]], costs: dict[tuple[str, int], CostGraph]
) -> str:
    """Return the comparison of every policy's total with the published one and the optimum."""
    rows, gains = [], []
    for (model, length), graph in costs.items():
        totals = {policy: partition(graph, policy) for policy in POLICIES}
        best = totals["optimal"]
        published = data[model, length]["published_totals_us"]
        assert isinstance(published, dict)
        listed = data[model, length]["published_opt_pim_nodes"]
        assert isinstance(listed, list)
        theirs = _published_assignment(graph, {str(name) for name in listed})
        problem = Problem.of(graph)
        executed = problem.to_us(evaluate(problem, theirs).total)
        ours = {name for name, device in totals["paper_dp"].assignment.items() if device == "pim"}
        for policy in POLICIES:
            plan = totals[policy]
            key = PUBLISHED_KEYS.get(policy)
            measured = published[key] if key else None
            rows.append(
                (
                    f"{TITLES[model]}, p={length}: {policy}",
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
                f"{TITLES[model]}, p={length}",
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


def coexecution_section(
    data: dict[tuple[str, int], dict[str, object]], costs: dict[tuple[str, int], CostGraph]
) -> str:
    """Return the totals with operators split between both devices."""
    rows = []
    for (model, length), graph in costs.items():
        measurement = data[model, length]
        published = measurement["published_totals_us"]
        assert isinstance(published, dict)
        row: list[object] = [
            f"{TITLES[model]}, p={length}",
            f"{published['opt']:,}",
            f"{partition(graph).total_us:,.0f}",
        ]
        for assumption in PIM_PARTS:
            plan = partition(split_costs(measurement, assumption), COEXEC)
            assert plan.optimal
            row += [
                f"{plan.total_us:,.0f}",
                len(plan.splits),
                f"{published['opt'] / plan.total_us:.2f}",
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


def _published_assignment(costs: CostGraph, on_pim: set[str]) -> dict[str, str]:
    assignment = {}
    for operator in costs.graph.operators:
        by_device = costs.cost_us[operator.id]
        on_cpu = [device for device in operator.devices if device != "pim"]
        assignment[operator.id] = (
            "pim" if operator.id in on_pim else min(on_cpu, key=lambda d: by_device[d])
        )
    return assignment


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paper-dir", type=Path, required=True, help="the full measurements")
    parser.add_argument("--report", type=Path, default=Path("docs/paper.md"))
    parser.add_argument(
        "--tables", type=Path, default=Path("partitioner/paper/data/paper_tables.json")
    )
    args = parser.parse_args(argv)
    try:
        data = {
            (model, length): load_paper_file(args.paper_dir, model, length)
            for model in MODELS
            for length in LENGTHS
        }
        costs = {key: paper_costs(measurement) for key, measurement in data.items()}
        sections = [
            INTRODUCTION,
            counts_section(costs),
            runs_section(costs),
            totals_section(data, costs),
            coexecution_section(data, costs),
        ]
        tables = distil(args.paper_dir)
    except PartitionerError as error:
        sys.stderr.write(f"paper_report: {error}\n")
        return 2
    _replace(args.report, "\n".join(sections))
    text = json.dumps(tables, indent=None, separators=(",", ":")).replace("],[", "],\n[")
    _replace(args.tables, text + "\n")
    return 0


def _replace(path: Path, text: str) -> None:
    """Write a file beside `path` and rename it, so that no half of it is ever at `path`."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
