"""Writes the files that show a report: page, trace, plots, annotated model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from host.models.graph import Graph
from host.report import write_report


def publish(report: dict[str, Any], graph: Graph | None, folder: Path) -> list[Path]:
    """Write everything that a report is shown as; return the files.

    Parameters
    ----------
    report
        Of `host.report.build_report`.
    graph
        The model, for the annotated .onnx; None: leave it out.
    folder
        Where; it exists.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    return [write_report(report, folder)]
