"""What an interrupted run leaves in OUT/state, and the next one takes up.

One file for each finished execution, named by everything it depends on, so a file that is there
is right; a hash of its contents shows that it is whole. The folder is removed when a run is
complete. A file that cannot be read is as good as none; a disk that cannot be written to costs the
next run time, not this one its result.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.host.common.files import write_whole
from pimloop.host.common.folders import make_subfolder
from pimloop.host.execution.options import Options
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import Job
from pimloop.host.models.graph import Graph
from pimloop.host.pipeline.record import from_dict, to_dict
from pimloop.host.platforms.platform import Platform

log = logging.getLogger(__name__)

FOLDER = "state"
_FORMAT = "pimloop-state/2"


class State:
    """The finished executions of one run.

    Parameters
    ----------
    folder
        The output folder of the run; None: nothing is kept.
    context
        A text that differs for runs whose results may differ (`pimloop.host.planning.keys`).
    """

    def __init__(
        self,
        folder: Path | None,
        context: str,
        graph: Graph,
        platform: Platform,
        options: Options,
    ) -> None:
        self._folder = None if folder is None else folder / FOLDER
        self._context = context
        self._graph, self._platform, self._options = graph, platform, options
        # Saved or taken up by this run, whose profile and schedules may share a placement.
        self._seen: set[Path | None] = set()

    def load(self, job: Job) -> Result | None:
        """Return the result of `job` that an earlier run left, or this one has kept."""
        path = self._path(job)
        if path is None or not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != _FORMAT:
                return None
            if data["check"] != _check(data["result"]):
                raise ValueError("its check does not hold")
            return from_dict(data["result"], self._graph, self._platform, self._options)
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            log.warning("%s is no result of an earlier run (%s): it is made again", path, error)
            return None

    def save(self, job: Job, result: Result) -> None:
        """Keep a result."""
        path = self._path(job)
        if path is None:
            return
        kept = to_dict(result)
        content = json.dumps({"format": _FORMAT, "check": _check(kept), "result": kept})
        try:
            make_subfolder(path.parent.parent, FOLDER)
            write_whole(path, content.encode(), mode=0o600)
            self._seen.add(path)
        except PimloopError as error:
            log.warning("cannot keep %s for a later run: %s", path, error)

    def take_up(self, job: Job) -> bool:
        """Return whether the result of `job` is an earlier run's, and not yet taken up."""
        path = self._path(job)
        new = path not in self._seen
        self._seen.add(path)
        return new

    def clear(self) -> None:
        """Forget everything: the run is complete."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, job: Job) -> Path | None:
        if self._folder is None:
            return None
        text = json.dumps([self._context, sorted(job.assignment.items())])
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _check(result: object) -> str:
    """Return a hash of a result, kept beside it against damage."""
    return hashlib.sha256(json.dumps(result).encode()).hexdigest()
