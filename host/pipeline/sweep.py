"""A grid of runs: models x lengths x platforms x settings, on this machine or a Dask cluster.

A point is one run of the pipeline. Its report is kept in OUT/points/<point>/report.json; a point
whose report is there is not run again while all that it depends on is the same
(`pimloop.host.pipeline.points`). Points do not depend on each other or on where they run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.common.text import csv_cell, file_name
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Event
from pimloop.host.models.inputs import model_inputs
from pimloop.host.models.loader import LoadOptions
from pimloop.host.pipeline.flow import Pipeline
from pimloop.host.pipeline.loading import Binding, Loading, load_options, loading_of
from pimloop.host.pipeline.points import content_key, load_point, model_content, save_point
from pimloop.host.planning.keys import digest, is_measured, machine_key
from pimloop.host.platforms.platform import load_platform
from pimloop.host.plugins.registry import load_model
from pimloop.host.report.build import build_report
from pimloop.host.report.format.report import Report
from pimloop.partitioner.quantity import quantity

FORMAT = "pimloop-sweep/1"
POINTS = "points"

_WORDS = 60  # characters of the models' names in the name of a folder

_COLUMNS = ("model", "sequence_length", "axes", "shapes", "inputs", "platform", "settings",
            "schedule", "predicted_us", "executed_us", "optimal", "lower_bound_us",
            "cpu_times_disturbed")  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    model: str
    sequence_length: int | None
    platform: str
    settings: tuple[tuple[str, str], ...] = ()  # values of the platform that are changed
    loading: Loading = field(default_factory=Loading)
    binding: Binding = field(default_factory=Binding)

    def load_options(self) -> LoadOptions:
        """Return what the model is loaded with."""
        return load_options(self.sequence_length, self.loading, self.binding)

    def __str__(self) -> str:
        """Return a few words for a person."""
        length = (
            "" if self.sequence_length is None else f", {quantity(self.sequence_length, 'token')}"
        )
        changed = "".join(f", {key}={value}" for key, value in self.settings)
        loaded = f"{Path(self.model).name}{length}{self.binding.words()}{self.loading.words()}"
        return f"{loaded}, {Path(self.platform).stem}{changed}"


@dataclass(frozen=True)
class Finished:
    """A point that was run, now or before."""

    point: Point
    report: Report | None  # None: it failed
    error: str = ""
    before: bool = False  # taken from an earlier sweep
    measured_on: str | None = None  # machine where times were measured; None: no time was


#: Runs points and yields them in any order.
Backend = Callable[[Sequence[Point], Options], Iterator[Finished]]


def grid(
    models: Sequence[str],
    lengths: Sequence[int | None],
    platforms: Sequence[str],
    settings: Mapping[str, Sequence[str]],
    loading: Loading | None = None,
    bound: Sequence[Binding] = (Binding(),),
) -> list[Point]:
    """Return every combination.

    >>> [str(point) for point in grid(["bert"], [8, 16], ["aim"], {"pim.lanes": ["128", "256"]})]
    ['bert, 8 tokens, aim, pim.lanes=128', 'bert, 8 tokens, aim, pim.lanes=256', \
'bert, 16 tokens, aim, pim.lanes=128', 'bert, 16 tokens, aim, pim.lanes=256']
    """
    loaded = loading or Loading()
    choices = [[(key, value) for value in values] for key, values in settings.items()]
    return [
        Point(model, length, platform, combination, loading_of(model, loaded, binding), binding)
        for model, length, binding, platform in product(models, lengths, bound, platforms)
        for combination in product(*choices)
    ]


def run_sweep(
    points: Sequence[Point],
    folder: Path,
    options: Options,
    backend: Backend,
    finished: Callable[[Finished], None],
) -> list[Finished]:
    """Run the points that `folder` has no valid report of; return all, in the order of `points`.

    Parameters
    ----------
    options
        With `fresh` every point is run.
    finished
        Called with every point when it is over.

    Raises
    ------
    PimloopError
        When a platform, a setting or a file of inputs is wrong, before anything is run, or
        `folder` cannot be written to.
    """
    keys = _content_keys(points, options)
    places = {point: folder / POINTS / point_name(point, options) for point in points}
    over: dict[Point, Finished] = {}
    for point in () if options.fresh else points:
        platform = load_platform(point.platform, dict(point.settings))
        report = load_point(places[point], keys[point], platform)
        if report is not None:
            over[point] = Finished(point, report, before=True)
            finished(over[point])
    for done in backend([point for point in points if point not in over], options):
        if done.report is not None:
            save_point(places[done.point], keys[done.point], done.measured_on, done.report)
        over[done.point] = done
        finished(done)
    return [over[point] for point in points]


def _content_keys(points: Sequence[Point], options: Options) -> dict[Point, str | None]:
    models: dict[tuple[object, ...], str | None] = {}
    keys = {}
    for point in points:
        platform = load_platform(point.platform, dict(point.settings))
        model = (point.model, point.sequence_length, point.loading, point.binding)
        if model not in models:
            models[model] = model_content(point.model, point.load_options())
        keys[point] = content_key(models[model], platform, options)
    return keys


def run_point(
    point: Point, options: Options, progress: Callable[[Event], None] | None = None
) -> tuple[Report, str | None]:
    """Run one point; return its report, and this machine's key when times were measured.

    Raises
    ------
    PimloopError
        As the pipeline.
    """
    platform = load_platform(point.platform, dict(point.settings))
    options = replace(options, command=point_command(point, options))
    loaded = point.load_options()
    graph = load_model(point.model, loaded)
    where = str(point.binding.inputs)
    feeds = model_inputs(graph, loaded.given or None, point.loading.seed, where)
    with Pipeline(graph, feeds, platform, options, progress) as pipeline:
        report = build_report(pipeline.run())
    return report, machine_key() if is_measured(platform) else None


def point_command(point: Point, options: Options) -> tuple[str, ...]:
    """Return the command that runs one point alone.

    >>> point = Point("bert", 8, "aim", (("pim.lanes", "8"),))
    >>> " ".join(point_command(point, Options()))
    'pimloop sim bert --seq 8 --seed 0 --platform aim --objective sequential --set pim.lanes=8'
    """
    length = () if point.sequence_length is None else ("--seq", str(point.sequence_length))
    settings = [part for key, value in point.settings for part in ("--set", f"{key}={value}")]
    return (
        "pimloop", "sim", point.model, *length,
        *point.binding.arguments(), *point.loading.arguments(),
        "--platform", point.platform, "--objective", options.objective, *settings,
    )  # fmt: skip


def locally(progress: Callable[[Event], None]) -> Backend:
    """Return a backend that runs points one after the other, each on all simulators."""

    def backend(points: Sequence[Point], options: Options) -> Iterator[Finished]:
        for point in points:

            def show(event: Event, point: Point = point) -> None:
                progress(replace(event, job=f"{point}: {event.job}"))

            try:
                report, measured_on = run_point(point, options, show)
                yield Finished(point, report, measured_on=measured_on)
            except PimloopError as error:
                yield Finished(point, None, str(error))

    return backend


def point_name(point: Point, options: Options) -> str:
    """Return the name of a point's folder: a few words, and a hash of what was asked for."""
    content = digest(
        point, options.objective, options.flavour, options.policies, options.rounds,
        options.backend, options.time_limit_s,
    )  # fmt: skip
    length = "" if point.sequence_length is None else f"-{point.sequence_length}"
    words = f"{Path(point.model).name}{length}-{Path(point.platform).stem}"
    return f"{file_name(words)}-{content[:12]}"


def sweep_name(points: Sequence[Point], options: Options) -> str:
    """Return the name of a sweep's folder: its models, and a hash of what is swept.

    The same sweep has the same folder, another sweep another one.
    """
    models = dict.fromkeys(Path(point.model).name for point in points)
    content_hash = digest([point_name(point, options) for point in points])
    return f"sweep-{file_name('-'.join(models))[:_WORDS]}-{content_hash[:8]}"


def rows(points: Iterable[Finished]) -> list[dict[str, Any]]:
    """Return a row for every schedule of every point that did not fail."""
    return [
        {
            "model": done.report["model"],
            "sequence_length": done.report["sequence_length"],
            "axes": dict(done.point.binding.axes),
            "shapes": {name: list(shape) for name, shape in done.point.binding.shapes},
            "inputs": done.point.binding.inputs,
            "platform": Path(done.point.platform).stem,
            "settings": dict(done.point.settings),
            "schedule": name,
            "predicted_us": schedule["predicted_us"],
            "executed_us": schedule["executed_us"],
            "optimal": schedule["optimal"],
            "lower_bound_us": schedule["lower_bound_us"],
            "cpu_times_disturbed": done.report["cpu_times_disturbed"],
        }
        for done in points
        if done.report is not None
        for name, schedule in done.report["schedules"].items()
    ]


def summary(points: Sequence[Finished]) -> dict[str, Any]:
    """Return sweep.json."""
    return {
        "format": FORMAT,
        "rows": rows(points),
        "points": [
            {
                "point": str(done.point),
                "reused": done.before,
                "passed": None if done.report is None else done.report["verification"]["passed"],
                "error": done.error or None,
            }
            for done in points
        ],
    }


def to_csv(table: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV; axes, shapes and settings as `key=value` with semicolons between.

    Text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        shapes = {name: "x".join(map(str, shape)) for name, shape in row["shapes"].items()}
        cells = {
            **row,
            "axes": _pairs(row["axes"]),
            "shapes": _pairs(shapes),
            "settings": _pairs(row["settings"]),
        }
        writer.writerow({name: csv_cell(cell) for name, cell in cells.items()})
    return text.getvalue()


def _pairs(values: Mapping[str, object]) -> str:
    return ";".join(f"{key}={value}" for key, value in values.items())


def plotted(table: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows for figures: what a point binds stands among its settings."""
    return [{**row, "settings": {**_binding(row).texts(), **row["settings"]}} for row in table]


def _binding(row: Mapping[str, Any]) -> Binding:
    shapes = tuple((name, tuple(shape)) for name, shape in row["shapes"].items())
    return Binding(tuple(row["axes"].items()), shapes, row["inputs"])
