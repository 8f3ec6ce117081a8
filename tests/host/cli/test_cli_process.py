"""The command as a process: Ctrl-C at any moment, and standard streams that fail.

Started as users start it, with real signals and streams.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time

import pytest
from support.tiny_checkpoints import write_checkpoint

import pimloop.host.cli
from pimloop.host.cli.commands import COMMANDS

COMMAND = [sys.executable, "-m", "pimloop"]
WAIT_SECONDS = 120

#: Commands that print a table, one object or a help, and end by themselves.
PRINTING = [
    ["models"],
    ["platforms", "show", "htg-z920"],
    ["doctor"],
    ["--help"],
]

by_command = pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)


def run(arguments, *, shell_end="", **environment):
    """Run the command with `shell_end` behind it; its standard error is always kept."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {shell_end}', "bash", *COMMAND, *arguments],
        capture_output=True,
        env=os.environ | environment,
        timeout=WAIT_SECONDS,
        check=False,
    )


@by_command
def test_a_full_disk_is_one_error(arguments):
    done = run(arguments, shell_end="> /dev/full")
    name = "pimloop" if arguments[0].startswith("-") else f"pimloop {arguments[0]}"
    message = f"{name}: cannot write to standard output: No space left on device\n"
    assert done.stderr.decode() == message
    assert done.returncode == 2


@by_command
@pytest.mark.parametrize("end", ["| head -1", "| true", ">&-", "2>&-"])
def test_a_reader_that_goes_away_is_no_error(arguments, end):
    done = run(arguments, shell_end=end)
    assert done.stderr == b""
    assert done.returncode == 0


def test_an_error_without_a_reader_keeps_its_exit_code():
    assert run(["models", "show", "bart"], shell_end="2>&-").returncode == 2
    assert run(["models", "show", "bart"], shell_end="2> /dev/full").returncode == 2


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the folder of a tiny model: what is asked here is not what its run computes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_checkpoint(folder, "bert")
    return str(folder)


def test_a_run_whose_reader_goes_away_leaves_all_its_files(tiny, tmp_path):
    out = tmp_path / "out"
    arguments = ["sim", tiny, "--seq", "4", "--device", "model", "--out", str(out)]
    done = run(arguments, shell_end="| head -1")
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
    assert {"report.json", "report.html", "trace.json"} <= {path.name for path in out.iterdir()}


@by_command
def test_no_character_stops_the_output(arguments):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(arguments, **ascii_only)
    assert done.stderr == b""
    assert done.returncode == 0
    assert done.stdout.isascii()
    # The same words: only lines of tables and signs have other characters.
    words = run(arguments).stdout.decode().split()
    expected = [word for word in words if word.isalnum() and word.isascii()]
    assert [word for word in done.stdout.decode().split() if word.isalnum()] == expected


@functools.cache
def of_no_width():
    """Return what a table is where no width is given."""
    return run(["models"], COLUMNS="").stdout


@pytest.mark.parametrize("columns", ["0", "-1", "00", "²", "x", "9" * 30])
def test_a_width_that_is_none_counts_as_unset(columns):
    assert run(["models"], COLUMNS=columns).stdout == of_no_width()


def interrupted_after(imported, arguments):
    """Send SIGINT when a module has been imported; return the exit code and what was said."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "pimloop", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("import time:") and line.split("|")[-1].strip() == imported:
                process.send_signal(signal.SIGINT)
                break
        else:
            pytest.fail(f"{imported} is not imported")
        lines += process.stderr.read().splitlines(keepends=True)
        process.wait(WAIT_SECONDS)
    said = [line for line in lines if not line.startswith("import time:")]
    return process.returncode, "".join(said)


#: Modules after whose import the signal comes: of Python, of ours and of C extensions, from the
#: first to the last; and more of them in `make test-full`.
MOMENTS = ["argparse", "pimloop.host.cli", "onnx", "scipy.sparse", "matplotlib"]
MORE_MOMENTS = [
    "rich.console", "pimloop.sim.device.lanes", "numpy._core._multiarray_umath",
    "google.protobuf.message", "onnxruntime", "ml_dtypes", "networkx",
]  # fmt: skip


@pytest.mark.parametrize(
    "imported", [*MOMENTS, *(pytest.param(name, marks=pytest.mark.full) for name in MORE_MOMENTS)]
)
def test_ctrl_c_while_modules_are_imported(imported, tmp_path):
    arguments = ["sim", "bert-small", "--device", "model", "--out", str(tmp_path / "out")]
    code, said = interrupted_after(imported, [*arguments, "--quiet"])
    assert said in ("pimloop: interrupted\n", "pimloop sim: interrupted\n")
    assert code == 130


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.3, 2.4])
def test_ctrl_c_after_a_while(seconds, tmp_path):
    command = [*COMMAND, "sim", "bert", "--quiet", "--device", "model", "--out", str(tmp_path)]
    with subprocess.Popen(
        # The interpreter's own start is not the command's: it has begun when it says so.
        [sys.executable, "-c", _STARTED, *command[3:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WAIT_SECONDS)
    assert said in ("pimloop: interrupted\n", "pimloop sim: interrupted\n")
    assert process.returncode == 130


_STARTED = """
import signal, sys
install = signal.signal
def first(number, handler):
    global install
    signal.signal = install
    install(number, handler)
    print("started", flush=True)
signal.signal = first
from pimloop.__main__ import main
main()
"""


def test_a_background_job_ignores_ctrl_c(tiny, tmp_path):
    """A shell starts `pimloop ... &` with SIGINT ignored; it stays so."""
    arguments = ["sim", tiny, "--seq", "4", "--quiet", "--device", "model"]
    with subprocess.Popen(
        [*COMMAND, *arguments, "--out", str(tmp_path)],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
    assert process.returncode == 0


def test_a_dropped_interrupt_is_asked_for_again():
    """Python drops what a finalizer raises; the command ends all the same, and says one line."""
    program = """
import os, signal, time
import pimloop.host.cli as cli
from pimloop.host.cli import models
class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
def work(args):
    Interrupting()
    time.sleep(60)
models._list = work
raise SystemExit(cli.main(["models"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (130, "pimloop models: interrupted\n")


def test_an_error_that_an_interrupt_became_is_an_interrupt(monkeypatch, capsys):
    def work(args):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr("pimloop.host.cli.models._list", work)
    assert pimloop.host.cli.main(["models"]) == 130
    assert capsys.readouterr().err == "pimloop models: interrupted\n"


def commands_of(parser):
    (commands,) = [action.choices for action in parser._subparsers._group_actions]
    return commands


def test_a_command_imports_only_its_own_module():
    whole = commands_of(pimloop.host.cli.build_parser())
    assert set(whole) == set(COMMANDS)
    for command, entry in COMMANDS.items():
        alone = commands_of(pimloop.host.cli.build_parser(command))
        assert set(alone) == {name for name, e in COMMANDS.items() if e.module == entry.module}


def imported_by(code):
    """Return the modules that a process has imported when its code is done."""
    text = f"import sys\n{code}\nprint('modules', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def ended(*words):
    """Return code that runs a command which ends by itself, as `--help` does."""
    return f"""
from pimloop.host.cli import main
try:
    main({list(words)!r})
except SystemExit as end:
    assert end.code == 0, end.code
"""


#: What every command line needs: names, help, and a printable message.
FOR_HELP = {
    "pimloop", "pimloop.errors", "pimloop.host", "pimloop.host.cli", "pimloop.host.cli.commands",
    "pimloop.host.cli.exit_codes", "pimloop.host.cli.interrupts", "pimloop.host.cli.output",
    "pimloop.host.common", "pimloop.host.common.text",
}  # fmt: skip


def test_help_imports_nothing_but_the_list_of_commands():
    before = imported_by("import argparse, importlib, json, logging, signal")
    imported = imported_by(ended("--help")) - before
    packages = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert packages <= {"pimloop"}
    assert {name for name in imported if name.startswith("pimloop")} <= FOR_HELP


#: They take longer to import than everything else: none is needed to read options.
SLOW = {"highspy", "jinja2", "msgspec", "networkx", "onnx", "onnxruntime", "scipy"}

#: Commands whose work is in their own module, or whose choices are the operations of the device.
IMPORTED_AT_ONCE = {"calibrate", "validate-board", "gemm", "elementwise", "selftest"}


def test_options_are_read_before_what_takes_long_is_imported():
    asked = [name for name in COMMANDS if name not in IMPORTED_AT_ONCE]
    code = "from pimloop.host.cli import build_parser\n"
    code += "\n".join(f"build_parser({name!r})" for name in asked)
    assert not SLOW & imported_by(code)
