"""The integer form of a cost graph that every solver works on, and the one evaluation.

Times become whole numbers of a tick, so sums, cuts and comparisons are exact. Within a memory an
operator's best device is fixed beforehand: devices of one memory differ in nothing but their cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd

from partitioner.capacity import resident_bytes
from partitioner.costs import CostGraph
from partitioner.errors import PartitionerError
from partitioner.graph import HOME_MEMORY

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

    @property
    def total(self) -> int:
        """Sum of both, in ticks."""
        return self.compute + self.transfer


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
        return sum(sum(costs.values()) for costs in self.ticks) + sum(
            sum(flow.ticks.values()) for flow in self.flows
        )

    @cached_property
    def signatures(self) -> dict[str, str]:
        """What every operator computes, by id, where the costs say: type, shapes, attributes."""
        operators = self.costs.graph.operators
        return {o.id: o.signature for o in operators if o.signature is not None}

    @cached_property
    def granularity(self) -> int:
        """Greatest common divisor of all costs: the totals of two assignments differ by no less."""
        divisor = 0
        for costs in self.ticks:
            divisor = gcd(divisor, *costs.values())
        for flow in self.flows:
            divisor = gcd(divisor, *flow.ticks.values())
        return divisor or 1

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
        return Evaluation(compute, self._transfer_ticks(place))

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
        """Return the assignment that puts operator i on its best device in memory `place[i]`."""
        return {
            operator.id: self.device[v][place[v]]
            for v, operator in enumerate(self.costs.graph.operators)
        }

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
    for decimals in range(MAX_DECIMALS, -1, -1):
        if total * 10**decimals < TICK_LIMIT:
            return decimals
    raise PartitionerError(
        f"{costs.graph.name}: the costs add up to {total:.3g} us, more than can be summed exactly "
        f"({TICK_LIMIT:.3g} us); is the unit right? Leave out a device that must not be used"
    )
