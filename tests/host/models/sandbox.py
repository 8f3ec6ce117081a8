"""Runs a call in a forked child with bounds, and says how it ended.

What a hostile file does (a crash of a library, a loop, gigabytes) ends the child, not the tests.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from pimloop.errors import PimloopError

MIB = 1 << 20


@dataclass(frozen=True)
class Ending:
    """How a child ended."""

    kind: str  # "returned", "refused", "traceback", "killed"
    text: str  # what it returned, the message, the traceback, the signal
    megabytes: float  # of resident memory, the most, beyond the parent's when it was forked


def run_bounded(call: Callable[[], str], *, megabytes: int = 1024, seconds: int = 20) -> Ending:
    """Run `call` in a fork with at most so much new address space and CPU time.

    The address space counts what is mapped, and ONNX Runtime maps more than it uses: it is bounded
    by four times `megabytes`, and the resident memory is for the caller to compare.
    """
    before = _kilobytes("VmRSS")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # What other tests left must not be collected here: an ONNX Runtime session waits in its
        # destructor for threads that a fork does not have.
        gc.freeze()
        os.close(reader)
        _child(call, writer, 4 * megabytes, seconds)
    os.close(writer)
    text = _read(reader, 3 * seconds + 30)
    if text is None:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    used = max(0, usage.ru_maxrss - before) / 1024
    if text is None:
        return Ending("killed", "it waits for something", used)
    if os.WIFSIGNALED(status):
        return Ending("killed", signal.Signals(os.WTERMSIG(status)).name, used)
    kind, _, rest = text.partition("\n")
    return Ending(kind or "killed", rest or f"exit code {os.WEXITSTATUS(status)}", used)


def _child(call: Callable[[], str], writer: int, megabytes: int, seconds: int) -> None:
    space = _kilobytes("VmSize") * 1024 + megabytes * MIB
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        ending = f"returned\n{call()}"
    except PimloopError as error:
        ending = f"refused\n{error}"
    except BaseException:
        ending = f"traceback\n{traceback.format_exc()}"
    os.write(writer, ending.encode(errors="replace")[:60000])
    os._exit(0)


def _read(reader: int, seconds: float) -> str | None:
    """Return all that comes through a pipe; None when it is not closed in time."""
    parts = []
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], seconds)[0]:
            part = pipe.read(1 << 16)
            if not part:
                return b"".join(parts).decode(errors="replace")
            parts.append(part)
    return None


def _kilobytes(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))
