"""Folders that builds and caches may use, and paths that make can be given.

What is built is executed and what is cached is believed, so both must lie where nobody else can
write: `distrust` says why a folder is not of that kind. Make and Verilator's makefiles cannot work
with white space in a path: `PlainPaths` gives other names to such paths.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

#: This folder, and the one of all parts: the clone, or the installed package.
SIM = Path(__file__).resolve().parent
REPOSITORY = SIM.parent

_ROOT = 0


def cache_place() -> Path:
    """Return where the user's caches lie: `$PIMLOOP_CACHE_DIR`, or in the XDG cache folder.

    Raises
    ------
    RuntimeError
        The user has no home.
    """
    chosen = os.environ.get("PIMLOOP_CACHE_DIR")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says that a relative path there is to be ignored.
    parent = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return parent / "pimloop"


def distrust(path: Path, *, of_root: bool) -> str | None:
    """Return why another user can have changed `path`, with its remedy; None: nobody can have.

    Symbolic links are followed. What the user or root owns can be changed by others only where its
    mode lets them: write permission of others, or of a group that has further members.

    Parameters
    ----------
    of_root
        Whether it may be root's: an administrator's folder is read, never written.

    Raises
    ------
    OSError
        It does not exist, or cannot be looked at.
    """
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    user = os.geteuid()
    seen = f"{path} (owner {_user(status.st_uid)}, mode {mode:04o})"
    if status.st_uid != user and not (of_root and status.st_uid == _ROOT):
        return f"{seen} belongs to another user"
    if mode & stat.S_IWOTH:
        return f"{seen} can be written by every user: chmod go-w it when you trust what is in it"
    if mode & stat.S_IWGRP and not _private_group(status.st_gid, user):
        return (
            f"{seen} can be written by the group {_group(status.st_gid)}: chmod g-w it when you"
            " trust what is in it"
        )
    return None


def _private_group(group: int, user: int) -> bool:
    """Whether nobody but `user` and root is in a group (user private groups of Linux)."""
    if group == _ROOT:
        return True
    try:
        entry = grp.getgrgid(group)
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return False
    members = {*entry.gr_mem}
    members |= {user.pw_name for user in pwd.getpwall() if user.pw_gid == group}
    return members <= {name, "root"}


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


class PlainPaths:
    """Names without white space for paths that have some; a context manager.

    Such a path is reached through a symbolic link to its folder, in a temporary folder that is
    the user's alone and is gone afterwards.

    >>> with PlainPaths() as plain:
    ...     print(plain(Path("/usr/bin")))
    /usr/bin
    """

    def __init__(self) -> None:
        self._links: Path | None = None
        self._names: dict[Path, Path] = {}

    def __call__(self, path: Path) -> Path:
        """Return a name of an existing file or folder."""
        if not re.search(r"\s", str(path)):
            return path
        if path.is_dir():
            return self._link(path)
        return self._link(path.parent) / path.name

    def make_overrides(self, folder: Path) -> tuple[str, ...]:
        """Return arguments for a make in `folder`: what it takes for its own folder's name."""
        plain = self(folder)
        return () if plain == folder else (f"CURDIR={plain}",)

    def _link(self, folder: Path) -> Path:
        if folder not in self._names:
            if self._links is None:
                chosen = tempfile.gettempdir()
                parent = "/tmp" if re.search(r"\s", chosen) else chosen
                self._links = Path(tempfile.mkdtemp(prefix="pimloop-", dir=parent))
            name = self._links / str(len(self._names))
            name.symlink_to(folder.absolute(), target_is_directory=True)
            self._names[folder] = name
        return self._names[folder]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._links is not None:
            shutil.rmtree(self._links, ignore_errors=True)
