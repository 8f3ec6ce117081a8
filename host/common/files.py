"""Writing a file whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.sim.files import replace_file

#: What lies here (/dev/stdout, /dev/fd/3) is written to, never replaced.
_DEVICES = Path("/dev")


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write `content` to `path`, which then holds either all of it or what it held before.

    Pipes and devices are written to as they are.

    Parameters
    ----------
    path
        In a folder that exists.
    content
        All of the file.
    mode
        The file's permissions.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    try:
        special = path.exists() and not path.is_file() and not path.is_symlink()
        if special or path.is_relative_to(_DEVICES):
            path.write_bytes(content)
            return
        replace_file(path, content, mode)
    except OSError as error:
        reason = error.strerror or error
        raise PimloopError(f"cannot write {path}: {reason}; choose another place") from error


def require_writable(path: Path | None) -> None:
    """Refuse a file that cannot be written, before the work that it is to hold.

    Parameters
    ----------
    path
        None: there is nothing to write.

    Raises
    ------
    PimloopError
        When it is a folder, or its own folder does not exist or cannot be written to.
    """
    if path is None:
        return
    reason = ""
    try:
        if path.is_dir():
            reason = "it is a folder"
        elif path.exists() and not path.is_file():  # a pipe or a device
            reason = "" if os.access(path, os.W_OK) else "Permission denied"
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise PimloopError(f"cannot write {path}: {reason}; choose another place")


def write_text(path: Path, text: str) -> None:
    """Write a text file as `write_whole` does, in UTF-8; what UTF-8 cannot hold becomes "?".

    Raises
    ------
    PimloopError
        When it cannot be written.
    """
    write_whole(path, text.encode("utf-8", "replace"))


def write_json(path: Path, data: object) -> None:
    """Write a JSON file as `write_whole` does; it has no NaN and no infinities.

    Raises
    ------
    PimloopError
        When it cannot be written.
    """
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")
