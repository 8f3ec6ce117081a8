"""Progress of an execution on the terminal: phase, operator, simulated cycles/s, time left."""

from __future__ import annotations

from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from host.executor import Progress

#: What a phase is called on the screen.
PHASES = {
    "reference": "float32 reference",
    "device": "device",
    "weights": "weights to PIM memory",
    "run": "executing",
    "verify": "verifying",
    "cpu": "timing the CPU",
}


class ProgressDisplay:
    """Shows `host.executor.Progress` events; a context manager.

    On a terminal a bar for each phase, elsewhere a line when a phase begins.

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
        self._phase = ""
        self._task: TaskID | None = None
        self._since = monotonic()
        self._cycles_before = 0
        self._bars: Bars | None = None
        if not quiet and console.is_terminal:
            self._bars = Bars(
                TextColumn("{task.description:<22}"),
                BarColumn(bar_width=24),
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
        self._finish_phase()
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Progress) -> None:
        """Show an event."""
        if self._quiet:
            return
        if event.phase != self._phase:
            self._begin_phase(event)
        if self._bars is None or self._task is None:
            return
        self._bars.update(
            self._task,
            completed=event.done,
            total=max(event.total, 1),
            label=event.label,
            speed=self._speed(event),
        )

    def _begin_phase(self, event: Progress) -> None:
        self._finish_phase()
        self._phase = event.phase
        self._since, self._cycles_before = monotonic(), event.cycles
        title = PHASES.get(event.phase, event.phase)
        if self._bars is None:
            self._console.print(f"{title} ...")
        else:
            self._task = self._bars.add_task(title, label=event.label, speed="")

    def _finish_phase(self) -> None:
        if self._bars is not None and self._task is not None:
            total = self._bars.tasks[self._task].total
            self._bars.update(self._task, completed=total, label="")
            self._task = None

    def _speed(self, event: Progress) -> str:
        cycles, seconds = event.cycles - self._cycles_before, monotonic() - self._since
        if cycles <= 0 or seconds <= 0:
            return ""
        return f"{cycles / seconds / 1e6:.2f} Mcycles/s"
