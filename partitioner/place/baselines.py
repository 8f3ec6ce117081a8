"""The policies that `optimal` is compared with, each exactly defined.

All of them walk the operators in topological order (file order wherever the graph allows it) and
respect capacities by passing over a device whose memory has no room left for the operator's
weights, except `paper_dp`, which knows of none.

- ``cpu_serial``: every operator on the device of that name; one that cannot run on it takes
  CPU_P, else PIM. A graph without such a device is an error: nothing would be on it.
- ``cpu_parallel_first``: the first capable device of (CPU_P, PIM, CPU_S); ``pim_first``: of
  (PIM, CPU_P, CPU_S). The manual priorities of Kim et al. 2024, which are the order of execution
  providers in ONNX Runtime. PIM stands for every device outside the memory ``cpu``.
  A device that no list names comes last, in the order of the memory table.
  Orders of preference: where a graph has no such device, the next one is taken.
- ``greedy``: the device with the least execution time plus the transfers and the entry into a
  segment that it causes now (Albayrak et al. 2012); ties go to the device that comes first in the
  memory table.
- ``paper_dp``: `paper_dp` below, Kim et al. 2024, equation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import HOME_MEMORY, Operator
from pimloop.partitioner.place.capacity import Room, resident_bytes
from pimloop.partitioner.problem import MODEL_INPUT, Problem
from pimloop.partitioner.quantity import quantity

Assignment = dict[str, str]


def cpu_serial(problem: Problem) -> Assignment:
    """Return the assignment of every operator that can run there to `cpu_serial`.

    Raises
    ------
    PartitionerError
        When the graph has no device of that name, or no memory has room for a weight.
    """
    graph = problem.costs.graph
    if "cpu_serial" not in graph.memory_of:
        devices = ", ".join(f"'{device}'" for device in graph.memory_of)
        raise PartitionerError(
            f"{graph.name}: the policy cpu_serial needs a device named 'cpu_serial', and this cost"
            f" graph has {devices}; rename the device in the file, or use another policy"
        )
    return _by_priority(problem, ("cpu_serial", "cpu_parallel", *_pim_devices(problem)))


def cpu_parallel_first(problem: Problem) -> Assignment:
    """Return the assignment by the priority (CPU_P, PIM, CPU_S)."""
    return _by_priority(problem, ("cpu_parallel", *_pim_devices(problem), "cpu_serial"))


def pim_first(problem: Problem) -> Assignment:
    """Return the assignment by the priority (PIM, CPU_P, CPU_S)."""
    return _by_priority(problem, (*_pim_devices(problem), "cpu_parallel", "cpu_serial"))


def greedy(problem: Problem) -> Assignment:
    """Return the assignment that takes each operator's cheapest device at its turn.

    The price of a device is its execution time, plus the transfer of every input that is not in
    its memory yet, plus, for a model output, the transfer home, plus the entry where the operator
    before is on another device.

    Raises
    ------
    PartitionerError
        When forbidden transfers leave the operator at turn without a device.
    """
    graph = problem.costs.graph
    memory_index = {memory: i for i, memory in enumerate(problem.memories)}
    nowhere = -1  # the place of a tensor that is not made yet
    home = nowhere if problem.home is None else problem.home
    source = [home if tensor.producer == MODEL_INPUT else nowhere for tensor in problem.tensors]
    present = [{start} for start in source]
    outputs: list[list[int]] = [[] for _ in graph.operators]
    for i, tensor in enumerate(problem.tensors):
        if tensor.producer != MODEL_INPUT:
            outputs[tensor.producer].append(i)
    entry = dict(zip(problem.devices, problem.entry, strict=False))  # splits follow the devices
    last = ""  # device of the operator before
    assignment: Assignment = {}
    for v, operator, usable in _turns(problem, assignment):
        best: tuple[int, str, int] | None = None
        for device in usable:
            memory = memory_index[graph.memory_of[device]]
            moves = [
                (i, source[i], memory) for i in problem.inputs[v] if memory not in present[i]
            ] + [
                (i, memory, home)
                for i in outputs[v]
                if problem.tensors[i].output and memory != home
            ]
            ticks = [problem.tensors[i].ticks.get((start, end)) for i, start, end in moves]
            allowed = [cost for cost in ticks if cost is not None]
            if len(allowed) < len(ticks):
                continue
            price = problem.runs[v][problem.device_number(v, device)] + sum(allowed)
            price += entry[device] if device != last else 0
            if best is None or price < best[0]:
                best = (price, device, memory)
        if best is None:
            raise PartitionerError(
                f"{graph.name}: greedy is stuck at node {operator.id!r}: its inputs cannot move "
                f"to any of {list(usable)}; use the policy 'optimal'"
            )
        _, last, memory = best
        assignment[operator.id] = last
        for i in problem.inputs[v]:
            present[i].add(memory)
        for i in outputs[v]:
            source[i] = memory
            present[i].add(memory)
    return assignment


def paper_dp(problem: Problem) -> Assignment:
    """Return the assignment of the paper's dynamic programme (equation 2).

    The topological order is taken for an assembly line with one line for each device:
    F[j,d] = cost[j,d] + min over e of (F[j-1,e] + E[j,e,d]), with E = 0 when d and e share a
    memory, else the sum of the transfers from e's to d's memory of those inputs of operator j
    whose producer can run on e, each charged at the first operator that can run on d. Where d and e
    differ, E has the entry of d too. That
    the inputs of j were made on other lines than the one j-1 sits on is not seen: on a graph with
    skip edges the result is neither optimal nor is F its cost; the plan's total is the true one.

    Raises
    ------
    PartitionerError
        When every way through the lines needs a forbidden transfer.
    """
    graph = problem.costs.graph
    memory_index = {memory: i for i, memory in enumerate(problem.memories)}
    where = {device: memory_index[memory] for device, memory in graph.memory_of.items()}
    charged: set[tuple[int, str, str]] = set()
    entry = dict(zip(problem.devices, problem.entry, strict=False))  # splits follow the devices
    # Entry: device of this operator -> (best time to here, device of the operator before).
    rows: list[dict[str, tuple[int, str]]] = []
    for v in problem.order:
        operator = graph.operators[v]
        row: dict[str, tuple[int, str]] = {}
        previous = rows[-1] if rows else {"": (0, "")}
        switch = {
            (e, d): _switch_ticks(problem, v, e, d, where, charged)
            for d in operator.devices
            for e in previous
            if e and where[e] != where[d]
        }
        for d in operator.devices:
            own = problem.runs[v][problem.device_number(v, d)]
            best: tuple[int, str] | None = None
            for e, (time, _) in previous.items():
                cost = switch.get((e, d), 0)
                if cost is not None and e != d:
                    cost += entry[d]
                if cost is not None and (best is None or time + cost < best[0]):
                    best = (time + cost, e)
            if best is not None:
                row[d] = (best[0] + own, best[1])
        if not row:
            raise PartitionerError(
                f"{graph.name}: paper_dp is stuck at node {operator.id!r}: no line leads there "
                "without a forbidden transfer; use the policy 'optimal'"
            )
        rows.append(row)
    assignment: Assignment = {}
    device = min(rows[-1], key=lambda d: rows[-1][d][0])
    for v, row in zip(reversed(problem.order), reversed(rows), strict=True):
        assignment[graph.operators[v].id] = device
        device = row[device][1]
    return assignment


def _switch_ticks(
    problem: Problem,
    v: int,
    e: str,
    d: str,
    where: dict[str, int],
    charged: set[tuple[int, str, str]],
) -> int | None:
    """Return the cost of changing from line `e` to line `d` at operator `v`; None: forbidden."""
    graph = problem.costs.graph
    total = 0
    for i in problem.inputs[v]:
        tensor = problem.tensors[i]
        on_line = (
            where[e] == problem.home
            if tensor.producer == MODEL_INPUT
            else e in graph.operators[tensor.producer].devices
        )
        if not on_line or (i, e, d) in charged:
            continue
        ticks = tensor.ticks.get((where[e], where[d]))
        if ticks is None:
            return None
        charged.add((i, e, d))
        total += ticks
    return total


def _pim_devices(problem: Problem) -> tuple[str, ...]:
    memory_of = problem.costs.graph.memory_of
    return tuple(device for device, memory in memory_of.items() if memory != HOME_MEMORY)


def _by_priority(problem: Problem, priority: Sequence[str]) -> Assignment:
    rank = {device: i for i, device in enumerate(priority)}
    assignment: Assignment = {}
    for _, operator, usable in _turns(problem, assignment):
        # `min` keeps the first of equals: unnamed devices stay in the memory table's order.
        assignment[operator.id] = min(usable, key=lambda device: rank.get(device, len(rank)))
    return assignment


def _turns(
    problem: Problem, assignment: Assignment
) -> Iterator[tuple[int, Operator, tuple[str, ...]]]:
    """Yield (index, operator, devices with room for its weights) in topological order.

    The caller records its choice in `assignment` before it asks for the next turn.
    """
    graph = problem.costs.graph
    room = Room.of(problem)
    for v in problem.order:
        operator = graph.operators[v]
        usable = tuple(
            device for device in operator.devices if room.fits(v, graph.memory_of[device])
        )
        if not usable:
            raise PartitionerError(
                f"{graph.name}: no memory has room left for the"
                f" {quantity(resident_bytes(graph, [v]), 'byte')} of weights of node"
                f" {operator.id!r}; raise the capacity or use the policy 'optimal'"
            )
        yield v, operator, usable
        room.take(v, graph.memory_of[assignment[operator.id]])


#: Policy name to its function, in the order of the table `--policy all` prints.
BASELINES: dict[str, Callable[[Problem], Assignment]] = {
    "cpu_serial": cpu_serial,
    "cpu_parallel_first": cpu_parallel_first,
    "pim_first": pim_first,
    "greedy": greedy,
    "paper_dp": paper_dp,
}
