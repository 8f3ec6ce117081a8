"""The standard streams of the command: what happens when nobody reads them, or nobody can.

Only a process that is the command has them changed (`pimloop.__main__`): tests that call
`pimloop.host.cli.main` keep their own.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TextIO, TypeVar

from pimloop.errors import PimloopError

_Returned = TypeVar("_Returned")

_STDOUT = 1


class OutputError(PimloopError):
    """What a command prints cannot be written."""


class Stream(io.TextIOWrapper):
    """A standard stream that no character and no reader's end stops.

    Characters that its encoding does not have become "?". When its reader goes away (`pimloop ... |
    head`), the rest is dropped and the command goes on: its files are written, its exit code says
    how it went. Any other fault of standard output is an OutputError; of standard error, which
    has no better place to be told, the rest is dropped too.
    """

    def write(self, text: str, /) -> int:
        """Write a text; see the class."""
        return self._guarded(lambda: super(Stream, self).write(text), len(text))

    def flush(self) -> None:
        """Write what is buffered; see the class."""
        self._guarded(super().flush, None)

    def _guarded(self, write: Callable[[], _Returned], otherwise: _Returned) -> _Returned:
        try:
            return write()
        except OSError as error:
            if self.closed:
                raise
            # What is still buffered goes there: the interpreter flushes again when it ends.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if self.fileno() == _STDOUT and not isinstance(error, BrokenPipeError):
                raise OutputError(
                    f"cannot write to standard output: {error.strerror or error}"
                ) from error
            return otherwise


def prepare_streams() -> None:
    """Give the process standard streams that are there, and print whatever happens."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed (`>&-`): the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _stream(sys.stdout, _STDOUT)
    sys.stderr = _stream(sys.stderr, 2)


def _stream(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        return Stream(io.FileIO(descriptor, "w", closefd=False), "utf-8", "replace")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, buffered = stream.encoding, stream.line_buffering
    return Stream(stream.detach(), encoding, "replace", line_buffering=buffered)
