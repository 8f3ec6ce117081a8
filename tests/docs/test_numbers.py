"""Numbers that the prose of the pages quotes, computed again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.trees import copy_code

from pimloop.host.pim.driver import PimDriver
from pimloop.host.platforms.platform import load_platform
from pimloop.sim.device.config import SimConfig
from pimloop.sim.device.process import SimDevice
from pimloop.sim.paths import REPOSITORY

_ROW = re.compile(
    r"^\| \((\d+),(\d+)\)x\(\d+,(\d+)\) \| (\d+) us \| ([\d.]+) us \| ([+-][\d.]+) % \|$",
    re.MULTILINE,
)
PATCH = REPOSITORY / "docs" / "examples" / "interleave-bank-groups.patch"


def test_the_products_of_the_readme():
    rows = _ROW.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert len(rows) == 4
    platform = load_platform("htg-z920")
    config = SimConfig(params=platform.rtl_parameters(), memory_bytes=64 << 20)
    rng = np.random.default_rng(0)
    with (
        SimDevice(config) as device,
        PimDriver(device, column_granule=platform.driver.tile_columns) as driver,
    ):
        for p, q, r, board, shown, difference in rows:
            left = rng.standard_normal((int(p), int(q)), np.float32)
            right = rng.standard_normal((int(q), int(r)), np.float32)
            driver.matmul(driver.upload(left), driver.load_matrix(right))
            us = platform.pim_time_us(driver.last.cycles)
            assert f"{us:.1f}" == shown
            assert f"{us / int(board) - 1:+.1%}" == f"{difference}%"


def run_bert(tree: Path, folder: Path) -> dict[str, Any]:
    """Return report.json of BERT-base, run by the code in `tree` with empty caches."""
    cache = folder / "cache"
    cache.mkdir(mode=0o700)
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PIMLOOP_CACHE_DIR": str(cache),
        "PIMLOOP_BUILD_DIR": os.environ.get("PIMLOOP_BUILD_DIR", str(REPOSITORY / "build")),
    }
    out = folder / "out"
    subprocess.run(
        [sys.executable, "-m", "pimloop", "sim", "bert", "--seq", "16", "--out", str(out)],
        cwd=folder, env=environment, check=True, timeout=900, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    loaded: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return loaded


def products_us(report: dict[str, Any]) -> float:
    """Return the time of the products on the PIM in the optimal schedule."""
    rows = report["schedules"]["optimal"]["operators"]
    return float(next(r["us"] for r in rows if (r["op"], r["device"]) == ("MatMul", "pim")))


@pytest.mark.full
def test_the_table_of_change_the_rtl(tmp_path: Path):
    """BERT before and after the page's patch, in a copy of the tree, is what the page says."""
    tree = tmp_path / "tree"
    copy_code(tree)
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    old = run_bert(tree, before)
    subprocess.run(["git", "init", "--quiet", "."], cwd=tree, check=True)
    subprocess.run(["git", "apply", str(PATCH)], cwd=tree, check=True)
    new = run_bert(tree, after)

    def row(label: str, a: float, b: float, digits: str, unit: str) -> str:
        change = f"{b / a - 1:+.1%}".replace("%", " %")
        return f"| {label} | {a:{digits}}{unit} | {b:{digits}}{unit} | {change} |"

    page = (REPOSITORY / "docs" / "change-the-rtl.md").read_text(encoding="utf-8")
    totals = [report["schedules"]["optimal"]["executed_us"] / 1e3 for report in (old, new)]
    products = [products_us(report) / 1e3 for report in (old, new)]
    speed_up = [report["speedup"]["cpu_parallel_first"] for report in (old, new)]
    for wanted in (
        row("BERT-base, the 72 products on the PIM", *products, ".1f", " ms"),
        row("BERT-base, optimal placement", *totals, ".1f", " ms"),
        f"| speed-up over four CPU cores | {speed_up[0]:.2f} | {speed_up[1]:.2f} | |",
    ):
        assert wanted in page
