"""A damaged report is drawn, or refused with one message; never a traceback."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from support.damage import damaged

import pimloop.host.report.plots_style
from pimloop.errors import PimloopError
from pimloop.host.cli.summary import print_summary
from pimloop.host.execution.options import Options
from pimloop.host.models.inputs import random_inputs
from pimloop.host.pipeline.pipeline import Pipeline
from pimloop.host.pipeline.sweep import Finished, Point
from pimloop.host.pipeline.sweep_files import rows, to_csv
from pimloop.host.platforms.platform import load_platform
from pimloop.host.report.build import FILE_NAME, build_report, read_report, write_report
from pimloop.host.report.publish import draw

#: Seeds of the damages.
SEEDS = [range(60), pytest.param(range(60, 300), marks=pytest.mark.full)]


@pytest.fixture(scope="module")
def report(wide):
    """Return the report of a run on the simulated device."""
    options = Options(jobs=2, rounds=3)
    with Pipeline(wide, random_inputs(wide, 0), load_platform("htg-z920"), options) as pipeline:
        return build_report(pipeline.run())


@pytest.fixture
def quick_figures(monkeypatch):
    """Draw figures with few dots: what can fail is the same."""
    monkeypatch.setattr(pimloop.host.report.plots_style, "_DPI", 20)


def show(folder, figures):
    """Read and show a report as every command does; return the pages written."""
    report = read_report(folder)
    if figures:
        files = draw(report, None, folder)
    else:
        from pimloop.host.report.chrome_trace import write_trace
        from pimloop.host.report.html import write_html

        files = [folder / "report.html", folder / "trace.json"]
        write_html(report, files[0])
        write_trace(report, files[1])
    print_summary(Console(file=io.StringIO()), report, files)
    to_csv(rows([Finished(Point("m", 4, "aim"), report)], Options()))
    return files


def test_a_whole_report_is_shown(report, tmp_path, quick_figures):
    write_report(report, tmp_path)
    assert read_report(tmp_path) == json.loads((tmp_path / FILE_NAME).read_text())
    assert all(path.stat().st_size for path in show(tmp_path, figures=True))


@pytest.mark.parametrize("seeds", SEEDS, ids=str)
def test_every_damage_is_shown_or_refused(report, tmp_path, quick_figures, seeds):
    refusals = []
    for seed in seeds:
        (tmp_path / FILE_NAME).write_bytes(damaged(report, seed))
        try:
            show(tmp_path, figures=seed % 20 == 1)
        except PimloopError as error:
            refusals.append(str(error))
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}")
    # Both happen: a check that refuses everything, or nothing, shows nothing.
    assert len(seeds) // 10 < len(refusals) < len(seeds)
    for text in refusals:
        assert text.startswith(f"{tmp_path / FILE_NAME}: ")
        assert text.endswith("; run `pimloop sim` again")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schedules optimal timeline 3 us", "9", 'timeline[3].us must be a number, not "9"'),
        ("schedules optimal timeline 0 start_us", -1, "start_us must be a number at least 0"),
        ("schedules optimal", None, "schedules.optimal must be an object, not null"),
        ("main_schedule", "best", 'main_schedule is "best", which is none of schedules'),
        ("graph edges 0 consumer", "nowhere", "graph.edges[0].consumer"),
        ("sequence_length", True, "sequence_length must be a whole number, not true"),
        ("counters cycles", 10**30, "counters.cycles must be a number of at most"),
    ],
)
def test_the_message_says_where(report, tmp_path, path, value, message):
    changed = json.loads(json.dumps(report))
    holder = changed
    *steps, last = path.split()
    for key in steps:
        holder = holder[int(key) if key.isdigit() else key]
    holder[last] = value
    write_report(changed, tmp_path)
    with pytest.raises(PimloopError) as error:
        read_report(tmp_path)
    assert message in str(error.value)


def test_a_missing_key_is_named(report, tmp_path):
    changed = {key: value for key, value in report.items() if key != "verification"}
    write_report(changed, tmp_path)
    with pytest.raises(PimloopError, match="the key verification is missing"):
        read_report(tmp_path)


def test_unknown_keys_are_let_through(report, tmp_path):
    write_report({**report, "later": {"any": [1, None]}}, tmp_path)
    assert read_report(tmp_path)["later"] == {"any": [1, None]}
