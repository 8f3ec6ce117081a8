"""Runs the points of a sweep on an existing Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from host.errors import PimloopError
from host.pipeline.options import Options
from host.pipeline.sweep import Backend, Finished, Point, run_point
from partitioner.errors import PartitionerError
from sim.errors import SimError

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
        alone = replace(options, jobs=1)
        with client:
            futures = {
                client.submit(run_remotely, point, alone, pure=False): point for point in points
            }
            try:
                for future in distributed.as_completed(list(futures)):
                    yield _result(futures[future], future)
            finally:
                client.cancel(list(futures))

    return backend


def run_remotely(point: Point, options: Options) -> tuple[dict[str, Any] | None, str]:
    """Run a point on a worker; return its report, or None and what went wrong."""
    try:
        return run_point(point, options), ""
    except (PimloopError, PartitionerError, SimError) as error:
        return None, str(error)


def _result(point: Point, future: Any) -> Finished:
    try:
        report, error = future.result()
    except Exception as problem:  # of the cluster: a worker that died, a package it lacks
        return Finished(point, None, f"{type(problem).__name__} on the cluster: {problem}")
    return Finished(point, report, error)
