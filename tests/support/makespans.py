"""The least makespan of a small cost graph by trying everything, without any solver."""

from __future__ import annotations

from collections.abc import Callable

from support.cost_graphs import all_assignments, total_cost


def shortest(data: dict, fits: Callable[[dict[str, str]], bool] = lambda run: True) -> float:
    """Return the least makespan over all assignments that fit and all orders of all tasks."""
    best = float("inf")
    for run in all_assignments(data):
        if total_cost(data, run) is not None and fits(run):
            best = min(best, _in_any_order(tasks_of(data, run), {}, {}, best))
    return best


def tasks_of(data: dict, chosen: dict[str, str]) -> dict:
    """Return task -> (resource, duration, tasks before it) from the JSON form."""
    memory = {device: name for name, names in data["memories"].items() for device in names}
    tasks: dict = {}
    for node in data["nodes"]:
        device = chosen[node["id"]]
        tasks[node["id"]] = (memory[device], node["cost_us"][device], set())
    for tensor in data["tensors"]:
        maker = tensor["producer"]
        start = memory[chosen[maker]] if maker else "cpu"
        ends = {memory[chosen[reader]] for reader in tensor["consumers"]}
        ends |= {"cpu"} if tensor["output"] else set()
        for end in ends - {start}:
            cost = tensor["transfer_us"][f"{start}>{end}"]
            tasks[tensor["id"], end] = ("dma", cost, {maker} - {None})
        for reader in tensor["consumers"]:
            end = memory[chosen[reader]]
            tasks[reader][2].update({maker if end == start else (tensor["id"], end)} - {None})
    return tasks


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
