"""The least makespan of a small cost graph by trying everything, without any solver."""

from __future__ import annotations

from collections.abc import Callable

from support.cost_graphs import all_assignments, total_cost


def shortest(data: dict, fits: Callable[[dict[str, str]], bool] = lambda run: True) -> float:
    """Return the least makespan over all assignments that fit and all orders of all tasks."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    best = float("inf")
    for run in all_assignments(data):
        if total_cost(data, run) is None or not fits(run):
            continue
        tasks: dict = {}  # task -> (resource, duration, predecessors)
        for node in data["nodes"]:
            name = node["id"]
            tasks[name] = (memory[run[name]], node["cost_us"][run[name]], set())
        for tensor in data["tensors"]:
            maker = tensor["producer"]
            start = memory[run[maker]] if maker else "cpu"
            ends = {memory[run[reader]] for reader in tensor["consumers"]}
            ends |= {"cpu"} if tensor["output"] else set()
            for end in ends - {start}:
                cost = tensor["transfer_us"][f"{start}>{end}"]
                tasks[tensor["id"], end] = ("dma", cost, {maker} - {None})
            for reader in tensor["consumers"]:
                end = memory[run[reader]]
                before = maker if end == start else (tensor["id"], end)
                tasks[reader][2].update({before} - {None})
        best = min(best, _in_any_order(tasks, {}, {}, best))
    return best


def _in_any_order(tasks: dict, finish: dict, free: dict, best: float) -> float:
    """Return the least end of any order of what is not in `finish` yet, or `best`."""
    if len(finish) == len(tasks):
        return max(finish.values())
    for task in tasks.keys() - finish.keys():
        resource, cost, before = tasks[task]
        if before <= finish.keys():
            end = cost + max([free.get(resource, 0), *(finish[b] for b in before)])
            if end < best:
                after = _in_any_order(tasks, finish | {task: end}, free | {resource: end}, best)
                best = min(best, after)
    return best
