"""Reports to draw: the shape of an encoder, costs from plain rules, plans from the partitioner.

The numbers are invented; the sums are right (node times and transfers add up to the totals), so
that a picture that drops or doubles something can be caught.
"""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

from pimloop.host.report.placement import placement
from pimloop.partitioner.costs import CostGraph, costs_from_dict
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.plan import Plan
from pimloop.partitioner.profile.plan import plan_profile
from pimloop.partitioner.splits import Split, split_times

SCHEDULES = ("optimal", "cpu_serial", "cpu_parallel_first", "pim_first", "greedy", "paper_dp")
BASELINES = SCHEDULES[1:]

_PIM_OPS = frozenset({"MatMul", "Gemm", "Add", "Sub", "Mul"})


class _Builder:
    """Nodes and edges of an encoder, in the order the real models have."""

    def __init__(self, hidden: int, tokens: int, seed: int) -> None:
        self.hidden, self.tokens = hidden, tokens
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self._random = random.Random(seed)

    def add(
        self, op: str, inputs: list[str | None], width: int | None = None, inner: int = 0
    ) -> str:
        """Add a node that reads the outputs of `inputs` (None: a model input)."""
        width = self.hidden if width is None else width
        elements = self.tokens * width
        identifier = f"{op}_{len(self.nodes)}"
        work = elements * max(inner, 1)
        serial = 8 + work / (900 if inner else 260) * self._random.uniform(0.9, 1.1)
        cost = {"cpu_serial": round(serial, 3), "cpu_parallel": round(10 + serial / 3.3, 3)}
        source = dict.fromkeys(cost, "modelled")
        if op in _PIM_OPS:
            cost["pim"] = round(3 + work / (5600 if inner else 420), 3)
            source["pim"] = "simulated"
        self.nodes.append(
            {
                "id": identifier,
                "op": op,
                "signature": f"{op}/{self.tokens}x{width}" + (f"/{inner}" if inner else ""),
                "shape": [1, self.tokens, width],
                "macs": work if inner else 0,
                "cost_us": cost,
                "source": source,
            }
        )
        for name in inputs:
            self._edge(name, identifier, elements)
        return identifier

    def _edge(self, producer: str | None, consumer: str | None, elements: int) -> None:
        tensor = "input_ids" if producer is None else f"{producer}_out"
        known = next((edge for edge in self.edges if edge["tensor"] == tensor), None)
        self.edges.append(
            {
                "tensor": tensor,
                "producer": producer,
                "consumer": consumer,
                "bytes": known["bytes"] if known else elements * 2,
                "transfer_us": known["transfer_us"]
                if known
                else {
                    "cpu>pim": round(4 + elements / 400, 3),
                    "pim>cpu": round(5 + elements / 300, 3),
                },
            }
        )

    def output(self, producer: str) -> None:
        """Let the model return what `producer` makes."""
        self._edge(producer, None, self.tokens)

    def norm(self, x: str) -> str:
        """Add a layer normalisation."""
        mean = self.add("ReduceMean", [x], 1)
        centred = self.add("Sub", [x, mean])
        variance = self.add("ReduceMean", [self.add("Pow", [centred])], 1)
        deviation = self.add("Sqrt", [self.add("Add", [variance], 1)], 1)
        scaled = self.add("Mul", [self.add("Div", [centred, deviation])])
        return self.add("Add", [scaled])

    def dense(self, x: str, width: int, inner: int) -> str:
        """Add a matrix multiplication and its bias."""
        return self.add("Add", [self.add("MatMul", [x], width, inner)], width)

    def layer(self, x: str, mask: str) -> str:
        """Add an encoder layer of 50 operators."""
        hidden, heads = self.hidden, self.tokens * 8
        query, key, value = (
            self.add("Transpose", [self.add("Reshape", [self.dense(x, hidden, hidden)])])
            for _ in range(3)
        )
        scores = self.add("Div", [self.add("MatMul", [query, key], heads, 64)], heads)
        weights = self.add("Softmax", [self.add("Add", [scores, mask], heads)], heads)
        mixed = self.add("MatMul", [weights, value], hidden, self.tokens)
        joined = self.add("Reshape", [self.add("Transpose", [mixed])])
        x = self.norm(self.add("Add", [self.dense(joined, hidden, hidden), x]))
        up = self.dense(x, 4 * hidden, hidden)
        erf = self.add("Erf", [self.add("Div", [up], 4 * hidden)], 4 * hidden)
        gate = self.add("Mul", [up, self.add("Add", [erf], 4 * hidden)], 4 * hidden)
        half = self.add("Mul", [gate], 4 * hidden)
        return self.norm(self.add("Add", [self.dense(half, hidden, 4 * hidden), x]))


def make_report(layers: int = 12, hidden: int = 768, tokens: int = 16) -> dict[str, Any]:
    """Return a complete report of an encoder with about 50 operators a layer."""
    builder = _Builder(hidden, tokens, seed=7)
    x = builder.norm(
        builder.add("Add", [builder.add("Gather", [None]), builder.add("Gather", [None])])
    )
    mask = builder.add("Mul", [builder.add("Cast", [builder.add("Unsqueeze", [None], 1)], 1)], 1)
    for _ in range(layers):
        x = builder.layer(x, mask)
    pooled = builder.add(
        "Tanh", [builder.add("Gemm", [builder.add("Gather", [x])], hidden, hidden)]
    )
    builder.output(builder.add("Gemm", [pooled], 2, hidden))
    return _report(builder, "bert" if layers == 12 else "tiny", tokens)


def tiny_report() -> dict[str, Any]:
    """Return a complete report of five operators."""
    builder = _Builder(64, 4, seed=1)
    x = builder.add("Add", [None])
    y = builder.add("Softmax", [builder.add("MatMul", [x], 64, 64)])
    builder.output(builder.add("Mul", [builder.add("Tanh", [y]), y]))
    return _report(builder, "tiny", 4)


def coexec_report(layers: int = 1) -> dict[str, Any]:
    """Return the report of an encoder with the schedule `coexec`, whose products are split."""
    return _report(_split_encoder(layers), "tiny", 8, split=True)


def coexec_costs() -> CostGraph:
    """Return the costs of that encoder, with its splits."""
    return _costs(_split_encoder(1), split=True)


def _split_encoder(layers: int) -> _Builder:
    builder = _Builder(256, 8, seed=7)
    x, mask = builder.add("Gather", [None]), builder.add("Cast", [None], 1)
    for _ in range(layers):
        x = builder.layer(x, mask)
    builder.output(builder.add("Gemm", [x], 2, 256))
    return builder


def _offered(builder: _Builder) -> dict[str, tuple[Split, ...]]:
    """Return splits of every product of at least a column tile, in steps of an eighth."""
    offered = {}
    for node in builder.nodes:
        cost, name = node["cost_us"], node["id"]
        if not node["macs"] or "pim" not in cost or node["shape"][-1] < 64:
            continue
        moves = next(e for e in builder.edges if e["producer"] == name)["transfer_us"]
        fixed = {"cpu_parallel": 10.0, "pim": 3.0}

        def part(device: str, share: float, cost: Any = cost, fixed: Any = fixed) -> float:
            return round(fixed[device] + (cost[device] - fixed[device]) * share, 3)

        def gather(
            first: float, second: float, name: str = name, moves: Any = moves
        ) -> dict[str, dict[str, float]]:
            times = {"cpu": moves["pim>cpu"] * second, "pim": moves["cpu>pim"] * first}
            return {f"{name}_out": {memory: round(us, 3) for memory, us in times.items()}}

        offered[name] = split_times(("cpu_parallel", "pim"), range(1, 8), 8, part, gather)
    return offered


def bare_report() -> dict[str, Any]:
    """Return the least a report may hold: no clock, every optional part null or absent."""
    report = tiny_report()
    for schedule in report["schedules"].values():
        for key in ("executed_us", "compute_us", "transfer_us", "pim_us", "cpu_us"):
            schedule[key] = None
        schedule["timeline"] = None
        schedule["operators"] = None
        schedule["lower_bound_us"] = None
    for key in ("speedup", "roofline", "counters", "board", "simulation", "machine", "profile"):
        report[key] = None
    report["device"] = "model"
    report["sequence_length"] = None
    del report["what_if"]
    for schedule in report["schedules"].values():
        schedule.pop("placement", None)
    del report["cpu_times_disturbed"], report["platform_title"], report["verification"]["compared"]
    report["verification"].update(max_abs_error=None, cosine=None)
    return report


#: What a hostile model calls its operators: markup, quotes, a line break, mathematics of LaTeX.
HOSTILE = """</script><img src="x" onerror="document.title='owned'">'"&${}\n\u2028$x_1$"""


def hostile_report() -> dict[str, Any]:
    """Return the report of five operators with every name ending in `HOSTILE`."""
    report = tiny_report()
    names = {node["id"] for node in report["graph"]["nodes"]}
    names |= {node["op"] for node in report["graph"]["nodes"]}
    names |= {edge["tensor"] for edge in report["graph"]["edges"]}

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            return {rename(key): rename(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item) for item in value]
        return value + HOSTILE if isinstance(value, str) and value in names else value

    report = rename(report)
    report["schedules"]["mine" + HOSTILE] = report["schedules"]["greedy"]
    for key in ("model", "platform", "platform_title", "cpu_time_source", "cpu_time_method"):
        report[key] += HOSTILE
    report["machine"]["cpu"] += HOSTILE
    report["versions"]["python"] += HOSTILE
    report["command"].append(HOSTILE)
    report["verification"]["pim_results_wrong"] = [HOSTILE]
    return report


def _counted(node: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Return the counts of a product whose weights are read again for every row."""
    us, macs = node["cost_us"]["pim"], node["macs"]
    device_us, nbytes = us - 2.0, 2 * macs
    return {
        "us": us,
        "ideal_bytes": nbytes // tokens,
        "bytes": nbytes,
        "cycles": round(1200 * device_us),
        "device_us": device_us,
        "macs_per_us": macs / device_us,
        "bytes_per_us": nbytes / device_us,
        "bandwidth_share": nbytes / device_us / 19200.0,
        "roof_share": macs / device_us / 9600.0,
        "limited_by": "driver_call" if device_us < 2.0 else "dram_bandwidth",
    }


def _costs(builder: _Builder, *, split: bool) -> CostGraph:
    costs = costs_from_dict(
        {
            "format": "pimloop-costs/1",
            "memories": {"cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"]},
            "nodes": [
                {k: n[k] for k in ("id", "op", "signature", "cost_us")} for n in builder.nodes
            ],
            "tensors": _tensors(builder.edges),
        }
    )
    return replace(costs, splits=_offered(builder)) if split else costs


def _report(builder: _Builder, model: str, tokens: int, *, split: bool = False) -> dict[str, Any]:
    costs = _costs(builder, split=split)
    schedules = {}
    for name in (*SCHEDULES, *(["coexec"] if split else [])):
        plan = partition(costs, name)
        schedules[name] = _schedule(builder, plan)
        why = placement(costs, plan)
        if why is not None:
            schedules[name]["placement"] = why
    best = schedules["optimal"]["executed_us"]
    points = [
        {
            "node": node["id"],
            "op": node["op"],
            "macs": node["macs"],
            **_counted(node, builder.tokens),
        }
        for node in builder.nodes
        if node["macs"] and "pim" in node["cost_us"]
    ]
    without = sum("pim" not in node["cost_us"] for node in builder.nodes)
    return {
        **_origin(model, tokens),
        **_simulated(),
        "pim_capable": len(builder.nodes) - without,
        "cpu_only": {"the PIM has no such operation": without},
        "profile": _profile(costs),
        "graph": {"nodes": builder.nodes, "edges": builder.edges},
        "schedules": schedules,
        "speedup": {
            name: schedule["executed_us"] / best
            for name, schedule in schedules.items()
            if name != "optimal"
        },
        "what_if": [
            {"change": "transfers_free", "title": "transfers free",
             "how": "no transfer and no gather takes time",
             "totals": {
                 name: {"total_us": 0.75 * schedules[name]["predicted_us"], "moved": 11}
                 for name in ("optimal", "coexec") if name in schedules
             }},
        ],
        "roofline": {
            "peak_macs_per_us": 9600.0, "bandwidth_bytes_per_us": 19200.0, "points": points,
        },
        "verification": _verification(schedules, points),
        "board": {name: schedules[name]["executed_us"] * 1.04 for name in BASELINES[:3]},
    }  # fmt: skip


def _origin(model: str, tokens: int) -> dict[str, Any]:
    """Return what a report says of its model, platform, command and machine."""
    return {
        "format": "pimloop-report/3",
        "model": model,
        "sequence_length": tokens,
        "platform": "htg-z920",
        "platform_title": "HTG-Z920 board: Silent-PIM on DDR4-2400 beside 4x Cortex-A53",
        "platform_values": [
            {"key": "device.lanes", "value": 32, "unit": "multiply-adds", "source": "the board"},
            {"key": "dram.tcl", "value": 17, "unit": "DRAM clocks", "source": "set for this run",
             "file_value": 16},
        ],
        "device": "sim",
        "objective": "sequential",
        "main_schedule": "optimal",
        "failed_policies": {},
        "phases": [{"name": "execute", "wall_s": 1.5}],
        "created": "2026-02-03T04:05:06+00:00",
        "source": {"commit": "0123456789abcdef0123456789abcdef01234567", "modified": True},
        "rtl_sha256": "fedcba9876543210" * 4,
        "versions": {"python": "3.11.2", "pimloop": "0.1.0", "numpy": "2.4.0"},
        "machine": {"cpu": "an example processor", "cores": 2},
        "command": ["pimloop", "sim", model, "--seq", str(tokens), "--platform", "htg-z920"],
    }  # fmt: skip


def _simulated() -> dict[str, Any]:
    """Return what a report says of its CPU times and of the simulation."""
    return {
        "cpu_time_source": "calibrated model of 4x Cortex-A53 at 1.5 GHz",
        "cpu_time_method": "fitted to the published operator times",
        "cpu_times_disturbed": False,
        "executed_kind": "simulated",
        "counters": {
            "CYCLES": 91_234_567, "ACT": 412_345, "PRE": 412_300, "RD": 9_123_456, "WR": 312_345,
            "REF": 9_700, "MAC": 8_812_345, "STALL": 120_034,
            "channel_accesses": 9_435_801, "all_bank_accesses": 0, "bank_accesses": 9_435_801,
            "row_hits": 9_023_456, "row_hit_rate": 0.956, "refresh_share": 0.0448, "bus_use": 0.413,
        },
        "simulation": {
            "cycles": 91_234_567, "cycles_cached": 31_000_000, "lists_simulated": 812,
            "lists_cached": 301, "wall_s": 31.4, "cycles_per_s": 2.9e6, "flavour": "native",
            "jobs": 2,
        },
    }  # fmt: skip


def _profile(costs: CostGraph) -> dict[str, Any]:
    """Return what a report says of the profile runs that cover `costs`."""
    profile = plan_profile(costs.graph)
    return {
        "runs": len(profile.runs),
        "runs_lower_bound": profile.lower_bound,
        "from_cost_store": False,
        "nodes": profile.nodes_total,
        "nodes_covered": profile.nodes_covered,
        "transfers": profile.transfers_total,
        "transfers_covered": profile.transfers_covered,
        "matrix": [
            {"name": f"run {i}", "assignment": run, "executed_us": 1000.0 * i}
            for i, run in enumerate(profile.runs, 1)
        ],
    }


def _verification(
    schedules: dict[str, dict[str, Any]], points: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the checks of all schedules together; put each schedule's own into it."""
    whole = {
        "passed": True,
        "pim_bit_exact": True,
        "pim_results_wrong": [],
        "max_abs_error": 0.0123,
        "cosine": 0.99991,
        "compared": [],
    }
    brief = {key: whole[key] for key in ("passed", "pim_bit_exact", "max_abs_error", "cosine")}
    checked = {name: {"pim_results_checked": s["pim_nodes"]} for name, s in schedules.items()}
    for name, schedule in schedules.items():
        schedule["verification"] = {
            **copy.deepcopy(whole), **checked[name], "pim_operators_against_float32": None,
        }  # fmt: skip
    return {
        **copy.deepcopy(whole),
        "pim_results_checked": len(points),
        "pim_operators_against_float32": {
            "worst": 0.0018, "node": points[0]["node"], "limit": 0.005, "passed": True,
        },
        "executions": 9,
        "schedules": {name: {**brief, **checked[name]} for name in schedules},
    }  # fmt: skip


def _tensors(edges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name: dict[str, dict[str, Any]] = {}
    for edge in edges:
        tensor = by_name.setdefault(
            edge["tensor"],
            {
                "id": edge["tensor"],
                "producer": edge["producer"],
                "consumers": [],
                "output": False,
                "bytes": edge["bytes"],
                "transfer_us": edge["transfer_us"],
            },
        )
        if edge["consumer"] is None:
            tensor["output"] = True
        else:
            tensor["consumers"].append(edge["consumer"])
    return list(by_name.values())


class _Execution:
    """The steps of a plan, one after another: every tensor moves once to each other memory."""

    def __init__(self, builder: _Builder, plan: Plan) -> None:
        self.timeline: list[dict[str, Any]] = []
        self.operators: dict[tuple[str, str], dict[str, Any]] = {}
        self.splits: dict[str, Any] = {}
        self.now = 0.0
        self._plan = plan
        self._resident: set[tuple[str, str]] = set()
        self.place = {
            node: ("cpu", "pim")
            if node in plan.splits
            else ("pim",)
            if device == "pim"
            else ("cpu",)
            for node, device in plan.assignment.items()
        }
        self._reads: dict[str | None, list[dict[str, Any]]] = {}
        for edge in builder.edges:
            self._reads.setdefault(edge["consumer"], []).append(edge)
        for node in builder.nodes:
            self._run(node)
        self._fetch(None, "cpu")
        for name, entry in self.splits.items():
            entry["gather_us"] = {
                step["name"].rpartition(">")[2]: step["us"]
                for step in self.timeline
                if step["tensor"] == f"{name}_out"
            }

    def _fetch(self, consumer: str | None, memory: str) -> None:
        """Move what `consumer` reads, and is not there, to `memory`."""
        start = self.now
        spent = 0.0
        for edge in self._reads.get(consumer, []):
            whole = ("cpu",) if edge["producer"] is None else self.place[edge["producer"]]
            key = (edge["tensor"], memory)
            maker = self._plan.splits.get(edge["producer"])
            if key in self._resident or (maker is None and memory in whole):
                continue
            self._resident.add(key)
            source = "cpu" if memory == "pim" else "pim"
            us = (
                edge["transfer_us"][f"{source}>{memory}"]
                if maker is None
                else maker.gather_us[edge["tensor"]][memory]
            )
            self.timeline.append(
                {"lane": "dma", "start_us": start + spent, "us": us,
                 "name": f"{edge['tensor']} {source}>{memory}", "node": None,
                 "tensor": edge["tensor"], "kind": "transfer"}
            )  # fmt: skip
            spent += us
        self.now += spent

    def _run(self, node: dict[str, Any]) -> None:
        """Fetch what `node` reads, then let its device, or both of a split, compute."""
        name = node["id"]
        device, split = self._plan.assignment[name], self._plan.splits.get(name)
        for memory in self.place[name]:
            self._fetch(name, memory)
        parts = {device: node["cost_us"].get(device, 0.0)}
        if split is not None:
            parts = dict(zip(split.devices, split.part_us, strict=True))
            first = node["shape"][-1] * split.share // split.shares
            columns = {split.devices[0]: node["shape"][-1] - first, split.devices[1]: first}
            self.splits[name] = {"columns": columns, "us": parts}
            device = "+".join(split.devices)
        for lane, us in parts.items():
            self.timeline.append(
                {"lane": lane, "start_us": self.now, "us": us, "name": name, "node": name,
                 "tensor": None, "kind": "node"}
            )  # fmt: skip
        us = max(parts.values())
        self.now += us
        row = self.operators.setdefault(
            (node["op"], device), {"op": node["op"], "device": device, "count": 0, "us": 0.0}
        )
        row["count"] += 1
        row["us"] += us


def _schedule(builder: _Builder, plan: Plan) -> dict[str, Any]:
    done = _Execution(builder, plan)
    timeline, now = done.timeline, done.now
    moves = [segment for segment in timeline if segment["kind"] == "transfer"]
    transfer_us = sum(segment["us"] for segment in moves)
    on = {
        lane: [s for s in timeline if s["lane"] == lane] for lane in {s["lane"] for s in timeline}
    }
    pim_us = sum(s["us"] for s in on.get("pim", ()))
    return {
        "predicted_us": plan.total_us,
        "executed_us": now,
        "compute_us": now - transfer_us,
        "transfer_us": transfer_us,
        "pim_us": pim_us,
        "cpu_us": now - transfer_us - pim_us
        if not done.splits
        else sum(s["us"] for lane, steps in on.items() if lane.startswith("cpu") for s in steps),
        "pim_nodes": sum("pim" in memories for memories in done.place.values()),
        "nodes": len(builder.nodes),
        "transfers": len(moves),
        "transfer_bytes": 2048 * len(moves),
        "optimal": plan.optimal,
        "method": plan.method,
        "lower_bound_us": plan.lower_bound_us,
        "assignment": dict(plan.assignment),
        **({"splits": done.splits} if done.splits else {}),
        "timeline": timeline,
        "operators": list(done.operators.values()),
        "weights": {"bytes": 3 << 20, "cycles": 330_000, "us": 275.0},
    }


def version_2() -> dict[str, Any]:
    """Return a report as version 2 wrote it."""
    report = tiny_report()
    report["format"] = "pimloop-report/2"
    del report["executed_kind"]
    report["roofline"]["points"] = [
        {key: point[key] for key in ("node", "op", "macs", "us")} | {"bytes": point["ideal_bytes"]}
        for point in report["roofline"]["points"]
    ]
    for schedule in report["schedules"].values():
        del schedule["weights"]
    return report
