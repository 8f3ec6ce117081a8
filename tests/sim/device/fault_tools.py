"""For tests that kill things: which processes a test has started, and whether they are gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from support.fixture_device import config
from support.paths import REPOSITORY

from pimloop.host.platforms.platform import load_platform
from pimloop.sim.device.config import SimConfig, build_spec
from pimloop.sim.verilator.build import build

#: Processes are recognised by this variable, which children inherit.
MARK = "PIMLOOP_TEST_MARK"

#: Bound on every wait for another process, seconds.
PATIENCE = 60.0


def build_all() -> None:
    """Build what the tests run: no wait is for a compiler, and none is killed."""
    build(build_spec(config()))
    build(build_spec(SimConfig(params=load_platform("htg-z920").rtl_parameters())))


def marked(mark: str) -> list[int]:
    """Return the processes, this one and zombies excepted, that were started with `mark`."""
    wanted = f"{MARK}={mark}".encode()
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and wanted in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return [pid for pid in pids if pid != os.getpid()]


def wait_for_none(mark: str) -> None:
    """Wait until no process with `mark` is left."""
    deadline = time.monotonic() + PATIENCE
    while left := marked(mark):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.02)


def pimloop(*arguments: str) -> list[str]:
    """Return the command line of a `pimloop` command in this interpreter."""
    return [sys.executable, "-m", "pimloop", *arguments]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository to its end."""
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
