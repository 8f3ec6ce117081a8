"""An accelerator of a plug-in beside CPU and PIM: one file and a platform entry."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from pimloop.host.platforms.platform import PLATFORM_DIR

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"

#: So fast and so near that every placement worth having uses it.
FAST = (
    "npu.rate=1e6", "npu.launch_us=0.5", "transfers.cpu_to_npu_fixed_us=0.1",
    "transfers.cpu_to_npu_ns_per_element=0.01", "transfers.npu_to_cpu_fixed_us=0.1",
    "transfers.npu_to_cpu_ns_per_element=0.01",
)  # fmt: skip


def blocks() -> list[str]:
    section = PAGE.read_text().split("## A device\n")[1].split("\n## ")[0]
    excerpts = re.findall(r"(?:^    .*\n|^\n)+", section, re.MULTILINE)
    return [text for block in excerpts if (text := textwrap.dedent(block).strip())]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's package and platform, as pip would have them."""
    site = tmp_path_factory.mktemp("site")
    code, section = blocks()
    package = site / "my_pim"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "npu.py").write_text(code)
    info = site / "my_pim-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-pim\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pimloop.devices]\nnpu = my_pim.npu:npu\n")
    board = (PLATFORM_DIR / "htg-z920.toml").read_text()
    (site / "three.toml").write_text(f"{board}\n{section}\n")
    return site


def pimloop(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, "-m", "pimloop", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(installed: Path, tiny: str) -> dict[str, Any]:
    settings = [part for value in FAST for part in ("--set", value)]
    run = pimloop(
        installed, "sim", tiny, "--seq", 8, "--platform", installed / "three.toml", *settings,
        "--out", installed / "out",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "NPU" in run.stdout
    assert re.search(r"schedule +\S+ PIM \S+ NPU ", run.stdout)
    assert "NPU time: modelled by the plug-in of 'npu'" in run.stdout
    report: dict[str, Any] = json.loads((installed / "out" / "report.json").read_text())
    return report


def test_the_platform_is_shown_with_all_its_values(installed: Path) -> None:
    shown = pimloop(installed, "platforms", "show", installed / "three.toml", "--json")
    assert shown.returncode == 0, shown.stderr
    values = json.loads(shown.stdout)["values"]
    assert values["npu.rate"] == {
        "value": 20000.0, "unit": "multiply-adds a microsecond", "source": "assumed"
    }  # fmt: skip
    prices = {f"{a}_to_{b}" for a, b in permutations(("cpu", "pim", "npu"), 2)}
    assert {key for key in values if key.startswith("transfers.")} == {
        f"transfers.{pair}_{value}" for pair in prices for value in ("fixed_us", "ns_per_element")
    }


def test_the_partitioner_has_three_memories(report: dict[str, Any], installed: Path) -> None:
    costs = json.loads((installed / "out" / "costs.json").read_text())
    assert costs["memories"] == {
        "cpu": ["cpu_serial", "cpu_parallel"], "pim": ["pim"], "npu": ["npu"]
    }  # fmt: skip
    products = [node for node in report["graph"]["nodes"] if node["op"] in ("MatMul", "Gemm")]
    assert all(set(node["cost_us"]) >= {"cpu_serial", "cpu_parallel", "npu"} for node in products)
    assert all(node["source"]["npu"].startswith("modelled") for node in products)
    assert not any(
        "npu" in node["cost_us"] for node in report["graph"]["nodes"] if node not in products
    )
    assert report["profile"]["runs"] == report["profile"]["runs_lower_bound"]
    assert report["profile"]["nodes"] == report["profile"]["nodes_covered"]
    assert report["profile"]["transfers"] == report["profile"]["transfers_covered"]


def test_every_placement_is_executed_as_predicted(report: dict[str, Any]) -> None:
    optimal = report["schedules"]["optimal"]
    assert optimal["optimal"]
    assert "npu" in optimal["assignment"].values()
    assert report["verification"]["passed"]
    for schedule in report["schedules"].values():
        assert schedule["verification"]["passed"]
        assert schedule["executed_us"] == pytest.approx(schedule["predicted_us"])
        assert schedule["executed_us"] >= optimal["executed_us"] - 1e-6
        assert schedule["compute_us"] + schedule["transfer_us"] == pytest.approx(
            schedule["executed_us"]
        )
    products = sum(device == "npu" for device in optimal["assignment"].values())
    assert optimal["devices"]["npu"]["nodes"] == products
    spent = sum(device["us"] for device in optimal["devices"].values())
    assert spent == pytest.approx(optimal["compute_us"])
    lanes = {step["lane"] for step in optimal["timeline"]}
    assert {"npu", "dma"} <= lanes
    moves = {step["name"].rpartition(" ")[2] for step in optimal["timeline"] if step["tensor"]}
    assert {"cpu>npu", "npu>cpu"} <= moves


def test_page_trace_and_plots_show_the_device(report: dict[str, Any], installed: Path) -> None:
    page = (installed / "out" / "report.html").read_text()
    products = report["schedules"]["optimal"]["devices"]["npu"]["nodes"]
    assert f"{products} of 122 operators run on the NPU, the others on the CPU" in page
    assert "On NPU" in page
    words = " ".join(page.split())
    assert "NPU times are modelled by the plug-in of &#39;npu&#39;" in words
    assert "on the PIM, else NPU, whatever can run there, the rest on all CPU cores" in words
    trace = json.loads((installed / "out" / "trace.json").read_text())
    names = [e["args"].get("name") for e in trace["traceEvents"] if e["ph"] == "M"]
    assert "NPU" in names


@pytest.mark.parametrize(
    ("of", "to"), [("npu", "pim"), ("pim", "npu"), ("npu", "cpu_parallel"), ("cpu_serial", "npu")]
)
def test_any_placement_runs(
    report: dict[str, Any], installed: Path, tiny: str, of: str, to: str
) -> None:
    """Operators that can alternate between two devices; the others where they can."""
    turn = 0
    assignment = {}
    for node in report["graph"]["nodes"]:
        able = node["cost_us"]
        choices = [device for device in (of, to) if device in able]
        assignment[node["id"]] = choices[turn % len(choices)] if choices else "cpu_serial"
        turn += len(choices) > 1
    assert len({*assignment.values()} & {of, to}) == 2
    plan = {"format": "pimloop-plan/1", "assignment": assignment}
    path = installed / f"plan-{of}-{to}.json"
    path.write_text(json.dumps(plan))
    run = pimloop(
        installed, "run", tiny, "--seq", 8, "--platform", installed / "three.toml",
        "--plan", path, "--device", "model", "--json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    moves = json.loads(run.stdout)["schedules"]
    (schedule,) = moves.values()
    assert schedule["verification"]["passed"]


def test_what_is_wrong_with_the_entry_is_said(installed: Path) -> None:
    text = (installed / "three.toml").read_text()
    for broken, message in (
        (text.replace("[transfers.pim_to_npu_fixed_us]", "[transfers.pim_to_npu_fixed]"),
         "the key transfers.pim_to_npu_fixed_us is missing"),
        (text.replace('unit = "multiply-adds a microsecond"', 'unit = "GB/s"'),
         "npu.rate.unit must be 'multiply-adds a microsecond', not 'GB/s'"),
        (text.split("[transfers.cpu_to_npu")[0],
         "the key transfers.cpu_to_npu_fixed_us is missing"),
    ):  # fmt: skip
        path = installed / "broken.toml"
        path.write_text(broken)
        run = pimloop(installed, "sim", "bert-small", "--platform", path)
        assert run.returncode == 2
        assert message in " ".join(run.stderr.split())
        assert "Traceback" not in run.stderr


def test_without_the_plugin_the_section_is_unknown(installed: Path) -> None:
    run = pimloop(Path("/nowhere"), "sim", "bert-small", "--platform", installed / "three.toml")
    assert run.returncode == 2
    assert "the key npu is unknown" in " ".join(run.stderr.split())
