"""docs/paper.md: its parts are what the commands make, and its counts are the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import REPOSITORY

from pimloop.errors import PimloopError
from pimloop.host.board.compare import authors_data
from pimloop.host.board.data import BUILT_IN, MODELS, load_board
from pimloop.host.board.paper import page, printed
from pimloop.host.board.paper.data import published_costs
from pimloop.host.board.paper.graphs import (
    device_da_edges,
    example_graph,
    without_parallel,
)
from pimloop.host.board.paper.runs import Run, read_run, row, runs_part
from pimloop.partitioner.dcg import count_dcg
from pimloop.partitioner.paper.tables import LENGTHS, paper_costs
from pimloop.partitioner.profile.plan import plan_profile

PAGE = REPOSITORY / "docs" / "paper.md"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.full] if name in ("totals", "co-execution") else [])
        for name in page.COMPUTED
    ],
)
def test_the_page_holds_what_is_computed(name: str) -> None:
    assert page.parts_of(PAGE.read_text("utf-8"))[name] == page.COMPUTED[name]()


@pytest.mark.full
def test_the_page_holds_what_is_simulated() -> None:
    shown = page.parts_of(PAGE.read_text("utf-8"))
    for name, text in page.simulated_parts().items():
        assert shown[name] == text, name


def test_the_page_is_its_parts() -> None:
    text = PAGE.read_text("utf-8")
    parts = page.parts_of(text)
    assert list(parts) == list(page.PARTS)
    assert page.assemble(parts) == text
    del parts["seconds"]
    with pytest.raises(PimloopError, match="no part 'seconds' yet: give --measure"):
        page.assemble(parts)


@pytest.mark.parametrize("model", MODELS)
def test_the_papers_counts_come_out(model: str) -> None:
    graph = published_costs(model, 8).graph
    two = count_dcg(without_parallel(graph))
    assert two.dcg_edges == printed.DCG_EDGES[model]
    assert device_da_edges(graph) == printed.DA_EDGES[model]
    # Attention scores and the pooled row are of one size at 8 tokens only; GPT-2 pools no row.
    extra = 0 if model == "gpt2" else 2
    assert device_da_edges(published_costs(model, 16).graph) == printed.DA_EDGES[model] + extra


def test_the_data_that_ship_are_the_authors() -> None:
    """The same cost graph from the authors' form as from ours."""
    for model in MODELS:
        assert paper_costs(authors_data(load_board(model), 16)) == published_costs(model, 16)


def test_the_example_needs_an_edge_run_that_merging_saves() -> None:
    paper = plan_profile(example_graph(), "paper")
    assert (paper.node_runs, paper.edge_runs) == (3, 1)
    minimal = plan_profile(example_graph(), "minimal")
    assert (len(minimal.runs), minimal.proved) == (3, True)
    assert minimal.transfers_covered == minimal.transfers_total


def test_the_figure_and_the_traces_differ_in_pim_first() -> None:
    assert set(printed.PIM_FIRST_MS) == {(m, n) for m in MODELS for n in LENGTHS}
    for (model, length), ms in printed.PIM_FIRST_MS.items():
        traces = load_board(model).measurements[length].totals_us["pim_first"]
        assert 0.002 < abs(ms * 1000 / traces - 1) < 0.05


def report(**changes: Any) -> dict[str, Any]:
    """Return the part of a report that is read."""
    verification = {"pim_results_checked": 120, "pim_results_wrong": []}
    schedules = {
        "optimal": {"executed_us": 60_000.0},
        "coexec": {
            "predicted_us": 50_000.0, "executed_us": 50_000.0, "splits": {"MatMul_1": "a"},
            "verification": verification,
        },
    }  # fmt: skip
    whole = {"model": "bert-small", "sequence_length": 8, "platform": "htg-z920", "device": "sim"}
    return whole | {"schedules": schedules} | changes


def test_a_run_is_read_from_its_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report()), encoding="utf-8")
    run = read_run(path)
    assert run == Run("bert", 8, 60_000.0, 50_000.0, 50_000.0, 50_000.0, 1, 120, 0)
    assert run.published_us == 37_483
    assert row(run) == (
        "BERT (small), p=8", "37,483", "60,000.0", "50,000.0", "50,000.0", "0.0000 %", "1",
        "120 exact", "0.75", "=", "0.75", "1.20",
    )  # fmt: skip
    longer = Run("gpt2", 64, 60_000.0, 50_000.0, 51_000.0, 40_000.0, 1, 120, 2)
    assert longer.published_us is None
    text = runs_part([longer, run])
    assert text.index("BERT (small), p=8") < text.index("GPT-2, p=64")
    assert "Not run for this page: BERT (small), p=16; BERT (small), p=32;" in text
    assert "RoBERTa, p=64; GPT-2, p=8; GPT-2, p=16; GPT-2, p=32.\n" in text
    assert (
        "| GPT-2, p=64 | - | 60,000.0 | 50,000.0 | 51,000.0 | +2.0000 % | 1 | 120 2 WRONG" in text
    )
    assert "| - | 40,000.0 | - | 1.18 |" in text
    assert "| GPT-2 | 0.13 % | 2.0000 % |" in text


def test_the_head_is_told_apart_from_what_the_boards_graph_has(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    made = report(model="gpt2", graph={"nodes": [{"id": "Add_1"}, {"id": "MatMul_2"}]})
    made["schedules"]["coexec"]["timeline"] = [
        {"node": "Add_1", "start_us": 0.0, "us": 30_000.0},
        {"node": None, "start_us": 30_000.0, "us": 5_000.0},
        {"node": "MatMul_2", "start_us": 35_000.0, "us": 15_000.0},
    ]
    path.write_text(json.dumps(made), encoding="utf-8")
    run = read_run(path)
    assert (run.executed_us, run.without_head_us) == (50_000.0, 30_000.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"platform": "aim"}, "not a run on the simulated htg-z920"),
        ({"device": "model"}, "not a run on the simulated htg-z920"),
        ({"model": "t5"}, "model 't5' is none of bert-small, roberta, gpt2"),
        ({"schedules": {"optimal": {}}}, "without co-execution; add --policy coexec"),
        ({"schedules": {"optimal": {}, "coexec": {}}}, "not the report.json of a run"),
    ],
)
def test_what_is_no_such_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(**changes)), encoding="utf-8")
    with pytest.raises(PimloopError, match=message):
        read_run(path)
    written = tmp_path / "paper.md"
    assert page.main(["--write", str(written), "--runs", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert not written.exists()


@pytest.mark.full
def test_a_run_again_gives_the_pages_row(tmp_path: Path) -> None:
    """Simulated and modelled times are exact, so the page's digits come out again."""
    from pimloop.host.cli import main

    arguments = ["sim", BUILT_IN["bert"], "--seq", "8", "--policy", "coexec", "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    again = row(read_run(tmp_path / "run" / "report.json"))
    assert "| " + " | ".join(again) + " |" in PAGE.read_text("utf-8")
