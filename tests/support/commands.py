"""Runs `pimloop` commands in this process: no start of Python, and modules are imported once."""

from __future__ import annotations

import contextlib
import io
import subprocess

import pytest

import pimloop.host.cli


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `pimloop` with `arguments` on a terminal of 120 columns; return what it says."""
    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setenv("COLUMNS", "120")
        code = pimloop.host.cli.main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
