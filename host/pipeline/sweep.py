"""A grid of runs: models x lengths x platforms x settings, on this machine or a Dask cluster.

A point is one run of the pipeline. Its report is kept in OUT/points/<point>/report.json; a point
whose report is there is not run again. Points do not depend on each other or on where they run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from host.errors import PimloopError
from host.models.inputs import random_inputs
from host.models.loader import LoadOptions
from host.pipeline.execute import Event
from host.pipeline.flow import Pipeline
from host.pipeline.keys import code_key, digest
from host.pipeline.options import Options
from host.platform import load_platform
from host.plugins import load_model
from host.report import FILE_NAME, build_report, make_folder, read_report, write_report
from partitioner.errors import PartitionerError
from sim.errors import SimError

FORMAT = "pimloop-sweep/1"
POINTS = "points"

_COLUMNS = ("model", "sequence_length", "platform", "settings", "schedule",
            "predicted_us", "executed_us")  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    model: str
    sequence_length: int | None
    platform: str
    settings: tuple[tuple[str, str], ...] = ()  # values of the platform that are changed
    seed: int = 0

    def __str__(self) -> str:
        """Return a few words for a person."""
        length = "" if self.sequence_length is None else f", {self.sequence_length} tokens"
        changed = "".join(f", {key}={value}" for key, value in self.settings)
        return f"{Path(self.model).name}{length}, {Path(self.platform).stem}{changed}"


@dataclass(frozen=True)
class Finished:
    """A point that was run, now or before."""

    point: Point
    report: dict[str, Any] | None  # None: it failed
    error: str = ""
    before: bool = False  # taken from an earlier sweep


#: Runs points and yields them in any order.
Backend = Callable[[Sequence[Point], Options], Iterator[Finished]]


def grid(
    models: Sequence[str],
    lengths: Sequence[int | None],
    platforms: Sequence[str],
    settings: Mapping[str, Sequence[str]],
    seed: int = 0,
) -> list[Point]:
    """Return every combination.

    >>> [str(point) for point in grid(["bert"], [8, 16], ["aim"], {"pim.lanes": ["128", "256"]})]
    ['bert, 8 tokens, aim, pim.lanes=128', 'bert, 8 tokens, aim, pim.lanes=256', \
'bert, 16 tokens, aim, pim.lanes=128', 'bert, 16 tokens, aim, pim.lanes=256']
    """
    choices = [[(key, value) for value in values] for key, values in settings.items()]
    return [
        Point(model, length, platform, combination, seed)
        for model, length, platform in product(models, lengths, platforms)
        for combination in product(*choices)
    ]


def run_sweep(
    points: Sequence[Point],
    folder: Path,
    options: Options,
    backend: Backend,
    finished: Callable[[Finished], None],
) -> list[Finished]:
    """Run the points whose report is not in `folder`; return all, in the order of `points`.

    Parameters
    ----------
    finished
        Called with every point when it is over.

    Raises
    ------
    PimloopError
        When a platform or setting is wrong, before anything is run, or `folder` cannot be
        written to.
    """
    keys = {point: point_key(point, options) for point in points}
    over: dict[Point, Finished] = {}
    for point in points:
        report = _kept(folder / POINTS / keys[point], keys[point])
        if report is not None:
            over[point] = Finished(point, report, before=True)
            finished(over[point])
    for one in backend([point for point in points if point not in over], options):
        if one.report is not None:
            place = folder / POINTS / keys[one.point]
            make_folder(place)
            write_report({**one.report, "sweep_point": keys[one.point]}, place)
        over[one.point] = one
        finished(one)
    return [over[point] for point in points]


def run_point(
    point: Point, options: Options, progress: Callable[[Event], None] | None = None
) -> dict[str, Any]:
    """Run one point; return its report.

    Raises
    ------
    PimloopError, PartitionerError, SimError
        As the pipeline.
    """
    platform = load_platform(point.platform, dict(point.settings))
    graph = load_model(point.model, LoadOptions(point.sequence_length, point.seed))
    feeds = random_inputs(graph, point.seed)
    with Pipeline(graph, feeds, platform, options, progress) as pipeline:
        return build_report(pipeline.run())


def locally(progress: Callable[[Event], None]) -> Backend:
    """Return a backend that runs points one after the other, each on all simulators."""

    def backend(points: Sequence[Point], options: Options) -> Iterator[Finished]:
        for point in points:

            def show(event: Event, point: Point = point) -> None:
                progress(replace(event, job=f"{point}: {event.job}"))

            try:
                yield Finished(point, run_point(point, options, show))
            except (PimloopError, PartitionerError, SimError) as error:
                yield Finished(point, None, str(error))

    return backend


def point_key(point: Point, options: Options) -> str:
    """Return the name of a point's folder: a few words, and a hash of all it depends on."""
    platform = load_platform(point.platform, dict(point.settings))
    found = digest(
        point, platform, options.objective, options.flavour, options.policies, options.rounds,
        code_key(".", "pipeline", "driver", "models"),
    )  # fmt: skip
    length = "" if point.sequence_length is None else f"-{point.sequence_length}"
    return f"{Path(point.model).name}{length}-{Path(point.platform).stem}-{found[:12]}"


def rows(points: Iterable[Finished]) -> list[dict[str, Any]]:
    """Return a row for every schedule of every point that did not fail."""
    return [
        {
            "model": one.report["model"],
            "sequence_length": one.report["sequence_length"],
            "platform": Path(one.point.platform).stem,
            "settings": dict(one.point.settings),
            "schedule": name,
            "predicted_us": schedule["predicted_us"],
            "executed_us": schedule["executed_us"],
        }
        for one in points
        if one.report is not None
        for name, schedule in one.report["schedules"].items()
    ]


def summary(points: Sequence[Finished]) -> dict[str, Any]:
    """Return sweep.json."""
    return {
        "format": FORMAT,
        "rows": rows(points),
        "points": [
            {
                "point": str(one.point),
                "passed": None if one.report is None else one.report["verification"]["passed"],
                "error": one.error or None,
            }
            for one in points
        ],
    }


def to_csv(table: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV; settings as `key=value` with semicolons between."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        settings = ";".join(f"{key}={value}" for key, value in row["settings"].items())
        writer.writerow({**row, "settings": settings})
    return text.getvalue()


def _kept(place: Path, key: str) -> dict[str, Any] | None:
    """Return the report of a point that was run before; None when there is none to be used."""
    if not (place / FILE_NAME).exists():
        return None
    try:
        report = read_report(place)
    except PimloopError:
        return None  # cut off or of another version: the point is run again
    return report if report.get("sweep_point") == key else None
