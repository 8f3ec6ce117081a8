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
PAGE = REPOSITORY / "docs" / "change-the-rtl.md"
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


def run(tree: Path, folder: Path, command: str) -> str:
    """Return what `pimloop` prints, run in `folder` by the code in `tree` with empty caches."""
    folder.mkdir(exist_ok=True)
    (folder / "cache").mkdir(mode=0o700)
    environment = os.environ | {
        "PYTHONPATH": str(tree),
        "PIMLOOP_CACHE_DIR": str(folder / "cache"),
        "PIMLOOP_BUILD_DIR": os.environ.get("PIMLOOP_BUILD_DIR", str(REPOSITORY / "build")),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pimloop", *command.split()],
        cwd=folder, env=environment, check=True, timeout=900, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout


def run_bert(tree: Path, folder: Path) -> dict[str, Any]:
    """Return report.json of BERT-base, run by the code in `tree` with empty caches."""
    run(tree, folder, "sim bert --seq 16 --out out")
    loaded: dict[str, Any] = json.loads((folder / "out" / "report.json").read_text("utf-8"))
    return loaded


def run_gemm(tree: Path, folder: Path) -> tuple[int, int]:
    """Return DRAM clocks and activations of the product of change-the-rtl.md, which is right."""
    text = run(tree, folder, "gemm 16 768 768")
    assert re.search(r"^│ bits equal to golden model +│ yes +│$", text, re.MULTILINE)
    numbers = dict(re.findall(r"^│ +(act|cycles)\b[^│]*│ ([\d,]+) +│$", text, re.MULTILINE))
    return int(numbers["cycles"].replace(",", "")), int(numbers["act"].replace(",", ""))


def patched_tree(folder: Path) -> Path:
    """Return a copy of the code, made in `folder`, with the patch of change-the-rtl.md."""
    copy_code(folder)
    subprocess.run(["git", "init", "--quiet", "."], cwd=folder, check=True)
    subprocess.run(["git", "apply", str(PATCH)], cwd=folder, check=True)
    return folder


def products_us(report: dict[str, Any]) -> float:
    """Return the time of the products on the PIM in the optimal schedule."""
    rows = report["schedules"]["optimal"]["operators"]
    return float(next(r["us"] for r in rows if (r["op"], r["device"]) == ("MatMul", "pim")))


def test_the_product_of_change_the_rtl(tmp_path: Path):
    clocks, activations = run_gemm(REPOSITORY, tmp_path / "before")
    page = PAGE.read_text(encoding="utf-8")
    assert f"| (16,768)x(768,768), DRAM clocks | {clocks:,} | " in page
    assert f"| activations in it | {activations:,} | " in page


@pytest.mark.full
def test_the_product_of_change_the_rtl_with_its_patch(tmp_path: Path):
    old = run_gemm(REPOSITORY, tmp_path / "before")
    new = run_gemm(patched_tree(tmp_path / "tree"), tmp_path / "after")
    change = f"{new[0] / old[0] - 1:+.1%}".replace("%", " %")
    page = PAGE.read_text(encoding="utf-8")
    assert f", DRAM clocks | {old[0]:,} | {new[0]:,} | {change} |\n" in page
    assert f" in it | {old[1]:,} | {new[1]:,} | x {new[1] / old[1]:.1f} |\n" in page


@pytest.mark.full
def test_the_table_of_change_the_rtl(tmp_path: Path):
    """BERT before and after the page's patch, in a copy of the tree, is what the page says."""
    old = run_bert(REPOSITORY, tmp_path / "before")
    new = run_bert(patched_tree(tmp_path / "tree"), tmp_path / "after")

    def row(label: str, a: float, b: float, digits: str, unit: str) -> str:
        change = f"{b / a - 1:+.1%}".replace("%", " %")
        return f"| {label} | {a:{digits}}{unit} | {b:{digits}}{unit} | {change} |"

    page = PAGE.read_text(encoding="utf-8")
    totals = [report["schedules"]["optimal"]["executed_us"] / 1e3 for report in (old, new)]
    products = [products_us(report) / 1e3 for report in (old, new)]
    speed_up = [report["speedup"]["cpu_parallel_first"] for report in (old, new)]
    for wanted in (
        row("BERT-base, the 72 products on the PIM", *products, ".1f", " ms"),
        row("BERT-base, optimal placement", *totals, ".1f", " ms"),
        f"| speed-up over four CPU cores | {speed_up[0]:.2f} | {speed_up[1]:.2f} | |",
    ):
        assert wanted in page


@pytest.mark.full
@pytest.mark.parametrize("words", ["gpt2 w4", "smollm2-135m w8"])
def test_the_errors_of_integer_weights(words: str, tmp_path: Path):
    """docs/models.md: of every product, and of 64 next tokens."""
    model, kind = words.split()
    printed = run(REPOSITORY, tmp_path, f"quantize {model} --weights {kind} --steps 64 --json")
    report = json.loads(printed)
    assert len(report["steps"]) == 64
    errors = [product["result_error"] for product in report["products"]]
    nbytes = sum(product["bytes"] for product in report["products"])
    agreeing = sum(step["token"] == step["quantized"] for step in report["steps"])
    row = (
        f"| `{model}`, `{kind}` | {len(errors)} | {nbytes / 1e6:.1f} MB"
        f" | {100 * np.median(errors):.2f} % ({100 * max(errors):.2f} %) | {agreeing} of 64"
        f" | {report['divergence_mean']:.3g} ({report['divergence_max']:.3g}) |\n"
    )
    assert row in (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
