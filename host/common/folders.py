"""Output folders: made before the work, and never left by a symbolic link inside of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pimloop.errors import PimloopError


def make_folder(folder: Path) -> None:
    """Make the folder of a report, before the work that the report is about.

    Raises
    ------
    PimloopError
        When it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PimloopError(
            f"cannot write into the folder {folder}: {error.strerror}; choose another with --out"
        ) from error


def make_subfolder(folder: Path, *names: str) -> Path:
    """Make a folder inside of an output folder; return its path.

    A symbolic link on the way that leads out of `folder` is refused: it would be written through.

    Raises
    ------
    PimloopError
        When it leads elsewhere, cannot be made or written to.
    """
    check_inside(folder, *names)
    path = folder.joinpath(*names)
    make_folder(path)
    check_inside(folder, *names)
    return path


def check_inside(folder: Path, *names: str) -> None:
    """Raise PimloopError when a path inside of `folder` leads out of it by a symbolic link."""
    path = folder.joinpath(*names)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        inside = False
    if not inside:
        raise PimloopError(
            f"{path} is a symbolic link that leads out of {folder}: nothing is written through it;"
            " remove the link, or choose another folder with --out"
        )
