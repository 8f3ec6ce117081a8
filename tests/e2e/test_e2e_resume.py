"""What counts as taken up from an interrupted run: not what the same run has executed before."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper, save

from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import STAGE, Event
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.pipeline.state import State
from pimloop.host.platforms.platform import load_platform


@pytest.fixture
def relu(tmp_path):
    """A model of one operator that the PIM does not have: no simulator is needed."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="r")], "g", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "relu.onnx")
    return load_model(str(tmp_path / "relu.onnx"), LoadOptions())


def execute(graph, folder):
    """Return the outcome, and (label, done, total) of each stage that began."""
    events: list[Event] = []
    options = Options(folder=folder, jobs=1)
    feeds = random_inputs(graph, 0)
    platform = load_platform("htg-z920")
    with Pipeline(graph, feeds, platform, options, progress=events.append) as pipeline:
        outcome = pipeline.run()
    stages = [event.progress for event in events if event.progress.phase == STAGE]
    return outcome, [(stage.label, stage.done, stage.total) for stage in stages]


def test_a_placement_of_the_profile_is_not_one_of_an_interrupted_run(relu, tmp_path, monkeypatch):
    """Both CPU placements were profile runs: they are not executed again, nor called resumed."""
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    outcome, stages = execute(relu, tmp_path / "out")
    assert outcome.passed
    assert outcome.resumed == 0
    assert stages == [("", 0, 2), ("", 0, 0)]


def test_what_an_interrupted_run_left_counts(relu, tmp_path, monkeypatch):
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    save_result = State.save

    def stop(self, job, result):
        save_result(self, job, result)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            execute(relu, tmp_path / "out")
    outcome, stages = execute(relu, tmp_path / "out")
    assert outcome.passed
    assert outcome.resumed == 1  # though the profile and the schedules both have its placement
    assert stages[0][0] in ("run 1", "run 2")
    assert stages[0][1:] == (1, 2)
    assert stages[1] == ("", 0, 0)
