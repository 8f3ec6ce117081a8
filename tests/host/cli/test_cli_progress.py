"""The terminal: bars with speed on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import itertools
import logging
import re
import shlex

import pytest
from rich.console import Console

import pimloop.host.cli
import pimloop.host.cli.progress
from pimloop.host.cli.progress import ProgressDisplay, build_notes
from pimloop.host.common.text import file_name
from pimloop.host.execution.execution import TOKENS, Progress
from pimloop.host.execution.runner import STAGE, Event
from pimloop.host.report.provenance import source

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


def tokens_shown(monkeypatch, *, terminal):
    clock = itertools.count(100, 30.0)
    monkeypatch.setattr(pimloop.host.cli.progress, "monotonic", lambda: next(clock))
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=terminal, width=140)) as display:
        display.note("reading ...")
        for done in range(1, 5):
            display(Event("generate", Progress(TOKENS, "", done, 4, 0)))
    return text.getvalue()


def test_tokens_are_counted_with_the_time_left(monkeypatch):
    """A step takes half a minute here; what the prompt took says nothing of the others."""
    assert tokens_shown(monkeypatch, terminal=False).splitlines() == [
        "reading ...",
        "generate: 1 of 4 tokens",
        "generate: 2 of 4 tokens, about 0:01:00 left",
        "generate: 3 of 4 tokens, about 0:00:30 left",
        "generate: 4 of 4 tokens",
    ]
    assert "generate: 4 of 4 tokens" in tokens_shown(monkeypatch, terminal=True)


def test_bars_on_a_terminal(monkeypatch):
    clock = itertools.count(0, 2.0)
    monkeypatch.setattr(pimloop.host.cli.progress, "monotonic", lambda: next(clock))
    text = shown(terminal=True)
    assert "optimal: executing" in text
    assert "50 %" in text
    assert "Add_0" in text
    assert "run 1: done" in text


def test_speed_is_of_the_phase(monkeypatch):
    job = pimloop.host.cli.progress._Job(None, "run", since=10.0, cycles_before=1_000_000)
    monkeypatch.setattr(pimloop.host.cli.progress, "monotonic", lambda: 12.0)
    speed = pimloop.host.cli.progress._speed
    assert speed(job, Progress("run", "", 0, 1, 9_000_000)) == "4.00 Mcycles/s"
    assert speed(job, Progress("run", "", 0, 1, 1_000_000)) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(terminal):
    assert shown(terminal=terminal, quiet=True) == ""


def test_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(terminal=True)
    assert "\x1b" not in shown(terminal=False)


STAGES = [
    Event("profile", Progress(STAGE, "run 1, run 3", 2, 3, 0)),
    Event("run 2", Progress("run", "MatMul_1", 0, 8, 0)),
    Event("run 2", Progress("done", "", 0, 1, 0)),
    Event("schedules", Progress(STAGE, "", 0, 2, 0)),
    Event("cpu_parallel_first", Progress("weights", "w", 1, 2, 0)),
    Event("cpu_parallel_first", Progress("done", "", 0, 1, 0)),
]


def drawn(width, *, terminal=True):
    """Return what the display shows after each event."""
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, force_terminal=terminal, width=width)) as display:
        for event in STAGES:
            display(event)
            if display._bars is not None:
                display._bars.refresh()
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_total_and_every_name_are_whole(width):
    text = drawn(width)
    assert "…" not in text
    for total in ("profile: 2 of 3 executions", "profile: 3 of 3 executions",
                  "schedules: 0 of 2 executions", "schedules: 1 of 2 executions"):  # fmt: skip
        assert total in text
    assert "cpu_parallel_first: weights to PIM memory" in text
    assert max(len(line.rstrip()) for line in re.split(r"[\r\n]", text)) <= max(width, 100)


@pytest.mark.parametrize("terminal", [True, False])
def test_what_an_interrupted_run_left_is_named(terminal):
    message = "profile: 2 of 3 executions taken up from the run that was interrupted: run 1, run 3"
    assert message in drawn(140, terminal=terminal)


def test_a_build_is_announced_once_and_warnings_pass():
    log = logging.getLogger("pimloop.sim.verilator.build")
    before, level = list(log.handlers), log.level
    text = io.StringIO()
    with build_notes(Console(file=text, width=60)):
        log.info("building %s", "pim_top-0123456789abcdef")
        log.info("removed %s, not used for long", "pim_top-x")
        log.warning("no room")
        log.info("built %s in %.1f s", "pim_top-0123456789abcdef", 14.21)
    assert text.getvalue().splitlines() == [
        "building the simulator, once for such a device (pim_top-0123456789abcdef) ...",
        "no room",
        "built pim_top-0123456789abcdef in 14.2 s",
    ]
    assert (log.handlers, log.level) == (before, level)
    with build_notes(Console(file=text), quiet=True):
        assert log.handlers == before


def test_version_has_the_commit(capsys):
    with pytest.raises(SystemExit) as ended:
        pimloop.host.cli.main(["--version"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("pimloop ")
    commit = source()
    assert ("commit" in out) == (commit is not None)
    if commit is not None:
        assert commit.commit[:12] in out


def test_default_folders_need_no_quotes():
    for name in ("htg-z920 (device.lanes=16)", "a b", "$(reboot)", "it's [x]", "a/b", "é;&|"):
        made = file_name(name)
        assert shlex.quote(made) == made
        assert made not in ("", ".", "..")
