"""A noun after a number is singular after 1 alone: on the terminal, on the page, in messages."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.report_samples import tiny_report

import pimloop.partitioner.quantity
from pimloop.host.cli import main
from pimloop.host.cli.models import _print as print_model
from pimloop.host.cli.progress import ProgressDisplay
from pimloop.host.cli.summary import print_missed, print_summary
from pimloop.host.execution.execution import Progress
from pimloop.host.execution.runner import STAGE, Event
from pimloop.host.report.html import headline, page

FORMS = [(0, "{}s"), (1, "{}"), (2, "{}s"), (1000, "{}s")]


def text_of(write: Callable[[Console], None]) -> str:
    text = io.StringIO()
    write(Console(file=text, width=200))
    return " ".join(text.getvalue().split())


def nouns(number: int, *singular: str) -> list[str]:
    """Return what a text must hold: the number and each noun, in the right form."""
    form = dict(FORMS)[number]
    return [f"{number:,} {form.format(noun)}" for noun in singular]


def test_doctests() -> None:
    result = doctest.testmod(pimloop.partitioner.quantity)
    assert (result.failed, result.attempted) == (0, 2)


def report_with(number: int) -> dict[str, Any]:
    """Return a report in which everything that is counted is there `number` times."""
    report = tiny_report()
    report["sequence_length"] = number
    report["profile"] |= {
        "runs": number,
        "nodes_covered": number,
        "transfers_covered": number,
    }
    report["verification"] |= {"pim_results_checked": number, "executions": number}
    report["simulation"] |= {
        "cycles": number,
        "cycles_cached": number,
        "lists_simulated": number,
        "lists_cached": number,
        "jobs": number,
        "cycles_per_s": 1.0,
    }
    report["machine"]["cores"] = number
    report["schedules"]["optimal"] |= {"nodes": number, "pim_nodes": 1, "transfers": number}
    return report


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_summary_of_a_run(number: int) -> None:
    report = report_with(number)
    text = text_of(lambda out: print_summary(out, report))
    for part in nouns(
        number, "token", "operator", "run", "operator cost", "transfer", "result", "execution",
        "DRAM clock",
    ):  # fmt: skip
        assert f"{part} " in text.replace(",", " ").replace(";", " "), part
    assert f"in {nouns(number, 'list')[0]}" in text
    if number:
        assert f"from the cache: {number} in {nouns(number, 'list')[0]}" in text


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "1 time that no schedule changes differs from the plan"),
        (2, "2 times that no schedule changes differ from the plan"),
    ],
)
def test_missed_predictions(number: int, said: str) -> None:
    assert said in text_of(lambda out: print_missed(out, ["late"] * number))


@pytest.mark.parametrize(
    ("nodes", "pim", "transfers", "said"),
    [
        (1, 1, 0, "1 of 1 operator runs on the PIM, with 0 transfers between their memories."),
        (2, 1, 1, "1 of 2 operators runs on the PIM, the others on the CPU, with 1 transfer "
         "between their memories."),
        (2, 2, 2, "2 of 2 operators run on the PIM, with 2 transfers between their memories."),
    ],
)  # fmt: skip
def test_where_operators_run(nodes: int, pim: int, transfers: int, said: str) -> None:
    best = {"nodes": nodes, "pim_nodes": pim, "transfers": transfers}
    assert headline.where({"schedules": {"optimal": best}}) == said


@pytest.mark.parametrize(
    ("nodes", "capable", "said"),
    [
        (1, 0, "The only operator is on the CPU. No operator can run on the PIM."),
        (1, 1, "The only operator is on the CPU. 1 operator can run on the PIM; "),
        (2, 2, "All 2 operators are on the CPU. 2 operators can run on the PIM; "),
    ],
)
def test_where_nothing_runs_on_the_pim(nodes: int, capable: int, said: str) -> None:
    best = {"nodes": nodes, "pim_nodes": 0, "transfers": 0}
    report = {"schedules": {"optimal": best}, "pim_capable": capable}
    assert headline.where(report).startswith(said)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_headings_of_the_page(number: int) -> None:
    report = report_with(number)
    (tokens,) = nouns(number, "token")
    assert headline.title(report) == f"tiny, {tokens}"
    assert headline.sentence(report).startswith(f"tiny with {tokens} takes ")
    assert headline.title(report | {"sequence_length": None}) == "tiny"
    bare = report | {"schedules": {name: {} for name in ("a", "b")[:number]}}
    (placements,) = nouns(number, "placement")
    assert headline.sentence(bare).endswith(f"under {placements}.")


@pytest.mark.parametrize("number", [1, 2])
def test_the_page(number: int) -> None:
    report = report_with(number)
    report["kept_on_cpu"] = {f"n{i}": "too large" for i in range(5 + number)}
    html = page.render(report).replace("\u00a0", " ")  # a number and its noun stay together
    for part in nouns(number, "DRAM clock", "simulator", "core", "time"):
        assert part in html
    more = {1: "1 more operator is kept", 2: "2 more operators are kept"}
    assert more[number] in html


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_model(number: int) -> None:
    counts = dict.fromkeys(("nodes", "edges", "pim_nodes", "parameters", "multiply_adds"), number)
    summary = counts | {
        "model": "tiny", "platform": "aim", "inputs": [], "outputs": [], "decomposed": {},
        "operators": [], "kept_on_cpu": {}, "cpu_only": [], "pim_multiply_adds": number,
    }  # fmt: skip
    text = text_of_stdout(lambda: print_model(summary))
    operator, edge, parameter, product = nouns(
        number, "operator", "edge", "parameter", "multiply-add"
    )
    assert f"tiny: {operator}, {edge}, {operator} can run on the PIM of aim, {parameter}" in text
    assert (f"{product} in products, 100.0 % of them" in text) == bool(number)


def text_of_stdout(write: Callable[[], None]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        write()
    return " ".join(text.getvalue().split())


@pytest.mark.parametrize(
    ("total", "said"),
    [(1, "profile: 1 of 1 execution taken up from"), (3, "profile: 1 of 3 executions taken up")],
)
def test_progress(total: int, said: str) -> None:
    def write(out: Console) -> None:
        with ProgressDisplay(out) as display:
            display(Event("profile", Progress(STAGE, "run 1", 1, total, 0)))

    assert said in text_of(write)


def chain(nodes: int) -> dict[str, Any]:
    """Return the costs of operators in a row, the last of which the PIM has."""
    costs = [{"cpu_serial": 2.0} for _ in range(nodes)]
    costs[-1]["pim"] = 1.0
    tensors = [
        {"id": f"t{i}", "producer": f"n{i - 1}" if i else None,
         "consumers": [f"n{i}"] if i < nodes else [], "output": i == nodes,
         "bytes": 1, "transfer_us": {"cpu>pim": 0.25, "pim>cpu": 0.25}}
        for i in range(nodes + 1)
    ]  # fmt: skip
    return {
        "format": "pimloop-costs/1",
        "model": "chain",
        "memories": {"cpu": ["cpu_serial"], "pim": ["pim"]},
        "nodes": [
            {"id": f"n{i}", "op": "Add", "cost_us": cost, "weight_bytes": i}
            for i, cost in enumerate(costs)
        ],
        "tensors": tensors,
    }


@pytest.mark.parametrize("nodes", [1, 2])
def test_commands_about_costs(
    nodes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(chain(nodes)), encoding="utf-8")

    def said(*arguments: str) -> str:
        assert main([arguments[0], "--costs", str(path), *arguments[1:]]) == 0
        return capsys.readouterr().out

    text = said("profile-plan")
    assert text.startswith("2 runs, lower bound 2, proved\n")
    assert f"of {nodes + 1} operator costs, 2 of 2 transfers" in text
    text = said("dcg")
    assert (">pim 1 byte: 1 tensor\n" in text) == (nodes > 1)  # there is no edge before
    assert "1 tensors" not in text
    assert "1 bytes" not in text


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (1, "1 operator cannot run on cpu_parallel"),
        (2, "2 operators cannot run on cpu_parallel"),
    ],
)
def test_a_policy_that_cannot_do_what_its_name_says(
    missing: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = chain(3)
    data["memories"]["cpu"].append("cpu_parallel")
    for node in data["nodes"][missing:]:
        node["cost_us"]["cpu_parallel"] = 1.0
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert main(["partition", "--costs", str(path), "--policy", "all"]) == 0
    assert f"cpu_parallel_first: {said}\n" in capsys.readouterr().out
