"""Names of models and files on the terminal and in spreadsheets: characters, nothing more."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from pimloop.host.cli import main
from pimloop.host.cli.output import console, make_logging_printable
from pimloop.host.cli.progress import ProgressDisplay
from pimloop.host.cli.summary import print_summary
from pimloop.host.common.text import csv_cell, printable
from pimloop.host.execution.execution import Progress
from pimloop.host.execution.runner import Event
from pimloop.host.pipeline.sweep_files import to_csv

#: Colour, window title (OSC), carriage return, backspace, CSI as one byte, right-to-left override.
HOSTILE = "\x1b[31mred\x1b]0;title\x07\r\b\x9b2J\u202egnp.exe\u2066\u200f"
UNSAFE = set("\x1b\x07\r\b\x9b\u202e\u2066\u200f")


def harmless(text: str) -> bool:
    return not UNSAFE & set(text)


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_no_control_but_line_and_tab_is_kept(code: int) -> None:
    assert printable(f"a{chr(code)}b") == (f"a{chr(code)}b" if chr(code) in "\n\t" else "a\ufffdb")


def test_letters_of_every_script_stay() -> None:
    text = "BERT größe 模型 модель نموذج 🙂 µs ◆ –"
    assert printable(text) == text


@pytest.fixture
def hostile_model(tmp_path: Path) -> Path:
    """Return an ONNX file whose names are all hostile."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", [f"x{HOSTILE}", f"x{HOSTILE}"], ["y" + HOSTILE], "n" + HOSTILE)],
        "g" + HOSTILE,
        [value(f"x{HOSTILE}", TensorProto.FLOAT, [4, 32])],
        [value(f"y{HOSTILE}", TensorProto.FLOAT, [4, 32])],
    )
    path = tmp_path / f"m{HOSTILE}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_a_hostile_model_prints_characters_only(
    hostile_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through the file's name, the graph's, operators and tensors; on stdout and stderr."""
    out = tmp_path / "out"
    code = main(["sim", str(hostile_model), "--device", "model", "--out", str(out)])
    printed = capfd.readouterr()
    assert code == 0, printed.err
    assert "passed" in printed.out
    assert harmless(printed.out + printed.err), ascii(printed.out + printed.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", f"no{HOSTILE}"],
        ["sim", f"no{HOSTILE}"],
        ["run", "bert", "--plan", f"no{HOSTILE}"],
        ["partition", "--costs", f"no{HOSTILE}"],
        ["platforms", "show", f"no{HOSTILE}"],
        ["sim", "bert", "--set", f"pim.{HOSTILE}=1"],
        ["gemm", "1", "1", "1", f"--{HOSTILE}"],
    ],
)
def test_errors_print_characters_only(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code: int | str | None = main(arguments)
    except SystemExit as end:
        code = end.code
    printed = capfd.readouterr()
    assert code == 2
    assert "pimloop" in printed.err
    assert harmless(printed.out + printed.err), ascii(printed.err)


def test_a_live_terminal_gets_its_own_sequences_only() -> None:
    """Colours and cursor movement of the progress bars are rich's; names add none."""
    stream = io.StringIO()
    terminal = console(stderr=True)
    terminal.file = stream
    terminal._force_terminal = True
    with ProgressDisplay(terminal) as progress:
        progress(Event("run" + HOSTILE, Progress("run", "n" + HOSTILE, 1, 2, 3)))
    text = stream.getvalue()
    assert "red" in text
    assert harmless(text.replace("\x1b[", "").replace("\r", ""))
    assert "\x1b]" not in text
    assert "\x1b[31mred" not in text


def test_warnings_print_characters_only(capfd: pytest.CaptureFixture[str]) -> None:
    make_logging_printable()
    assert logging.lastResort is not None
    logging.lastResort.handle(
        logging.LogRecord("x", logging.WARNING, "", 0, "no %s", (HOSTILE,), None)
    )
    printed = capfd.readouterr().err
    assert printed.startswith("no ")
    assert harmless(printed)


def test_a_hostile_report_prints_characters_only(capsys: pytest.CaptureFixture[str]) -> None:
    verification = {
        "passed": False, "pim_bit_exact": False, "pim_results_checked": 1, "executions": 1,
        "pim_results_wrong": [HOSTILE], "pim_operators_against_float32": None, "compared": [],
    }  # fmt: skip
    schedule = {
        "predicted_us": 1.0, "executed_us": None, "pim_nodes": 1, "nodes": 1, "transfers": 0,
        "verification": verification,
    }  # fmt: skip
    report = {
        "model": HOSTILE, "sequence_length": None, "platform": HOSTILE, "profile": None,
        "schedules": {HOSTILE: schedule}, "main_schedule": HOSTILE, "speedup": {},
        "failed_policies": {HOSTILE: HOSTILE}, "simulation": {"flavour": None},
        "verification": verification,
    }  # fmt: skip
    print_summary(console(), report)
    assert harmless(capsys.readouterr().out)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-cmd", "@SUM(A1)", "\t=1", " =1", "\uff1d1", "\r="]
)
def test_a_formula_becomes_text_in_csv(text: str) -> None:
    row = {
        "model": text, "sequence_length": 4, "platform": text, "settings": {text: text},
        "axes": {text: 3}, "shapes": {text: [2, 3]}, "inputs": text,
        "schedule": text, "predicted_us": -1.5, "executed_us": None, "optimal": False,
        "lower_bound_us": None, "cpu_times_disturbed": False,
    }  # fmt: skip
    (read,) = csv.DictReader(io.StringIO(to_csv([row])))
    for key in ("model", "platform", "settings", "schedule", "axes", "shapes", "inputs"):
        assert read[key].startswith("'"), key
    assert read["predicted_us"] == "-1.5"
    assert read["sequence_length"] == "4"
    assert csv_cell(json.loads("-2")) == -2
