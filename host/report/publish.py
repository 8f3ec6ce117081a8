"""Writes the files that show a report: page, trace, plots, annotated model."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.host.common.folders import check_inside
from pimloop.host.models.graph import Graph
from pimloop.host.report.annotate import write_annotated
from pimloop.host.report.build import write_report
from pimloop.host.report.chrome_trace import write_trace
from pimloop.host.report.format.report import Report
from pimloop.host.report.html import write_html

PAGE = "report.html"
TRACE = "trace.json"
PLOTS = "plots"
#: Figures of a run, each as PNG and SVG.
FIGURES = ("schedules", "breakdown", "energy", "timeline", "roofline")
ANNOTATED = "model-annotated.onnx"


def publish(report: Report, graph: Graph, folder: Path, *, plots: bool = True) -> list[Path]:
    """Write report.json and everything that shows it, with or without plots; return the files.

    Raises
    ------
    PimloopError
        When a file cannot be written.
    """
    return [write_report(report, folder), *draw(report, graph, folder, plots=plots)]


def draw(report: Report, graph: Graph | None, folder: Path, *, plots: bool = True) -> list[Path]:
    """Write what shows a report; return the files.

    Parameters
    ----------
    graph
        The model, for the annotated .onnx; None: it is left as it is.
    folder
        Where; it exists. Figures of an earlier run are removed from it.
    plots
        Whether the figures are drawn.

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
        _remove_figures(folder / PLOTS)
        if plots:
            # Imported here: matplotlib takes a second, which `pimloop report --help` need not.
            from pimloop.host.report.plots import write_plots

            files += write_plots(report, folder / PLOTS)
    except OSError as error:
        raise PimloopError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; the results"
            f" are in {folder}/report.json, `pimloop report {folder}` draws them again"
        ) from error
    return files


def _remove_figures(folder: Path) -> None:
    """Remove an earlier run's figures: they would pass for those of the report beside them."""
    check_inside(folder.parent, folder.name)
    if not folder.is_dir():
        return
    for name in FIGURES:
        for kind in ("png", "svg"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # only where nothing is left in it
