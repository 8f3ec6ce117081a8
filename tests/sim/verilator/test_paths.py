"""Folders that others can write are not used; paths with spaces can be built in."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from support.paths import SIM_RTL

import pimloop.sim.paths
from pimloop.sim.bench.unit import STOCK_MAIN
from pimloop.sim.errors import SimError
from pimloop.sim.paths import PlainPaths, distrust
from pimloop.sim.verilator import build as build_module
from pimloop.sim.verilator.build import PROGRAM, BuildSpec, build
from pimloop.sim.verilator.doctor import _build_folder
from pimloop.sim.verilator.toolchain import Toolchain, find_toolchain

COUNTER = SIM_RTL / "counter.sv"


@pytest.fixture
def spec():
    return BuildSpec(top="counter", sources=(COUNTER,), main=STOCK_MAIN, params={"Width": 4})


@pytest.fixture
def root(monkeypatch, tmp_path):
    """Return the build folder, which does not exist yet."""
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "builds"))
    return tmp_path / "builds"


def foreign(monkeypatch, path):
    """Let `path` be another user's for this process."""
    monkeypatch.setattr(pimloop.sim.paths.os, "geteuid", lambda: path.stat().st_uid + 4711)
    monkeypatch.setattr(pimloop.sim.paths, "_ROOT", -1)


def test_own_folder_is_trusted(tmp_path):
    tmp_path.chmod(0o755)
    assert distrust(tmp_path, of_root=False) is None


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_folder_that_everybody_can_write_is_not(tmp_path, mode):
    tmp_path.chmod(mode)
    why = distrust(tmp_path, of_root=True)
    assert str(tmp_path) in why
    assert f"mode {mode:04o}" in why
    assert "can be written by every user: chmod go-w" in why


def test_folder_that_a_group_can_write_is_not_unless_the_group_is_the_users_own(
    tmp_path, monkeypatch
):
    tmp_path.chmod(0o775)
    monkeypatch.setattr(pimloop.sim.paths, "_private_group", lambda group, user: False)
    assert "can be written by the group" in distrust(tmp_path, of_root=True)
    monkeypatch.setattr(pimloop.sim.paths, "_private_group", lambda group, user: True)
    assert distrust(tmp_path, of_root=True) is None


def test_a_group_with_further_members_is_not_private(monkeypatch):
    class Entry:
        pw_name = gr_name = "me"
        pw_gid = 1000
        gr_mem = ("me",)

    class Other(Entry):
        pw_name = "you"

    monkeypatch.setattr(pimloop.sim.paths.grp, "getgrgid", lambda _: Entry)
    monkeypatch.setattr(pimloop.sim.paths.pwd, "getpwuid", lambda _: Entry)
    monkeypatch.setattr(pimloop.sim.paths.pwd, "getpwall", lambda: [Entry])
    assert pimloop.sim.paths._private_group(1000, 1)
    monkeypatch.setattr(pimloop.sim.paths.pwd, "getpwall", lambda: [Entry, Other])
    assert not pimloop.sim.paths._private_group(1000, 1)


def test_folder_of_another_user_is_not_and_roots_is_where_allowed(tmp_path, monkeypatch):
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(pimloop.sim.paths.os, "geteuid", lambda: owner + 4711)
    monkeypatch.setattr(pimloop.sim.paths, "_ROOT", owner)
    assert distrust(tmp_path, of_root=True) is None
    assert "belongs to another user" in distrust(tmp_path, of_root=False)


def test_a_link_is_judged_by_what_it_leads_to(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    assert "every user" in distrust(tmp_path / "link", of_root=True)


def test_nothing_is_built_in_a_foreign_folder(spec, root, monkeypatch):
    root.mkdir()
    foreign(monkeypatch, root)
    with pytest.raises(SimError, match=r"belongs to another user, or set PIMLOOP_BUILD_DIR"):
        build(spec)
    assert not list(root.iterdir())


def test_a_build_is_its_users_to_write_and_not_run_otherwise(
    spec, root, runtime_objects, monkeypatch
):
    """Made under an open umask; then opened at each of its places."""

    def make_root(folder):
        make(folder)
        for objects in runtime_objects:
            shutil.copytree(objects, folder / objects.name, copy_function=os.symlink)

    make = build_module.make_root
    before = os.umask(0)
    try:
        monkeypatch.setattr(build_module, "make_root", make_root)
        program = build(spec)
    finally:
        os.umask(before)
        monkeypatch.setattr(build_module, "make_root", make)
    assert program.name == PROGRAM
    for place in (program, program.parent, root):
        assert not place.stat().st_mode & 0o022
        mode = place.stat().st_mode & 0o7777
        place.chmod(0o777)
        with pytest.raises(SimError, match="can be written by every user") as error:
            build(spec)
        assert f"{place} (owner " in str(error.value)
        place.chmod(mode)
    assert build(spec) == program
    root.chmod(0o777)
    finding = _build_folder()
    assert finding.version is None
    assert "every user" in finding.place


def test_plain_paths_lead_to_the_same_files(tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    with PlainPaths() as plain:
        name = plain(folder / "a.txt")
        assert name.read_text() == "a"
        assert plain(folder / "a.txt") == name
        assert plain(folder) == name.parent
        assert " " not in str(name)
        assert plain(tmp_path) == tmp_path
    assert not name.parent.parent.exists()


@pytest.mark.full  # builds with a copy of Verilator
def test_everything_may_lie_in_paths_with_spaces(tmp_path, monkeypatch):
    """Sources, build folder, Verilator, Python and temporary files."""
    spaced = tmp_path / "with space" / "pimloop x"
    spaced.mkdir(parents=True)
    (spaced / "counter.sv").write_text(COUNTER.read_text())
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(spaced / "my builds"))
    monkeypatch.setattr("pimloop.sim.paths.tempfile.tempdir", str(spaced))
    tools = find_toolchain()
    root = None
    if tools.root is not None:
        (spaced / "verilator").symlink_to(tools.root)
        root = spaced / "verilator"
    (spaced / "python").symlink_to(sys.executable)
    moved = Toolchain(
        tools.verilator, root, tools.compiler, tools.make, python=str(spaced / "python")
    )
    monkeypatch.setattr("pimloop.sim.verilator.build.find_toolchain", lambda: moved)
    source = spaced / "counter.sv"
    for trace in (False, True):
        program = build(BuildSpec(top="counter", sources=(source,), main=STOCK_MAIN, trace=trace))
        assert program.parent.parent == spaced / "my builds"
        assert os.access(program, os.X_OK)
