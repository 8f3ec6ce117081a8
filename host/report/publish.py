"""Writes the files that show a report: page, trace, plots, annotated model."""

from __future__ import annotations

from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.host.models.graph import Graph
from pimloop.host.report.annotate import write_annotated
from pimloop.host.report.build import write_report
from pimloop.host.report.chrome_trace import write_trace
from pimloop.host.report.format.report import Report
from pimloop.host.report.html import write_html

PAGE = "report.html"
TRACE = "trace.json"
PLOTS = "plots"
ANNOTATED = "model-annotated.onnx"


def publish(report: Report, graph: Graph, folder: Path) -> list[Path]:
    """Write report.json and everything that shows it; return the files.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    return [write_report(report, folder), *draw(report, graph, folder)]


def draw(report: Report, graph: Graph | None, folder: Path) -> list[Path]:
    """Write what shows a report; return the files.

    Parameters
    ----------
    graph
        The model, for the annotated .onnx; None: it is left as it is.
    folder
        Where; it exists.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    files = [folder / PAGE, folder / TRACE]
    try:
        write_html(report, files[0])
        write_trace(report, files[1])
        if graph is not None:
            files.append(folder / ANNOTATED)
            write_annotated(graph, report, files[-1])
        # Imported here: matplotlib takes a second, which `pimloop report --help` need not.
        from pimloop.host.report.plots import write_plots

        files += write_plots(report, folder / PLOTS)
    except OSError as error:
        raise PimloopError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; the results"
            f" are in {folder}/report.json, `pimloop report {folder}` draws them again"
        ) from error
    return files
