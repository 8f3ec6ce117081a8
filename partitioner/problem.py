"""The integer form of a cost graph that every solver works on, and the one evaluation.

Times become whole numbers of a tick, so sums, cuts and comparisons are exact. Without entry costs
an operator's best device within a memory is fixed beforehand: devices of one memory then differ in
nothing but their cost. With entry costs it depends on the operators before and after it in the
order of execution, and `Problem.assignment` finds it.

A *place* of an operator is a memory, by its number, or one of its splits: split i is place number
`len(memories) + i`. Likewise a split counts as a device after the others, one that costs nothing to
enter. So a solver chooses a place for each operator and asks `Problem.memories_at` which memories
it needs the inputs in.
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
from pimloop.partitioner.split_places import SplitPlace, check_splits, split_places
from pimloop.partitioner.splits import Split
from pimloop.partitioner.ticks import choose_decimals, dearest, to_ticks

#: Producer index of a model input.
MODEL_INPUT = -1


@dataclass(frozen=True)
class Flow:
    """A tensor in index form: who makes it, who reads it, what each move costs in ticks.

    Where a split makes it, a move is what makes it whole in a memory.
    """

    id: str
    producer: int  # operator index or `MODEL_INPUT`
    consumers: tuple[int, ...]
    output: bool
    ticks: Mapping[tuple[int, int], int]  # (place of the producer, destination memory) -> cost


@dataclass(frozen=True)
class Evaluation:
    """The exact cost of one assignment."""

    compute: int  # ticks spent in operators; of a split, its slower part with its entry
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
    ticks: tuple[Mapping[int, int], ...]  # operator -> place -> cost on its best device there
    device: tuple[Mapping[int, str], ...]  # operator -> place -> that device, or the split's name
    flows: tuple[Flow, ...]
    weights: tuple[int, ...]  # resident bytes of each operator, shared weights apart
    capacity: Mapping[int, int]  # memory -> bytes, where there is a limit
    devices: tuple[str, ...]
    device_memory: tuple[int, ...]  # place of each device; splits follow the devices
    runs: tuple[Mapping[int, int], ...]  # operator -> device -> cost
    entry: tuple[int, ...]  # device -> cost of a segment's begin
    splits: tuple[tuple[SplitPlace, ...], ...]  # of each operator

    @classmethod
    def of(cls, costs: CostGraph, *, with_splits: bool = True) -> Problem:
        """Build the integer form.

        Parameters
        ----------
        with_splits
            False leaves out the splits that `costs` offers. A tick is the same with and without.

        Raises
        ------
        PartitionerError
            When the costs are so large that their sum cannot be held exactly, or a split does not
            fit the graph.
        """
        graph = costs.graph
        check_splits(graph, costs.splits)
        decimals = choose_decimals(costs)
        scale = 10**decimals
        memories = tuple(graph.memories)
        number = {memory: i for i, memory in enumerate(memories)}
        where = {device: number[memory] for device, memory in graph.memory_of.items()}
        devices = {device: i for i, device in enumerate(where)}
        entry = [to_ticks(costs.entry_us.get(device, 0.0), scale) for device in devices]
        splits = split_places(costs, scale, number) if with_splits else ((),) * len(graph.index)
        ticks: list[dict[int, int]] = []
        device: list[dict[int, str]] = []
        runs: list[dict[int, int]] = []
        for v, operator in enumerate(graph.operators):
            best: dict[int, int] = {}
            chosen: dict[int, str] = {}
            run: dict[int, int] = {}
            for name, cost_us in costs.cost_us[operator.id].items():
                memory, cost = where[name], to_ticks(cost_us, scale)
                run[devices[name]] = cost
                if memory not in best or cost < best[memory]:
                    best[memory], chosen[memory] = cost, name
            for i, split in enumerate(splits[v]):
                best[len(memories) + i] = run[len(devices) + i] = max(split.ticks)
                chosen[len(memories) + i] = split.split.name
            ticks.append(best)
            device.append(chosen)
            runs.append(run)
        most = max(map(len, splits))
        return cls(
            costs=costs,
            decimals=decimals,
            memories=memories,
            home=number.get(HOME_MEMORY),
            order=graph.order,
            ticks=tuple(ticks),
            device=tuple(device),
            flows=_flows(costs, scale, number, splits),
            weights=tuple(operator.weight_bytes for operator in graph.operators),
            capacity={number[memory]: limit for memory, limit in costs.capacity_bytes.items()},
            devices=tuple(devices),
            device_memory=(*where.values(), *range(len(memories), len(memories) + most)),
            runs=tuple(runs),
            entry=(*entry, *(0 for _ in range(most))),
            splits=splits,
        )

    def whole(self) -> Problem:
        """Return the problem without its splits."""
        return Problem.of(self.costs, with_splits=False) if any(self.splits) else self

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
        """The dearest place and move of everything: no assignment costs more."""
        return (
            sum(max(costs.values()) for costs in self.runs)
            + sum(sum(dearest(flow.ticks).values()) for flow in self.flows)
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

    def devices_at(self, operator: int, place: int) -> tuple[int, ...]:
        """Return the devices of `operator` that are in `place`."""
        return tuple(d for d in self.runs[operator] if self.device_memory[d] == place)

    def useful_devices(self, operator: int, memory: int) -> tuple[int, ...]:
        """Return the devices of `memory` that some optimum may use for `operator`.

        One is left out when another, with its entry and that of a segment which the change cuts
        in two, is no slower. Without entry costs the fastest is left.
        """
        kept = list(self.devices_at(operator, memory))
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
        return [
            0
            if before is not None and assignment[names[before]] == assignment[name]
            else self.entry[self.device_number(v, assignment[name])]
            for v, (name, before) in enumerate(zip(names, self.before, strict=True))
        ]

    def durations(self, assignment: Mapping[str, str]) -> list[int]:
        """Return the ticks of every operator, the entry of the segment that it begins included."""
        return [
            self.runs[v][self.device_number(v, assignment[operator.id])] + entry
            for v, (operator, entry) in enumerate(
                zip(self.costs.graph.operators, self.entry_ticks(assignment), strict=True)
            )
        ]

    def to_us(self, ticks: int) -> float:
        """Convert ticks to microseconds."""
        return float(ticks / 10**self.decimals)

    def memories_at(self, operator: int, place: int) -> tuple[int, ...]:
        """Return the memories that need the inputs of `operator` at one of its places."""
        if place < len(self.memories):
            return (place,)
        return self.splits[operator][place - len(self.memories)].memories

    def weights_at(self, operator: int, place: int, memory: int) -> int:
        """Return the bytes of its own weights that `operator` at a place holds in a memory."""
        if place < len(self.memories):
            return self.weights[operator] if place == memory else 0
        split = self.splits[operator][place - len(self.memories)]
        return split.weights[split.memories.index(memory)] if memory in split.memories else 0

    def device_number(self, operator: int, name: str) -> int:
        """Return the number of a device, or of a split of `operator`, by its name."""
        if name in self._device_numbers:
            return self._device_numbers[name]
        return len(self.devices) + self._split_numbers[operator][name]

    def device_name(self, operator: int, device: int) -> str:
        """Return the name of a device, or of a split of `operator`, by its number."""
        if device < len(self.devices):
            return self.devices[device]
        return self.splits[operator][device - len(self.devices)].split.name

    def place_name(self, operator: int, place: int) -> str:
        """Return the name of a memory, or of a split of `operator`."""
        if place < len(self.memories):
            return self.memories[place]
        return self.splits[operator][place - len(self.memories)].split.name

    def chosen_splits(self, assignment: Mapping[str, str]) -> dict[str, Split]:
        """Return the splits that `assignment` uses, by operator id."""
        return {
            operator.id: splits[numbers[assignment[operator.id]]].split
            for operator, splits, numbers in zip(
                self.costs.graph.operators, self.splits, self._split_numbers, strict=True
            )
            if assignment[operator.id] in numbers
        }

    @cached_property
    def _device_numbers(self) -> dict[str, int]:
        return {device: i for i, device in enumerate(self.devices)}

    @cached_property
    def _split_numbers(self) -> tuple[dict[str, int], ...]:
        return tuple(
            {split.split.name: i for i, split in enumerate(splits)} for splits in self.splits
        )

    def source_of(self, flow: Flow, place: Sequence[int]) -> int:
        """Return the place that `flow` starts in when operator i sits in `place[i]`."""
        if flow.producer != MODEL_INPUT:
            return place[flow.producer]
        assert self.home is not None  # `Graph` refuses model inputs without a home memory
        return self.home

    def sources_of(self, flow: Flow, place: Sequence[int], memory: int) -> tuple[int, ...]:
        """Return the memories from which `flow` comes to `memory`; of a split's, what is missing.

        Parameters are as of `source_of`.
        """
        source = self.source_of(flow, place)
        if source < len(self.memories):
            return (source,)
        return tuple(m for m in self.memories_at(flow.producer, source) if m != memory)

    def destinations(self, flow: Flow, place: Sequence[int]) -> set[int]:
        """Return the memories other than its own where `flow` is needed under `place`.

        What a split makes has no memory of its own.
        """
        needed = {
            memory
            for consumer in flow.consumers
            for memory in self.memories_at(consumer, place[consumer])
        }
        if flow.output:
            assert self.home is not None
            needed.add(self.home)
        needed.discard(self.source_of(flow, place))
        return needed

    def evaluate_places(self, place: Sequence[int]) -> Evaluation:
        """Return the cost of putting operator i on the best device of place `place[i]`.

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
        """Return the exact cost of a full assignment of operator ids to devices or splits.

        Raises
        ------
        PartitionerError
            When an operator is missing, its device cannot run it, or a needed transfer is
            forbidden.
        """
        place = self.places(assignment)
        compute = sum(
            self.runs[v][self.device_number(v, assignment[operator.id])]
            for v, operator in enumerate(self.costs.graph.operators)
        )
        return Evaluation(compute, self._transfer_ticks(place), sum(self.entry_ticks(assignment)))

    def places(self, assignment: Mapping[str, str]) -> list[int]:
        """Return the place of every operator under `assignment`, checking it."""
        graph = self.costs.graph
        place = []
        for v, operator in enumerate(graph.operators):
            device = assignment.get(operator.id)
            if device is None:
                raise PartitionerError(f"{graph.name}: the assignment leaves out {operator.id!r}")
            if device not in operator.devices and device not in self._split_numbers[v]:
                raise PartitionerError(
                    f"{graph.name}: node {operator.id!r} cannot run on {device!r}; "
                    f"its devices are {[*operator.devices, *self._split_numbers[v]]}"
                )
            place.append(self.device_memory[self.device_number(v, device)])
        return place

    def assignment(self, place: Sequence[int]) -> dict[str, str]:
        """Return the cheapest assignment that puts operator i into place `place[i]`."""
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
            chosen[self.costs.graph.operators[v].id] = self.device_name(v, device)
            device = origin[device]
        return {operator.id: chosen[operator.id] for operator in self.costs.graph.operators}

    def overfull(self, place: Sequence[int]) -> dict[str, int]:
        """Return the memories whose capacity `place` exceeds, with the resident bytes."""
        used = {
            memory: self.resident_bytes(memory, dict(enumerate(place))) for memory in self.capacity
        }
        return {
            self.memories[memory]: amount
            for memory, amount in used.items()
            if amount > self.capacity[memory]
        }

    def resident_bytes(self, memory: int, place: Mapping[int, int]) -> int:
        """Return the bytes of weights in a memory when operators sit in the places given."""
        graph = self.costs.graph
        own, shared = 0, set[str]()
        for v, where in place.items():
            if memory in self.memories_at(v, where):
                own += self.weights_at(v, where, memory)
                shared.update(graph.operators[v].shared_weights)
        return own + sum(graph.shared_weights[name] for name in shared)

    def _transfer_ticks(self, place: Sequence[int]) -> int:
        total = 0
        for flow in self.flows:
            source = self.source_of(flow, place)
            for destination in self.destinations(flow, place):
                cost = flow.ticks.get((source, destination))
                if cost is None:
                    raise PartitionerError(
                        f"{self.costs.graph.name}: the assignment needs tensor {flow.id!r} moved "
                        f"from {self.place_name(flow.producer, source)!r} to "
                        f"{self.memories[destination]!r}, "
                        "which is forbidden"
                    )
                total += cost
        return total


def _flows(
    costs: CostGraph,
    scale: int,
    number: Mapping[str, int],
    splits: Sequence[Sequence[SplitPlace]],
) -> tuple[Flow, ...]:
    graph = costs.graph
    result = []
    for tensor in graph.tensors:
        producer = MODEL_INPUT if tensor.producer is None else graph.index[tensor.producer]
        ticks = {
            (number[source], number[destination]): to_ticks(cost, scale)
            for (source, destination), cost in costs.transfer_us[tensor.id].items()
        }
        for i, split in enumerate(splits[producer] if producer != MODEL_INPUT else ()):
            for memory, cost in split.split.gather_us[tensor.id].items():
                ticks[len(number) + i, number[memory]] = to_ticks(cost, scale)
        consumers = tuple(graph.index[consumer] for consumer in tensor.consumers)
        result.append(Flow(tensor.id, producer, consumers, tensor.output, ticks))
    return tuple(result)
