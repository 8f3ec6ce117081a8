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
import multiprocessing
import os
import sys
import tempfile
import traceback
import warnings
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pimloop.host.common.files import write_json, write_text

ROOT = Path(__file__).parents[2]
README = Path(__file__).with_name("README.md")
RESULTS = ROOT / "out" / "exporters.json"
LOG = ROOT / "out" / "exporters.log"  # what the exporters print
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
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    RESULTS.parent.mkdir(exist_ok=True)
    for architecture in args.architecture or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            for exporter in args.exporter or EXPORTERS:
                print(architecture, exporter, flush=True)
                result = _measure(architecture, exporter, Path(folder))
                results.setdefault(architecture, {})[exporter] = result
                write_json(RESULTS, results)
    write_text(README, _page(results, list(ARCHITECTURES), list(EXPORTERS)))
    return 0


def _measure(architecture: str, exporter: str, folder: Path) -> dict[str, Any]:
    """Return the result of `export.measure` in a forked process, or how that failed."""
    # Forked, not started anew: torch and the exporters take seconds to import.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, architecture, exporter, folder))
    process.start()
    sender.close()
    try:
        if not receiver.poll(TIMEOUT_S):
            return {"failed": f"no result in {TIMEOUT_S} s"}
        result: dict[str, Any] = receiver.recv()
        return result
    except EOFError:
        process.join()
        return {"failed": f"the process ended with code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _send(sender: Connection, architecture: str, exporter: str, folder: Path) -> None:
    from benchmarks.exporters.export import measure

    # Exporters print pages, of progress and of failures.
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        sender.send(measure(architecture, exporter, folder))
    except Exception as error:  # an exporter may raise anything; the table says what
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        sender.send({"failed": text})


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
        f"- {name}, {exporter}: `{result['failed'][:120].rstrip()}`"
        for name, row in rows
        for exporter, result in row.items()
        if "failed" in result
    ]
    results_made = [r for _, row in rows for r in row.values() if "failed" not in r]
    worst = max((r["error"] for r in results_made if r["error"] <= TOLERANCE), default=0.0)
    most = max((r["error"] for r in results_made), default=0.0)
    marked = [r.get("plain_error", r["error"]) for r in results_made if r["error"] > TOLERANCE]
    plain = max(marked, default=0.0)
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
            f"largest value, is {worst:.1e}; † marks more than {TOLERANCE:.0e}, up to {most:.1e}.",
            "There the optimizations of ONNX Runtime change its values: with them off the largest",
            f"difference is {plain:.1e}.",
            "",
            *table,
            "",
            "Products on the CPU, and why:", "", *_products_on_cpu(rows), "",
            *(["Not exported, or not loaded:", "", *failures, ""] if failures else []),
        ]
    )  # fmt: skip


def _products_on_cpu(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return a line for each reason, with the architectures where it holds."""
    where: dict[str, dict[str, None]] = {}
    for name, row in rows:
        for result in row.values():
            for reason in result.get("products_on_cpu", ()):
                where.setdefault(reason, {})[name] = None
    return [f"- {reason}: {', '.join(names)}" for reason, names in sorted(where.items())]


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
