"""What is kept between runs never changes a number: order, damage, changed models, wrong costs."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.fused_models import CONTRIB, model_of
from support.tiny_checkpoints import write_checkpoint

import pimloop.host.cli
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Job
from pimloop.host.models.decompose import Choice
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.pipeline.points import content_key, load_point, model_content, save_point
from pimloop.host.pipeline.state import FOLDER
from pimloop.host.pipeline.sweep import Loading, Point, locally, point_name, run_sweep, sweep_name
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import FILE_NAME as REPORT
from pimloop.host.report.build import build_report
from pimloop.host.store.cost_store import FILE_NAME, Cost
from pimloop.host.store.folder import cache_folder

WHOLE = Choice(keep_fused=True)


def sweep(points, folder, **options):
    """Run a sweep; return its points and which of them were finished before."""
    chosen = Options(jobs=1, **options)
    finished = run_sweep(points, folder, chosen, locally(lambda _: None), lambda _: None)
    assert all(done.report is not None for done in finished), finished
    return finished, [done.before for done in finished]


def graph_of(report):
    """Return the graph of a report, whether its costs are reused left out."""
    return json.loads(json.dumps(report["graph"]).replace(", reused", ""))


def numbers(finished):
    return {str(done.point): (done.report["schedules"], graph_of(done.report)) for done in finished}


def test_the_order_of_a_sweep_changes_no_number(tiny, tmp_path, monkeypatch):
    """Lengths share operators of one shape: none stands in for another."""
    points = [Point(tiny, 3, "htg-z920"), Point(tiny, 5, "htg-z920")]
    results = []
    for order in (points, points[::-1]):
        monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / f"cache{len(results)}"))
        finished, before = sweep(order, tmp_path / f"out{len(results)}")
        assert before == [False, False]
        results.append(numbers(finished))
    assert results[0] == results[1]
    assert all(
        schedule["optimal"]["optimal"]
        and not schedule["optimal"]["verification"]["predictions_missed"]
        for schedule, _ in results[0].values()
    )


def test_a_changed_model_is_run_again(tmp_path):
    folder = tmp_path / "model"
    write_checkpoint(folder, "bert")
    points = [Point(str(folder), 3, "htg-z920")]
    first, _ = sweep(points, tmp_path / "out")
    assert sweep(points, tmp_path / "out")[1] == [True]
    shutil.rmtree(folder)
    write_checkpoint(folder, "roberta")  # another model under the same name
    second, before = sweep(points, tmp_path / "out")
    assert before == [False]
    assert len(second[0].report["graph"]["nodes"]) != len(first[0].report["graph"]["nodes"])
    assert len(list((tmp_path / "out" / "points").iterdir())) == 1  # in place of the stale one
    assert sweep(points, tmp_path / "out", fresh=True)[1] == [False]


def test_a_damaged_point_is_run_again(tiny, tmp_path):
    points = [Point(tiny, 3, "htg-z920")]
    first, _ = sweep(points, tmp_path)
    (path,) = tmp_path.glob(f"points/*/{REPORT}")
    text = path.read_text()
    digits = [i for i, letter in enumerate(text) if letter.isdigit() and text[i - 1].isdigit()]
    key = content_key(model_content(tiny, LoadOptions(3)), load_platform("htg-z920"), Options())
    whole = load_point(path.parent, key, load_platform("htg-z920"))
    assert whole is not None
    for place in random.Random(2).sample(digits, 100):
        digit = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + digit + text[place + 1 :])
        kept = load_point(path.parent, key, load_platform("htg-z920"))
        # The last of 17 digits may say the same number.
        assert kept in (None, whole), text[place - 40 : place + 10]
    assert numbers(sweep(points, tmp_path)[0]) == numbers(first)


def test_a_point_measured_elsewhere_or_failed_is_not_kept(tiny, tmp_path):
    (measured,), _ = sweep([Point(tiny, 3, "htg-z920")], tmp_path / "out")
    native, board = load_platform("native"), load_platform("htg-z920")
    save_point(tmp_path, "key", "another machine", measured.report)
    assert load_point(tmp_path, "key", native) is None
    assert load_point(tmp_path, "key", board) == json.loads(json.dumps(measured.report))
    assert load_point(tmp_path, "other", board) is None
    assert load_point(tmp_path, None, board) is None
    failed = {
        **measured.report,
        "verification": {**measured.report["verification"], "passed": False},
    }
    save_point(tmp_path, "key", None, failed)
    assert load_point(tmp_path, "key", board) is None


def test_sweeps_have_folders_of_their_own(tiny):
    options = Options()
    points = [Point(tiny, 3, "htg-z920")]
    names = {
        sweep_name(points, options),
        sweep_name([Point(tiny, 4, "htg-z920")], options),
        sweep_name([Point(tiny, 3, "aim")], options),
        sweep_name([Point(tiny, 3, "htg-z920", (("pim.lanes", "8"),))], options),
        sweep_name([Point(tiny, 3, "htg-z920", loading=Loading(seed=1))], options),
        sweep_name([Point(tiny, 3, "htg-z920", loading=Loading(batch=2))], options),
        sweep_name([Point(tiny, 3, "htg-z920", loading=Loading(decompose=WHOLE))], options),
        sweep_name(points, Options(objective="makespan")),
    }
    assert len(names) == 8
    assert sweep_name(points, Options(jobs=1, fresh=True)) == sweep_name(points, options)
    spaced = Point("a folder/my model;rm.onnx", None, "htg-z920")
    assert point_name(spaced, options).startswith("my_model_rm.onnx-htg-z920-")


def test_whole_and_decomposed_operators_are_points_of_their_own(tmp_path):
    path = tmp_path / "m.onnx"
    value = np.zeros((2, 4, 8), np.float32)
    inputs = {"q": value, "k": value, "v": value}
    model = model_of("MultiHeadAttention", inputs, ["y"], domain=CONTRIB, num_heads=2)
    onnx.save(model, str(path))
    decomposed = Point(str(path), None, "htg-z920")
    whole = replace(decomposed, loading=Loading(decompose=WHOLE))
    contents = {model_content(str(path), point.load_options()) for point in (decomposed, whole)}
    assert len(contents) == 2
    finished, before = sweep([decomposed, whole], tmp_path / "out", backend="model")
    assert before == [False, False]
    products, fused = ([node["op"] for node in f.report["graph"]["nodes"]] for f in finished)
    assert products.count("MatMul") == 2
    assert fused == ["MultiHeadAttention"]
    assert "--keep-fused" in finished[1].report["command"]
    assert sweep([whole, decomposed], tmp_path / "out", backend="model")[1] == [True, True]


def test_external_data_is_part_of_the_model(tmp_path):
    weight = np.arange(64, dtype=np.float32).reshape(8, 8)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
            [numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    before = model_content(str(path), LoadOptions())
    assert before == model_content(str(path), LoadOptions()) is not None
    assert model_content(str(path), LoadOptions(seed=1)) != before  # other random inputs
    data = bytearray((tmp_path / "w.bin").read_bytes())
    data[5] ^= 1
    (tmp_path / "w.bin").write_bytes(data)
    assert model_content(str(path), LoadOptions()) not in (before, None)
    (tmp_path / "w.bin").unlink()
    assert model_content(str(path), LoadOptions()) is None
    assert content_key(None, load_platform("htg-z920"), Options()) is None


def change_costs(factor, where):
    """Multiply stored costs and give them valid checks: what no check of a row can find."""
    path = cache_folder() / FILE_NAME
    with sqlite3.connect(path) as connection:
        rows = connection.execute(f"SELECT context, signature, variant, us FROM costs {where}")
        changed = [Cost(*row[:3], row[3] * factor) for row in rows.fetchall()]
        connection.executemany(
            "INSERT OR REPLACE INTO costs VALUES (?,?,?,?,?,?)",
            [(c.context, c.signature, c.variant, c.us, 0, c.check()) for c in changed],
        )
    connection.close()
    return len(changed)


OPERATORS, TRANSFERS = "WHERE signature LIKE 'MatMul/%'", "WHERE signature LIKE 'transfer/%'"


def run(graph, **options):
    """Run the pipeline; return the report."""
    feeds, chosen = random_inputs(graph, 0), Options(jobs=1, **options)
    with Pipeline(graph, feeds, load_platform("htg-z920"), chosen) as pipeline:
        return build_report(pipeline.run())


def test_wrong_stored_costs_fail_the_command(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    assert run(load_model(tiny, LoadOptions(3)))["verification"]["passed"]
    assert change_costs(1.001, OPERATORS) > 0
    assert pimloop.host.cli.main(["sim", tiny, "--seq", "3", "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out
    assert "NOT AS PREDICTED" in printed
    assert "verification: FAILED" in printed
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["profile"]["from_cost_store"]
    assert not report["verification"]["passed"]
    assert report["verification"]["predictions_missed"]


@pytest.mark.parametrize(
    ("objective", "which"),
    [
        ("sequential", OPERATORS),
        ("makespan", TRANSFERS),
        pytest.param("sequential", TRANSFERS, marks=pytest.mark.full),
        pytest.param("makespan", OPERATORS, marks=pytest.mark.full),
    ],
)
def test_wrong_stored_costs_are_found_and_replaced(objective, which, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    graph = load_model(tiny, LoadOptions(3))
    options = {"objective": objective, "time_limit_s": 1.0}
    right = run(graph)
    assert change_costs(1.001, which) > 0
    wrong = run(graph, **options)
    assert wrong["profile"]["from_cost_store"]
    assert not wrong["verification"]["passed"]
    missed = wrong["verification"]["predictions_missed"]
    assert missed
    assert all(" predicted " in line and " executed " in line for line in missed)
    # Measured again, they take the place of the wrong ones.
    assert not run(graph, fresh=True)["profile"]["from_cost_store"]
    again = run(graph)
    assert again["profile"]["from_cost_store"]
    assert again["verification"]["predictions_missed"] == []
    assert graph_of(again) == graph_of(right)


def test_flipped_bits_of_both_databases_under_a_run(wide, tmp_path, monkeypatch):
    """The right report, or a warning and the right report."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))

    def finished():
        report = run(wide)
        assert report["verification"]["passed"]
        return report["schedules"], graph_of(report)

    right = finished()
    files = sorted((tmp_path / "cache").glob("*.sqlite"))
    assert len(files) == 2
    good = {path: path.read_bytes() for path in files}
    rng = random.Random(5)
    for _ in range(3):
        for path in (tmp_path / "cache").iterdir():
            path.unlink()
        for path, data in good.items():
            changed = bytearray(data)
            for _ in range(200):  # so many that rows of both are hit
                changed[rng.randrange(200, len(changed))] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
        assert finished() == right


def test_damaged_state_is_not_taken_up(wide, tmp_path, caplog):
    feeds, platform = random_inputs(wide, 0), load_platform("htg-z920")
    options = Options(folder=tmp_path, jobs=1)
    job = Job("all on the PIM", {})
    with Pipeline(wide, feeds, platform, options) as pipeline:
        devices = {n.id: "pim" if n.id in pipeline.runner.operations else "cpu_serial"
                   for n in wide.nodes}  # fmt: skip
        job = Job("all on the PIM", devices)
        (result,) = pipeline.runner.run([job], pipeline._state.save)
        (path,) = (tmp_path / FOLDER).iterdir()
        text = path.read_text()
        kept = pipeline._state.load(job)
        assert kept is not None
        assert kept.execution.pim == result.execution.pim
        start = text.index('"result"')
        digits = [i for i in range(start, len(text)) if text[i].isdigit()]
        for place in random.Random(2).sample(digits, 100):
            digit = str((int(text[place]) + 1) % 10)
            path.write_text(text[:place] + digit + text[place + 1 :])
            again = pipeline._state.load(job)
            assert again is None or again.execution == kept.execution
    assert "its check does not hold" in caplog.text
