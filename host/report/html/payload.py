"""The data that the scripts of the page draw: graph, timelines, runs and roofline, kept small.

Operators and tensors are named once and referred to by their index.
"""

from __future__ import annotations

from typing import Any

from pimloop.host.devices.kinds import device_parts, kinds, pair_of
from pimloop.host.report.format.model import Edge, Node, Roofline
from pimloop.host.report.format.placement import Alternative
from pimloop.host.report.format.report import Report
from pimloop.host.report.format.schedule import Schedule
from pimloop.host.report.html.charts import devices_used, operator_colours
from pimloop.host.report.html.labels import (
    device_title,
    lane_order,
    place_title,
    schedule_order,
    schedule_title,
)
from pimloop.host.report.html.layout import lay_out
from pimloop.host.report.html.lead import lead_schedule
from pimloop.host.report.html.rates import LIMITS

#: Decimals of times, microseconds: a picosecond is below every clock here.
_DECIMALS = 3

_FJ_PER_UJ = 10**9


def payload(report: Report) -> dict[str, Any]:
    """Return the data for the scripts (assets/*.js), ready for JSON."""
    graph, profile = report.get("graph"), report.get("profile")
    nodes = graph["nodes"] if graph else []
    index = {node["id"]: i for i, node in enumerate(nodes)}
    devices = devices_used(report)
    schedules = report["schedules"]
    lanes = lane_order(
        {s["lane"] for schedule in schedules.values() for s in schedule.get("timeline") or ()}
        | {*devices, "dma"}
    )
    tensors: dict[str, int] = {}
    edges = [_edge(edge, index, tensors) for edge in (graph["edges"] if graph else ())]
    inner = [(edge[0], edge[1]) for edge in edges if edge[0] >= 0 and edge[1] >= 0]
    names = schedule_order(schedules)
    lead = lead_schedule(report)
    layout = lay_out([node["op"] for node in nodes], inner)
    return {
        "devices": [
            [device, device_title(device), _short(device), _memories(device)] for device in devices
        ],
        "lanes": [[lane, device_title(lane)] for lane in lanes],
        "nodes": [_node(node, devices) for node in nodes],
        "codes": operator_codes(node["op"] for node in nodes),
        "colours": operator_colours(report),
        "tensors": list(tensors),
        "edges": edges,
        "groups": [[g.title, g.first, g.count, g.columns, g.lanes] for g in layout.groups],
        "places": layout.places,
        "schedules": [
            _schedule(name, schedules[name], nodes, devices, lanes, index, tensors)
            for name in names
        ],
        "main": names.index(lead) if lead in names else 0,
        "runs": [
            {
                "name": run["name"],
                "us": run.get("executed_us"),
                "devices": _devices(run["assignment"], nodes, devices),
            }
            for run in ([] if profile is None else profile["matrix"])
        ],
        "roofline": _roofline(report.get("roofline"), index),
    }


def operator_codes(ops: Any) -> dict[str, str]:
    """Return a code of two characters for each operator type, where two suffice to differ.

    >>> operator_codes(["MatMul", "Mul", "Add", "Mod", "Mul"])
    {'MatMul': 'MM', 'Mul': 'Mu', 'Add': 'Ad', 'Mod': 'Mo'}
    """
    codes: dict[str, str] = {}
    used: set[str] = set()
    for op in dict.fromkeys(ops):
        capitals = "".join(c for c in op if c.isupper())
        tries = [capitals[:2]] if len(capitals) > 1 else []
        tries += [op[:2]] + [op[:1] + c for c in op[2:]] + [op[:1] + str(i) for i in range(10)]
        code = next((code for code in tries if code not in used), op[:3])
        used.add(code)
        codes[op] = code
    return codes


def _node(node: Node, devices: list[str]) -> list[Any]:
    source = node.get("source") or {}
    return [
        node["id"],
        node["op"],
        node.get("signature") or "",
        list(node.get("shape") or ()),
        [_round(node["cost_us"].get(device)) for device in devices],
        [source.get(device, "") for device in devices],
    ]


def _edge(edge: Edge, index: dict[str, int], tensors: dict[str, int]) -> list[Any]:
    """Return [producer, consumer, tensor, bytes, to the PIM, back]; -1 is outside the model."""
    transfer = edge.get("transfer_us") or {}
    return [
        -1 if edge["producer"] is None else index[edge["producer"]],
        -1 if edge["consumer"] is None else index[edge["consumer"]],
        tensors.setdefault(edge["tensor"], len(tensors)),
        edge.get("bytes"),
        _round(transfer.get("cpu>pim")),
        _round(transfer.get("pim>cpu")),
    ]


def _schedule(
    name: str,
    schedule: Schedule,
    nodes: list[Node],
    devices: list[str],
    lanes: list[str],
    index: dict[str, int],
    tensors: dict[str, int],
) -> dict[str, Any]:
    lane_index = {lane: i for i, lane in enumerate(lanes)}
    segments: list[list[Any]] = []
    for step in schedule.get("timeline") or ():
        node = index.get(step.get("node") or "", -1)
        tensor = tensors.get(step.get("tensor") or "", -1)
        segment: list[Any] = [
            lane_index[step["lane"]],
            _round(step["start_us"]),
            _round(step["us"]),
            node,
        ]
        if node < 0 or step["lane"] == "dma":
            segment += [tensor, step.get("name") or ""]
        segments.append(segment)
    return {
        "name": name,
        "title": schedule_title(name, schedule),
        "us": _round(schedule.get("executed_us")),
        "devices": _devices(schedule.get("assignment") or {}, nodes, devices),
        "timeline": segments,
        "splits": {
            index[identifier]: [
                [
                    [device_title(device), columns, _round((split["us"] or {}).get(device))]
                    for device, columns in split["columns"].items()
                ],
                {memory: _round(us) for memory, us in (split.get("gather_us") or {}).items()},
            ]
            for identifier, split in (schedule.get("splits") or {}).items()
        },
        **_placement(schedule, nodes, tensors),
        **_energy(schedule, nodes),
    }


def _energy(schedule: Schedule, nodes: list[Node]) -> dict[str, Any]:
    """Return the nominal energy of every operator, microjoules, where the schedule has energies."""
    energy = schedule.get("energy")
    if energy is None:
        return {}
    spent = energy["operators_fj"]
    return {"energy": [float(f"{spent.get(n['id'], 0) / _FJ_PER_UJ:.4g}") for n in nodes]}


def _placement(schedule: Schedule, nodes: list[Node], tensors: dict[str, int]) -> dict[str, Any]:
    """Return for every operator [place, time, adds, saves, moved alone, at best] of others."""
    placement = schedule.get("placement")
    if placement is None:
        return {}
    alternatives = placement["alternatives"]
    return {
        "exact": placement["exact"],
        "elsewhere": [
            [_alternative(alternative, tensors) for alternative in alternatives.get(node["id"], ())]
            for node in nodes
        ],
    }


def _alternative(alternative: Alternative, tensors: dict[str, int]) -> list[Any]:
    return [
        place_title(alternative["device"]),
        _round(alternative["operator_us"]),
        _moves(alternative["adds"], tensors),
        _moves(alternative["saves"], tensors),
        _round(alternative["kept_us"]),
        _round(alternative["regret_us"]),
    ]


def _moves(moves: dict[str, float], tensors: dict[str, int]) -> list[list[Any]]:
    """Return [tensor, direction, time] of transfers by name."""
    rows = []
    for name, us in moves.items():
        tensor, _, direction = name.rpartition(" ")
        rows.append([tensors.get(tensor, -1), direction, _round(us)])
    return rows


def _devices(assignment: dict[str, str], nodes: list[Node], devices: list[str]) -> str:
    """Return the device of every node as one letter each, "-" where a node has none."""
    letter = {device: chr(ord("a") + i) for i, device in enumerate(devices)}
    return "".join(letter.get(pair_of(assignment.get(node["id"], "")), "-") for node in nodes)


def _roofline(roofline: Roofline | None, index: dict[str, int]) -> dict[str, Any] | None:
    """Return the limits and [node, type, MACs, bytes, once, us, device us, limit] of points."""
    if not roofline or not roofline.get("points"):
        return None
    return {
        "peak": roofline["peak_macs_per_us"],
        "bandwidth": roofline["bandwidth_bytes_per_us"],
        "limits": LIMITS,
        "points": [
            [
                index.get(p["node"], -1),
                p["op"],
                p["macs"],
                p.get("bytes"),
                p.get("ideal_bytes"),
                _round(p["us"]),
                _round(p.get("device_us")),
                p.get("limited_by") or "",
            ]
            for p in roofline["points"]
        ],
    }


def _short(device: str) -> str:
    letters = {kind.name: kind.letter for kind in kinds().values()}
    return "".join(letters.get(part, part[:1].upper()) for part in device_parts(device))


def _memories(device: str) -> list[str]:
    """Return the memories that a device, or two of a split, need inputs in."""
    known = kinds()
    return [known[part].memory if part in known else part for part in device_parts(device)]


def _round(us: float | None) -> float | None:
    return None if us is None else round(us, _DECIMALS)
