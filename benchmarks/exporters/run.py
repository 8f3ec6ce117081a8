"""The share of multiply-adds that reaches the PIM, by architecture and exporter.

`python -m benchmarks.exporters.run` exports small models of many architectures (random weights, by
configuration) with every exporter, loads each file, executes its graph, compares it with ONNX
Runtime on the file, and writes README.md beside this file. It needs packages that pimloop does not:
torch, transformers, onnxscript, optimum-onnx. Results are kept in a file while it goes on;
`--architecture NAME` makes some of them anew.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = Path(__file__).with_name("README.md")
RESULTS = ROOT / "out" / "exporters.json"
TIMEOUT_S = 300
PACKAGES = ("torch", "transformers", "onnxscript", "optimum", "optimum-onnx", "onnx", "onnxruntime")

#: Largest difference to ONNX Runtime, of the largest value, that is not marked.
TOLERANCE = 1e-4


def main() -> int:
    """Export, measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", action="append", metavar="NAME")
    parser.add_argument("--exporter", action="append", metavar="NAME")
    args = parser.parse_args()
    from benchmarks.exporters.architectures import ARCHITECTURES
    from benchmarks.exporters.export import EXPORTERS

    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for architecture in args.architecture or ARCHITECTURES:
        for exporter in args.exporter or EXPORTERS:
            print(architecture, exporter, flush=True)
            results.setdefault(architecture, {})[exporter] = _measure(architecture, exporter)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1))
    README.write_text(_page(results, list(ARCHITECTURES), list(EXPORTERS)))
    return 0


def _measure(architecture: str, exporter: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.exporters.export", architecture, exporter]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no result in {TIMEOUT_S} s"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": lines[-1] if lines else f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _page(results: dict[str, Any], architectures: list[str], exporters: list[str]) -> str:
    rows = [(name, results[name]) for name in architectures if name in results]
    table = [
        f"| | {' | '.join(exporters)} |",
        f"|---|{'---|' * len(exporters)}",
        *(
            f"| {name} | {' | '.join(_cell(row.get(exporter)) for exporter in exporters)} |"
            for name, row in rows
        ),
    ]
    failures = [
        f"- {name}, {exporter}: `{result['failed'][:200]}`"
        for name, row in rows
        for exporter, result in row.items()
        if "failed" in result
    ]
    reasons = sorted({reason for _, row in rows for r in row.values()
                      for reason in r.get("kept_whole", ())})  # fmt: skip
    worst = max((r["error"] for _, row in rows for r in row.values() if "error" in r), default=0.0)
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            "# Share of multiply-adds that reaches the PIM",
            "",
            f"Made by `python -m benchmarks.exporters.run` on {datetime.date.today()} with",
            f"{versions}.",
            "",
            "Counted, not measured: of the multiply-adds of all products of a graph, those inside",
            "fused operators included, the part that is in operators which the PIM of platform",
            "`aim` can take. Models of 2 layers, 128 wide, 16 tokens, or images of 64 x 64.",
            "`a to b`: with fused operators whole (`--keep-fused`), and decomposed as by default;",
            "in brackets: with `--im2col`, where that differs. Every graph was executed on the CPU",
            "and compared with ONNX Runtime on the file: the largest difference, as a part of the",
            f"largest value, is {worst:.1e}; † marks more than {TOLERANCE:.0e}.",
            "",
            *table,
            "",
            *(["What stays whole, and why:", "", *(f"- {reason}" for reason in reasons), ""]
              if reasons else []),
            *(["Not exported, or not loaded:", "", *failures, ""] if failures else []),
        ]
    )  # fmt: skip


def _cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return ""
    if "failed" in result:
        return "–"
    whole, decomposed, im2col = (_percent(result[k]) for k in ("whole", "decomposed", "im2col"))
    text = decomposed if whole == decomposed else f"{whole} to {decomposed}"
    text += "" if im2col == decomposed else f" ({im2col})"
    return text + (" †" if result["error"] > TOLERANCE else "")


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %".replace("100.0", "100")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
