"""Solve a makespan problem (`exchange.py`) with CP-SAT: `python cp_sat.py PROBLEM.json`.

It needs OR-tools 9.14 and nothing of pimloop, so it runs in an environment of its own: OR-tools
wants another protobuf than pimloop's. Prints one JSON object; exit code 3: there is no OR-tools.

Operators are optional intervals in each of their places, transfers optional intervals on the DMA
engine; no two overlap on a memory or on the engine. The loads of memories and engine are rows
beside that, without which the bound stays at the longest chain.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: The version that was tried; 9.15 returned wrong answers on makespan models.
VERSION = "9.14"

NO_SOLVER = 3

INSTALL = (
    "python3 -m venv ortools && ortools/bin/pip install ortools==9.14.6206, and run this script"
    " with ortools/bin/python"
)


def why_not() -> str:
    """Return why this Python cannot solve, "" where it can."""
    try:
        import ortools
    except ImportError:
        return f"skipped: this Python has no OR-tools {VERSION}: {INSTALL}"
    if not ortools.__version__.startswith(f"{VERSION}."):
        return f"skipped: this Python has OR-tools {ortools.__version__}, not {VERSION}: {INSTALL}"
    return ""


class Formulation:
    """A makespan problem as a CP-SAT model.

    Parameters
    ----------
    data
        As `exchange.export_problem` returns it.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        from ortools.sat.python import cp_model

        self.data = data
        self.model = cp_model.CpModel()
        self.horizon = sum(max(p["ticks"] for p in o["places"]) for o in data["operators"]) + sum(
            sum(move["ticks"] for move in tensor["moves"]) for tensor in data["tensors"]
        )
        self.span = self._time("span")
        memories = range(len(data["memories"]))
        self._on: dict[int, list[Any]] = {memory: [] for memory in memories}
        self._load: dict[int, list[Any]] = {memory: [] for memory in memories}
        self._moving: list[Any] = []
        self._moving_load: list[Any] = []
        self.starts, self._ends = [], []
        self.places: list[dict[int, Any]] = []
        for operator in data["operators"]:
            self._add_operator(operator)
        self.copies: dict[tuple[int, int], tuple[Any, dict[int, Any]]] = {}
        for number, tensor in enumerate(data["tensors"]):
            for memory in memories:
                self._add_copy(number, tensor, memory)
        for intervals in (*self._on.values(), self._moving):
            self.model.add_no_overlap(intervals)
        for load in (*self._load.values(), self._moving_load):
            self.model.add(self.span >= sum(load))
        self.model.minimize(self.span)

    def _time(self, name: str) -> Any:
        return self.model.new_int_var(0, self.horizon, name)

    def _add_operator(self, operator: dict[str, Any]) -> None:
        start, end = self._time("start"), self._time("end")
        chosen = {}
        for choice in operator["places"]:
            literal = self.model.new_bool_var("place")
            chosen[choice["place"]] = literal
            interval = self.model.new_optional_interval_var(
                start, choice["ticks"], end, literal, "operator"
            )
            for memory in choice["memories"]:
                self._on[memory].append(interval)
                self._load[memory].append(choice["ticks"] * literal)
        self.model.add_exactly_one(chosen.values())
        self.model.add(self.span >= end)
        self.starts.append(start)
        self._ends.append(end)
        self.places.append(chosen)

    def _readers(self, tensor: dict[str, Any], memory: int) -> dict[int, list[Any]]:
        """Return by reader the places in which it reads in a memory."""
        places = {
            reader: [
                self.places[reader][choice["place"]]
                for choice in self.data["operators"][reader]["places"]
                if memory in choice["memories"]
            ]
            for reader in tensor["readers"]
        }
        return {reader: literals for reader, literals in places.items() if literals}

    def _add_copy(self, number: int, tensor: dict[str, Any], memory: int) -> None:
        """Add what moving a tensor to a memory takes and asks for."""
        producer = tensor["producer"]
        home = self.data["home"]
        sources = {home: None} if producer is None else self.places[producer]
        readers = self._readers(tensor, memory)
        for reader in tensor["readers"] if producer is not None else ():
            self.model.add(self.starts[reader] >= self._ends[producer])
        out = tensor["output"] and memory == home
        if not (readers or out) or set(sources) == {memory}:
            return
        ticks = {move["from"]: move["ticks"] for move in tensor["moves"] if move["to"] == memory}
        start, end = self._time("copy"), self._time("copied")
        moved: dict[int, Any] = {}
        for source, literal in sources.items():
            if source == memory:
                continue
            at = [] if literal is None else [literal.negated()]
            if source not in ticks:  # forbidden
                for reads in (place for places in readers.values() for place in places):
                    self.model.add_bool_or([*at, reads.negated()])
                if out:
                    self.model.add_bool_or(at)
                continue
            copy = self.model.new_bool_var("move")
            moved[source] = copy
            if literal is not None:
                self.model.add_implication(copy, literal)
            for reads in (place for places in readers.values() for place in places):
                self.model.add_bool_or([*at, reads.negated(), copy])
            if out:
                self.model.add_bool_or([*at, copy])
            interval = self.model.new_optional_interval_var(
                start, ticks[source], end, copy, "transfer"
            )
            self._moving.append(interval)
            self._moving_load.append(ticks[source] * copy)
            if producer is not None:
                self.model.add(start >= self._ends[producer]).only_enforce_if(copy)
            self.model.add(self.span >= end).only_enforce_if(copy)
            for reader, places in readers.items():
                for reads in places:
                    self.model.add(self.starts[reader] >= end).only_enforce_if([copy, reads])
        self.copies[number, memory] = (start, moved)

    def begin_with(self, answer: dict[str, Any]) -> None:
        """Let the search begin with an answer to the problem."""
        for chosen, place in zip(self.places, answer["places"], strict=True):
            for candidate, literal in chosen.items():
                self.model.add_hint(literal, candidate == place)
        for start, at in zip(self.starts, answer["starts"], strict=True):
            self.model.add_hint(start, at)
        copied = {(tensor, memory): at for tensor, memory, at in answer["copies"]}
        for (tensor, memory), (start, moves) in self.copies.items():
            at = copied.get((tensor, memory))
            source = self._source(tensor, answer["places"])
            for origin, literal in moves.items():
                self.model.add_hint(literal, at is not None and origin == source)
            if at is not None:
                self.model.add_hint(start, at)

    def _source(self, tensor: int, places: list[int]) -> int:
        producer = self.data["tensors"][tensor]["producer"]
        return self.data["home"] if producer is None else places[producer]


def solve(data: dict[str, Any], seconds: float, threads: int) -> dict[str, Any]:
    """Return what CP-SAT finds: status, objective and bound in ticks, seconds, and the answer."""
    import ortools
    from ortools.sat.python import cp_model

    formulation = Formulation(data)
    if "start" in data:
        formulation.begin_with(data["start"])
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = threads
    began, cpu = time.monotonic(), cpu_s()
    status = solver.solve(formulation.model)
    result: dict[str, Any] = {
        "solver": f"CP-SAT of OR-tools {ortools.__version__}",
        "threads": threads,
        "status": solver.status_name(status),
        "seconds": time.monotonic() - began,
        "cpu_seconds": cpu_s() - cpu,
        "bound": int(-(-solver.best_objective_bound // 1)),
        "objective": None,
    }
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        value = solver.value
        result |= {
            "objective": value(formulation.span),
            "places": [
                next(place for place, literal in chosen.items() if value(literal))
                for chosen in formulation.places
            ],
            "starts": [value(start) for start in formulation.starts],
            "copies": [
                [tensor, memory, value(start)]
                for (tensor, memory), (start, moved) in formulation.copies.items()
                if any(map(value, moved.values()))
            ],
        }
    return result


def cpu_s() -> float:
    """Return the CPU seconds that this process has used, its threads' among them."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Solve the problem of a file."""
    parser = argparse.ArgumentParser(description="Solve a makespan problem with CP-SAT.")
    parser.add_argument("problem", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit (default 60)")
    parser.add_argument("--threads", type=int, default=1, help="workers of CP-SAT (default 1)")
    options = parser.parse_args(arguments)
    why = why_not()
    if why:
        print(why, file=sys.stderr)
        return NO_SOLVER
    data = json.loads(options.problem.read_text(encoding="utf-8"))
    print(json.dumps(solve(data, options.seconds, options.threads)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
