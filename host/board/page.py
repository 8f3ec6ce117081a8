"""docs/board.md: the simulated platform beside the board, as `pimloop validate-board` writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from statistics import median

from pimloop.host.board.compare import Cell, ClassTime
from pimloop.host.board.data import BUILT_IN, TITLES, load_board
from pimloop.host.board.driver_work import (
    TRANSPOSED_ELEMENT_US,
    TRANSPOSED_ROW_US,
    Explanation,
)
from pimloop.host.board.transfers import TransferTime
from pimloop.host.calibration.calibrate import REPORTED_US, Errors, merged
from pimloop.host.cpu.parameters import CpuSection
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.partitioner.paper.coexecution import PRODUCTS, TILE_COLUMNS
from pimloop.partitioner.paper.tables import CITATION
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

#: What a cell, and the median of all cells, may differ from the board.
CELL_LIMIT = 0.07
MEDIAN_LIMIT = 0.03

_SHOWN = 3  # contributions of a cell


def page(
    cells: Sequence[Cell],
    times: Sequence[ClassTime],
    transfers: Sequence[TransferTime],
    explanations: Sequence[Explanation],
    held_out: dict[str, dict[tuple[str, str], Errors]],
    *,
    platform: str,
    command: str,
) -> str:
    """Return the page.

    Parameters
    ----------
    cells, times, transfers
        What was compared.
    explanations
        Of the products whose rows end inside a column tile.
    held_out
        Errors of the CPU model by title, each by (class, device).
    platform, command
        What made it.
    """
    parts = [
        _introduction(platform, command),
        _figure(cells),
        _differences(cells),
        _rows_inside_tiles(explanations),
        _products(times),
        _elementwise(times),
        _transfers(transfers),
        _cpu(held_out),
        _inventory(sorted({cell.model for cell in cells}, key=list(BUILT_IN).index)),
    ]
    return "\n".join(parts)


def summary(cells: Sequence[Cell]) -> dict[str, float | int | bool]:
    """Return the worst and the median error of the cells, and whether they are within limits."""
    errors = [abs(cell.error) for cell in cells if cell.error is not None]
    if not errors:
        return {"cells": 0, "worst": 0.0, "median": 0.0, "passed": True}
    worst, middle = max(errors), median(errors)
    return {
        "cells": len(errors),
        "worst": worst,
        "median": middle,
        "passed": worst <= CELL_LIMIT and middle <= MEDIAN_LIMIT,
    }


def _introduction(platform: str, command: str) -> str:
    return f"""# The simulated platform beside the paper's board

Written by `{command}` on platform `{platform}`;
nothing here is edited by hand. The board's times were measured by the authors of the paper and
published with it:

> {CITATION}

What stands for what:

- The authors' own graphs are priced: 222, 616 and 1934 operators. Their data ship in
  `host/board/data`.
- PIM: each operator that the board ran on its PIM runs in the simulated device with random
  operands, one operator for each shape (cycles never depend on the data), plus the driver's cost
  of a call.
- CPU: the `[cpu]` section of the platform, {len(fields(CpuSection))} parameters, most of them
  fitted to the published times by `pimloop calibrate --board`. No table by shape.
- Transfers: a fixed cost and a cost of an element for each direction.
- Schedules: the same partitioner on those costs. `optimal` is the optimum of the simulated
  platform's costs, not the board's plan.
- Two things are added that the board's driver does and pimloop's does not; the column "as it is"
  is without.
  Transposing: a Gemm with transB = 1 takes the board's PIM 9 to 189 ms, as long as moving its
  weights one by one; two of them cost BERT 73 ms and RoBERTa 202 ms. pimloop transposes the
  weights once, when it loads them, and needs 0.1 to 0.2 ms. Added are {TRANSPOSED_ROW_US} us for
  each row of the transposed matrix and {TRANSPOSED_ELEMENT_US} us for each element.
  Repacking rows that end inside a column tile of {TILE_COLUMNS}: see below.
"""


def _figure(cells: Sequence[Cell]) -> str:
    lines = [
        "## Figure 9: model, length, schedule",
        "",
        "Milliseconds.",
        "",
        "| model | tokens | schedule | board | pimloop | difference | as it is | PIM operators |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for cell in cells:
        board = "-" if cell.board_us is None else _ms(cell.board_us)
        error = "-" if cell.error is None else _percent(cell.error)
        same = abs(cell.own_us - cell.ours_us) < 0.5
        lines.append(
            f"| {TITLES[cell.model]} | {cell.length} | {cell.schedule} | {board} |"
            f" {_ms(cell.ours_us)} | {error} | {'=' if same else _ms(cell.own_us)} |"
            f" {cell.pim_nodes} |"
        )
    errors = summary(cells)
    lines += [
        "",
        f"{quantity(int(errors['cells']), 'cell')} with a published total: median difference"
        f" {percent(float(errors['median']))} (at most {percent(MEDIAN_LIMIT, 0)}), worst"
        f" {percent(float(errors['worst']))} (at most {percent(CELL_LIMIT, 0)}).",
        "",
    ]
    return "\n".join(lines)


def _differences(cells: Sequence[Cell]) -> str:
    lines = [
        "## Where the differences come from",
        "",
        "The largest parts of pimloop's total minus the published one, milliseconds, at the"
        " published placement. Two parts are no operators: the published total is not the sum of"
        " the published costs (a schedule was measured in a run of its own), and our optimum may be"
        " another plan than theirs.",
        "",
        "| model | tokens | schedule | difference | largest parts |",
        "|---|---:|---|---:|---|",
    ]
    for cell in cells:
        if cell.board_us is None:
            continue
        parts = "; ".join(
            f"{part.cause} {_signed(part.us)}" for part in cell.contributions[:_SHOWN]
        )
        lines.append(
            f"| {TITLES[cell.model]} | {cell.length} | {cell.schedule} |"
            f" {_signed(cell.ours_us - cell.board_us)} | {parts} |"
        )
    return "\n".join([*lines, "", _EXPLANATIONS])


_EXPLANATIONS = """What explains them:

- **(p,r)-(p,1) on the PIM** takes the board about 1 us a row longer, at r = 512 and 768 alike,
  and (p,1)+() 11 us a call. They are a small part of every total.
- **CPU products with wide weights**: the board's times of equal operators differ by a fifth to a
  third within one run. One pair of parameters serves all products; it is below the median of
  these.
- **Published totals against the sums of published costs**: up to 4.5 % (GPT-2, 32 tokens,
  pim_first); docs/paper.md lists them.
"""


def _rows_inside_tiles(explanations: Sequence[Explanation]) -> str:
    lines = ["## Rows that end inside a column tile", ""]
    if not explanations:
        return "\n".join([*lines, "These models and lengths have none.", ""])
    lines += [
        "Products whose result has rows of 768 or 2304 columns, no multiple of"
        f" {TILE_COLUMNS}, take the board longer than their tiles explain. Each line explains that"
        f" by one price, fitted by least squares to the"
        f" {quantity(len(explanations[0].errors), 'product')} of the published"
        " data; the last one has nothing to fit. Errors are of the operator's whole time.",
        "",
        "| what takes the time | price | found by | median error | worst |",
        "|---|---:|---|---:|---:|",
    ]
    for each in explanations:
        origin = "fit" if each.fitted else "the transfers"
        lines.append(
            f"| {each.name} | {_price(each)} | {origin} |"
            f" {percent(each.median)} | {_percent(each.worst)} |"
        )
    return "\n".join([*lines, "", _REPACKING])


_REPACKING = f"""The last explanation is used. The board keeps matrices without padding and its PIM
works on whole tiles of {TILE_COLUMNS} columns, so the host takes such a result out of PIM memory
and stores it again row by row. What an element takes is known from the transfers, both ways. The
same mechanism explains the element-wise operators: (p,768) + (768), which takes up to four times as
long as (p,768) + (p,768), stores the row p times at the price of a transfer to the PIM. (p,768) +
(p,768) runs over the matrix as over one long row, and (p,512) + (512) and (p,3072) + (3072) repeat
their row inside the PIM. It is an explanation that fits, with no constant of its own; the driver of
the authors is not published.
"""


def _products(times: Sequence[ClassTime]) -> str:
    rows = [t for t in times if t.device == "pim" and t.op in PRODUCTS]
    return "\n".join(
        [
            "## Products on the PIM",
            "",
            "Weights resident, driver's call and repacking included. Microseconds; the board's"
            " median over its nodes.",
            "",
            *_class_table([t for t in rows if not t.transposed]),
            "",
            "With transposed weights; pimloop with what the board adds at each call:",
            "",
            *_class_table([t for t in rows if t.transposed]),
            "",
        ]
    )


def _elementwise(times: Sequence[ClassTime]) -> str:
    rows = [t for t in times if t.device == "pim" and t.op not in PRODUCTS]
    return "\n".join(["## Element-wise operators on the PIM", "", *_class_table(rows), ""])


def _class_table(rows: Iterable[ClassTime]) -> list[str]:
    """Return a table of classes, one row for each shape: the models that share it together."""
    groups: dict[tuple[str, int], list[ClassTime]] = {}
    for row in rows:
        groups.setdefault((row.name, row.length), []).append(row)
    lines = ["| operator | nodes | board | pimloop | difference |", "|---|---:|---:|---:|---:|"]
    for (name, _), members in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0])):
        count = sum(member.count for member in members)
        board = sum(member.board_us * member.count for member in members) / count
        ours = members[0].ours_us + members[0].driver_work_us
        lines.append(
            f"| {name} | {count} | {board:,.1f} | {ours:,.1f} | {_percent(ours / board - 1)} |"
        )
    return lines


def _transfers(transfers: Sequence[TransferTime]) -> str:
    lines = [
        "## Transfers",
        "",
        "Conversion between float32 and bfloat16 included. Microseconds; the board's mean over its"
        " transfers of that size.",
        "",
        "| direction | bytes | samples | board | least | pimloop | difference |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for transfer in transfers:
        lines.append(
            f"| {transfer.direction} | {transfer.nbytes:,} | {transfer.samples} |"
            f" {transfer.mean_us:.1f} | {transfer.least_us:.0f} | {transfer.ours_us:.1f} |"
            f" {_percent(transfer.ours_us / transfer.mean_us - 1)} |"
        )
    return "\n".join([*lines, ""])


def _cpu(held_out: dict[str, dict[tuple[str, str], Errors]]) -> str:
    lines = [
        "## The CPU model",
        "",
        f"Errors by class, operators of {REPORTED_US:.0f} us and more, nodes of equal shape as one"
        " (their median). Held out: predicted by a fit that has not seen that length, or that"
        " model.",
        "",
    ]
    for title, table in held_out.items():
        lines += [
            f"### {title.capitalize()}",
            "",
            "| class | device | samples | median | 90 % | worst | which |",
            "|---|---|---:|---:|---:|---:|---|",
        ]
        rows = [*sorted(table.items()), (("all", ""), merged(table.values()))]
        for (kind, device), errors in rows:
            worst, name = errors.worst
            lines.append(
                f"| {kind} | {device} | {len(errors.signed)} | {percent(errors.median)} |"
                f" {percent(errors.p90)} | {_percent(worst)} | {name} |"
            )
        lines.append("")
    lines.append(
        "The worst of them are single operators that the board ran once: the first operators of a"
        " run, and an Add of GPT-2 at 32 tokens that took 3.4 ms where RoBERTa's takes 0.18. Views"
        " of 50 us and more exist only as such strays: moving nothing takes about 20 us.\n"
    )
    return "\n".join(lines)


def _inventory(models: Sequence[str]) -> str:
    lines = [
        "## Graphs: the authors' and ours",
        "",
        "Operators by type. Of BERT and RoBERTa pimloop builds the graphs that the authors"
        " exported; of GPT-2 it folds the shape arithmetic away and adds the language-model head,"
        " so the comparison above prices the authors' graph.",
        "",
        "| model | operators | board | pimloop | differing types (board, pimloop) |",
        "|---|---|---:|---:|---|",
    ]
    for name in models:
        ours, board = BUILT_IN[name], load_board(name)
        theirs = Counter(board.classes[index].op for index in board.node_classes)
        built = Counter(node.op for node in load_model(ours, LoadOptions(sequence_length=8)).nodes)
        differing = [
            f"{op} {theirs[op]}, {built[op]}"
            for op in sorted({*theirs, *built})
            if theirs[op] != built[op]
        ]
        lines.append(
            f"| {TITLES[name]} | `{ours}` | {sum(theirs.values())} | {sum(built.values())} |"
            f" {'; '.join(differing) or 'none'} |"
        )
    return "\n".join([*lines, ""])


def _price(explanation: Explanation) -> str:
    """Return the price of an explanation with its unit."""
    us = explanation.constant
    number = f"{us:.3g} us" if us >= 1 else f"{us * 1000:.3g} ns"
    return f"{number} per {explanation.unit}"


def _ms(us: float) -> str:
    return f"{us / 1000:,.1f}"


def _signed(us: float) -> str:
    return f"{us / 1000:+.1f}"


def _percent(share: float) -> str:
    return percent(share, signed=True)
