"""The parts of the partitioner against the plainest way to say what they do, on random graphs.

Everything here reads the JSON form of a cost graph; nothing uses the integer form or the solvers.
"""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from statistics import median

import pytest
from support.cost_graphs import all_assignments, brute_force, random_costs, total_cost

from pimloop.partitioner.costs import costs_from_dict, costs_to_dict
from pimloop.partitioner.dcg import END, START, build_dcg, count_dcg
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.evaluation import evaluate, evaluate_places, places_of
from pimloop.partitioner.place.baselines import BASELINES
from pimloop.partitioner.place.capacity import overfull_at
from pimloop.partitioner.place.pricing import TransferPrices
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import Problem
from pimloop.partitioner.profile.coverage import Coverage
from pimloop.partitioner.profile.merge import ProfileRun, merge_runs
from pimloop.partitioner.segments import cheapest_assignment

SEEDS = range(25)


def some_costs(seed: int, operators: int = 9, **more) -> dict:
    """Return a random graph with weights, ties, forbidden moves and limited memories."""
    rng = random.Random(seed)
    data = random_costs(
        rng, 1 + seed % 4, operators, weights=True, fan_in=2, forbid=0.1 * (seed % 3 == 0), **more
    )
    if seed % 3 == 1:
        total = sum(node["weight_bytes"] for node in data["nodes"])
        names = list(data["memories"])
        data["capacity_bytes"] = {names[-1]: total // 2}
    return data


def memory_of(data: dict) -> dict[str, str]:
    return {device: name for name, names in data["memories"].items() for device in names}


def order(data: dict) -> list[dict]:
    """Return the nodes so that each comes after what it reads, the first in the file first."""
    made = {t["id"] for t in data["tensors"] if t["producer"] is None}
    rest, ordered = list(data["nodes"]), []
    while rest:
        node = next(
            n for n in rest
            if all(t["id"] in made for t in data["tensors"] if n["id"] in t["consumers"])
        )  # fmt: skip
        rest.remove(node)
        ordered.append(node)
        made |= {t["id"] for t in data["tensors"] if t["producer"] == node["id"]}
    return ordered


# ---- baselines ---------------------------------------------------------------------------------


def in_turns(data: dict, choose) -> dict[str, str] | None:
    """Walk the nodes; `choose` takes one of the devices whose memory has room, or None."""
    where, room = memory_of(data), dict(data.get("capacity_bytes", {}))
    chosen: dict[str, str] = {}
    for node in order(data):
        weight = node["weight_bytes"]
        usable = [d for d in node["cost_us"] if where[d] not in room or room[where[d]] >= weight]
        device = choose(node, usable, chosen) if usable else None
        if device is None:
            return None
        chosen[node["id"]] = device
        if where[device] in room:
            room[where[device]] -= weight
    return chosen


def by_priority(data: dict, names: list[str]) -> dict[str, str] | None:
    where = memory_of(data)
    far = [device for device, memory in where.items() if memory != "cpu"]
    ranked = [d for name in names for d in (far if name == "pim" else [name])]
    ranked += [device for device in where if device not in ranked]
    return in_turns(data, lambda node, usable, _: next(d for d in ranked if d in usable))


def greedily(data: dict) -> dict[str, str] | None:
    """Take the device with the least time, moves in not made before, and outputs' moves home."""
    where = memory_of(data)
    there: dict[str, set[str]] = {}
    origin: dict[str, str] = {}
    for tensor in data["tensors"]:
        if tensor["producer"] is None:
            there[tensor["id"]], origin[tensor["id"]] = {"cpu"}, "cpu"

    def price(node: dict, device: str) -> Fraction | None:
        memory, total = where[device], Fraction(str(node["cost_us"][device]))
        for tensor in data["tensors"]:
            move = None
            if node["id"] in tensor["consumers"] and memory not in there[tensor["id"]]:
                move = f"{origin[tensor['id']]}>{memory}"
            if tensor["producer"] == node["id"] and tensor["output"] and memory != "cpu":
                move = f"{memory}>cpu"
            if move is not None:
                if move not in tensor["transfer_us"]:
                    return None
                total += Fraction(str(tensor["transfer_us"][move]))
        return total

    def choose(node: dict, usable: list[str], chosen: dict[str, str]) -> str | None:
        priced = [(p, d) for d in usable if (p := price(node, d)) is not None]
        if not priced:
            return None
        device = min(priced, key=lambda pair: pair[0])[1]
        for tensor in data["tensors"]:
            if node["id"] in tensor["consumers"]:
                there[tensor["id"]].add(where[device])
            if tensor["producer"] == node["id"]:
                origin[tensor["id"]] = where[device]
                there[tensor["id"]] = {where[device]}
        return device

    return in_turns(data, choose)


def on_lines(data: dict) -> dict[str, str] | None:
    """The paper's equation 2, line by line; see `paper_dp`."""
    where = memory_of(data)
    devices = {node["id"]: list(node["cost_us"]) for node in data["nodes"]}
    paid: set[tuple[str, str, str]] = set()
    table: list[dict[str, tuple[Fraction, str | None]]] = []
    for node in order(data):
        inputs = [t for t in data["tensors"] if node["id"] in t["consumers"]]
        change: dict[tuple[str, str], Fraction | None] = {}
        for d, e in itertools.product(node["cost_us"], table[-1] if table else []):
            if where[e] == where[d]:
                continue
            total: Fraction | None = Fraction(0)
            for tensor in inputs:
                on_e = (
                    where[e] == "cpu"
                    if tensor["producer"] is None
                    else e in devices[tensor["producer"]]
                )
                if not on_e or (tensor["id"], e, d) in paid:
                    continue
                ticks = tensor["transfer_us"].get(f"{where[e]}>{where[d]}")
                if ticks is None:
                    total = None
                    break
                paid.add((tensor["id"], e, d))
                total += Fraction(str(ticks))
            change[e, d] = total
        row: dict[str, tuple[Fraction, str | None]] = {}
        for d, own in node["cost_us"].items():
            ways = []
            for e, (time, _) in (table[-1] if table else {None: (Fraction(0), None)}).items():
                more = change.get((e, d), Fraction(0))
                if more is not None:
                    ways.append((time + more, e))
            if ways:
                best = min(ways, key=lambda way: way[0])
                row[d] = (best[0] + Fraction(str(own)), best[1])
        if not row:
            return None
        table.append(row)
    chosen, device = {}, min(table[-1], key=lambda d: table[-1][d][0])
    for node, row in zip(reversed(order(data)), reversed(table), strict=True):
        chosen[node["id"]] = device
        device = row[device][1]
    return chosen


ORACLES = {
    "cpu_serial": lambda data: by_priority(data, ["cpu_serial", "cpu_parallel", "pim"]),
    "cpu_parallel_first": lambda data: by_priority(data, ["cpu_parallel", "pim", "cpu_serial"]),
    "pim_first": lambda data: by_priority(data, ["pim", "cpu_parallel", "cpu_serial"]),
    "greedy": greedily,
    "paper_dp": on_lines,
}


@pytest.mark.parametrize("policy", ORACLES)
def test_baselines_choose_what_their_rule_says(policy: str) -> None:
    compared = 0
    for seed in range(60):
        data = some_costs(seed, decimals=seed % 2)
        expected = ORACLES[policy](data)
        problem = Problem.of(costs_from_dict(data))
        if expected is None:
            with pytest.raises(PartitionerError, match=r"stuck|no memory has room"):
                BASELINES[policy](problem)
            continue
        assert BASELINES[policy](problem) == expected, seed
        total = total_cost(data, expected)
        if total is not None:
            evaluation = evaluate(problem, expected)
            assert Fraction(evaluation.total, 10**problem.decimals) == total
            compared += 1
    assert compared > 20


# ---- evaluation --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_price_of_any_assignment(seed: int) -> None:
    data = some_costs(seed, 7, decimals=seed % 3)
    problem = Problem.of(costs_from_dict(data))
    where, names = memory_of(data), list(data["memories"])
    for chosen in itertools.islice(all_assignments(data), 40):
        total = total_cost(data, chosen)
        if total is None:
            with pytest.raises(PartitionerError, match="forbidden"):
                evaluate(problem, chosen)
            continue
        result = evaluate(problem, chosen)
        scale = 10**problem.decimals
        compute = sum(Fraction(str(node["cost_us"][chosen[node["id"]]])) for node in data["nodes"])
        assert Fraction(result.compute, scale) == compute
        assert Fraction(result.transfer, scale) == total - compute
        assert problem.to_us(result.total) == float(total)
        place = places_of(problem, chosen)
        assert place == [names.index(where[chosen[node["id"]]]) for node in data["nodes"]]
        used = dict.fromkeys(data.get("capacity_bytes", {}), 0)
        for node in data["nodes"]:
            if where[chosen[node["id"]]] in used:
                used[where[chosen[node["id"]]]] += node["weight_bytes"]
        limits = data.get("capacity_bytes", {})
        assert overfull_at(problem, place) == {m: n for m, n in used.items() if n > limits[m]}
        # The best devices of the same memories cost no more, and the first of equals is taken.
        best = cheapest_assignment(problem, place)
        for node in data["nodes"]:
            inside = [d for d in node["cost_us"] if where[d] == where[chosen[node["id"]]]]
            assert best[node["id"]] == min(inside, key=lambda d: node["cost_us"][d])
        assert evaluate_places(problem, place) == evaluate(problem, best)


@pytest.mark.parametrize("seed", SEEDS)
def test_optimum_of_small_graphs(seed: int) -> None:
    """Every solver that takes a graph gives the least total of all assignments that fit."""
    data = some_costs(seed, 5, decimals=seed // 4 % 2)
    limits, where = data.get("capacity_bytes", {}), memory_of(data)

    def fits(chosen: dict[str, str]) -> bool:
        return all(
            sum(n["weight_bytes"] for n in data["nodes"] if where[chosen[n["id"]]] == memory)
            <= limit
            for memory, limit in limits.items()
        )

    best = brute_force(data, fits)
    costs = costs_from_dict(data)
    methods = ["auto", "ilp"]
    if not limits:
        methods += ["dp"] if len(data["memories"]) > 2 else ["dp", "mincut"]
    for method in methods:
        if best is None:
            with pytest.raises(PartitionerError):
                partition(costs, method=method)
            continue
        plan = partition(costs, method=method)
        assert plan.optimal, method
        assert plan.total_us == float(best), method
        assert plan.lower_bound_us == float(best), method
        assert total_cost(data, dict(plan.assignment)) == best, method
        assert fits(dict(plan.assignment)), method


@pytest.mark.parametrize("seed", SEEDS)
def test_files_keep_everything(seed: int) -> None:
    data = some_costs(seed, decimals=2)
    for number, node in enumerate(data["nodes"]):
        if number % 2:
            node["signature"] = f"s{number}"
    for tensor in data["tensors"][::2]:
        tensor["type"] = "float32"
    written = costs_to_dict(costs_from_dict(data))
    assert written["memories"] == data["memories"]
    assert {m: n for m, n in written.get("capacity_bytes", {}).items() if n is not None} == (
        data.get("capacity_bytes", {})
    )
    for old, new in zip(data["nodes"], written["nodes"], strict=True):
        assert {k: v for k, v in old.items() if v} == new
    for old, new in zip(data["tensors"], written["tensors"], strict=True):
        assert old == new
    assert costs_to_dict(costs_from_dict(written)) == written


def test_memory_may_be_filled_exactly() -> None:
    data = random_costs(random.Random(1), 2, 4, incapable=0)
    for node in data["nodes"]:
        node["cost_us"] = {"cpu_serial": 100, "pim": 1}
        node["weight_bytes"] = 25
    for tensor in data["tensors"]:
        tensor["transfer_us"] = {"cpu>pim": 0, "pim>cpu": 0}
    for room, total in ((100, 4), (99, 103), (75, 103), (74, 202)):
        data["capacity_bytes"] = {"pim": room}
        costs = costs_from_dict(data)
        assert partition(costs).total_us == total
        problem = Problem.of(costs)
        assert overfull_at(problem, [1, 1, 1, 1]) == ({} if room == 100 else {"pim": 100})
        assert partition(costs, "pim_first").total_us == total


def chain(nodes: dict[str, dict], tensors: list[tuple], memories: int = 2) -> dict:
    """Return a cost graph of id -> costs and (producer, consumers, output, cost of any move)."""
    names = ["cpu", "pim", "gpu"][:memories]
    table = {"cpu": ["cpu_serial"], "pim": ["pim"], "gpu": ["gpu"]}
    return {
        "format": "pimloop-costs/1",
        "memories": {name: table[name] for name in names},
        "nodes": [{"id": n, "op": "X", "cost_us": costs} for n, costs in nodes.items()],
        "tensors": [
            {
                "id": f"t{i}",
                "producer": producer,
                "consumers": consumers,
                "output": output,
                "transfer_us": {f"{a}>{b}": cost for a, b in itertools.permutations(names, 2)},
            }
            for i, (producer, consumers, output, cost) in enumerate(tensors)
        ],
    }


METHODS = pytest.mark.parametrize("method", ["mincut", "dp", "ilp"])


@METHODS
def test_one_transfer_serves_all_readers(method: str) -> None:
    """Three readers on the PIM: one transfer of 10 is worth 3 x 6 saved, and not 3 x 3."""
    for gain, total in ((6, 1 + 10 + 3), (3, 1 + 3 * 4)):
        nodes: dict[str, dict] = {"a": {"cpu_serial": 1}}
        nodes |= {n: {"cpu_serial": 1 + gain, "pim": 1} for n in "bcd"}
        data = chain(nodes, [("a", ["b", "c", "d"], False, 10)])
        plan = partition(costs_from_dict(data), method=method)
        assert plan.total_us == total == float(brute_force(data) or -1)
        assert (plan.transfer_us, plan.compute_us) == ((10, 4) if gain == 6 else (0, 13))


@METHODS
def test_differences_of_one_unit(method: str) -> None:
    """The least there is, in an operator's costs and in a transfer's."""
    nodes = {"a": {"cpu_serial": 3, "pim": 2}, "b": {"cpu_serial": 2, "pim": 3}}
    for cost, total in ((0, 4), (1, 5)):
        data = chain(nodes, [(None, ["a"], False, 0), ("a", ["b"], False, cost)])
        plan = partition(costs_from_dict(data), method=method)
        assert plan.total_us == total == float(brute_force(data) or -1)
        assert plan.optimal


@METHODS
def test_parallel_tensors_add_up(method: str) -> None:
    """Two tensors between the same operators: both move."""
    for gain, total in ((8, 9 + 1), (6, 7 + 1)):
        nodes = {"a": {"cpu_serial": 1}, "b": {"cpu_serial": 1 + gain, "pim": 1}}
        data = chain(nodes, [("a", ["b"], False, 5), ("a", ["b"], False, 4)])
        plan = partition(costs_from_dict(data), method=method)
        assert plan.total_us == total == float(brute_force(data) or -1)
        assert plan.assignment["b"] == "cpu_serial"
    data["nodes"][1]["cost_us"]["cpu_serial"] = 11
    plan = partition(costs_from_dict(data), method=method)
    assert (plan.assignment["b"], plan.transfer_us, plan.total_us) == ("pim", 9, 11)


@METHODS
def test_outputs_and_inputs_are_moved(method: str) -> None:
    nodes = {"a": {"cpu_serial": 10, "pim": 1}}
    for inwards, home, place, total in ((4, 4, "pim", 9), (5, 5, "cpu_serial", 10)):
        data = chain(nodes, [(None, ["a"], False, inwards), ("a", [], True, home)])
        plan = partition(costs_from_dict(data), method=method)
        assert (plan.assignment["a"], plan.total_us) == (place, total)
        assert plan.lower_bound_us == total


# ---- profiles ----------------------------------------------------------------------------------


def moves_of(data: dict, chosen: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the (tensor, source, destination) of every transfer of a run."""
    where, moves = memory_of(data), []
    for tensor in data["tensors"]:
        start = "cpu" if tensor["producer"] is None else where[chosen[tensor["producer"]]]
        ends = {where[chosen[reader]] for reader in tensor["consumers"]}
        if tensor["output"]:
            ends.add("cpu")
        moves += [(tensor["id"], start, end) for end in sorted(ends - {start})]
    return moves


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_what_a_run_covers(seed: int, grouped: bool) -> None:
    data = random_costs(random.Random(seed), 1 + seed % 3, 5, fan_in=2, forbid=0.15)
    for node in data["nodes"]:
        if node["op"] != "C":
            node["signature"] = node["op"]
    for tensor in data["tensors"][::3]:
        tensor.pop("bytes", None)
    graph = costs_from_dict(data).graph
    coverage = Coverage(graph, group_operators=grouped, group_transfers=grouped)
    nodes = {n["id"]: n for n in data["nodes"]}
    tensors = {t["id"]: t for t in data["tensors"]}

    def node_class(name: str) -> tuple:
        signature = nodes[name].get("signature") if grouped else None
        return ("operator", name) if signature is None else ("signature", signature)

    def tensor_class(name: str) -> tuple:
        size = tensors[name].get("bytes") if grouped else None
        return ("tensor", name) if size is None else ("bytes", size, tensors[name].get("type"))

    names: dict[int, tuple] = {}

    def note(item: int, name: tuple) -> None:
        assert names.setdefault(item, name) == name

    for node, items in zip(data["nodes"], coverage.node_items, strict=True):
        assert list(items) == list(node["cost_us"])
        for device, item in items.items():
            note(item, (*node_class(node["id"]), device))
            assert coverage.is_node(item)
    possible = set()
    for chosen in all_assignments(data):
        possible |= set(moves_of(data, chosen))
    for tensor, items in zip(data["tensors"], coverage.transfer_items, strict=True):
        for move, item in items.items():
            note(item, (*tensor_class(tensor["id"]), move))
            assert not coverage.is_node(item)
    assert len(set(names.values())) == len(names) == coverage.item_count
    for chosen in itertools.islice(all_assignments(data), 0, None, 7):
        moved = moves_of(data, chosen)
        wanted = {(*node_class(name), device) for name, device in chosen.items()} | {
            (*tensor_class(t), (a, b))
            for t, a, b in moved
            if f"{a}>{b}" in tensors[t]["transfer_us"]
        }
        assert {names[item] for item in coverage.covered(chosen)} == wanted
        forbidden = [m for m in moved if f"{m[1]}>{m[2]}" not in tensors[m[0]]["transfer_us"]]
        got = coverage.forbidden(chosen)
        assert (got in forbidden) if forbidden else got is None
    listed = {
        (tensor["id"], *move)
        for tensor, items in zip(data["tensors"], coverage.transfer_items, strict=True)
        for move in items
    }
    assert listed == {m for m in possible if f"{m[1]}>{m[2]}" in tensors[m[0]]["transfer_us"]}
    never = {
        (t["id"], *move.split(">")) for t in data["tensors"] for move in t["transfer_us"]
    } - listed
    where = memory_of(data)
    assert len(coverage.impossible) == len(never)
    for fault in coverage.impossible:
        source, destination = fault.where.split(">")
        assert (fault.kind, (fault.id, source, destination) in never) == ("transfer", True)
        producer = tensors[fault.id]["producer"]
        starts = {where[d] for d in nodes[producer]["cost_us"]} if producer else {"cpu"}
        assert fault.reason == (
            f"no consumer can run in memory {destination!r}"
            if source in starts
            else f"it cannot start in memory {source!r}"
        )


def _sampled_runs(
    rng: random.Random, data: dict
) -> tuple[list[ProfileRun], dict[tuple, list[float]]]:
    """Return profile runs of random assignments, and all their samples by node or move."""
    runs, own = [], {}
    for _ in range(12):
        chosen = {node["id"]: rng.choice(list(node["cost_us"])) for node in data["nodes"]}
        node_us, transfer_us = {}, {}
        for name, device in chosen.items():
            if rng.random() < 0.8:  # a run may lack a time
                node_us[name] = [rng.randint(1, 999) / 8 for _ in range(rng.randint(1, 3))]
                own.setdefault(("node", name, device), []).extend(node_us[name])
        for move in moves_of(data, chosen):
            transfer_us[move] = [rng.randint(1, 999) / 8 for _ in range(rng.randint(1, 3))]
            own.setdefault(("move", *move), []).extend(transfer_us[move])
        runs.append(ProfileRun(chosen, node_us, transfer_us))
    return runs, own


@pytest.mark.parametrize("statistic", ["min", "median"])
@pytest.mark.parametrize("group", ["none", "signature"])
@pytest.mark.parametrize("seed", range(10))
def test_costs_come_from_the_operators_own_samples(seed: int, group: str, statistic: str) -> None:
    """Its class's samples count only for an operator or a transfer that has none of its own."""
    rng = random.Random(seed)
    data = random_costs(rng, 2, 8, fan_in=2, incapable=0.1)
    for node in data["nodes"]:
        node["signature"] = node["op"] if rng.random() < 0.8 else None
        if node["signature"] is None:
            del node["signature"]
    graph = costs_from_dict(data).graph
    nodes = {n["id"]: n for n in data["nodes"]}
    tensors = {t["id"]: t for t in data["tensors"]}
    runs, own = _sampled_runs(rng, data)

    def group_of(key: tuple) -> tuple:
        if key[0] == "node":
            signature = nodes[key[1]].get("signature")
            return ("class", signature, key[2]) if signature else key
        tensor = tensors[key[1]]
        return (
            ("class", tensor["bytes"], tensor.get("type"), *key[2:]) if "bytes" in tensor else key
        )

    shared: dict[tuple, list[float]] = {}
    for key, samples in own.items():
        shared.setdefault(group_of(key), []).extend(samples)
    reduce = {"min": min, "median": median}[statistic]
    # Make sure that nothing at all is missing: a last run of each device, if need be.
    for device in ("cpu_serial", "cpu_parallel", "pim"):
        chosen = {
            name: device if device in node["cost_us"] else next(iter(node["cost_us"]))
            for name, node in nodes.items()
        }
        node_us = {
            name: [rng.randint(1, 999) / 8]
            for name, where in chosen.items()
            if group == "none" or group_of(("node", name, where)) not in shared
        }
        for name, samples in node_us.items():
            key = ("node", name, chosen[name])
            own.setdefault(key, []).extend(samples)
            shared.setdefault(group_of(key), []).extend(samples)
        runs.append(ProfileRun(chosen, node_us))
    for name, tensor in tensors.items():
        for move in tensor["transfer_us"]:
            ends = tuple(move.split(">"))
            key = ("move", name, *ends)
            if key not in own and (group == "none" or group_of(key) not in shared):
                t = [t.id for t in graph.tensors].index(name)
                if (
                    ends
                    in Coverage(graph, group_operators=False, group_transfers=False).transfer_items[
                        t
                    ]
                ):
                    own[key] = [rng.randint(1, 999) / 8]
                    shared.setdefault(group_of(key), []).extend(own[key])
                    runs.append(ProfileRun({}, {}, {(name, *ends): own[key]}))
    merged = merge_runs(graph, runs, statistic, group, {"pim": 77})
    assert merged.capacity_bytes == {"pim": 77}
    for name, costs in merged.cost_us.items():
        assert list(costs) == list(nodes[name]["cost_us"])
        for device, cost in costs.items():
            key = ("node", name, device)
            assert cost == reduce(own.get(key) or shared[group_of(key)]), key
    for name, moves in merged.transfer_us.items():
        for move, cost in moves.items():
            key = ("move", name, *move)
            assert cost == reduce(own.get(key) or shared[group_of(key)]), key
    filled = {(n, d) for n, c in merged.cost_us.items() for d in c if ("node", n, d) not in own}
    moved = {
        (n, ">".join(move))
        for n, moves in merged.transfer_us.items()
        for move in moves
        if ("move", n, *move) not in own
    }
    assert merged.stand_ins == filled | moved
    if group == "signature":
        assert filled or seed != 0


def test_transfer_classes_keep_types_apart() -> None:
    data = chain({n: {"cpu_serial": 1, "pim": 1} for n in "abc"}, [
        (None, ["a"], False, 1), (None, ["b"], False, 1), (None, ["c"], False, 1),
    ])  # fmt: skip
    for tensor, kind in zip(data["tensors"], ("float32", "int64", "float32"), strict=True):
        tensor |= {"bytes": 8, "type": kind}
    coverage = Coverage(costs_from_dict(data).graph, group_operators=False, group_transfers=True)
    first, second, third = (items["cpu", "pim"] for items in coverage.transfer_items)
    assert first == third != second


def test_own_samples_win_over_the_class() -> None:
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": n, "op": "X", "signature": "same", "cost_us": {"cpu_serial": 1, "pim": 1}}
            for n in "abc"
        ],
        "tensors": [
            {"id": f"t{n}", "producer": None, "consumers": [n], "output": False, "bytes": 8,
             "transfer_us": {"cpu>pim": 1}} for n in "abc"
        ],
    }  # fmt: skip
    graph = costs_from_dict(data).graph
    runs = [
        ProfileRun(
            {"a": "cpu_serial", "b": "pim", "c": "pim"},
            {"a": [5.0], "b": [70.0], "c": [30.0]},
            {("tb", "cpu", "pim"): [9.0], ("tc", "cpu", "pim"): [4.0]},
        ),
        ProfileRun({"a": "cpu_serial", "b": "cpu_serial", "c": "pim"}, {"b": [50.0]}, {}),
    ]
    merged = merge_runs(graph, runs, "min", "signature")
    assert merged.cost_us == {
        "a": {"cpu_serial": 5, "pim": 30},  # the least of its class
        "b": {"cpu_serial": 50, "pim": 70},  # its own
        "c": {"cpu_serial": 5, "pim": 30},
    }
    assert merged.transfer_us == {
        "ta": {("cpu", "pim"): 4},
        "tb": {("cpu", "pim"): 9},
        "tc": {("cpu", "pim"): 4},
    }
    middle = merge_runs(graph, runs, "median", "signature")
    assert middle.cost_us["a"] == {"cpu_serial": 5, "pim": 50}
    assert middle.cost_us["c"] == {"cpu_serial": 27.5, "pim": 30}
    assert middle.transfer_us["ta"] == {("cpu", "pim"): 6.5}


# ---- transfer prices ---------------------------------------------------------------------------


def test_transfer_prices() -> None:
    prices = TransferPrices({400: 30, 100: 10.0, 180: 14.0}, "to PIM")
    expected = {
        1: 10.0, 99: 10.0, 100: 10.0, 120: 11.0, 180: 14.0, 235: 18.0, 345: 26.0, 400: 30.0,
        401: 30.075, 800: 60.0,
    }  # fmt: skip
    assert {size: round(prices.at(size), 9) for size in expected} == expected
    assert TransferPrices({64: 2.5}, "home").at(128) == 5.0
    with pytest.raises(PartitionerError, match="no transfer times home"):
        TransferPrices({}, "home")


# ---- the device-mapped graph -------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_of_the_device_mapped_graph(seed: int) -> None:
    """From the definitions of `DcgCounts`, pair by pair."""
    data = random_costs(random.Random(seed), 1 + seed % 3, 8, fan_in=3, forbid=0.2)
    for tensor in data["tensors"][::4]:
        tensor.pop("bytes", None)
    graph = costs_from_dict(data).graph
    where = memory_of(data)
    devices = {node["id"]: list(node["cost_us"]) for node in data["nodes"]}
    counts = count_dcg(graph)
    edges, same, pairs = set(), set(), set()
    kinds: dict[bool, dict[tuple, list[str]]] = {True: {}, False: {}}
    for tensor in data["tensors"]:
        starts = devices[tensor["producer"]] if tensor["producer"] else ["cpu_serial"]
        reading = {d for reader in tensor["consumers"] for d in devices[reader]}
        if tensor["producer"]:
            pairs |= {(tensor["producer"], reader) for reader in tensor["consumers"]}
            for a, b in itertools.product(starts, reading):
                (edges if a != b else same).add((tensor["id"], a, b))
        ends = {where[d] for d in reading} | ({"cpu"} if tensor["output"] else set())
        for a, b in itertools.product({where[d] for d in starts}, ends):
            if f"{a}>{b}" in tensor["transfer_us"]:
                size = tensor.get("bytes")
                key = (a, b, size, tensor["id"] if size is None else None)
                inner = tensor["producer"] is not None and b in {where[d] for d in reading}
                kinds[inner].setdefault(key, []).append(tensor["id"])
    assert (counts.cg_nodes, counts.cg_edges) == (len(devices), len(pairs))
    assert counts.dcg_nodes == sum(map(len, devices.values()))
    assert (counts.dcg_edges, counts.dcg_edges_same_device) == (len(edges), len(same))
    for listed, expected in (
        (counts.da_edges, kinds[True]),
        (counts.io_da_edges, {k: v for k, v in kinds[False].items() if k not in kinds[True]}),
    ):
        assert {
            (e.source, e.destination, e.bytes, e.tensors[0] if e.bytes is None else None): list(
                e.tensors
            )
            for e in listed
        } == expected
        assert len(listed) == len(expected)
    assert counts.offload_capable == sum(
        any(where[d] != "cpu" for d in names) for names in devices.values()
    )


@pytest.mark.parametrize("seed", range(10))
def test_edges_of_the_device_mapped_graph(seed: int) -> None:
    data = random_costs(random.Random(seed), 1 + seed % 3, 6, fan_in=2, forbid=0.2)
    for tensor in data["tensors"]:  # an operator that reads nothing
        tensor["consumers"] = [reader for reader in tensor["consumers"] if reader != "n3"]
    where = {**memory_of(data), None: "cpu"}
    nodes = {n["id"]: [((n["id"], d), d) for d in n["cost_us"]] for n in data["nodes"]}
    expected = set()
    for tensor in data["tensors"]:
        producer = tensor["producer"]
        tails = nodes[producer] if producer else [(START, None)]
        heads = [head for reader in tensor["consumers"] for head in nodes[reader]]
        heads += [(END, None)] if tensor["output"] and producer else []
        for (tail, a), (head, b) in itertools.product(tails, heads):
            move = None if where[a] == where[b] else (where[a], where[b])
            if move is None or ">".join(move) in tensor["transfer_us"]:
                expected.add((tail, head, tensor["id"], (a, b), move))
    for node in data["nodes"]:
        reads = any(node["id"] in t["consumers"] for t in data["tensors"])
        made = [t for t in data["tensors"] if t["producer"] == node["id"]]
        read = any(t["consumers"] or t["output"] for t in made)
        for name, device in nodes[node["id"]]:
            if not reads:
                expected.add((START, name, None, (None, device), None))
            if not read:
                expected.add((name, END, None, (device, None), None))
    dcg = build_dcg(costs_from_dict(data).graph)
    edges = {
        # An edge without a tensor has a number for a key.
        (tail, head, None if isinstance(key, int) else key, e["devices"], e["move"])
        for tail, head, key, e in dcg.edges(keys=True, data=True)
    }
    assert edges == expected
    assert set(dcg.nodes) == {START, END} | {name for all_ in nodes.values() for name, _ in all_}
    assert all(
        dcg.nodes[name]["memory"] == where[device]
        for all_ in nodes.values()
        for name, device in all_
    )


# ---- measurements that do not fit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (ProfileRun({"z": "pim"}, {"z": [1]}), "node 'z' on 'pim'"),
        (ProfileRun({"a": "gpu"}, {"a": [1]}), "node 'a' on 'gpu'"),
        (ProfileRun({}, {"a": [1]}), "node 'a' on None"),
        (ProfileRun({"a": "pim"}, {"a": [2.0, -0.5]}), "measured time is -0.5"),
        (ProfileRun({"a": "pim"}, {"a": [float("inf")]}), "measured time is inf"),
        (ProfileRun({"a": "pim"}, {"a": [float("nan")]}), "measured time is nan"),
        (ProfileRun({}, {}, {("t9", "cpu", "pim"): [1]}), "tensor 't9' cpu>pim: the graph has no"),
        (ProfileRun({}, {}, {("t0", "pim", "cpu"): [1]}), "tensor 't0' pim>cpu: the graph has no"),
        (ProfileRun({}, {}, {("t0", "cpu", "pim"): [-1]}), "tensor 't0' cpu>pim: the measured"),
    ],
)
def test_measurements_that_do_not_fit_are_named(run: ProfileRun, message: str) -> None:
    graph = costs_from_dict(
        chain({"a": {"cpu_serial": 1, "pim": 1}}, [(None, ["a"], False, 1)])
    ).graph
    with pytest.raises(PartitionerError, match=message):
        merge_runs(graph, [run])


@pytest.mark.parametrize("operators", [7, 8, 9])
def test_missing_costs_are_listed_up_to_eight(operators: int) -> None:
    names = [f"n{i}" for i in range(operators)]
    graph = costs_from_dict(chain({name: {"cpu_serial": 1} for name in names}, [])).graph
    with pytest.raises(PartitionerError, match=f"{operators} costs were not measured") as caught:
        merge_runs(graph, [])
    text = str(caught.value)
    assert [name for name in names if f"'{name}' on 'cpu_serial'" in text] == names[:8]
    assert ("; ...;" in text) == (operators > 8)
