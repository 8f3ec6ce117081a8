"""Faults in the middle of a pipeline: simulators that die, Ctrl-C, a full disk, bad models."""

from __future__ import annotations

import _thread
import errno
import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pimloop.host.cli
import pimloop.host.report.build
from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.pim.device.base import DeviceError
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.pipeline.state import FOLDER
from pimloop.host.platforms.platform import load_platform


def run_command(capsys, *arguments):
    code = pimloop.host.cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class Disturbed:
    """A progress callback that does something in the middle of executions, `times` times."""

    def __init__(self, action, times):
        self.pipeline, self._action, self._left = None, action, times
        self._lock = threading.Lock()

    def __call__(self, event):
        progress = event.progress
        if progress.phase != "run" or not 0 < progress.done < progress.total:
            return
        with self._lock:
            if self._left == 0:
                return
            self._left -= 1
        self._action(self.pipeline)


def disturbed_run(graph, action, times, **options):
    disturbed = Disturbed(action, times)
    feeds = random_inputs(graph, 0)
    chosen = Options(jobs=1, fresh=True, cache=False, **options)
    with Pipeline(graph, feeds, load_platform("htg-z920"), chosen, disturbed) as pipeline:
        disturbed.pipeline = pipeline
        costs = pipeline.profile()
    return pipeline, costs


def simulators(pipeline):
    return [device.pid for device in pipeline.runner._pool._devices.values()]


def kill_all(pipeline):
    for pid in simulators(pipeline):
        os.kill(pid, signal.SIGKILL)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_job_whose_simulator_dies_is_done_again(wide, caplog):
    pipeline, _ = disturbed_run(wide, kill_all, times=1)
    assert "a simulator died, its job starts again on a fresh one" in caplog.text
    assert pipeline.outcome.passed
    results = pipeline.outcome.profile_results
    assert all(result.checked == len(result.execution.pim) for result in results)


def test_a_simulator_that_always_dies_is_an_error(wide):
    with pytest.raises(DeviceError, match="the simulator died in 2 attempts of the same job"):
        disturbed_run(wide, kill_all, times=-1)


def test_ctrl_c_ends_the_simulators_and_keeps_what_is_finished(wide, tmp_path):
    seen = []

    def interrupt(pipeline):
        if list((tmp_path / FOLDER).glob("*.json")):  # the folder is there before its first file
            seen.extend(simulators(pipeline))
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        disturbed_run(wide, interrupt, times=-1, folder=tmp_path)
    assert seen
    assert all(gone(pid) for pid in seen)
    assert list((tmp_path / FOLDER).glob("*.json"))


def test_a_full_disk_costs_the_state_and_ends_with_one_message(tiny, tmp_path, capsys, monkeypatch):
    replace = os.replace

    def full(source, target, **options):
        if tmp_path / "out" in Path(target).parents:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target, **options)

    monkeypatch.setattr(os, "replace", full)
    code, out, err = run_command(capsys, "sim", tiny, "--seq", 5, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "costs.json: No space left on device" in err
    assert "Traceback" not in err
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert left == []


def test_a_read_only_cache_changes_nothing(tiny, tmp_path, capsys, monkeypatch, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    code, _, err = run_command(capsys, "profile", tiny, "--seq", 5, "-o", tmp_path / "costs.json")
    assert code == 0, err
    assert "no cache" in caplog.text
    assert json.loads((tmp_path / "costs.json").read_text())["format"] == "pimloop-costs/1"


def test_a_plan_for_another_model(tiny, tmp_path, capsys):
    plan = {"format": "pimloop-plan/1", "assignment": {"MatMul_1": "pim"}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    code, out, err = run_command(
        capsys, "run", tiny, "--seq", 5, "--plan", tmp_path / "plan.json", "--device", "model"
    )
    assert (code, out) == (2, "")
    assert "the assignment has no device for node" in err


def test_an_operator_that_the_cpu_runtime_lacks(tmp_path, capsys):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 64]) for n in ("x", "h", "y")]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "w"], ["h"], name="first"),
            helper.make_node("Foo", ["h"], ["y"], name="strange", domain="com.example"),
        ],
        "odd",
        [value[0]],
        [value[2]],
        [onnx.numpy_helper.from_array(np.ones((2, 64), np.float32), "w")],
        value_info=[value[1]],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "odd.onnx")
    code, out, err = run_command(
        capsys, "sim", tmp_path / "odd.onnx", "--device", "model", "--out", tmp_path / "out"
    )
    assert (code, out) == (2, "")
    assert "Foo" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "give the folder that `pimloop sim` wrote"),
        ("{", "is not JSON"),
        (
            '{"format": "pimloop-report/1"}',
            'the format is "pimloop-report/1", expected "pimloop-report/2" or "pimloop-report/3"',
        ),
        ("[]", "the file must be an object, not a list"),
    ],
)
def test_report_of_a_bad_folder(content, message, tmp_path, capsys):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    code, out, err = run_command(capsys, "report", tmp_path)
    assert (code, out) == (2, "")
    assert message in err


def test_waves_names_operators_that_can_be_recorded(tiny, capsys):
    code, _, err = run_command(capsys, "waves", tiny, "--node", "nothing")
    assert code == 2
    assert "has no operator 'nothing'" in err
    assert "MatMul_" in err
    code, _, err = run_command(capsys, "waves", tiny, "--node", "Gather_0")
    assert code == 2
    assert "(Gather) does not run on the PIM" in err
    code, _, err = run_command(capsys, "waves", tiny, "--node", "Gather_0", "--device", "model")
    assert code == 2
    assert "the model device has no signals" in err


def test_the_model_device_cannot_be_profiled(tiny, tmp_path, capsys):
    code, _, err = run_command(
        capsys, "profile", tiny, "--device", "model", "-o", tmp_path / "costs.json"
    )
    assert code == 2
    assert "the model device has no clock" in err
