"""The integer form of a cost graph that every solver works on.

Times become whole numbers of a tick, so sums, cuts and comparisons are exact. Without entry costs
an operator's best device within a memory is fixed beforehand: devices of one memory then differ in
nothing but their cost. With entry costs it depends on the operators before and after it in the
order of execution: `segments.cheapest_assignment` finds it. `evaluation.evaluate` says what an
assignment costs.

A *place* of an operator is a memory, by its number, or one of its splits: split i is place number
`len(memories) + i`. Likewise a split counts as a device after the others, one that costs nothing to
enter. So a solver chooses a place for each operator and asks `Problem.memories_at` which memories
it needs the inputs in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import gcd

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import HOME_MEMORY
from pimloop.partitioner.split_places import SplitPlace, check_splits, split_places
from pimloop.partitioner.splits import Split
from pimloop.partitioner.ticks import TICK_LIMIT, choose_decimals, dearest, to_ticks

#: Producer index of a model input.
MODEL_INPUT = -1


@dataclass(frozen=True)
class IndexedTensor:
    """A tensor in index form: who makes it, who reads it, what each move costs in ticks.

    Where a split makes it, a move is what makes it whole in a memory.
    """

    id: str
    producer: int  # operator index or `MODEL_INPUT`
    consumers: tuple[int, ...]
    output: bool
    ticks: Mapping[tuple[int, int], int]  # (place of the producer, destination memory) -> cost


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
    tensors: tuple[IndexedTensor, ...]
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
        runs: list[dict[int, int]] = []
        for v, operator in enumerate(graph.operators):
            run = {
                devices[name]: to_ticks(us, scale)
                for name, us in costs.cost_us[operator.id].items()
            }
            for i, split in enumerate(splits[v]):
                run[len(devices) + i] = max(split.ticks)
            runs.append(run)
        most = max(map(len, splits))
        blank = cls(
            costs=costs,
            decimals=decimals,
            memories=memories,
            home=number.get(HOME_MEMORY),
            order=graph.order,
            ticks=(),
            device=(),
            tensors=_tensors(costs, scale, number, splits),
            weights=tuple(operator.weight_bytes for operator in graph.operators),
            capacity={number[memory]: limit for memory, limit in costs.capacity_bytes.items()},
            devices=tuple(devices),
            device_memory=(*where.values(), *range(len(memories), len(memories) + most)),
            runs=(),
            entry=(*entry, *(0 for _ in range(most))),
            splits=splits,
        )
        return blank.with_runs(runs)

    def with_runs(self, runs: Sequence[Mapping[int, int]]) -> Problem:
        """Return the problem with these costs of operators, by device, and the best of a place."""
        ticks: list[dict[int, int]] = []
        device: list[dict[int, str]] = []
        for v, run in enumerate(runs):
            best: dict[int, int] = {}
            chosen: dict[int, str] = {}
            for number, cost in run.items():
                place = self.device_memory[number]
                if place not in best or cost < best[place]:
                    best[place], chosen[place] = cost, self.device_name(v, number)
            ticks.append(best)
            device.append(chosen)
        return replace(self, runs=tuple(runs), ticks=tuple(ticks), device=tuple(device))

    def whole(self) -> Problem:
        """Return the problem without its splits."""
        if not any(self.splits):
            return self
        memories, devices = len(self.memories), len(self.devices)
        rest = replace(
            self,
            tensors=tuple(
                replace(tensor, ticks={m: t for m, t in tensor.ticks.items() if m[0] < memories})
                for tensor in self.tensors
            ),
            device_memory=self.device_memory[:devices],
            entry=self.entry[:devices],
            splits=((),) * len(self.splits),
        )
        return rest.with_runs(
            [{d: cost for d, cost in run.items() if d < devices} for run in self.runs]
        )

    @cached_property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """For each operator, the indices of the tensors it reads."""
        result: list[list[int]] = [[] for _ in self.ticks]
        for i, tensor in enumerate(self.tensors):
            for consumer in tensor.consumers:
                result[consumer].append(i)
        return tuple(tuple(tensors) for tensors in result)

    @cached_property
    def total_ticks(self) -> int:
        """The dearest place and move of everything: no assignment costs more."""
        return (
            sum(max(costs.values()) for costs in self.runs)
            + sum(sum(dearest(tensor.ticks).values()) for tensor in self.tensors)
            + len(self.runs) * max(self.entry)
        )

    @property
    def fits_64_bits(self) -> bool:
        """Whether sums of costs stay below 2**61: always of times, not of weighted sums."""
        return self.total_ticks <= TICK_LIMIT

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
        for tensor in self.tensors:
            divisor = gcd(divisor, *tensor.ticks.values())
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
        return len(self.devices) + self.split_numbers[operator][name]

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
                self.costs.graph.operators, self.splits, self.split_numbers, strict=True
            )
            if assignment[operator.id] in numbers
        }

    @cached_property
    def _device_numbers(self) -> dict[str, int]:
        return {device: i for i, device in enumerate(self.devices)}

    @cached_property
    def split_numbers(self) -> tuple[dict[str, int], ...]:
        """For each operator, the numbers of its splits by name."""
        return tuple(
            {split.split.name: i for i, split in enumerate(splits)} for splits in self.splits
        )

    def source_of(self, tensor: IndexedTensor, place: Sequence[int]) -> int:
        """Return the place that `tensor` starts in when operator i sits in `place[i]`."""
        if tensor.producer != MODEL_INPUT:
            return place[tensor.producer]
        assert self.home is not None  # `Graph` refuses model inputs without a home memory
        return self.home

    def sources_of(
        self, tensor: IndexedTensor, place: Sequence[int], memory: int
    ) -> tuple[int, ...]:
        """Return the memories from which `tensor` comes to `memory`; of a split's, what is missing.

        Parameters are as of `source_of`.
        """
        source = self.source_of(tensor, place)
        if source < len(self.memories):
            return (source,)
        return tuple(m for m in self.memories_at(tensor.producer, source) if m != memory)

    def forbidden(
        self, user: str, tensor: IndexedTensor, source: int, destination: int
    ) -> PartitionerError:
        """Return the error of what needs a move that is not allowed."""
        return PartitionerError(
            f"{self.costs.graph.name}: the {user} needs tensor {tensor.id!r} moved from"
            f" {self.place_name(tensor.producer, source)!r} to {self.memories[destination]!r},"
            " which is forbidden"
        )

    def destinations(self, tensor: IndexedTensor, place: Sequence[int]) -> set[int]:
        """Return the memories other than its own where `tensor` is needed under `place`.

        What a split makes has no memory of its own.
        """
        needed = {
            memory
            for consumer in tensor.consumers
            for memory in self.memories_at(consumer, place[consumer])
        }
        if tensor.output:
            assert self.home is not None
            needed.add(self.home)
        needed.discard(self.source_of(tensor, place))
        return needed


def _tensors(
    costs: CostGraph,
    scale: int,
    number: Mapping[str, int],
    splits: Sequence[Sequence[SplitPlace]],
) -> tuple[IndexedTensor, ...]:
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
        result.append(IndexedTensor(tensor.id, producer, consumers, tensor.output, ticks))
    return tuple(result)
