"""Runs the points of a sweep on an existing Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from socket import gethostname
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.execution.options import Options
from pimloop.host.pipeline.sweep import Backend, Finished, Point, run_point
from pimloop.host.planning.keys import REPORT
from pimloop.host.report.format.report import Report

#: Bound on reaching the scheduler, seconds.
CONNECT_TIMEOUT = 30.0


def on_cluster(address: str, timeout: float | None = None) -> Backend:
    """Return a backend that runs points on the workers of a Dask scheduler.

    Every worker needs this version of pimloop; each point uses one simulator of its worker.

    Parameters
    ----------
    address
        Of the scheduler, as `tcp://host:8786`.
    timeout
        Bound on reaching it, seconds; None: `CONNECT_TIMEOUT`.
    """

    def backend(points: Sequence[Point], options: Options) -> Iterator[Finished]:
        if not points:
            return
        try:
            # Imported here: only sweeps on a cluster need it.
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise PimloopError(
                "--scheduler needs dask.distributed: `pip install distributed`"
            ) from error
        try:
            client = distributed.Client(address, timeout=timeout or CONNECT_TIMEOUT)
        except (OSError, ValueError) as error:
            raise PimloopError(
                f"cannot reach the Dask scheduler {address}: {error}; is it running, and is the"
                " address that which it printed?"
            ) from error
        alone, code = replace(options, jobs=1), REPORT.key()
        with client:
            futures = {
                client.submit(run_remotely, point, alone, code, pure=False): point
                for point in points
            }
            try:
                for future in distributed.as_completed(list(futures)):
                    yield _result(futures[future], future)
            finally:
                client.cancel(list(futures))

    return backend


def run_remotely(
    point: Point, options: Options, code: str
) -> tuple[Report | None, str, str | None]:
    """Run a point on a worker; return its report, or None and what went wrong, and its machine.

    Parameters
    ----------
    code
        `pimloop.host.planning.keys.REPORT.key()` of who asks: a worker with other code is refused.
    """
    if REPORT.key() != code:
        error = (
            f"the worker on {gethostname()} has another version of pimloop: install this one there"
        )
        return None, error, None
    try:
        report, measured_on = run_point(point, options)
    except PimloopError as error:
        return None, str(error), None
    return report, "", measured_on


def _result(point: Point, future: Any) -> Finished:
    try:
        report, error, measured_on = future.result()
    except Exception as problem:  # of the cluster: a worker that died, a package it lacks
        return Finished(point, None, f"{type(problem).__name__} on the cluster: {problem}")
    return Finished(point, report, error, measured_on=measured_on)
