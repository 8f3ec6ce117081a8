"""The smallest number of profile runs that measures every operator and every transfer.

Two modes. `paper` follows algorithm 1 of Kim et al. 2024: runs for operators, then runs for
transfers. `minimal` lets a run measure both and proves its number: by a lower bound that equals
it, or by an exact solver's certificate that one run fewer is impossible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph
from pimloop.partitioner.place.capacity import resident_bytes
from pimloop.partitioner.place.feasibility import split_coverable
from pimloop.partitioner.profile.codewords import runs_by_words
from pimloop.partitioner.profile.coverage import Coverage, Item, Uncoverable
from pimloop.partitioner.profile.exact import exact_runs
from pimloop.partitioner.profile.runs import choose_runs, greedy_runs, split_runs
from pimloop.partitioner.quantity import quantity

MODES = ("minimal", "paper")
GROUPS = ("signature", "none")

#: Seconds that one question to the exact solver may take.
DEFAULT_TIME_LIMIT_S = 60.0


@dataclass(frozen=True)
class ProfilePlan:
    """The runs and what is known about their number."""

    mode: str
    group: str
    runs: tuple[dict[str, str], ...]  # each a full assignment, operator id -> device
    node_runs: int  # paper mode: runs of the first phase; minimal mode: all of them
    edge_runs: int  # paper mode: runs of the second phase
    lower_bound: int
    proved: bool  # no covering number of runs exists (for `mode`'s own rules)
    certificate: str
    nodes_covered: int  # pairs (operator class, device) that the runs measure
    nodes_total: int
    transfers_covered: int  # (transfer class, direction) that the runs measure
    transfers_total: int
    uncoverable: tuple[Uncoverable, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "mode": self.mode,
            "group": self.group,
            "runs_needed": len(self.runs),
            "node_runs": self.node_runs,
            "edge_runs": self.edge_runs,
            "lower_bound": self.lower_bound,
            "proved": self.proved,
            "certificate": self.certificate,
            "nodes_covered": self.nodes_covered,
            "nodes_total": self.nodes_total,
            "transfers_covered": self.transfers_covered,
            "transfers_total": self.transfers_total,
            "uncoverable": [vars(item) for item in self.uncoverable],
            "runs": [dict(run) for run in self.runs],
        }


def plan_profile(
    graph: Graph,
    mode: str = "minimal",
    group: str | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    capacity_bytes: Mapping[str, int] | None = None,
) -> ProfilePlan:
    """Plan the profile runs of `graph`.

    Parameters
    ----------
    mode
        "minimal" or "paper".
    group
        "signature" measures one operator and one transfer of each class, "none" every one. By
        default "none" in minimal mode; "signature" in paper mode, which groups transfers only, as
        the paper does.
    time_limit_s
        Bound on the exact solver, asked only where construction and lower bound differ: on each
        question, with capacities on all of them together.
    capacity_bytes
        Memory -> bytes that the weights of one run may take there; left out: no limit. Only in
        minimal mode: the paper's algorithm knows of none.

    Raises
    ------
    PartitionerError
        For an unknown mode or group, or when no assignment is feasible at all.
    """
    if mode not in MODES:
        raise PartitionerError(f"unknown mode {mode!r}; choose one of {list(MODES)}")
    group = group or ("none" if mode == "minimal" else "signature")
    if group not in GROUPS:
        raise PartitionerError(f"unknown group {group!r}; choose one of {list(GROUPS)}")
    grouped = group == "signature"
    coverage = Coverage(
        graph,
        group_operators=grouped and mode == "minimal",
        group_transfers=grouped,
        capacity=capacity_bytes if mode == "minimal" else None,
    )
    coverable = split_coverable(coverage)
    wanted = coverable.items
    node_runs = edge_runs = 0
    if mode == "paper":
        runs, node_runs, lower, certificate = _paper_runs(coverage, wanted)
        edge_runs = len(runs) - node_runs
        proved = len(runs) == lower
    else:
        runs, lower, proved, certificate = _minimal_runs(coverage, wanted, time_limit_s)
        node_runs = len(runs)
    covered = set().union(*(coverage.covered(run) for run in runs)) & wanted
    if covered != wanted:
        raise PartitionerError(f"{graph.name}: internal error: the runs leave items unmeasured")
    return ProfilePlan(
        mode=mode,
        group=group,
        runs=tuple(runs),
        node_runs=node_runs,
        edge_runs=edge_runs,
        lower_bound=lower,
        proved=proved,
        certificate=certificate,
        nodes_covered=sum(coverage.is_node(item) for item in covered),
        nodes_total=coverage.node_count,
        transfers_covered=sum(not coverage.is_node(item) for item in covered),
        transfers_total=coverage.item_count - coverage.node_count,
        uncoverable=coverable.uncoverable,
    )


def _minimal_runs(
    coverage: Coverage, wanted: AbstractSet[Item], time_limit_s: float
) -> tuple[list[dict[str, str]], int, bool, str]:
    """Return the runs, the lower bound, whether their number is proved, and by what."""
    bound, reason = lower_bound(coverage, wanted)
    lower = bound
    ceiling = _constructed(coverage, wanted, bound)
    certificate = f"lower bound: {reason}"
    proved = True
    if coverage.capacity:
        time_limit_s /= max(len(ceiling) - lower, 1)
    while lower < len(ceiling):
        covering = greedy_runs(coverage, wanted, lower)
        if covering is None:
            answer = exact_runs(coverage, wanted, lower, time_limit_s)
            covering = answer.runs
            if answer.feasible is None:
                proved = False
                certificate = (
                    f"not proved: the exact solver did not settle {quantity(lower, 'run')} within"
                    f" {time_limit_s:g} s; at least {bound} are needed: {reason}"
                )
                # Bigger numbers may still be found feasible below the construction's.
            elif not answer.feasible and proved:
                bound = lower + 1
                certificate = (
                    f"exact solver (HiGHS): {quantity(lower, 'run is', 'runs are')} infeasible"
                )
        if covering is not None:
            return covering, bound, proved, certificate
        lower += 1
    return ceiling, bound, proved, certificate


def _constructed(coverage: Coverage, wanted: AbstractSet[Item], lower: int) -> list[dict[str, str]]:
    """Return runs that cover everything, their number as close to `lower` as construction gets."""
    # Runs that measure every operator and transfer also measure every class.
    single = Coverage(
        coverage.graph, group_operators=False, group_transfers=False, capacity=coverage.capacity
    )
    each = split_coverable(single)
    start, _ = lower_bound(single, each.items)
    divided: list[dict[str, str]] | None = None
    for number in range(max(start, lower), start + 3):
        runs = runs_by_words(single, each.items, number)
        if runs is not None and all(coverage.fits(run) for run in runs):
            return runs
        split = None if runs is None else split_runs(coverage, runs)
        if split is not None:
            chosen = choose_runs(coverage, wanted, split)
            if divided is None or len(chosen) < len(divided):
                divided = chosen
    limit = len(wanted) if divided is None else len(divided) - 1
    runs = greedy_runs(coverage, wanted, limit=limit, attempts=4)
    if runs is not None or divided is not None:
        return runs or divided or []
    if each.witnesses and all(coverage.fits(run) for run in each.witnesses):
        return choose_runs(coverage, wanted, each.witnesses)
    if coverage.capacity:
        raise PartitionerError(
            f"{coverage.graph.name}: no profile runs were found within the capacities "
            f"{dict(coverage.capacity)} bytes; raise the capacity"
        )
    return choose_runs(coverage, wanted, each.witnesses)


def lower_bound(coverage: Coverage, wanted: AbstractSet[Item]) -> tuple[int, str]:
    """Return a number of runs below which `wanted` cannot be covered, and why.

    An operator class of n members with D devices needs ceil(D / n) runs. A tensor shows, in one
    run, moves from one memory to at most as many others as it has readers.
    """
    graph = coverage.graph
    best, reason = 1, "there is something to measure"
    members: dict[frozenset[Item], list[int]] = {}
    for v, items in enumerate(coverage.node_items):
        members.setdefault(frozenset(items.values()) & wanted, []).append(v)
    shared: dict[Item, int] = {}
    for key in members:
        for item in key:
            shared[item] = shared.get(item, 0) + 1
    for key, operators in members.items():
        # A class whose members differ in their devices is left to the solver.
        if key and all(shared[item] == 1 for item in key):
            runs = -(-len(key) // len(operators))
            if runs > best:
                name = graph.operators[operators[0]].id
                best = runs
                reason = (
                    f"operator {name!r} has {len(key)} devices to be measured on"
                    if len(operators) == 1
                    else f"{len(operators)} operators like {name!r} share {len(key)} devices"
                )
    owners: dict[Item, int] = {}
    for items_of in coverage.transfer_items:
        for item in items_of.values():
            owners[item] = owners.get(item, 0) + 1
    for t, tensor in enumerate(graph.tensors):
        mine = [
            move
            for move, item in coverage.transfer_items[t].items()
            if item in wanted and owners[item] == 1
        ]
        ends = len(tensor.consumers) + int(tensor.output)
        runs = sum(
            -(-sum(move[0] == source for move in mine) // max(ends, 1)) for source in graph.memories
        )
        if runs > best:
            best = runs
            reason = f"tensor {tensor.id!r} has {len(mine)} transfers that exclude each other"
    return max((best, reason), _capacity_bound(coverage, wanted), key=lambda bound: bound[0])


def _capacity_bound(coverage: Coverage, wanted: AbstractSet[Item]) -> tuple[int, str]:
    """Return how many runs the capacities ask for, and why.

    Every operator that is to be measured in a limited memory has its weights there in some run:
    together they take at least their sum over the capacity, and operators with more than half of
    it exclude each other. A class of operators may be measured by its smallest member.
    """
    graph = coverage.graph
    best, reason = 1, "there is something to measure"
    for memory, limit in coverage.capacity.items():
        members: dict[Item, list[int]] = {}
        for v, items in enumerate(coverage.node_items):
            for device, item in items.items():
                if graph.memory_of[device] == memory and item in wanted:
                    members.setdefault(item, []).append(v)
        alone = [readers[0] for readers in members.values() if len(readers) == 1]
        total = resident_bytes(graph, alone)
        if limit and -(-total // limit) > best:
            best = -(-total // limit)
            reason = (
                f"{quantity(total, 'byte')} of weights pass through the {quantity(limit, 'byte')}"
                f" of memory {memory!r}"
            )
        large = [v for v in dict.fromkeys(alone) if 2 * graph.operators[v].weight_bytes > limit]
        if len(large) > best:
            best = len(large)
            reason = (
                f"{best} operators take more than half of the {quantity(limit, 'byte')} of"
                f" {memory!r} each"
            )
    return best, reason


def _paper_runs(
    coverage: Coverage, wanted: AbstractSet[Item]
) -> tuple[list[dict[str, str]], int, int, str]:
    """Return the runs of both phases, the number of node runs, a lower bound and its reason.

    Phase 1: run i puts each operator on its i-th device (its first where it has fewer). Phase 2:
    runs that measure every transfer class, as few as the greedy search finds; what phase 1 moved
    does not count.
    """
    graph = coverage.graph
    node_items = {item for item in wanted if coverage.is_node(item)}
    edge_items = wanted - node_items
    choices = [
        [device for device, item in items.items() if item in wanted]
        for items in coverage.node_items
    ]
    runs: list[dict[str, str]] = []
    for rank in range(max(len(names) for names in choices)):
        run = {
            operator.id: names[rank] if rank < len(names) else names[0]
            for operator, names in zip(graph.operators, choices, strict=True)
        }
        move = coverage.forbidden(run)
        if move is not None:
            raise PartitionerError(
                f"{graph.name}: paper mode puts every operator on its next device, which needs "
                f"tensor {move[0]!r} moved from {move[1]!r} to {move[2]!r}; that is forbidden "
                "here, use --mode minimal"
            )
        runs.append(run)
    node_runs = len(runs)
    edge_runs: Sequence[dict[str, str]] = []
    if edge_items:
        for limit in range(1, len(edge_items) + 1):
            covering = greedy_runs(coverage, edge_items, limit)
            if covering is not None:
                edge_runs = covering
                break
        else:
            raise PartitionerError(
                f"{graph.name}: paper mode found no runs for the transfers; use --mode minimal"
            )
    lower = node_runs + (1 if edge_items else 0)
    return (
        [*runs, *edge_runs],
        node_runs,
        lower,
        f"paper's algorithm: {quantity(node_runs, 'node run')} for operators with up to"
        f" {quantity(node_runs, 'device')}, {quantity(len(edge_runs), 'edge run')}",
    )
