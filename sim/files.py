"""Replacing a file in one step, and keeping other processes out for a while."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write `content` beside `path` and rename it to `path`.

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
    OSError
        When it cannot be written; what was at `path` is still there, and nothing beside it.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(mode)
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock that `path` stands for.

    Raises
    ------
    TimeoutError
        When another process holds it for longer than `seconds`.
    OSError
        When there can be no file at `path`.
    """
    with FileLock(path, timeout=seconds):
        yield
