"""The `pimloop` command, from its first instruction to its last; also `python -m pimloop`."""

from __future__ import annotations

# The interpreter has loaded these: Ctrl-C is taken before anything else is.
import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once, where a command has not begun or is over: nothing is left to close."""
    os.write(2, b"pimloop: interrupted\n")
    os._exit(130)


def main() -> None:
    """Run the command of this process and end it with its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from pimloop.host.cli import main as command
    from pimloop.host.cli.streams import prepare_streams

    prepare_streams()
    sys.exit(command())


if __name__ == "__main__":
    main()
