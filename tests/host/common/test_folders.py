"""Nothing is written through a symbolic link that leads out of an output folder."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

import pytest

import pimloop.host.pipeline.state
from pimloop.errors import PimloopError
from pimloop.host.cli import main
from pimloop.host.common.files import write_json, write_text
from pimloop.host.common.folders import check_inside, make_subfolder
from pimloop.host.platforms.platform import load_platform
from pimloop.host.store import folder as cache
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice
from pimloop.sim.errors import SimError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output folder beside a folder `elsewhere`."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_link_that_leads_out_is_refused(out: Path) -> None:
    (out / "plots").symlink_to("../elsewhere")
    with pytest.raises(PimloopError, match="plots is a symbolic link that leads out of"):
        make_subfolder(out, "plots")
    (out / "points").mkdir()
    (out / "points" / "a").symlink_to(out.parent / "elsewhere")
    with pytest.raises(PimloopError, match="points/a is a symbolic link"):
        make_subfolder(out, "points", "a")
    assert not list((out.parent / "elsewhere").iterdir())


def test_links_inside_and_to_the_whole_folder_are_followed(out: Path) -> None:
    (out / "real").mkdir()
    (out / "plots").symlink_to("real")
    assert make_subfolder(out, "plots") == out / "plots"
    (out.parent / "link").symlink_to(out)
    assert make_subfolder(out.parent / "link", "state").is_dir()
    assert (out / "state").is_dir()


def test_links_in_a_circle_are_refused(out: Path) -> None:
    (out / "a").symlink_to("b")
    (out / "b").symlink_to("a")
    with pytest.raises(PimloopError, match="nothing is written through it"):
        check_inside(out, "a")


def test_a_file_that_is_a_link_is_replaced_not_written_through(out: Path) -> None:
    target = out.parent / "elsewhere" / "file"
    target.write_text("kept")
    for name, write in (("a.json", write_json), ("b.csv", write_text)):
        (out / name).symlink_to(target)
        write(out / name, "new")
        assert not (out / name).is_symlink()
    assert target.read_text() == "kept"


def test_a_pipe_is_written_to_and_stays(out: Path) -> None:
    pipe = out / "costs.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, {"a": 1})
    assert os.read(reader, 100) == b'{\n "a": 1\n}\n'
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_that_cannot_be_written_keeps_what_it_held(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "a.json").write_text("kept")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PimloopError, match=r"cannot write .*a\.json: No space left on device"):
        write_json(out / "a.json", {})
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("a.json", "kept")]


def test_an_interrupted_write_leaves_nothing_beside_the_file(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "a.json").write_text("kept")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_json(out / "a.json", {})
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("a.json", "kept")]


@pytest.mark.parametrize(
    "command",
    [
        ["profile", "no-such-model", "-o"],
        ["run", "no-such-model", "--device", "model", "--outputs"],
        ["calibrate", "--output"],
        ["validate-board", "--write"],
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    command: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Work would take minutes, or say first that there is no such model."""
    (out / "folder.toml").mkdir()
    refused = {
        out / "absent" / "f.toml": "No such file or directory",
        out / "folder.toml": "it is a folder",
    }
    for path, reason in refused.items():
        assert main([*command, str(path)]) == 2
        assert f"cannot write {path}: {reason}; choose another place" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plots", "state"])
def test_sim_refuses_before_it_works(
    out: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / name).symlink_to("../elsewhere")
    assert main(["sim", "bert", "--seq", "1", "--device", "model", "--out", str(out)]) == 2
    assert f"{out / name} is a symbolic link that leads out of {out}" in capsys.readouterr().err
    assert not list((out.parent / "elsewhere").iterdir())


def test_an_interrupted_run_keeps_nothing_through_a_link(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (out / "state").symlink_to("../elsewhere")
    state = pimloop.host.pipeline.state.State(out, "context", None, None, None)  # type: ignore[arg-type]
    monkeypatch.setattr(pimloop.host.pipeline.state, "to_dict", lambda result: {})
    with caplog.at_level(logging.WARNING):
        state.save(pimloop.host.pipeline.state.Job("run 1", {}), None)  # type: ignore[arg-type]
    assert "is a symbolic link" in caplog.text
    assert not list((out.parent / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["simulator.log", "simulator.jsonl"])
def test_a_simulators_log_is_not_written_through_a_link(out: Path, name: str) -> None:
    target = out.parent / "elsewhere" / "file"
    target.write_text("kept")
    (out / name).symlink_to(target)
    params = load_platform("htg-z920").rtl_parameters()
    with pytest.raises(SimError, match="cannot write the simulator's log"):
        SimDevice(SimConfig(params=params, log_dir=out, memory_bytes=1 << 20))
    assert target.read_text() == "kept"


@pytest.mark.parametrize("mode", [0o777, 0o707])
def test_a_cache_that_everybody_can_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    monkeypatch.setattr(cache, "_warned", set())
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert cache.cache_folder() is None
    assert f"mode {mode:04o}) can be written by every user" in caplog.text
    assert "set PIMLOOP_CACHE_DIR" in caplog.text
