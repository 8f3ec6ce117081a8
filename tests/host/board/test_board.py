"""The board's data, and the simulated platform beside them."""

from __future__ import annotations

import json
import tomllib
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from pimloop.errors import PimloopError
from pimloop.host.board.compare import (
    compare,
    measured_costs,
    moves,
    platform_costs,
    published_optimum,
)
from pimloop.host.board.data import (
    BUILT_IN,
    MODELS,
    class_costs,
    class_graph,
    class_name,
    load_board,
    published_totals,
)
from pimloop.host.board.distil import distil
from pimloop.host.board.driver_work import (
    driver_work_us,
    explanations,
    repacked_elements,
    repacked_products,
    repacking_us,
    transposing_us,
)
from pimloop.host.board.page import summary
from pimloop.host.board.simulate import PimTimes
from pimloop.host.board.templates import Template
from pimloop.host.calibration import measure
from pimloop.host.cli import calibrate, validate_board
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.operators import pim_operation
from pimloop.host.pim.device.base import Device
from pimloop.host.platforms.platform import load_platform, platform_path, sources
from pimloop.partitioner.evaluation import evaluate
from pimloop.partitioner.paper.tables import load_tables, paper_costs
from pimloop.partitioner.place.solve import partition
from pimloop.partitioner.problem import Problem

PLATFORM = load_platform("htg-z920")
LENGTHS = (8, 16, 32)
CASES = [(model, length) for model in MODELS for length in LENGTHS]


def nowhere(template: Template, length: int) -> None:
    """No operator runs on the PIM."""


def run(module: Any, *arguments: str) -> int:
    """Run one command of the command line."""
    parser = ArgumentParser()
    module.register(parser.add_subparsers())
    args = parser.parse_args([str(a) for a in arguments])
    return int(args.func(args))


# ---- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "length"), CASES)
def test_data_agree_with_the_tables_that_ship(model: str, length: int) -> None:
    """Classes, counts, bytes and sums are those that were distilled on another way."""
    board = load_board(model)
    table = next(
        row
        for row in load_tables()["measurements"]
        if row["model"] == model and row["sequence_length"] == length
    )
    sums: dict[tuple[Any, ...], list[float | None]] = {}
    for index, template in enumerate(board.classes):
        kinds = ("activation", "constant", "output")
        key = (template.op, *(template.nbytes(kind, length) for kind in kinds))  # type: ignore[arg-type]
        row = sums.setdefault(key, [0.0, 0.0, 0.0, None])
        row[0] = (row[0] or 0) + len(board.members()[index])
        for place, device in enumerate(("cpu_serial", "cpu_parallel", "pim"), start=1):
            times = class_costs(board, length, device)[index]  # type: ignore[arg-type]
            if times:
                row[place] = (row[place] or 0) + sum(times)
    assert sums == {tuple(row[:4]): row[4:] for row in table["operators"]}


@pytest.mark.parametrize(("model", "length"), CASES)
def test_measured_costs_give_the_published_cpu_totals(model: str, length: int) -> None:
    costs = measured_costs(load_board(model), length)
    totals = published_totals(BUILT_IN[model], length)
    assert totals is not None
    for schedule in ("cpu_serial", "cpu_parallel_first"):
        assert partition(costs, schedule).total_us == totals[schedule]
    for schedule in ("pim_first", "optimal"):
        assert partition(costs, schedule).total_us == pytest.approx(totals[schedule], rel=0.05)


def test_published_totals_of_what_was_not_measured() -> None:
    assert published_totals("bert", 8) is None  # BERT-base: the board's is the small one
    assert published_totals("gpt2", 64) is None
    with pytest.raises(PimloopError, match="no model 't5'"):
        load_board("t5")


@pytest.mark.parametrize("model", MODELS)
def test_the_platform_takes_the_operators_that_the_board_took(model: str) -> None:
    board = load_board(model)
    for length in LENGTHS:
        for template, times in zip(board.classes, class_costs(board, length, "pim"), strict=True):
            graph = class_graph(template, length)
            capable = pim_operation(graph, graph.nodes[0], PLATFORM.capabilities) is not None
            assert capable == bool(times), template


@pytest.mark.parametrize("model", ["bert", pytest.param("roberta", marks=pytest.mark.full)])
def test_built_in_models_have_the_boards_operators(model: str) -> None:
    """The same operators with the same shapes, except that scalars and tables are stored alike."""
    board = load_board(model)
    theirs = Counter(board.classes[index].op for index in board.node_classes)
    graph = load_model(BUILT_IN[model], LoadOptions(sequence_length=8))
    assert Counter(node.op for node in graph.nodes) == theirs
    products = Counter(
        (board.classes[index].op, *(operand.at(8) for operand in board.classes[index].operands[:2]))
        for index in board.node_classes
        if board.classes[index].op in ("MatMul", "Gemm")
    )
    ours = Counter(
        (node.op, *(graph.tensors[name].shape for name in node.inputs[:2]))
        for node in graph.nodes
        if node.op in ("MatMul", "Gemm")
    )
    assert ours == products


def _published_file(model: str, length: int) -> dict[str, Any]:
    """Return a file as the authors' data are given, made from what ships."""
    board, names = load_board(model), load_board(model).node_ids
    measured = board.measurements[length]
    nodes = [
        {
            "id": name,
            "op": board.classes[index].op,
            "cost_us": {d: t[i] for d, t in measured.cost_us.items() if t[i] is not None},
            "activation_bytes": board.classes[index].nbytes("activation", length),
            "parameter_bytes": board.classes[index].nbytes("constant", length),
            "output_bytes": board.classes[index].nbytes("output", length),
        }
        for i, (name, index) in enumerate(zip(names, board.node_classes, strict=True))
    ]
    return {
        "model": model,
        "nodes": nodes,
        "edges": [[names[a], names[b]] for a, b in board.edges],
        "transfers": measured.transfers,
        "published_totals_us": {},
        "published_opt_pim_nodes": [names[i] for i in sorted(measured.optimal_pim)],
    }


def test_distilling_again_gives_the_data_that_ship(tmp_path: Path) -> None:
    files = {length: _published_file("bert", length) for length in LENGTHS}
    for length, data in files.items():
        (tmp_path / f"bert_seq{length}.json").write_text(json.dumps(data), encoding="utf-8")
    shipped = Path(validate_board.__file__).parents[1] / "board" / "data" / "bert.json"
    again, wanted = distil(tmp_path, "bert"), json.loads(shipped.read_text(encoding="utf-8"))
    for measurement in wanted["measurements"].values():
        measurement["optimal_pim"].sort()
    assert json.loads(json.dumps(again)) == wanted

    files[16]["nodes"][3]["output_bytes"] += 4
    (tmp_path / "bert_seq16.json").write_text(json.dumps(files[16]), encoding="utf-8")
    with pytest.raises(PimloopError, match="0 templates have its bytes"):
        distil(tmp_path, "bert")
    files[16]["edges"].pop()
    (tmp_path / "bert_seq16.json").write_text(json.dumps(files[16]), encoding="utf-8")
    with pytest.raises(PimloopError, match="at length 16 is another one"):
        distil(tmp_path, "bert")


# ---- comparison --------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cpu_serial", "cpu_parallel_first"])
def test_the_cpu_columns_of_figure_9(schedule: str) -> None:
    """Without any simulation: these schedules use the CPU alone."""
    errors = []
    for model, length in CASES:
        board = load_board(model)
        costs = platform_costs(board, length, PLATFORM, nowhere, driver_work=False)
        published = board.measurements[length].totals_us[schedule]
        errors.append(abs(partition(costs, schedule).total_us / published - 1))
    assert max(errors) <= 0.07
    assert median(errors) <= 0.03


def test_our_graph_costs_what_the_authors_graph_costs() -> None:
    """Built-in BERT (small) and theirs, on one core: the same operators, the same total."""
    graph = load_model(BUILT_IN["bert"], LoadOptions(sequence_length=8))
    model = PLATFORM.cpu_model()
    assert model is not None
    ours = sum(model.time_us(graph, node, "cpu_serial") for node in graph.nodes)
    theirs = platform_costs(load_board("bert"), 8, PLATFORM, nowhere, driver_work=False)
    assert ours == pytest.approx(partition(theirs, "cpu_serial").total_us, rel=1e-3)


@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_transposing_explains_the_boards_gemm(model: str) -> None:
    board = load_board(model)
    for length in LENGTHS:
        for template, times in zip(board.classes, class_costs(board, length, "pim"), strict=True):
            added = transposing_us(template, length)
            assert (added > 0) == (template.op == "Gemm")
            if added:
                assert added == pytest.approx(times[0], rel=0.06)


def test_what_the_boards_host_repacks() -> None:
    """Results of products, and rows added to every row, where rows end inside a tile of 512."""
    repacked = {
        class_name(template, 8): repacked_elements(template, 8)
        for model in ("bert", "roberta", "gpt2")
        for template in load_board(model).classes
        if repacked_elements(template, 8) and template.op not in ("MatMul", "Gemm")
    }
    rows = 8 * 768
    assert repacked == {"Add (8,768),(768)": rows, "Mul (8,768),(768)": rows}
    assert _repacked("roberta", "MatMul (8,768)x(768,768)") == rows
    assert _repacked("roberta", "MatMul (8,3072)x(3072,768)") == rows
    assert _repacked("gpt2", "Gemm (8,768)x(768,2304)+(2304)") == 3 * rows
    assert _repacked("roberta", "MatMul (8,768)x(768,3072)") == 0
    assert _repacked("bert", "MatMul (8,512)x(512,512)") == 0
    assert _repacked("roberta", "Add (8,768),(8,768)") == 0
    assert _repacked("roberta", "Add (8,3072),(3072)") == 0


def test_repacking_has_the_prices_of_transfers() -> None:
    """26.81 ns an element of a product: read for 17.3, stored for 9.51; a row is stored only."""
    product = _template("roberta", "MatMul (8,768)x(768,768)")
    assert repacking_us(product, 8, PLATFORM) == pytest.approx(8 * 768 * 0.02681)
    bias = _template("roberta", "Add (8,768),(768)")
    assert repacking_us(bias, 8, PLATFORM) == pytest.approx(8 * 768 * 0.00951)
    assert driver_work_us(product, 8, PLATFORM) == repacking_us(product, 8, PLATFORM)


def test_only_the_size_of_the_result_explains_rows_inside_tiles(
    devices: Callable[[str], Device],
) -> None:
    """Every other explanation, with its price fitted, leaves an operator more than 8 % off."""
    times = PimTimes(PLATFORM, devices("native-per_bank"))
    products = repacked_products(["roberta", "gpt2"], [8], times.time_us)
    assert len(products) == 5
    *fitted, unfitted = explanations(products, PLATFORM)
    assert [each.fitted for each in (*fitted, unfitted)] == [True] * 5 + [False]
    assert unfitted.median < 0.025
    assert abs(unfitted.worst) < 0.04
    by_name = {each.name: each for each in fitted}
    assert abs(by_name.pop("each element of the result").worst) < 0.025
    assert min(abs(each.worst) for each in by_name.values()) > 0.08


def _template(model: str, name: str) -> Template:
    return next(t for t in load_board(model).classes if class_name(t, 8) == name)


def _repacked(model: str, name: str) -> int:
    return repacked_elements(_template(model, name), 8)


def test_moves_are_those_that_are_paid() -> None:
    board = load_board("bert")
    costs = measured_costs(board, 8)
    assignment = published_optimum(board, 8)
    problem = Problem.of(costs)
    paid = problem.to_us(evaluate(problem, assignment).transfer)
    moved = moves(costs.graph, assignment)
    assert len(set(moved)) == len(moved)
    assert paid == pytest.approx(sum(costs.transfer_us[t][move] for t, move in moved))


def test_our_graph_of_costs_is_the_partitioners() -> None:
    """The same conversion of the authors' data, from what ships in two places."""
    direct = paper_costs(_published_file("bert", 16))
    assert measured_costs(load_board("bert"), 16) == direct


def test_bert_at_8_tokens_on_the_simulated_platform(devices: Callable[[str], Device]) -> None:
    times = PimTimes(PLATFORM, devices("native-per_bank"))
    cells = compare("bert", 8, PLATFORM, times.time_us)
    assert [cell.schedule for cell in cells] == [
        "cpu_serial", "cpu_parallel_first", "pim_first", "optimal",
    ]  # fmt: skip
    totals = summary(cells)
    assert totals["cells"] == 4
    assert totals["passed"], totals
    for cell in cells:
        assert cell.board_us is not None
        assert cell.error is not None
        parts = sum(part.us for part in cell.contributions)
        assert parts == pytest.approx(cell.ours_us - cell.board_us, abs=0.01)
        sizes = [abs(part.us) for part in cell.contributions]
        assert sizes == sorted(sizes, reverse=True)
    serial, _, pim_first, optimal = cells
    assert serial.own_us == serial.ours_us
    assert pim_first.own_us < pim_first.ours_us - 60_000  # two transposed Gemms
    assert optimal.ours_us < min(serial.ours_us, pim_first.ours_us)
    # Nothing is simulated twice.
    before = times.simulated
    assert compare("bert", 8, PLATFORM, times.time_us) == cells
    assert times.simulated == before


def test_a_length_without_a_board_column(devices: Callable[[str], Device]) -> None:
    cells = compare("bert", 3, PLATFORM, PimTimes(PLATFORM, devices("native-per_bank")).time_us)
    assert all(cell.board_us is cell.error is None for cell in cells)
    assert all(cell.ours_us > 0 for cell in cells)
    assert summary(cells) == {"cells": 0, "worst": 0.0, "median": 0.0, "passed": True}


def test_cells_outside_the_limits_are_seen() -> None:
    board = load_board("bert")
    slow = replace(PLATFORM, cpu=replace(PLATFORM.cpu, product_mac_ns=2.0))  # type: ignore[type-var]
    costs = platform_costs(board, 8, slow, nowhere, driver_work=False)
    published = board.measurements[8].totals_us["cpu_serial"]
    assert partition(costs, "cpu_serial").total_us / published > 1.07


@pytest.mark.full
def test_every_cell_of_figure_9_is_within_limits(devices: Callable[[str], Device]) -> None:
    times = PimTimes(PLATFORM, devices("native-per_bank-cold"))
    cells = [cell for m, n in CASES for cell in compare(m, n, PLATFORM, times.time_us)]
    totals = summary(cells)
    assert totals["cells"] == 36
    assert totals["passed"], totals


# ---- commands ----------------------------------------------------------------------------------


def test_validate_board_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], devices: Callable[[str], Device]
) -> None:
    path = tmp_path / "board.md"
    common = ("validate-board", "--models", "bert", "--seq", "8")
    assert run(validate_board, *common, "--json", "--write", str(path)) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["summary"]["passed"]
    assert len(data["cells"]) == 4
    assert {row["device"] for row in data["operators"]} == {"cpu_serial", "cpu_parallel", "pim"}
    text = path.read_text(encoding="utf-8")
    for heading in (
        "Figure 9",
        "Rows that end inside",
        "Products on the PIM",
        "Transfers",
        "The CPU model",
        "Graphs",
    ):
        assert f"## {heading}" in text
    assert "| BERT (small) | 8 | optimal | 37.5 |" in text
    assert run(validate_board, *common) == 0
    assert "4 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "bert,t5"), "the board's models are bert, roberta, gpt2"),
        (("--models", ","), "the board's models are"),
        (("--seq", "8,x"), "give sequence lengths from 1"),
        (("--seq", "0"), "give sequence lengths from 1"),
        (("--seq", "2000"), "give sequence lengths from 1"),
        (("--platform", "nope"), "there is no platform 'nope'"),
        (("--platform", "native", "--models", "bert", "--seq", "8"), r"has no \[cpu\] section"),
    ],
)
def test_validate_board_refuses(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(PimloopError, match=message):
        run(validate_board, "validate-board", *arguments)


def test_calibrate_writes_the_platform_that_ships(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    assert run(calibrate, "calibrate", "--board", "-o", str(path), "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data["errors"]) == {"fit", "held out: sequence length", "held out: model"}
    mine = load_platform(str(path))
    assert mine.cpu is not None
    assert PLATFORM.cpu is not None
    for name, entry in data["parameters"].items():
        assert getattr(mine.cpu, name) == pytest.approx(entry["value"], rel=1e-3)
        assert getattr(mine.cpu, name) == pytest.approx(getattr(PLATFORM.cpu, name), rel=2e-3)
    assert replace(mine, name="", cpu=None) == replace(PLATFORM, name="", cpu=None)


def _costs_file(tmp_path: Path, us: float, prefix: str = "") -> Path:
    graph = load_model("bert-small", LoadOptions(sequence_length=4))
    nodes = [
        {"id": prefix + node.id, "op": node.op, "cost_us": {"cpu_serial": us, "cpu_parallel": us}}
        for node in graph.nodes
    ]
    data = {
        "format": "pimloop-costs/1",
        "memories": {"cpu": ["cpu_serial", "cpu_parallel"]},
        "nodes": nodes,
        "tensors": [],
    }
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_calibrate_fits_a_costs_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every operator takes 70 us: calls take all of it, amounts nothing."""
    costs, path = _costs_file(tmp_path, 70.0), tmp_path / "mine.toml"
    arguments = ("calibrate", "--costs", "bert-small", "4", str(costs), "--cores", "2")
    assert run(calibrate, *arguments, "-o", str(path)) == 0
    assert str(path.name) in capsys.readouterr().out.replace("\n", "")
    fitted = load_platform(str(path)).cpu
    assert fitted is not None
    assert fitted.cores == 2
    assert fitted.product_call_us == pytest.approx(70, rel=0.01)
    assert fitted.elementwise_call_us == pytest.approx(70, rel=0.01)
    assert fitted.product_mac_ns == pytest.approx(0, abs=1e-3)
    assert load_platform(str(path)).cpu_model() is not None


def test_calibrate_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = str(_costs_file(tmp_path, 1.0, "another_"))
    with pytest.raises(PimloopError, match="does not have: another_Add"):
        run(calibrate, "calibrate", "--costs", "bert-small", "4", costs)
    with pytest.raises(PimloopError, match="must be at least 1"):
        run(calibrate, "calibrate", "--costs", "bert-small", "0", costs)
    with pytest.raises(PimloopError, match="cannot write"):
        run(calibrate, "calibrate", "--board", "-o", str(tmp_path / "no" / "x.toml"))
    for wrong in (("-o", "x.json"), ("--cores", "0"), ("--rounds", "0")):
        with pytest.raises(SystemExit):
            run(calibrate, "calibrate", "--board", *wrong)
    assert "must end in .toml" in capsys.readouterr().err


def test_calibrate_measures_this_machine(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    devices: Callable[[str], Device],
) -> None:
    """What is written, not how long anything took."""
    monkeypatch.setattr(measure, "WORKLOADS", (("bert-small", 1),))
    monkeypatch.setattr(measure, "LENGTHS", (2, 4))
    path = tmp_path / "machine.toml"
    assert run(calibrate, "calibrate", "--rounds", "1", "-o", str(path), "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert "held out: sequence length" in data["errors"]
    assert "held out: model" not in data["errors"]
    mine, native = load_platform(str(path)), load_platform("native")
    assert mine.cpu is not None
    assert mine.driver.conversion == "modelled"
    assert mine.transfer_us("cpu", "pim", 1000) > native.driver.call_overhead_us
    assert (mine.device, mine.dram) == (native.device, native.dram)
    said = sources(path)
    assert said["cpu.product_mac_ns"][1].startswith("calibrated: measured on this machine")
    assert said["cpu.slice_call_us"] == sources(platform_path("htg-z920"))["cpu.slice_call_us"]
    assert "simulated" in said["transfers.pim_to_cpu_ns_per_element"][1]


def test_calibrate_edits_a_file_however_it_is_written(tmp_path: Path) -> None:
    """A section written as one inline table, in front of the others, is replaced as well."""
    data = tomllib.loads(platform_path("htg-z920").read_text(encoding="utf-8"))
    inline = ", ".join(
        f"{key} = {{ value = {entry['value']}, unit = '{entry['unit']}', source = 'x' }}"
        for key, entry in data["cpu"].items()
    )
    text = platform_path("htg-z920").read_text(encoding="utf-8").split("[cpu]")[0]
    base, path = tmp_path / "base.toml", tmp_path / "mine.toml"
    base.write_text(f"cpu = {{ {inline} }}\n{text}", encoding="utf-8")
    old = load_platform(str(base))
    assert run(calibrate, "calibrate", "--board", "--platform", str(base), "-o", str(path)) == 0
    mine = load_platform(str(path))
    assert (mine.device, mine.dram, mine.driver, mine.transfers) == (
        old.device, old.dram, old.driver, old.transfers
    )  # fmt: skip
    assert mine.cpu is not None
    assert sources(path)["cpu.product_mac_ns"][1] != "x"
