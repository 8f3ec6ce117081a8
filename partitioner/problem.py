"""The integer form of a cost graph that every solver works on, and the one evaluation.

Times become whole numbers of a tick, so sums, cuts and comparisons are exact. Without entry costs
an operator's best device within a memory is fixed beforehand: devices of one memory then differ in
nothing but their cost. With entry costs it depends on the operators before and after it in the
order of execution, and `Problem.assignment` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import gcd

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.place.capacity import resident_bytes

#: The sum of all costs stays below this, so that sums of costs fit 64-bit integers.
TICK_LIMIT = 1 << 60

#: A tick is never finer than this power of ten of a microsecond (10**-9 us = 1 fs).
MAX_DECIMALS = 9

#: Producer index of a model input.
MODEL_INPUT = -1


@dataclass(frozen=True)
class Flow:
    """A tensor in index form: who makes it, who reads it, what each move costs in ticks."""

    id: str
    producer: int  # operator index or `MODEL_INPUT`
    consumers: tuple[int, ...]
    output: bool
    ticks: Mapping[tuple[int, int], int]  # (source memory, destination memory) -> cost


@dataclass(frozen=True)
class Evaluation:
    """The exact cost of one assignment."""

    compute: int  # ticks spent in operators
    transfer: int  # ticks spent in transfers
    entry: int = 0  # ticks spent entering segments

    @property
    def total(self) -> int:
        """Sum of all, in ticks."""
        return self.compute + self.transfer + self.entry


@dataclass(frozen=True)
class Problem:
    """A cost graph over operator and memory indices, in integer ticks."""

    costs: CostGraph
    decimals: int  # a tick is 10**-decimals microseconds
    memories: tuple[str, ...]
    home: int | None  # index of the memory of model inputs and outputs
    order: tuple[int, ...]  # topological order of the operators
    ticks: tuple[Mapping[int, int], ...]  # operator -> memory -> cost on its best device there
    device: tuple[Mapping[int, str], ...]  # operator -> memory -> that device
    flows: tuple[Flow, ...]
    weights: tuple[int, ...]  # resident bytes of each operator, shared weights apart
    capacity: Mapping[int, int]  # memory -> bytes, where there is a limit
    devices: tuple[str, ...]
    device_memory: tuple[int, ...]  # memory of each device
    runs: tuple[Mapping[int, int], ...]  # operator -> device -> cost
    entry: tuple[int, ...]  # device -> cost of a segment's begin

    @classmethod
    def of(cls, costs: CostGraph) -> Problem:
        """Build the integer form.

        Raises
        ------
        PartitionerError
            When the costs are so large that their sum cannot be held exactly.
        """
        graph = costs.graph
        decimals = _choose_decimals(costs)
        scale = 10**decimals
        memories = tuple(graph.memories)
        number = {memory: i for i, memory in enumerate(memories)}
        where = {device: number[memory] for device, memory in graph.memory_of.items()}
        devices = {device: i for i, device in enumerate(where)}
        ticks: list[dict[int, int]] = []
        device: list[dict[int, str]] = []
        for operator in graph.operators:
            best: dict[int, int] = {}
            chosen: dict[int, str] = {}
            for name, cost_us in costs.cost_us[operator.id].items():
                memory, cost = where[name], round(cost_us * scale)
                if memory not in best or cost < best[memory]:
                    best[memory], chosen[memory] = cost, name
            ticks.append(best)
            device.append(chosen)
        flows = tuple(
            Flow(
                id=tensor.id,
                producer=(MODEL_INPUT if tensor.producer is None else graph.index[tensor.producer]),
                consumers=tuple(graph.index[consumer] for consumer in tensor.consumers),
                output=tensor.output,
                ticks={
                    (number[source], number[destination]): round(cost * scale)
                    for (source, destination), cost in costs.transfer_us[tensor.id].items()
                },
            )
            for tensor in graph.tensors
        )
        return cls(
            costs=costs,
            decimals=decimals,
            memories=memories,
            home=number.get(HOME_MEMORY),
            order=graph.order,
            ticks=tuple(ticks),
            device=tuple(device),
            flows=flows,
            weights=tuple(operator.weight_bytes for operator in graph.operators),
            capacity={number[memory]: limit for memory, limit in costs.capacity_bytes.items()},
            devices=tuple(devices),
            device_memory=tuple(where.values()),
            runs=tuple(
                {devices[d]: round(us * scale) for d, us in costs.cost_us[operator.id].items()}
                for operator in graph.operators
            ),
            entry=tuple(round(costs.entry_us.get(device, 0.0) * scale) for device in devices),
        )

    @cached_property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """For each operator, the indices of the flows it reads."""
        result: list[list[int]] = [[] for _ in self.ticks]
        for i, flow in enumerate(self.flows):
            for consumer in flow.consumers:
                result[consumer].append(i)
        return tuple(tuple(flows) for flows in result)

    @cached_property
    def total_ticks(self) -> int:
        """Sum of every cost: more than any assignment can cost."""
        return (
            sum(sum(costs.values()) for costs in self.runs)
            + sum(sum(flow.ticks.values()) for flow in self.flows)
            + len(self.runs) * max(self.entry)
        )

    @cached_property
    def signatures(self) -> dict[str, str]:
        """What every operator computes, by id, where the costs say: type, shapes, attributes."""
        operators = self.costs.graph.operators
        return {o.id: o.signature for o in operators if o.signature is not None}

    @cached_property
    def granularity(self) -> int:
        """Greatest common divisor of all costs: the totals of two assignments differ by no less."""
        divisor = gcd(*self.entry)
        for costs in self.runs if self.has_entries else self.ticks:
            divisor = gcd(divisor, *costs.values())
        for flow in self.flows:
            divisor = gcd(divisor, *flow.ticks.values())
        return divisor or 1

    @cached_property
    def has_entries(self) -> bool:
        """Whether a segment costs something beside its operators."""
        return any(self.entry)

    @cached_property
    def before(self) -> tuple[int | None, ...]:
        """For each operator, the one that is executed just before it; None for the first."""
        result: list[int | None] = [None] * len(self.order)
        for previous, current in pairwise(self.order):
            result[current] = previous
        return tuple(result)

    def useful_devices(self, operator: int, memory: int) -> tuple[int, ...]:
        """Return the devices of `memory` that some optimum may use for `operator`.

        One is left out when another, with its entry and that of a segment which the change cuts
        in two, is no slower. Without entry costs the fastest is left.
        """
        kept = [d for d in self.runs[operator] if self.device_memory[d] == memory]
        for device in reversed(list(kept)):  # of equals the preferred one is left
            cost = self.runs[operator][device]
            if any(
                self.runs[operator][d] + self.entry[d] + self.entry[device] <= cost
                for d in kept
                if d != device
            ):
                kept.remove(device)
        return tuple(kept)

    def entry_ticks(self, assignment: Mapping[str, str]) -> list[int]:
        """Return what each operator pays because a segment begins with it."""
        names = [operator.id for operator in self.costs.graph.operators]
        number = {device: i for i, device in enumerate(self.devices)}
        return [
            0
            if before is not None and assignment[names[before]] == assignment[name]
            else self.entry[number[assignment[name]]]
            for name, before in zip(names, self.before, strict=True)
        ]

    def durations(self, assignment: Mapping[str, str]) -> list[int]:
        """Return the ticks of every operator, the entry of the segment that it begins included."""
        number = {device: i for i, device in enumerate(self.devices)}
        return [
            self.runs[v][number[assignment[operator.id]]] + entry
            for v, (operator, entry) in enumerate(
                zip(self.costs.graph.operators, self.entry_ticks(assignment), strict=True)
            )
        ]

    def to_us(self, ticks: int) -> float:
        """Convert ticks to microseconds."""
        return float(ticks / 10**self.decimals)

    def source_of(self, flow: Flow, place: Sequence[int]) -> int:
        """Return the memory that `flow` starts in when operators sit in memories `place`."""
        if flow.producer != MODEL_INPUT:
            return place[flow.producer]
        assert self.home is not None  # `Graph` refuses model inputs without a home memory
        return self.home

    def destinations(self, flow: Flow, place: Sequence[int]) -> set[int]:
        """Return the memories other than its own where `flow` is needed under `place`."""
        needed = {place[consumer] for consumer in flow.consumers}
        if flow.output:
            assert self.home is not None
            needed.add(self.home)
        needed.discard(self.source_of(flow, place))
        return needed

    def evaluate_places(self, place: Sequence[int]) -> Evaluation:
        """Return the cost of putting operator i on the best device of memory `place[i]`.

        Raises
        ------
        PartitionerError
            When the assignment needs a transfer that is forbidden.
        """
        if self.has_entries:
            return self.evaluate(self.assignment(place))
        compute = sum(self.ticks[v][memory] for v, memory in enumerate(place))
        return Evaluation(compute, self._transfer_ticks(place))

    def evaluate(self, assignment: Mapping[str, str]) -> Evaluation:
        """Return the exact cost of a full assignment of operator ids to devices.

        Raises
        ------
        PartitionerError
            When an operator is missing, its device cannot run it, or a needed transfer is
            forbidden.
        """
        place = self.places(assignment)
        scale = 10**self.decimals
        compute = sum(
            round(self.costs.cost_us[operator.id][assignment[operator.id]] * scale)
            for operator in self.costs.graph.operators
        )
        return Evaluation(compute, self._transfer_ticks(place), sum(self.entry_ticks(assignment)))

    def places(self, assignment: Mapping[str, str]) -> list[int]:
        """Return the memory index of every operator under `assignment`, checking it."""
        graph = self.costs.graph
        place = []
        for operator in graph.operators:
            device = assignment.get(operator.id)
            if device is None:
                raise PartitionerError(f"{graph.name}: the assignment leaves out {operator.id!r}")
            if device not in operator.devices:
                raise PartitionerError(
                    f"{graph.name}: node {operator.id!r} cannot run on {device!r}; "
                    f"its devices are {list(operator.devices)}"
                )
            place.append(self.memories.index(graph.memory_of[device]))
        return place

    def assignment(self, place: Sequence[int]) -> dict[str, str]:
        """Return the cheapest assignment that puts operator i into memory `place[i]`."""
        if self.has_entries:
            return self._cheapest_segments(place)
        return {
            operator.id: self.device[v][place[v]]
            for v, operator in enumerate(self.costs.graph.operators)
        }

    def _cheapest_segments(self, place: Sequence[int]) -> dict[str, str]:
        """Return the devices with the least operators and entries, by dynamic programming.

        Along the order of execution: the best way to have operator i on device d comes from the
        same device, or from the best of all devices and pays the entry.
        """
        best: dict[int, int] = {}  # device of the last operator -> ticks up to it
        came: list[dict[int, int]] = []  # for each operator, the device before, by its device
        for v in self.order:
            first = min(best, key=lambda d: best[d]) if best else -1
            reached: dict[int, int] = {}
            origin: dict[int, int] = {}
            for device in self.useful_devices(v, place[v]):
                price = (best[first] if best else 0) + self.entry[device]
                origin[device] = first
                if device in best and best[device] <= price:
                    price, origin[device] = best[device], device
                reached[device] = price + self.runs[v][device]
            best = reached
            came.append(origin)
        device = min(best, key=lambda d: best[d])
        chosen: dict[str, str] = {}
        for v, origin in zip(reversed(self.order), reversed(came), strict=True):
            chosen[self.costs.graph.operators[v].id] = self.devices[device]
            device = origin[device]
        return {operator.id: chosen[operator.id] for operator in self.costs.graph.operators}

    def overfull(self, place: Sequence[int]) -> dict[str, int]:
        """Return the memories whose capacity `place` exceeds, with the resident bytes."""
        used = {
            memory: resident_bytes(
                self.costs.graph, (v for v, where in enumerate(place) if where == memory)
            )
            for memory in self.capacity
        }
        return {
            self.memories[memory]: amount
            for memory, amount in used.items()
            if amount > self.capacity[memory]
        }

    def _transfer_ticks(self, place: Sequence[int]) -> int:
        total = 0
        for flow in self.flows:
            source = self.source_of(flow, place)
            for destination in self.destinations(flow, place):
                cost = flow.ticks.get((source, destination))
                if cost is None:
                    raise PartitionerError(
                        f"{self.costs.graph.name}: the assignment needs tensor {flow.id!r} moved "
                        f"from {self.memories[source]!r} to {self.memories[destination]!r}, "
                        "which is forbidden"
                    )
                total += cost
        return total


def _choose_decimals(costs: CostGraph) -> int:
    """Return the finest power of ten for which the sum of all costs stays exact."""
    total = sum(sum(by_device.values()) for by_device in costs.cost_us.values()) + sum(
        sum(by_move.values()) for by_move in costs.transfer_us.values()
    )
    total += len(costs.cost_us) * sum(costs.entry_us.values())
    for decimals in range(MAX_DECIMALS, -1, -1):
        if total * 10**decimals < TICK_LIMIT:
            return decimals
    raise PartitionerError(
        f"{costs.graph.name}: the costs add up to {total:.3g} us, more than can be summed exactly "
        f"({TICK_LIMIT:.3g} us); is the unit right? Leave out a device that must not be used"
    )
