"""`--why OPERATOR`: why an operator is where it is, by the predicted costs."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from rich.console import Console

from pimloop.errors import PimloopError
from pimloop.host.cli.explained import Explained, ExplainedOperator, ExplainedSchedule, Parts
from pimloop.host.cli.tables import numbers, print_table, texts
from pimloop.host.report.format.placement import Alternative
from pimloop.host.report.html.labels import device_title, place_title
from pimloop.host.report.html.rates import shapes_of


def why(explained: Explained, operator: str) -> dict[str, Any]:
    """Return why an operator is where it is, in each optimum, ready for JSON.

    Raises
    ------
    PimloopError
        When there is no such operator, or nothing is explained.
    """
    node = _operator(explained, operator)
    schedules: dict[str, Any] = {}
    for schedule in explained.schedules:
        alternatives = schedule.placement["alternatives"].get(operator, [])
        parts = schedule.splits.get(operator)
        entry: dict[str, Any] = {
            "device": schedule.assignment[operator],
            "operator_us": _operator_us(node, schedule, operator),
            "exact": schedule.placement["exact"],
            "margin_us": margin_us(alternatives),
            "alternatives": alternatives,
        }
        if parts is not None:
            entry["split"] = {
                "share": dict(parts.share),
                "unit": parts.unit,
                "us": dict(parts.us) or None,
                "gather_us": dict(parts.gather_us),
            }
        schedules[schedule.name] = entry
    return {
        "operator": operator,
        "op": node.op,
        "signature": node.signature or None,
        "cost_us": dict(node.cost_us),
        "schedules": schedules,
    }


def print_why(out: Console, explained: Explained, operator: str) -> None:
    """Print the same for people.

    Raises
    ------
    PimloopError
        As `why`.
    """
    node = _operator(explained, operator)
    _line(out, f"{operator}: {node.op} {shapes_of(node.signature)}".rstrip())
    costs = [f"{device_title(device)} {us:,.1f} us" for device, us in node.cost_us.items()]
    _line(out, f"predicted: {', '.join(costs)}")
    for schedule in explained.schedules:
        _print_schedule(out, schedule, node, operator)


def margin_us(alternatives: Sequence[Alternative]) -> float | None:
    """Return how much longer an operator may take before an optimum has it elsewhere.

    Microseconds; None: it can run nowhere else.
    """
    regrets = [
        alternative["regret_us"]
        for alternative in alternatives
        if alternative["regret_us"] is not None
    ]
    return min(regrets, default=None)


def _operator(explained: Explained, operator: str) -> ExplainedOperator:
    if operator not in explained.operators:
        names = explained.operators
        within = [name for name in names if operator.lower() in name.lower()]
        near = (within or get_close_matches(operator, names, 3, cutoff=0.4))[:3]
        hint = f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise PimloopError(f"no operator '{operator}' in {explained.model}{hint}")
    if not explained.schedules:
        raise PimloopError(f"nothing says why operators are where they are: {explained.why_not}")
    return explained.operators[operator]


def _operator_us(node: ExplainedOperator, schedule: ExplainedSchedule, operator: str) -> float:
    """Return the time of an operator where it is; of a split, its slower part."""
    parts = schedule.splits.get(operator)
    if parts is not None:
        return max(parts.us.values(), default=0.0)
    return node.cost_us[schedule.assignment[operator]]


def _print_schedule(
    out: Console, schedule: ExplainedSchedule, node: ExplainedOperator, operator: str
) -> None:
    alternatives = schedule.placement["alternatives"].get(operator, [])
    at_least = "" if schedule.placement["exact"] else "at least "
    margin = margin_us(alternatives)
    if margin is None:
        stays = "it can run nowhere else"
    elif margin:
        stays = f"it stays until it takes {at_least}{margin:,.1f} us longer there"
    else:
        stays = "elsewhere the whole takes as long: another optimum"
    _line(out, "")
    _line(out, f"{schedule.title}: on {place_title(schedule.assignment[operator])}; {stays}")
    if operator in schedule.splits:
        _print_split(out, schedule.splits[operator])
    if not alternatives:
        return
    others = sorted(
        alternatives,
        key=lambda alternative: (alternative["regret_us"] is None, alternative["regret_us"]),
    )
    own = _operator_us(node, schedule, operator)
    columns = [*texts("elsewhere; us"), *numbers("itself", "transfers", "moved alone", "at best")]
    print_table(out, columns, [_cells(alternative, own, at_least) for alternative in others])
    for alternative in others:
        moves = [
            f"{word} {', '.join(f'{move} {us:,.1f} us' for move, us in named.items())}"
            for word, named in (("adds", alternative["adds"]), ("saves", alternative["saves"]))
            if named
        ]
        if moves:
            _line(out, f"{place_title(alternative['device'])} {'; '.join(moves)}")
    _line(
        out,
        "itself, transfers: what changes if it alone moves there; at best: all others placed anew"
        " (exact, by dynamic programming)",
        "dim",
    )


def _cells(alternative: Alternative, own_us: float, at_least: str) -> tuple[str, ...]:
    kept, regret = alternative["kept_us"], alternative["regret_us"]
    return (
        place_title(alternative["device"]),
        _signed(alternative["operator_us"] - own_us),
        _signed(sum(alternative["adds"].values()) - sum(alternative["saves"].values())),
        "forbidden" if kept is None else _signed(kept),
        "impossible" if regret is None else at_least + _signed(regret),
    )


def _print_split(out: Console, split: Parts) -> None:
    """Print what both devices of a split do, and how far apart they end."""
    parts = [
        f"{device_title(device)} {share} {split.unit}"
        + (f" in {split.us[device]:,.1f} us" if device in split.us else "")
        for device, share in split.share.items()
    ]
    text = ", ".join(parts)
    if split.us:
        apart = max(split.us.values()) - min(split.us.values())
        text += f": both finish within {apart:,.1f} us of each other"
    for memory, gather in split.gather_us.items():
        text += f"; gather in memory {memory} {gather:,.1f} us"
    _line(out, text)


def _signed(us: float) -> str:
    return f"{us:+,.1f}" if abs(us) >= 0.05 else "0"


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(text, markup=False, soft_wrap=True, style=style or None)
