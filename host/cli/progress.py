"""Progress of a pipeline on the terminal: job, operator, simulated cycles/s, time left."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from host.executor import Progress
from host.pipeline.execute import Event

#: What a phase is called on the screen.
PHASES = {
    "reference": "float32 reference",
    "device": "opening the device",
    "weights": "weights to PIM memory",
    "run": "executing",
    "verify": "verifying",
    "cpu": "timing the CPU",
}

#: Phases whose progress can be measured; the bar of the others stands still.
_MEASURED = ("weights", "run")


@dataclass
class _Job:
    """One execution on the screen."""

    task: TaskID | None
    phase: str = ""
    since: float = 0.0
    cycles_before: int = 0


class ProgressDisplay:
    """Shows `host.pipeline.execute.Event`s of any thread; a context manager.

    On a terminal a bar for each execution, elsewhere a line when one begins or changes its phase.

    Parameters
    ----------
    console
        Where to write.
    quiet
        Write nothing.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        if not quiet and console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description:<42}"),
                BarColumn(bar_width=20),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[speed]:>16}"),
                TextColumn("{task.fields[label]}"),
                console=console,
            )

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._quiet:
            return
        with self._lock:
            self._show(event.job, event.progress)

    def _show(self, name: str, progress: Progress) -> None:
        job = self._jobs.get(name)
        if job is None:
            job = self._jobs[name] = _Job(self._add(name))
        if progress.phase != job.phase:
            job.phase = progress.phase
            job.since, job.cycles_before = monotonic(), progress.cycles
            if self._bars is None and progress.phase in PHASES:
                title = f"{name}: {PHASES[progress.phase]} ..."
                self._console.print(title, markup=False, soft_wrap=True)
        if self._bars is None or job.task is None:
            return
        over = progress.phase == "done"
        measured = progress.phase in _MEASURED
        self._bars.update(
            job.task,
            description=escape(f"{name}: {PHASES.get(progress.phase, progress.phase)}"),
            completed=1 if over else progress.done if measured else 0,
            total=max(progress.total, 1) if measured else 1,
            label=escape(progress.label),
            speed=_speed(job, progress),
        )

    def _add(self, name: str) -> TaskID | None:
        if self._bars is None:
            return None
        return self._bars.add_task(escape(name), label="", speed="")


def _speed(job: _Job, progress: Progress) -> str:
    cycles, seconds = progress.cycles - job.cycles_before, monotonic() - job.since
    if cycles <= 0 or seconds <= 0:
        return ""
    return f"{cycles / seconds / 1e6:.2f} Mcycles/s"
