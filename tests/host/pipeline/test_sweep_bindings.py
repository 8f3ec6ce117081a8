"""Sweeps over lengths of axes, shapes and values of inputs: points, keys, resume, tables."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pimloop.host.cli
from pimloop.errors import PimloopError
from pimloop.host.execution.options import Options
from pimloop.host.models.decompose import Choice
from pimloop.host.pipeline import sweep, sweep_files
from pimloop.host.pipeline.loading import Binding, Loading, bindings
from pimloop.host.pipeline.points import model_content
from pimloop.host.pipeline.sweep import Point, locally, point_command, point_name, run_sweep

ON_MODEL = Options(backend="model", jobs=1)


@pytest.fixture
def model(tmp_path):
    """Return the path of a model with two named axes, and leave values of its input beside it."""
    axes = ["rows", "past"]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, axes) for n in ("x", "y"))
    node = helper.make_node("Mul", ["x", "x"], ["y"], "square")
    graph = helper.make_graph([node], "g", [x], [y])
    path = tmp_path / "square.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    np.savez(tmp_path / "a.npz", x=np.full((2, 32), 1.5, np.float32))
    np.savez(tmp_path / "b.npz", x=np.full((3, 32), 2.5, np.float32))
    return str(path)


def run(points, folder):
    """Run points on the functional model; return them, and which were run."""
    ran = []
    backend = locally(lambda _: None)

    def counting(waiting, options):
        ran.extend(waiting)
        return backend(waiting, options)

    return run_sweep(points, folder, ON_MODEL, counting, lambda _: None), ran


def test_every_combination_is_a_point():
    tried = bindings({"past": [8, 16], "rows": [1]}, {"x": [(1, 8), (2, 8)]}, ["a.npz", "b.npz"])
    assert len(set(tried)) == len(tried) == 8
    assert {binding.axes for binding in tried} == {
        (("past", 8), ("rows", 1)), (("past", 16), ("rows", 1)),
    }  # fmt: skip
    assert {binding.shapes for binding in tried} == {(("x", (1, 8)),), (("x", (2, 8)),)}
    assert bindings({}, {}, []) == [Binding()]
    points = sweep.grid(["m.onnx"], [4, 8], ["aim"], {}, bound=tried)
    assert len({point_name(point, ON_MODEL) for point in points}) == 16
    assert str(points[0]) == (
        "m.onnx, 4 tokens, axis past = 8, axis rows = 1, shape of x = 1x8, inputs = a.npz, aim"
    )


def test_a_point_has_what_acts_on_its_model_alone(tmp_path):
    """So the command in its report is one that `pimloop sim` takes."""
    (tmp_path / "folder").mkdir()
    loading = Loading(seed=3, batch=2, decompose=Choice(keep_fused=True))
    models = ["bert", str(tmp_path / "folder"), "m.onnx", "of-a-plug-in"]
    bound = [Binding(), Binding(inputs="a.npz")]
    points = sweep.grid(models, [None], ["aim"], {}, [loading], bound)
    assert [(point.loading.seed, point.loading.decompose.keep_fused) for point in points] == [
        (3, False), (3, False), (3, False), (0, False), (3, True), (0, True), (3, True), (3, True),
    ]  # fmt: skip


def test_points_have_the_shapes_that_they_bind(model, tmp_path):
    bound = [
        Binding(axes=(("rows", 2), ("past", 8))),
        Binding(shapes=(("x", (4, 64)),)),
        Binding(inputs=str(tmp_path / "b.npz")),
    ]
    points = sweep.grid([model], [None], ["aim"], {}, bound=bound)
    finished, _ = run(points, tmp_path / "out")
    assert [point.error for point in finished] == [""] * 3
    shapes = [point.point.load_options() for point in finished]
    assert [sweep.load_model(model, options).tensors["x"].shape for options in shapes] == [
        (2, 8), (4, 64), (3, 32),
    ]  # fmt: skip
    for point in finished:
        assert point.report is not None
        # The command of a point is one that `pimloop sim` takes.
        words = [*point.report["command"][1:], "--device", "model", "--json"]
        parsed = pimloop.host.cli.build_parser("sim").parse_args(words)
        assert (dict(parsed.axis), dict(parsed.shape)) == (
            dict(point.point.binding.axes), dict(point.point.binding.shapes),
        )  # fmt: skip
        assert parsed.inputs is None or str(parsed.inputs) == point.point.binding.inputs


def test_a_finished_point_is_kept_until_the_values_of_its_inputs_change(model, tmp_path):
    bound = bindings({}, {}, [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")])
    points = sweep.grid([model], [None], ["aim"], {}, bound=bound)
    assert run(points, tmp_path / "out")[1] == points
    again, ran = run(points, tmp_path / "out")
    assert ran == []
    assert all(point.before for point in again)
    np.savez(tmp_path / "a.npz", x=np.full((2, 32), 1.25, np.float32))  # one value, same shape
    _, ran = run(points, tmp_path / "out")
    assert ran == points[:1]


def test_keys_depend_on_what_is_bound_and_not_on_what_a_file_is_called(model, tmp_path):
    def key(binding):
        return model_content(model, Point(model, None, "aim", binding=binding).load_options())

    lengths = [Binding(axes=(("rows", 1), ("past", n))) for n in (8, 16)]
    whole = Binding(shapes=(("x", (1, 8)),))
    given = [Binding(inputs=str(tmp_path / name)) for name in ("a.npz", "b.npz")]
    keys = [key(binding) for binding in (*lengths, *given)]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert key(whole) == keys[0]  # the same lengths, said in another way
    (tmp_path / "copy.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    assert key(Binding(inputs=str(tmp_path / "copy.npz"))) == key(given[0])


def test_a_point_that_cannot_be_bound_is_named_and_the_others_go_on(model, tmp_path):
    bound = bindings({"rows": [1], "past": [8], "none": [1]}, {}, [])
    bound += bindings({"rows": [1], "past": [8]}, {}, [])
    finished, _ = run(sweep.grid([model], [None], ["aim"], {}, bound=bound), tmp_path / "out")
    assert "has no axis 'none'" in finished[0].error
    assert finished[1].report is not None
    (point,) = sweep.grid([model], [None], ["aim"], {}, bound=[Binding(inputs="missing.npz")])
    with pytest.raises(PimloopError, match=r"inputs missing\.npz: cannot be read"):
        run([point], tmp_path / "out")


def test_tables_and_figures_tell_the_points_apart(model, tmp_path):
    bound = bindings({"rows": [2], "past": [8, 16]}, {}, [])
    bound.append(Binding(shapes=(("x", (4, 8)),)))
    bound.append(Binding(inputs=str(tmp_path / "a.npz")))
    finished, _ = run(sweep.grid([model], [None], ["aim"], {}, bound=bound), tmp_path / "out")
    rows = sweep_files.summary(finished, ON_MODEL)["rows"]
    assert json.loads(json.dumps(rows)) == rows
    table = list(csv.DictReader(io.StringIO(sweep_files.to_csv(rows))))
    assert [(row["axes"], row["shapes"]) for row in table if row["schedule"] == "cpu_serial"] == [
        ("rows=2;past=8", ""), ("rows=2;past=16", ""), ("", "x=4x8"), ("", ""),
    ]  # fmt: skip
    assert table[-1]["inputs"] == str(tmp_path / "a.npz")
    plotted = [
        row["settings"] for row in sweep_files.plotted(rows) if row["schedule"] == "cpu_serial"
    ]
    assert plotted == [
        {"axis rows": "2", "axis past": "8"}, {"axis rows": "2", "axis past": "16"},
        {"shape of x": "4x8"}, {"inputs": "a.npz"},
    ]  # fmt: skip


def test_the_shares_of_a_sweep_are_those_of_its_points(tmp_path):
    (point,) = sweep.grid(["bert"], [8], ["aim"], {})
    assert "--shares" not in point_command(point, Options())
    assert point_command(point, Options(shares=4))[-2:] == ("--shares", "4")
    names = {point_name(point, Options(shares=shares)) for shares in (None, 1, 4)}
    assert len(names) == 3  # each has a folder of its own


def test_the_command_makes_the_points(model, tmp_path, monkeypatch):
    asked = []

    class Asked(Exception):
        pass

    def stop(points, *_):
        asked.extend(points)
        raise Asked

    monkeypatch.setattr(sweep, "run_sweep", stop)
    words = [
        "sweep", model, "--axis", "past=8,16", "--axis", "rows=2", "--shape", "x=2,8",
        "--shape", "x=2,16", "--inputs", "a.npz", "--out", str(tmp_path / "out"), "--quiet",
    ]  # fmt: skip
    with pytest.raises(Asked):
        pimloop.host.cli.main(words)
    assert [point.binding for point in asked] == [
        Binding((("past", past), ("rows", 2)), (("x", (2, size)),), "a.npz")
        for past in (8, 16)
        for size in (8, 16)
    ]
    command = point_command(replace(asked[0], sequence_length=4), ON_MODEL)
    assert command[3:11] == (
        "--seq", "4", "--axis", "past=8", "--axis", "rows=2", "--shape", "x=2,8",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--axis", "past=8", "--axis", "past=16"], "--axis: give all values of a key at once"),
        (["--axis", "past=8,"], "'past=8,' is not of the form past_sequence_length=8"),
        (["--axis", "8,16"], "'8,16' is not of the form past_sequence_length=8"),
        (["--shape", "x="], "'x=' is not of the form INPUT=1,16"),
        (["--inputs", ""], "the name is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_tried_is_refused(options, message, model, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "run_sweep", lambda *_: pytest.fail("work has begun"))
        try:
            code = pimloop.host.cli.main(["sweep", model, *options])
        except SystemExit as end:
            code = end.code
    assert code == 2
    assert message in capsys.readouterr().err
