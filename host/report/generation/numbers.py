"""Times and energies of the phases of a generation under every policy.

The schedule that was executed has those of its execution. The others have those of their plans,
which are made from the same costs and kept by every execution on a platform that models its CPU.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pimloop.host.devices.kinds import device_parts
from pimloop.host.execution.times import ScheduleTimes as Executed
from pimloop.host.models.graph import Graph, Node
from pimloop.host.planning.energy_costs import PlannedEnergies
from pimloop.host.report.generation.energies import phase_energy
from pimloop.host.report.generation.format import KindRow, PhaseEnergy, PhaseTime, ScheduleTimes
from pimloop.host.report.html.labels import schedule_order
from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.plan import Plan

#: Kinds of products, by what they multiply an activation by.
BY_WEIGHTS, OF_ATTENTION = "product by weights", "product of attention"

#: Groups of kinds, in the order of every table.
WEIGHTS, ATTENTION, OTHERS, TRANSFERS = "weights", "attention", "others", "transfers"
GROUPS = (WEIGHTS, ATTENTION, OTHERS, TRANSFERS)

_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "MatMulNBits")

_US_PER_S = 10**6

#: Time of each device's part of an operator, microseconds, by operator id.
Parts = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PlannedPhase:
    """A phase with the plans of all policies, and what was executed of it."""

    name: str  # "prefill", "decode"
    graph: Graph
    costs: CostGraph
    plans: Mapping[str, Plan]  # by policy
    chosen: str  # the policy that was executed
    assignment: Mapping[str, str]  # of that one
    times: Executed  # of its execution
    total_us: float  # of its execution, as the objective counts it
    energy: PhaseEnergy | None  # of its execution; None: not known
    energies: PlannedEnergies | None  # of the costs; None: not known


def kind_of(graph: Graph, node: Node) -> tuple[str, str]:
    """Return the kind of an operator and its group.

    Softmax is attention's; the other operators around it, masks and rotations, are among the
    others.
    """
    if node.op in _PRODUCTS:
        constants = (graph.tensors[name] for name in node.inputs if name in graph.constants)
        by_weights = any(len(info.shape) > 1 for info in constants)
        return (BY_WEIGHTS, WEIGHTS) if by_weights else (OF_ATTENTION, ATTENTION)
    return node.op, ATTENTION if node.op == "Softmax" else OTHERS


def planned_parts(costs: CostGraph, assignment: Mapping[str, str]) -> Parts:
    """Return what the devices take for each operator by the costs, entries left out."""
    parts: dict[str, Mapping[str, float]] = {}
    for name, device in assignment.items():
        if device in costs.cost_us[name]:
            parts[name] = {device: costs.cost_us[name][device]}
        else:
            (split,) = (s for s in costs.splits[name] if s.name == device)
            parts[name] = split.parts_us
    return parts


def executed_parts(assignment: Mapping[str, str], times: Executed) -> Parts:
    """Return what the devices took for each operator."""
    return {name: times.parts.get(name, {assignment[name]: us}) for name, us in times.nodes.items()}


def kind_rows(graph: Graph, parts: Parts) -> list[KindRow]:
    """Return the operators of a phase by kind, those that take longest first."""
    rows: dict[str, KindRow] = {}
    for node in graph.nodes:
        kind, group = kind_of(graph, node)
        row = rows.setdefault(
            kind, {"kind": kind, "group": group, "count": 0, "us": 0.0, "devices_us": {}}
        )
        row["count"] += 1
        row["us"] += max(parts[node.id].values())
        for device, us in parts[node.id].items():
            row["devices_us"][device] = row["devices_us"].get(device, 0.0) + us
    return sorted(rows.values(), key=lambda row: (-row["us"], row["kind"]))


def phase_time(
    graph: Graph,
    assignment: Mapping[str, str],
    parts: Parts,
    total_us: float,
    transfer_us: float,
    *,
    executed: bool,
    energy_j: float | None = None,
    causes_j: dict[str, float] | None = None,
    with_cpu: bool = True,
) -> PhaseTime:
    """Return one execution of a phase, in groups and by device.

    Parameters
    ----------
    total_us, transfer_us
        Its time, and that of its transfers, microseconds.
    energy_j, causes_j
        Its energy, and that by cause, joules; None: not known.
    with_cpu
        Whether the CPU is in it.
    """
    rows = kind_rows(graph, parts)
    groups = defaultdict(float, {TRANSFERS: transfer_us})
    devices: Counter[str] = Counter()
    for row in rows:
        groups[row["group"]] += row["us"]
        devices.update(row["devices_us"])
    joules, seconds = energy_j if with_cpu else None, total_us / _US_PER_S
    on_pim = sum("pim" in device_parts(device) for device in assignment.values())
    return {
        "us": total_us,
        "executed": executed,
        "groups_us": {group: groups[group] for group in GROUPS},
        "devices_us": dict(devices),
        "pim_nodes": on_pim,
        "nodes": len(graph.nodes),
        "energy_j": energy_j,
        "causes_j": causes_j,
        "average_w": joules / seconds if joules is not None and seconds else None,
        "energy_delay_js": None if joules is None else joules * seconds,
    }


def executed_phase(phase: PlannedPhase) -> PhaseTime:
    """Return the phase as it was executed."""
    parts, spent = executed_parts(phase.assignment, phase.times), phase.energy
    return phase_time(
        phase.graph, phase.assignment, parts, phase.total_us, phase.times.transfer_us,
        executed=True, energy_j=spent and spent["nominal"], causes_j=spent and spent["causes"],
        with_cpu=bool(spent and spent["with_cpu"]),
    )  # fmt: skip


def planned_phase(phase: PlannedPhase, policy: str) -> PhaseTime:
    """Return the phase as a policy plans it."""
    plan = phase.plans[policy]
    parts = planned_parts(phase.costs, plan.assignment)
    # What is left of a sum of all times: transfers, and what entering a segment takes.
    compute = sum(max(part.values()) for part in parts.values())
    left = max(plan.total_us - compute, 0.0)
    spent = planned_energy(phase, plan)
    return phase_time(
        phase.graph, plan.assignment, parts, plan.total_us, left, executed=False,
        energy_j=spent and spent["nominal"], causes_j=spent and spent["causes"],
        with_cpu=bool(spent and spent["with_cpu"]),
    )  # fmt: skip


def planned_energy(phase: PlannedPhase, plan: Plan) -> PhaseEnergy | None:
    """Return the energy of a plan by its costs; None where it is not known.

    Where steps overlap it is no sum of theirs, and none is planned.
    """
    if phase.energies is None or plan.objective == "makespan":
        return None
    return phase_energy(phase.energies.of(phase.costs, plan.assignment), 1)


def schedule_times(phases: Iterable[PlannedPhase], batch: int) -> list[ScheduleTimes]:
    """Return every policy that has a plan of all phases, the executed ones in front of none.

    Parameters
    ----------
    phases
        Prompt and, where more than one token is generated, step.
    batch
        Sequences at once.
    """
    listed = list(phases)
    names = [set(phase.plans) | {phase.chosen} for phase in listed]
    rows: list[ScheduleTimes] = []
    for name in schedule_order(sorted(set.intersection(*names))):
        times = {
            phase.name: executed_phase(phase)
            if name == phase.chosen
            else planned_phase(phase, name)
            for phase in listed
        }
        step = times.get("decode")
        rows.append(
            {
                "schedule": name,
                "executed": all(time["executed"] for time in times.values()),
                "optimal": all(
                    name in phase.plans and phase.plans[name].optimal for phase in listed
                ),
                "time_to_first_token_us": times["prefill"]["us"],
                "us_per_token": None if step is None else step["us"],
                "tokens_per_s": None if step is None else batch * 1e6 / step["us"],
                "prompt_j": times["prefill"]["energy_j"],
                "j_per_token": _shared(step and step["energy_j"], batch),
                "phases": times,
            }
        )
    return rows


def _shared(joules: float | None, batch: int) -> float | None:
    return None if joules is None else joules / batch
