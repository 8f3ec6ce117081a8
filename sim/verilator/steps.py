"""One step of a build: runs a tool, keeps what it says, finds the line that says why it failed.

`pimloop.sim.verilator.build` (simulator programs) and `pimloop.sim.bench.inprocess` (libraries)
build with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.verilator.toolchain import Toolchain

#: Bound on one build, seconds; the largest design takes about one minute.
BUILD_TIMEOUT = 1800.0

# The first line of the log that matches the first of these that matches any: the warnings that
# come before an error are not the reason, and the last lines only count what went before.
_ERROR_LINES = (
    re.compile(r"%Error(?!: Exiting)|fatal error"),
    re.compile(r"%Warning|\berror:|undefined reference|\*\*\*", re.IGNORECASE),
)
_MAX_SHOWN = 300  # characters of the first error line


def run_step(
    command: Sequence[str], target: str, toolchain: Toolchain, log_path: Path, kept: Path
) -> None:
    """Run one tool in the folder of `log_path`, to which its command and output are added.

    Parameters
    ----------
    command
        Program and arguments.
    what
        What is built, for the error.
    toolchain
        The tools, for the variables they need.
    log_path
        Log of the build so far.
    kept
        Where the log is left when the step fails.

    Raises
    ------
    SimError
        The step fails or takes too long; the message has the first error line and `kept`.
    """
    with log_path.open("a", encoding="utf-8") as log_file:
        log_file.write(" ".join(command) + "\n")
        log_file.flush()
        start = log_file.tell()
        try:
            result = subprocess.run(
                command,
                cwd=log_path.parent,
                # LC_ALL: an error line is recognised by its English words.
                env=os.environ | toolchain.environment | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                timeout=BUILD_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SimError(
                f"building {target} took more than {BUILD_TIMEOUT:.0f} s; "
                "the machine may be overloaded: try again"
            ) from None
    if result.returncode != 0:
        shutil.copyfile(log_path, kept)
        output = log_path.read_bytes()[start:].decode(errors="replace")
        first = first_error(output)
        raise SimError(f"building {target} failed: {first}\n  full log: {kept}")


def first_error(output: str) -> str:
    """Return the line of a tool's output that says what is wrong.

    >>> first_error("%Warning-WIDTH: a.sv:1\\n%Error: a.sv:2: no\\n%Error: Exiting due to 1\\n")
    '%Error: a.sv:2: no'
    """
    lines = [line.strip() for line in output.splitlines()]
    errors = (line for pattern in _ERROR_LINES for line in lines if pattern.search(line))
    return next(errors, "no error line in the log")[:_MAX_SHOWN]
