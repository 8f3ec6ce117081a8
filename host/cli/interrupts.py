"""Ctrl-C ends a command in one way, wherever it is."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: After what time an interrupt that could not be raised is asked for again.
_AGAIN_SECONDS = 0.02

#: The file of the frames that import a module.
_IMPORTING = "<frozen importlib._bootstrap>"


class Interruption:
    """Whether Ctrl-C, or a supervisor's SIGTERM, has asked a command to end."""

    def __init__(self) -> None:
        self.seen = False
        self._asked_again = False
        self._timer: threading.Timer | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt for a signal, but not while a module is imported.

        Extension modules print what is raised meanwhile, or take it for an error of theirs. A
        second Ctrl-C does not wait.
        """
        wait = self._asked_again or not self.seen
        self.seen, self._asked_again = True, False
        if wait and _imports(frame):
            self._ask_again()
            return
        raise KeyboardInterrupt

    def handle_dropped(self, dropped: sys.UnraisableHookArgs) -> None:
        """Ask again for an interrupt that Python dropped: what a finalizer or a callback raises."""
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            self._ask_again()
        else:
            sys.__unraisablehook__(dropped)

    def _ask_again(self) -> None:
        def ask() -> None:
            self._asked_again = True
            os.kill(os.getpid(), signal.SIGINT)

        self._timer = threading.Timer(_AGAIN_SECONDS, ask)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Raise KeyboardInterrupt for Ctrl-C and SIGTERM, so that devices are closed and files removed.

    Where a library has made an error of its own of it, `seen` of what is yielded tells. Where
    Ctrl-C is ignored, as in a background job, it stays so.
    """
    interruption = Interruption()
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    hook = sys.unraisablehook
    sys.unraisablehook = interruption.handle_dropped
    try:
        for number in before:
            signal.signal(number, interruption.handle)
        yield interruption
    finally:
        interruption.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
