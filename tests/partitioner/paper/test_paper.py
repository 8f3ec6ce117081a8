"""The paper's published numbers, from the shipped tables and, where they lie, the full data."""

from __future__ import annotations

import pytest
from support.paths import REPOSITORY

from pimloop.partitioner.dcg import count_dcg
from pimloop.partitioner.errors import PartitionerError
from pimloop.partitioner.paper.coexecution import PIM_PARTS, SHARES, split_costs
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
from pimloop.partitioner.place.solve import COEXEC, POLICIES, partition
from pimloop.partitioner.profile.plan import plan_profile

PAPER_DIR = REPOSITORY.parent / "shared" / "paper"
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


#: Times faster than the published optimum: with the PIM's parts in proportion, and by its tiles.
COEXECUTION = {
    ("bert", 8): (1.08, 1.02),
    ("bert", 16): (1.16, 1.05),
    ("bert", 32): (1.20, 1.05),
    ("roberta", 8): (1.23, 1.13),
    ("roberta", 16): (1.33, 1.34),
    ("roberta", 32): (1.46, 1.51),
    ("gpt2", 8): (1.20, 1.12),
    ("gpt2", 16): (1.34, 1.33),
    ("gpt2", 32): (1.50, 1.53),
}


@full_data
@pytest.mark.parametrize(("model", "length"), CASES)
def test_co_execution_against_the_published_optimum(model: str, length: int) -> None:
    data = load_paper_file(PAPER_DIR, model, length)
    published, whole = data["published_totals_us"]["opt"], partition(paper_costs(data))
    for assumption, expected in zip(PIM_PARTS, COEXECUTION[model, length], strict=True):
        plan = partition(split_costs(data, assumption), COEXEC)
        assert plan.optimal
        assert plan.method == "minimum s-t cut"
        assert plan.total_us <= whole.total_us
        assert published / plan.total_us == pytest.approx(expected, abs=0.0051)
        # Each part computes columns, and only products with weights are split.
        assert {split.shares for split in plan.splits.values()} == {SHARES}
        weights = {n["id"] for n in data["nodes"] if n["parameter_bytes"]}
        assert plan.splits.keys() <= weights


@full_data
def test_parts_follow_from_the_published_times() -> None:
    data = load_paper_file(PAPER_DIR, "roberta", 16)
    # (16,768) x (768,3072): 14,508 us with all cores, 6,436 us on the PIM, six tiles.
    splits = split_costs(data, "in proportion").splits["MatMul_117"]
    assert [split.share for split in splits] == list(range(1, 16))
    assert splits[3].part_us == (14_508 * 12 / 16, 6_436 * 4 / 16)
    assert split_costs(data, "by tiles").splits["MatMul_117"][3].part_us[1] == (
        pytest.approx(6_436 * 2 / 6)
    )
    # The output has 98,304 bytes at bfloat16: a quarter of it took 239.99 us to the CPU.
    assert splits[3].gather_us["MatMul_117"]["cpu"] == 239.99
    assert splits[11].gather_us["MatMul_117"]["pim"] == 138.02
    # (16,768) x (768,768): up to 512 columns take one of two tiles.
    tiles = split_costs(data, "by tiles").splits["MatMul_49"]
    assert [split.part_us[1] for split in tiles] == [2_553 / 2] * 10 + [2_553] * 5


@full_data
def test_the_cut_with_shares_agrees_with_highs_on_a_whole_model() -> None:
    costs = split_costs(load_paper_file(PAPER_DIR, "bert", 16))
    totals = {partition(costs, COEXEC, method=m).total_us for m in ("mincut", "dp", "ilp")}
    assert len(totals) == 1


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
def test_tables_are_up_to_date() -> None:
    assert distil(PAPER_DIR) == load_tables()


def test_missing_data_is_an_error(tmp_path) -> None:
    with pytest.raises(PartitionerError, match=r"bert_seq8\.json"):
        load_paper_file(tmp_path, "bert", 8)
    (tmp_path / "bert_seq8.json").write_text("[]")
    with pytest.raises(PartitionerError, match="not a file of the paper's data"):
        load_paper_file(tmp_path, "bert", 8)
