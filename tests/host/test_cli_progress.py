"""The terminal: bars with speed on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

import host.cli.progress
from host.cli.progress import ProgressDisplay
from host.executor import Progress
from host.pipeline.execute import Event

EVENTS = [
    Event("run 1", Progress("weights", "w", 0, 4, 0)),
    Event("run 1", Progress("run", "MatMul_[1]", 0, 8, 1_000_000)),
    Event("optimal", Progress("run", "Add_0", 1, 2, 0)),
    Event("run 1", Progress("run", "Add_2", 4, 8, 9_000_000)),
    Event("run 1", Progress("done", "", 0, 1, 0)),
]


def shown(*, terminal, quiet=False, **options):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=140, **options)
    with ProgressDisplay(console, quiet=quiet) as display:
        for event in EVENTS:
            display(event)
    return text.getvalue()


def test_plain_lines_when_not_on_a_terminal():
    assert shown(terminal=False).splitlines() == [
        "run 1: weights to PIM memory ...",
        "run 1: executing ...",
        "optimal: executing ...",
    ]


def test_bars_on_a_terminal(monkeypatch):
    clock = itertools.count(0, 2.0)
    monkeypatch.setattr(host.cli.progress, "monotonic", lambda: next(clock))
    text = shown(terminal=True)
    assert "optimal: executing" in text
    assert "50 %" in text
    assert "Add_0" in text
    assert "run 1: done" in text


def test_speed_is_of_the_phase(monkeypatch):
    job = host.cli.progress._Job(None, "run", since=10.0, cycles_before=1_000_000)
    monkeypatch.setattr(host.cli.progress, "monotonic", lambda: 12.0)
    speed = host.cli.progress._speed
    assert speed(job, Progress("run", "", 0, 1, 9_000_000)) == "4.00 Mcycles/s"
    assert speed(job, Progress("run", "", 0, 1, 1_000_000)) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(terminal):
    assert shown(terminal=terminal, quiet=True) == ""


def test_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(terminal=True)
    assert "\x1b" not in shown(terminal=False)
