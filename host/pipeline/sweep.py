"""A grid of runs: models x lengths x platforms x settings, on this machine or a Dask cluster.

A point is one run of the pipeline. Its report is kept in OUT/points/<point>/report.json; a point
whose report is there is not run again while all that it depends on is the same
(`pimloop.host.pipeline.points`). Points do not depend on each other or on where they run. Tables
and figures of all points are those of `pimloop.host.pipeline.sweep_files`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.host.common.text import file_name
from pimloop.host.execution.options import Options
from pimloop.host.execution.runner import Event
from pimloop.host.models.inputs import model_inputs
from pimloop.host.models.loader import LoadOptions
from pimloop.host.pipeline.loading import Binding, Loading, load_options, loading_of
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.pipeline.points import content_key, load_point, model_content, save_point
from pimloop.host.planning.keys import digest, is_measured, machine_key
from pimloop.host.platforms.platform import load_platform
from pimloop.host.plugins.registry import load_model
from pimloop.host.report.build import build_report
from pimloop.host.report.format.report import Report
from pimloop.partitioner.quantity import quantity

POINTS = "points"

_WORDS = 60  # characters of the models' names in the name of a folder


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
    loadings: Sequence[Loading] = (Loading(),),
    bound: Sequence[Binding] = (Binding(),),
) -> list[Point]:
    """Return every combination.

    >>> [str(point) for point in grid(["bert"], [8, 16], ["aim"], {"pim.lanes": ["128", "256"]})]
    ['bert, 8 tokens, aim, pim.lanes=128', 'bert, 8 tokens, aim, pim.lanes=256', \
'bert, 16 tokens, aim, pim.lanes=128', 'bert, 16 tokens, aim, pim.lanes=256']
    """
    choices = [[(key, value) for value in values] for key, values in settings.items()]
    return [
        Point(model, length, platform, combination, loading_of(model, loading, binding), binding)
        for model, loading, length, binding, platform in product(
            models, loadings, lengths, bound, platforms
        )
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
    keys = content_keys(points, options)
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


def content_keys(points: Sequence[Point], options: Options) -> dict[Point, str | None]:
    """Return `pimloop.host.pipeline.points.content_key` of points; a model is looked at once.

    Raises
    ------
    PimloopError
        When a platform, a setting or a file of inputs is wrong.
    """
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
    shares = () if options.shares is None else ("--shares", str(options.shares))
    return (
        "pimloop", "sim", point.model, *length,
        *point.binding.arguments(), *point.loading.arguments(),
        "--platform", point.platform, "--objective", options.objective, *shares, *settings,
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
        point, options.objective, options.shares, options.flavour, options.policies,
        options.rounds, options.backend, options.time_limit_s,
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
