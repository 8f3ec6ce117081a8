"""States, tensors that stay where they are: the optimum for all executions, by their definition.

The brute force knows nothing of operators that append: it chooses a memory for each state and a
device for each operator, and adds up every execution.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest

from pimloop.partitioner.costs import CostGraph
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.graph import Graph, Operator, Tensor
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.splits import Split
from pimloop.partitioner.states import averaged

MEMORIES = {"cpu": ("cpu",), "pim": ("pim",)}
MOVES = frozenset({("cpu", "pim"), ("pim", "cpu")})
#: CPU and PIM together, each half: an operator that is split.
SPLIT = "cpu+pim 1/2"


@dataclass(frozen=True)
class Operation:
    """One operator of a model with states: times by device and execution, a split's parts."""

    name: str
    us: dict[str, list[int]]
    weights: int
    split: tuple[int, int, int, int] | None  # times of both parts, gathering on CPU and PIM


@dataclass(frozen=True)
class Value:
    """A tensor: who makes it (None: an input) and reads it, states that take it as rows."""

    name: str
    producer: str | None
    readers: tuple[str, ...]
    output: bool
    up: int
    down: int


@dataclass(frozen=True)
class Cache:
    """A state: the tensor whose rows it gets, who reads it, its prices."""

    name: str
    rows: str
    readers: tuple[str, ...]
    append: dict[str, list[int]]  # by memory and execution
    up: int  # moved whole, in each execution where somebody reads it elsewhere
    down: int
    once: int  # written to the PIM before the first execution
    nbytes: int


@dataclass(frozen=True)
class Model:
    executions: int
    operations: tuple[Operation, ...]
    values: tuple[Value, ...]
    caches: tuple[Cache, ...]
    capacity: int | None


def random_model(rng: random.Random, *, splits: bool = False) -> Model:
    executions = rng.choice([1, 2, 4, 5])
    count = rng.randint(2, 5)
    names = [f"o{i}" for i in range(count)]

    def times(grows: int = 0) -> list[int]:
        first = rng.randint(0, 40)
        return [first + grows * i for i in range(executions)]

    caches, values = [], [Value("x", None, (names[0],), False, rng.randint(0, 9), 0)]
    for i, name in enumerate(names):
        later = names[i + 1 :]
        readers = tuple(n for n in later if rng.random() < 0.4)
        values.append(
            Value(f"t{i}", name, readers, i == count - 1 or rng.random() < 0.2,
                  rng.randint(0, 20), rng.randint(0, 20))
        )  # fmt: skip
    for i in range(rng.randint(1, 2)):
        at = rng.randrange(count - 1)
        later = names[at + 1 :]
        caches.append(
            Cache(
                f"s{i}", f"t{at}", tuple(n for n in later if rng.random() < 0.6),
                {memory: times() for memory in MEMORIES}, rng.randint(0, 60), rng.randint(0, 60),
                rng.randint(0, 90), rng.randint(1, 50),
            )
        )  # fmt: skip
    reading = {name for cache in caches for name in cache.readers}
    operations = []
    for name in names:
        us = {"cpu": times(), "pim": times(rng.randint(0, 9) if name in reading else 0)}
        if rng.random() < 0.15:
            del us["pim"]
        parts = None
        if splits and "pim" in us and rng.random() < 0.5:
            made = next(v for v in values if v.producer == name)
            parts = (rng.randint(0, 30), rng.randint(0, 30), rng.randint(0, made.down),
                     rng.randint(0, made.up))  # fmt: skip
        operations.append(Operation(name, us, rng.randint(0, 20), parts))
    capacity = rng.choice([None, rng.randint(0, 120)])
    return Model(executions, tuple(operations), tuple(values), tuple(caches), capacity)


def cheapest(model: Model, *, splits: bool = False) -> int | None:
    """Return the least time of all executions; None where nothing fits."""
    places = []
    for operation in model.operations:
        mine = list(operation.us)
        places.append([*mine, SPLIT] if splits and operation.split else mine)
    best = None
    for devices in itertools.product(*places):
        chosen = {o.name: d for o, d in zip(model.operations, devices, strict=True)}
        for memories in itertools.product(MEMORIES, repeat=len(model.caches)):
            homes = {c.name: m for c, m in zip(model.caches, memories, strict=True)}
            if not _fits(model, chosen, homes):
                continue
            total = _total(model, chosen, homes)
            best = total if best is None else min(best, total)
    return best


def _memories(device: str) -> set[str]:
    return {"cpu", "pim"} if device == SPLIT else {device}


def _fits(model: Model, chosen: dict[str, str], homes: dict[str, str]) -> bool:
    if model.capacity is None:
        return True
    used = 0
    for operation in model.operations:
        device = chosen[operation.name]
        # A split has half of the weights, rounded up.
        used += {"cpu": 0, "pim": operation.weights, SPLIT: -(-operation.weights // 2)}[device]
    for cache in model.caches:
        on_pim = any("pim" in _memories(chosen[name]) for name in cache.readers)
        used += cache.nbytes if on_pim or homes[cache.name] == "pim" else 0
    return used <= model.capacity


def _total(model: Model, chosen: dict[str, str], homes: dict[str, str]) -> int:
    total = sum(cache.once for cache in model.caches if homes[cache.name] == "pim")
    by_name = {operation.name: operation for operation in model.operations}
    for execution in range(model.executions):
        for operation in model.operations:
            device = chosen[operation.name]
            if device == SPLIT:
                total += max(operation.split[:2])
            else:
                total += operation.us[device][execution]
        for value in model.values:
            needed = {m for name in value.readers for m in _memories(chosen[name])}
            needed |= {homes[c.name] for c in model.caches if c.rows == value.name}
            needed |= {"cpu"} if value.output else set()
            source = "cpu" if value.producer is None else chosen[value.producer]
            if source == SPLIT:
                gather = by_name[value.producer].split[2:]
                total += sum({"cpu": gather[0], "pim": gather[1]}[m] for m in needed)
            else:
                total += sum({"pim": value.up, "cpu": value.down}[m] for m in needed - {source})
        for cache in model.caches:
            home = homes[cache.name]
            total += cache.append[home][execution]
            # Nobody reads half a state: where it is not, all of it is moved.
            needed = {m for name in cache.readers for m in _memories(chosen[name])}
            total += sum({"pim": cache.up, "cpu": cache.down}[m] for m in needed - {home})
    return total


def cost_graph(model: Model) -> CostGraph:
    """Return the model as the host hands it to the partitioner: states are made by operators."""
    shared = {cache.name: cache.nbytes for cache in model.caches}
    operators = []
    for operation in model.operations:
        reads = tuple(c.name for c in model.caches if operation.name in c.readers)
        operators.append(
            Operator(operation.name, "Op", tuple(operation.us), None, operation.weights, reads)
        )
    first = {operation.name: {d: float(us[0]) for d, us in operation.us.items()}
             for operation in model.operations}  # fmt: skip
    tensors, moves = [], {}
    for value in model.values:
        rows = tuple(f"append {c.name}" for c in model.caches if c.rows == value.name)
        tensors.append(
            Tensor(value.name, value.producer, (*value.readers, *rows), value.output, moves=MOVES)
        )
        moves[value.name] = {("cpu", "pim"): value.up, ("pim", "cpu"): value.down}
    each = {(o.name, d): us for o in model.operations for d, us in o.us.items()}
    once = {}
    for cache in model.caches:
        appends = f"append {cache.name}"
        operators.append(Operator(appends, "Append", ("cpu", "pim"), None, 0, (cache.name,)))
        first[appends] = dict.fromkeys(MEMORIES, 0.0)
        each |= {(appends, memory): us for memory, us in cache.append.items()}
        once[appends, "pim"] = cache.once
        tensors.append(Tensor(cache.name, appends, cache.readers, moves=MOVES))
        moves[cache.name] = {("cpu", "pim"): cache.up, ("pim", "cpu"): cache.down}
    graph = Graph(MEMORIES, tuple(operators), tuple(tensors), "states", shared)
    limit = {} if model.capacity is None else {"pim": model.capacity}
    costs = CostGraph(graph, first, moves, capacity_bytes=limit)
    return averaged(costs, model.executions, each, once)


def with_splits(model: Model, costs: CostGraph) -> CostGraph:
    made = {value.producer: value.name for value in model.values}
    offered = {
        o.name: (
            Split(("cpu", "pim"), 1, 2, (float(o.split[0]), float(o.split[1])),
                  {made[o.name]: {"cpu": float(o.split[2]), "pim": float(o.split[3])}}),
        )
        for o in model.operations
        if o.split
    }  # fmt: skip
    return replace(costs, splits=offered)


def total_of(costs: CostGraph, policy: str, executions: int, method: str = "auto") -> float | None:
    try:
        plan = partition(costs, policy, method=method)
    except PartitionerError as error:
        if "no feasible assignment" not in str(error):
            raise
        return None
    assert plan.optimal
    return executions * plan.total_us


def same(total: float | None, wanted: int | None) -> bool:
    if total is None or wanted is None:
        return total is wanted
    return total == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("block", range(4))
def test_a_plan_is_the_cheapest_for_all_executions(block):
    grown = 0
    for seed in range(block * 500, block * 500 + 500):
        model = random_model(random.Random(seed))
        wanted = cheapest(model)
        assert same(total_of(cost_graph(model), "optimal", model.executions), wanted), seed
        grown += wanted is not None
    assert grown > 300


def test_splits_beside_states():
    for seed in range(300):
        model = random_model(random.Random(f"splits {seed}"), splits=True)
        costs = with_splits(model, cost_graph(model))
        wanted = cheapest(model, splits=True)
        assert same(total_of(costs, "coexec", model.executions), wanted), seed


def test_an_integer_programme_finds_the_same():
    for seed in range(200):
        model = random_model(random.Random(f"programme {seed}"))
        costs = cost_graph(model)
        first = total_of(costs, "optimal", model.executions)
        other = total_of(costs, "optimal", model.executions, method="ilp")
        assert same(other, None if first is None else round(first)), seed


def test_what_is_written_once_weighs_less_the_more_executions_there_are():
    """A state on the PIM costs 100 once and saves 10 an execution."""
    graph = Graph(
        MEMORIES,
        (Operator("append", "Append", ("cpu", "pim")), Operator("read", "MatMul", ("cpu", "pim"))),
        (Tensor("state", "append", ("read",), moves=MOVES), Tensor("y", "read", ())),
    )
    times = {"append": {"cpu": 0.0, "pim": 0.0}, "read": {"cpu": 30.0, "pim": 20.0}}
    moves = {"state": {("cpu", "pim"): 50.0, ("pim", "cpu"): 50.0}, "y": {}}
    costs = CostGraph(graph, times, moves)
    for executions, memory in ((9, "cpu"), (11, "pim")):
        average = averaged(costs, executions, {}, {("append", "pim"): 100.0})
        assert set(partition(average, "optimal").assignment.values()) == {memory}


def test_times_that_are_no_times_of_an_operator_are_refused():
    graph = Graph(MEMORIES, (Operator("a", "Append", ("cpu",)),), ())
    costs = CostGraph(graph, {"a": {"cpu": 1.0}}, {})
    with pytest.raises(PartitionerError, match="times of node 'a' on 'pim', which cannot run it"):
        averaged(costs, 2, {}, {("a", "pim"): 1.0})
    with pytest.raises(PartitionerError, match="has 1 times for 2 executions; give one each"):
        averaged(costs, 2, {("a", "cpu"): [1.0]}, {})
    assert averaged(costs, 3, {("a", "cpu"): [1.0, 2.0, 4.0]}, {}).cost_us["a"]["cpu"] == float(
        Fraction(7, 3)
    )
