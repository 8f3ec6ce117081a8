"""The paper's published numbers, from the shipped tables and, where they lie, the full data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimloop.partitioner.dcg import count_dcg
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.paper import report as paper_report
from pimloop.partitioner.paper.tables import (
    DEVICES,
    LENGTHS,
    MODELS,
    PUBLISHED,
    distil,
    load_paper_file,
    load_tables,
    paper_costs,
    with_paper_capability,
)
from pimloop.partitioner.place.solve import POLICIES, partition
from pimloop.partitioner.profile.plan import plan_profile

ROOT = Path(__file__).resolve().parents[2]
PAPER_DIR = ROOT.parent / "shared" / "paper"
full_data = pytest.mark.skipif(
    not PAPER_DIR.is_dir(), reason="the paper's full measurements are not beside the project"
)
CASES = [(model, length) for model in MODELS for length in LENGTHS]


def test_shipped_tables_add_up_to_the_published_totals() -> None:
    tables = load_tables()
    assert "10.1145/3628599" in tables["source"]
    column = {name: i for i, name in enumerate(tables["operator_columns"])}
    seen = []
    for entry in tables["measurements"]:
        model, operators = entry["model"], entry["operators"]
        seen.append((model, entry["sequence_length"]))
        published = PUBLISHED[model]
        sums = {
            device: sum(row[column[f"{device}_us_sum"]] or 0 for row in operators)
            for device in DEVICES
        }
        assert sums["cpu_serial"] == entry["totals_us"]["cpu_serial_only"]
        parallel = entry["totals_us"]["priority_cpu_parallel_pim_cpu_serial"]
        assert sums["cpu_parallel"] == parallel
        assert sum(row[column["count"]] for row in operators) == published.cg_nodes
        capable = [row for row in operators if row[column["pim_us_sum"]] is not None]
        assert sum(row[column["count"]] for row in capable) == published.pim_capable
        assert len(entry["transfers"]) == published.da_edges
    assert seen == CASES


@full_data
@pytest.mark.parametrize("model", MODELS)
def test_published_counts_come_out(model: str) -> None:
    graph = paper_costs(load_paper_file(PAPER_DIR, model, 16)).graph
    counts, paper = count_dcg(with_paper_capability(graph)), PUBLISHED[model]
    assert (counts.cg_nodes, counts.cg_edges) == (paper.cg_nodes, paper.cg_edges)
    assert (counts.dcg_nodes, counts.dcg_edges) == (paper.dcg_nodes, paper.dcg_edges)
    assert counts.offload_capable == paper.pim_capable
    assert len(counts.da_edges) == paper.da_edges


@full_data
@pytest.mark.parametrize("model", MODELS)
def test_three_runs_where_the_paper_needs_four(model: str) -> None:
    graph = paper_costs(load_paper_file(PAPER_DIR, model, 8)).graph
    paper = plan_profile(graph, "paper")
    assert (paper.node_runs, paper.edge_runs) == (3, 1)
    for group in ("none", "signature"):
        plan = plan_profile(graph, "minimal", group)
        assert (len(plan.runs), plan.lower_bound, plan.proved) == (3, 3, True)
        assert plan.nodes_covered == plan.nodes_total
        assert plan.transfers_covered == plan.transfers_total


@full_data
@pytest.mark.parametrize(("model", "length"), CASES)
def test_policies_against_the_published_totals(model: str, length: int) -> None:
    data = load_paper_file(PAPER_DIR, model, length)
    costs, published = paper_costs(data), data["published_totals_us"]
    total = {policy: partition(costs, policy).total_us for policy in POLICIES}
    assert total["cpu_serial"] == published["cpu_serial_only"]
    assert total["cpu_parallel_first"] == published["priority_cpu_parallel_pim_cpu_serial"]
    # Measured transfers vary from run to run; the worst cell is 4.5 % off.
    assert total["pim_first"] == pytest.approx(
        published["priority_pim_cpu_parallel_cpu_serial"], rel=0.05
    )
    assert total["paper_dp"] == pytest.approx(published["opt"], rel=0.02)
    assert all(total["optimal"] <= other for other in total.values())


@full_data
@pytest.mark.parametrize(("model", "length"), [c for c in CASES if c[0] == "bert"] + [("gpt2", 8)])
def test_paper_dp_finds_the_authors_own_partition(model: str, length: int) -> None:
    data = load_paper_file(PAPER_DIR, model, length)
    plan = partition(paper_costs(data), "paper_dp")
    on_pim = {name for name, device in plan.assignment.items() if device == "pim"}
    assert on_pim == set(data["published_opt_pim_nodes"])


@full_data
def test_the_minimum_cut_agrees_with_highs_on_a_whole_model() -> None:
    costs = paper_costs(load_paper_file(PAPER_DIR, "bert", 32))
    assert partition(costs).total_us == partition(costs, method="ilp").total_us
    assert partition(costs).total_us == partition(costs, method="dp").total_us


@full_data
def test_report_and_tables_are_up_to_date(tmp_path) -> None:
    report, tables = tmp_path / "paper.md", tmp_path / "tables.json"
    arguments = ["--paper-dir", PAPER_DIR, "--report", report, "--tables", tables]
    assert paper_report.main([str(argument) for argument in arguments]) == 0
    assert report.read_text() == (ROOT / "docs" / "paper.md").read_text()
    assert distil(PAPER_DIR) == load_tables()


def test_missing_data_is_an_error(tmp_path, capsys) -> None:
    with pytest.raises(PartitionerError, match=r"bert_seq8\.json"):
        load_paper_file(tmp_path, "bert", 8)
    (tmp_path / "bert_seq8.json").write_text("[]")
    with pytest.raises(PartitionerError, match="not a file of the paper's data"):
        load_paper_file(tmp_path, "bert", 8)
    assert paper_report.main(["--paper-dir", str(tmp_path)]) == 2
    assert "bert_seq8.json" in capsys.readouterr().err
