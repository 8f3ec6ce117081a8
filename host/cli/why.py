"""`pimloop report DIR --why OPERATOR`: why an operator is where it is, by the predicted costs."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from rich.console import Console

from pimloop.errors import PimloopError
from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.report.format.model import Node
from pimloop.host.report.format.placement import Alternative, Placement
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule, SplitOperator
from pimloop.host.report.html.labels import (
    device_title,
    place_title,
    schedule_key,
    schedule_order,
)
from pimloop.host.report.html.rates import shapes_of


def why(report: Report, operator: str) -> dict[str, Any]:
    """Return why an operator is where it is, in each schedule that says so, ready for JSON.

    Raises
    ------
    PimloopError
        When there is no such operator, or the report explains no schedule.
    """
    node = _node(report, operator)
    schedules: dict[str, Any] = {}
    for name, schedule, placement in _explained(report):
        device = schedule["assignment"][operator]
        split = schedule.get("splits", {}).get(operator)
        entry: dict[str, Any] = {
            "device": device,
            "operator_us": node["cost_us"].get(device),
            "exact": placement["exact"],
            "margin_us": margin_us(placement["alternatives"].get(operator, [])),
            "alternatives": placement["alternatives"].get(operator, []),
        }
        if split is not None:
            entry["operator_us"] = max((split["us"] or {}).values(), default=None)
            entry["split"] = split
        schedules[name] = entry
    if not schedules:
        raise PimloopError(
            f"the report does not say why operators are where they are: {_why_not(report)}"
        )
    return {
        "operator": operator,
        "op": node["op"],
        "signature": node.get("signature"),
        "cost_us": node["cost_us"],
        "schedules": schedules,
    }


def print_why(out: Console, report: Report, operator: str) -> None:
    """Print the same for people.

    Raises
    ------
    PimloopError
        As `why`.
    """
    answer = why(report, operator)
    shapes = shapes_of(answer["signature"] or "")
    _line(out, f"{operator}: {answer['op']} {shapes}".rstrip())
    costs = [f"{device_title(device)} {us:,.1f} us" for device, us in answer["cost_us"].items()]
    _line(out, f"predicted: {', '.join(costs)}" if costs else "no costs")
    for name, entry in answer["schedules"].items():
        _print_schedule(out, report, name, entry)


def margin_us(alternatives: list[Alternative]) -> float | None:
    """Return how much longer an operator may take before an optimum has it elsewhere.

    Microseconds; None: it can run nowhere else.
    """
    regrets = [one["regret_us"] for one in alternatives if one["regret_us"] is not None]
    return min(regrets, default=None)


def _explained(report: Report) -> Iterator[tuple[str, Schedule, Placement]]:
    for name in schedule_order(report["schedules"]):
        schedule = report["schedules"][name]
        placement = schedule.get("placement")
        if placement is not None:
            yield name, schedule, placement


def _why_not(report: Report) -> str:
    """Return why no schedule of a report is explained, and what to do."""
    if report["objective"] != "sequential":
        return "only optima of the sum of all times are explained; use --objective sequential"
    schedules = report["schedules"].values()
    if all(schedule["predicted_us"] is None for schedule in schedules):
        return "its operators were placed without costs; use `pimloop sim` with --device sim"
    return "it is of an earlier version, or no optimum is proved; run `pimloop sim` again"


def _node(report: Report, operator: str) -> Node:
    nodes = {node["id"]: node for node in report["graph"]["nodes"]}
    if operator not in nodes:
        within = [name for name in nodes if operator.lower() in name.lower()]
        near = (within or get_close_matches(operator, nodes, 3, cutoff=0.4))[:3]
        hint = f"did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise PimloopError(
            f"no operator '{operator}' in the report of {report['model']}; "
            + (hint or "graph.nodes of its report.json lists them")
        )
    return nodes[operator]


def _print_schedule(out: Console, report: Report, name: str, entry: dict[str, Any]) -> None:
    key = schedule_key(name, report["schedules"][name])
    at_least = "" if entry["exact"] else "at least "
    margin = entry["margin_us"]
    if margin is None:
        stays = "it can run nowhere else"
    elif margin:
        stays = f"it stays until it takes {at_least}{margin:,.1f} us longer there"
    else:
        stays = "elsewhere the whole takes as long: another optimum"
    _line(out, "")
    _line(out, f"{key}: on {place_title(entry['device'])}; {stays}")
    if "split" in entry:
        _print_split(out, entry["split"])
    if not entry["alternatives"]:
        return
    others = sorted(
        entry["alternatives"], key=lambda one: (one["regret_us"] is None, one["regret_us"])
    )
    columns = [*texts("elsewhere; us"), *numbers("itself", "transfers", "moved alone", "at best")]
    print_table(
        out, columns, [_cells(one, entry["operator_us"] or 0.0, at_least) for one in others]
    )
    for one in others:
        moves = [
            f"{word} {', '.join(f'{move} {us:,.1f} us' for move, us in one[word].items())}"
            for word in ("adds", "saves")
            if one[word]
        ]
        if moves:
            _line(out, f"{place_title(one['device'])} {'; '.join(moves)}")
    _line(
        out,
        "itself, transfers: what changes if it alone moves there; at best: all others placed anew"
        " (exact, by dynamic programming)",
        "dim",
    )


def _cells(one: Alternative, own_us: float, at_least: str) -> tuple[str, ...]:
    kept, regret = one["kept_us"], one["regret_us"]
    return (
        place_title(one["device"]),
        _signed(one["operator_us"] - own_us),
        _signed(sum(one["adds"].values()) - sum(one["saves"].values())),
        "forbidden" if kept is None else _signed(kept),
        "impossible" if regret is None else at_least + _signed(regret),
    )


def _print_split(out: Console, split: SplitOperator) -> None:
    """Print what both devices of a split do, and how far apart they end."""
    us = split["us"] or {}
    parts = [
        f"{device_title(device)} {columns} columns"
        + (f" in {us[device]:,.1f} us" if device in us else "")
        for device, columns in split["columns"].items()
    ]
    text = ", ".join(parts)
    if us:
        text += f": both finish within {max(us.values()) - min(us.values()):,.1f} us of each other"
    for memory, gather in (split.get("gather_us") or {}).items():
        text += f"; gather in memory {memory} {gather:,.1f} us"
    _line(out, text)


def _signed(us: float) -> str:
    return f"{us:+,.1f}" if abs(us) >= 0.05 else "0"


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(text, markup=False, soft_wrap=True, style=style or None)
