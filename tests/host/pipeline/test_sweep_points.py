"""Finished points of a sweep: which of them are taken again, and what their keys depend on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimloop.host.execution.options import Options
from pimloop.host.models.loader import LoadOptions
from pimloop.host.pipeline import points
from pimloop.host.pipeline.points import content_key, load_point, model_content, save_point
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import FILE_NAME

MODELLED = load_platform("htg-z920")  # no time of it is measured
MEASURED = load_platform("native")
REPORT: dict[str, Any] = {"format": "pimloop-report/3", "verification": {"passed": True}, "b": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a point; reports are read as they are written."""

    def read(place: Path) -> dict[str, Any]:
        return json.loads((place / FILE_NAME).read_text())  # type: ignore[no-any-return]

    monkeypatch.setattr(points, "read_report", read)
    monkeypatch.setattr(points, "machine_key", lambda: "here")
    return tmp_path / "points" / "bert_8"


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / FILE_NAME
    report = json.loads(path.read_text())
    change(report)
    path.write_text(json.dumps(report))


def test_a_point_that_holds_is_its_report(folder: Path) -> None:
    assert load_point(folder, "key", MODELLED) is None  # there is none yet
    save_point(folder, "key", None, REPORT)
    assert load_point(folder, "key", MODELLED) == REPORT


def test_other_content_and_no_key_are_run_again(folder: Path) -> None:
    save_point(folder, "key", None, REPORT)
    assert load_point(folder, "other", MODELLED) is None
    save_point(folder, None, None, REPORT)
    assert load_point(folder, None, MODELLED) is None


def test_times_of_another_machine_are_measured_again(folder: Path) -> None:
    for machine, platform, holds in (
        ("here", MEASURED, True),
        ("there", MEASURED, False),
        (None, MEASURED, False),
        ("there", MODELLED, True),
    ):
        save_point(folder, "key", machine, REPORT)
        assert (load_point(folder, "key", platform) is not None) == holds


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(b=2),
        lambda report: report.pop("b"),
        lambda report: report.pop("sweep"),
        lambda report: report.update(sweep="key"),
        lambda report: report["sweep"].update(check="0"),
        lambda report: report["sweep"].update(measured_on="there"),
    ],
)
def test_a_damaged_point_is_run_again(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    save_point(folder, "key", None, REPORT)
    changed(folder, change)
    assert load_point(folder, "key", MODELLED) is None


def test_a_point_that_failed_is_run_again(folder: Path) -> None:
    save_point(folder, "key", None, REPORT | {"verification": {"passed": False}})
    assert load_point(folder, "key", MODELLED) is None


def test_a_file_that_is_no_report_is_run_again(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    assert load_point(tmp_path, "key", MODELLED) is None


def save_model(path: Path, bias: float) -> str:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "b"], ["y"], "n")],
        "g",
        [value("x", TensorProto.FLOAT, [4, 32])],
        [value("y", TensorProto.FLOAT, [4, 32])],
        [numpy_helper.from_array(np.full(32, bias, np.float32), "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return str(path)


def test_the_content_of_a_model_file_and_of_how_it_is_loaded(tmp_path: Path) -> None:
    name, loading = save_model(tmp_path / "m.onnx", 1.0), LoadOptions()
    first = model_content(name, loading)
    assert first is not None
    assert model_content(name, loading) == first
    assert model_content(name, replace(loading, seed=1)) != first
    save_model(tmp_path / "m.onnx", 2.0)
    assert model_content(name, loading) != first
    assert model_content(str(tmp_path / "absent.onnx"), loading) is None


def test_the_content_of_a_built_in_model_is_its_name_and_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(points, "load_model", lambda *_: pytest.fail("it is not loaded"))
    names = ("bert", "gpt2")
    every = [
        model_content(name, LoadOptions(sequence_length=length, seed=seed, batch=batch))
        for name in names for length in (8, 16) for seed in (0, 1) for batch in (1, 2)
    ]  # fmt: skip
    assert len(set(every)) == len(every) == 16


def test_a_point_of_an_unknown_model_has_no_key() -> None:
    options = Options()
    assert content_key(None, MODELLED, options) is None
    key = content_key("model", MODELLED, options)
    assert key is not None
    assert key == content_key("model", MODELLED, options)
    assert key != content_key("other", MODELLED, options)
    assert key != content_key("model", MEASURED, options)


def test_the_code_of_a_policy_is_that_of_its_module_or_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pimloop_policy_one.py").write_text("A = 1")
    package = tmp_path / "pimloop_policy_two"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("A = 1")
    module, whole = "pimloop_policy_one:policy", "pimloop_policy_two.inner:policy"
    before = points._code(module), points._code(whole)
    assert len(set(before)) == 2
    (tmp_path / "pimloop_policy_one.py").write_text("A = 2")
    (package / "inner.py").write_text("A = 2")
    after = points._code(module), points._code(whole)
    assert not set(before) & set(after)
    assert not {"pimloop_policy_one", "pimloop_policy_two"} & sys.modules.keys()
