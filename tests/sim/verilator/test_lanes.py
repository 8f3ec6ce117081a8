"""The record of verified lanes: current, sensitive to what lanes are, and obeyed by commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mutants import mutated, patches
from support.trees import copy_code

from pimloop.sim.device import lanes
from pimloop.sim.device.lanes import RTL, hashes, lane_texts


@pytest.fixture
def rtl(tmp_path):
    """Return a copy of rtl/."""
    return Path(
        shutil.copytree(RTL, tmp_path / "rtl", ignore=shutil.ignore_patterns("__pycache__"))
    )


def test_the_lanes_of_this_tree_are_verified():
    assert lanes.verified(), (
        "run `python -m pimloop.sim.device.lanes --verify` and commit sim/dpi/verified.toml"
    )
    assert lanes.default_flavour() == "native"


def test_what_lanes_and_buffers_are():
    assert [name for name in lane_texts() if not name.startswith("pim_pkg: ")] == [
        "pim_lane",
        "pim_lanes",
        "pim_ram",
        "pim_scalar_buf",
        "pim_transpose_square",
    ]
    of_package = [text for name, text in lane_texts().items() if name.startswith("pim_pkg: ")]
    functions = [text for text in of_package if text.startswith("function ")]
    (enum,) = (text for text in of_package if text not in functions)
    assert enum.endswith("lane_op_e;")
    assert {re.findall(r"(\w+)\(", text)[0] for text in functions} == {
        "leading_zeros", "round_bf16", "stop_at", "sum_of",
    }  # fmt: skip


@pytest.mark.parametrize("patch", patches("lane"), ids=lambda patch: patch.stem)
def test_every_broken_lane_is_another_one(rtl, patch, tmp_path):
    for path in mutated(patch, sorted(RTL.glob("pim_*.sv")), tmp_path / "changed"):
        if path.parent != RTL:
            shutil.copy(path, rtl)
    assert hashes(rtl)["rtl"] != hashes()["rtl"]


def test_comments_white_space_and_other_declarations_are_not_the_lane(rtl):
    for name, old, new in [
        ("pim_lane.sv", "module pim_lane #(", "// a comment\nmodule   pim_lane /* or two */ #("),
        ("pim_pkg.sv", "CmdRef = 3'd5", "CmdRef = 3'd6"),
        ("pim_sched.sv", "module pim_sched", "module  pim_sched"),
    ]:
        text = (rtl / name).read_text()
        assert old in text
        (rtl / name).write_text(text.replace(old, new))
    assert hashes(rtl) == hashes()


def test_another_code_of_an_operation_is_another_lane(rtl):
    text = (rtl / "pim_pkg.sv").read_text()
    changed, times = re.subn(r"LaneMac = (\d'd)0", r"LaneMac = \g<1>7", text)
    assert times == 1
    (rtl / "pim_pkg.sv").write_text(changed)
    assert hashes(rtl)["rtl"] != hashes()["rtl"]


def test_a_record_that_cannot_be_read_verifies_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(lanes, "verified", lanes.verified.__wrapped__)
    for text in ("", "rtl = 1", "not toml", None):
        elsewhere = replace(lanes.RECORD, path=tmp_path / "verified.toml")
        monkeypatch.setattr(lanes, "RECORD", elsewhere)
        if text is None:
            (tmp_path / "verified.toml").unlink()
        else:
            (tmp_path / "verified.toml").write_text(text)
        assert lanes.default_flavour() == "rtl"
    assert "not verified" in lanes.lanes_text("native")


def pimloop(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a copy of the tree."""
    return subprocess.run(
        [sys.executable, "-m", "pimloop", *arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.full  # builds a device of its own
def test_a_broken_lane_is_seen_by_gemm(tmp_path):
    """A lane broken in a copy of the tree: RTL lanes compute, the wrong elements are named."""
    tree = tmp_path / "tree"
    copy_code(tree)
    (patch,) = (patch for patch in patches("lane") if patch.stem == "sign_of_difference")
    for path in mutated(patch, sorted(RTL.glob("pim_*.sv")), tmp_path / "changed"):
        shutil.copy(path, tree / "rtl")

    broken = pimloop(tree, "gemm", "3", "40", "50", "--json")
    assert broken.returncode == 1, broken.stderr
    report = json.loads(broken.stdout)
    assert (report["lanes"], report["bit_exact"]) == ("RTL", False)
    assert report["wrong"].startswith("gemm: ")
    assert "of 150 elements differ, first at [" in report["wrong"]
    assert "RTL lanes compute" in broken.stderr

    forced = pimloop(tree, "gemm", "3", "40", "50", "--lanes", "native", "--json")
    assert forced.returncode == 0, forced.stderr
    assert "not verified" in json.loads(forced.stdout)["lanes"]
    assert "native lanes compute" in forced.stderr
