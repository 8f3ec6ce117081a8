"""Progress of a pipeline on the terminal: job, operator, simulated cycles/s, time left, the total.

Messages of what is done once, building a simulator, come here from the log of
`pimloop.sim.verilator.build`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column

from pimloop.host.execution.execution import TOKENS, Progress
from pimloop.host.execution.runner import STAGE, Event
from pimloop.partitioner.quantity import quantity

#: What a phase is called on the screen.
PHASES = {
    "reference": "float32 reference",
    "device": "opening the device",
    "weights": "weights to PIM memory",
    "run": "executing",
    "verify": "verifying",
    "cpu": "timing the CPU",
}

#: Columns of a console from which a bar's line has speed, time left and operator too.
_ROOMY = 110

#: Columns of a job's name and phase, so that bars stand in line.
_NAME = 42

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
    """Shows `pimloop.host.execution.runner.Event`s of any thread; a context manager.

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
        self._total: TaskID | None = None
        self._stage, self._over, self._of = "", 0, 0
        self._first_token: tuple[int, float] | None = None  # tokens, and when they were there
        self._notes = ExitStack()
        if not quiet and console.is_terminal:
            self._bars = Bars(*_columns(console.width), console=console)

    def __enter__(self) -> Self:
        self._notes.enter_context(build_notes(self._console, quiet=self._quiet))
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._notes.close()
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._quiet:
            return
        with self._lock:
            self._show(event.job, event.progress)

    def _show(self, name: str, progress: Progress) -> None:
        if progress.phase == STAGE:
            self._begin(name, progress)
            return
        if progress.phase == TOKENS:
            self._count_tokens(progress)
            return
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
        if over and self._total is not None:
            self._over += 1
            self._show_total()
        measured = progress.phase in _MEASURED
        self._bars.update(
            job.task,
            description=escape(f"{name}: {PHASES.get(progress.phase, progress.phase)}"),
            completed=1 if over else progress.done if measured else 0,
            total=max(progress.total, 1) if measured else 1,
            label=escape(progress.label),
            speed=_speed(job, progress),
        )

    def _begin(self, stage: str, progress: Progress) -> None:
        """Show that a stage of several executions begins, and what was known of it."""
        self._stage, self._over, self._of = stage, progress.done, progress.total
        if progress.done:
            text = (
                f"{stage}: {progress.done} of {quantity(progress.total, 'execution')} taken up"
                f" from the run that was interrupted: {progress.label}"
            )
            self._console.print(text, markup=False, soft_wrap=True)
        if self._bars is not None:
            if self._total is None:
                self._total = self._bars.add_task("", label="", speed="")
            self._show_total()

    def note(self, text: str) -> None:
        """Say what is done before the first event."""
        if not self._quiet:
            self._console.print(text, markup=False, soft_wrap=True)

    def _count_tokens(self, progress: Progress) -> None:
        """Show how many tokens there are, and how long the others will take."""
        self._stage, self._over, self._of = "generate", progress.done, progress.total
        if self._bars is not None:
            if self._total is None:
                self._total = self._bars.add_task("", label="", speed="")
            self._show_total("token")
            return
        text = f"generate: {progress.done} of {quantity(progress.total, 'token')}"
        if self._first_token is None:
            # The prompt takes longer than a step, so it says nothing of those to come.
            self._first_token = (progress.done, monotonic())
        elif progress.done < progress.total:
            done, since = self._first_token
            each = (monotonic() - since) / (progress.done - done)
            left = timedelta(seconds=round(each * (progress.total - progress.done)))
            text += f", about {left} left"
        self.note(text)

    def _show_total(self, what: str = "execution") -> None:
        assert self._bars is not None
        assert self._total is not None
        self._bars.update(
            self._total,
            description=escape(f"{self._stage}: {self._over} of {quantity(self._of, what)}"),
            completed=self._over,
            total=max(self._of, 1),
        )

    def _add(self, name: str) -> TaskID | None:
        if self._bars is None:
            return None
        return self._bars.add_task(escape(name), label="", speed="")


def _columns(width: int) -> list[ProgressColumn]:
    """Return what a bar's line shows on a console of that width; names are wrapped, not cut."""
    roomy = width >= _ROOMY
    name = Column(min_width=_NAME if roomy else None, no_wrap=False, overflow="fold")
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", table_column=name),
        BarColumn(bar_width=20 if roomy else 8),
        TextColumn("{task.percentage:>3.0f} %"),
    ]
    if roomy:
        columns += [
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[speed]:>16}"),
            TextColumn("{task.fields[label]}"),
        ]
    return columns


class _BuildNotes(logging.Handler):
    """Prints that a simulator is built, and every warning."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        text = record.getMessage()
        if text.startswith("building "):
            text = f"building the simulator, once for such a device ({text[9:]}) ..."
        elif not text.startswith("built ") and record.levelno < logging.WARNING:
            return
        self._console.print(text, markup=False, soft_wrap=True)


@contextmanager
def build_notes(console: Console, *, quiet: bool = False) -> Iterator[None]:
    """Say on `console` when a simulator is built: it takes a while, and only once."""
    if quiet:
        yield
        return
    log, notes = logging.getLogger("pimloop.sim.verilator.build"), _BuildNotes(console)
    level = log.level
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(notes)


def _speed(job: _Job, progress: Progress) -> str:
    cycles, seconds = progress.cycles - job.cycles_before, monotonic() - job.since
    if cycles <= 0 or seconds <= 0:
        return ""
    return f"{cycles / seconds / 1e6:.2f} Mcycles/s"
