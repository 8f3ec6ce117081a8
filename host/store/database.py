"""A database of what earlier runs found out: the base of the cost store and of the list cache.

Nothing in such a database is needed. Whatever is wrong with it, a run goes on without it and has
the same results, and its user is told once:

| what is wrong | what is done |
|---|---|
| a damaged file, one of another version or program | set aside as `NAME.damaged`, begun anew |
| an entry that fails its check (the user of the database checks it) | counted; made again |
| a full disk, a file or a folder that is read-only | read, not written |
| another process that writes, or sets the file up | waited for, at most `BUSY_SECONDS` |
| no file can be there, or it cannot be read | done without |

Several processes and threads may use a file, each with a `Database` of its own. The file is for its
user alone and does not grow beyond a bound. Its two users are its neighbours `cost_store` and
`list_cache`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pimloop.sim.files import locked

logger = logging.getLogger(__name__)

#: Bound of a database, bytes.
MAX_BYTES = 64 << 20
#: Bound on waiting for other processes, seconds. SQLite lets waiting processes in by chance, not in
#: turn: on a crowded machine four of them that write all the time have waited for over five.
BUSY_SECONDS = 30.0

_FILE_MODE = 0o600
_LEAST_PAGES = 16  # of the bound: a table and its index have their pages whatever it is

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NO_WRITES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)
#: Errors of a file that is as it should be; any other error of SQLite means damage.
_SOUND = (
    *_BUSY,
    *_NO_WRITES,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)
#: Errors of opening a file for writing that may still be read.
_READABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


#: Tables, views, indexes and triggers, those left out that SQLite makes by itself.
_SCHEMA = "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"


@dataclass(frozen=True)
class Layout:
    """What a database holds, and what its users are told."""

    name: str  # in messages, as "cost store"
    without: str  # what going on without it means
    again: str  # what becomes of an entry that fails its check, as "measured again"
    version: int  # of the table, in the file's `user_version`
    table: str  # name of the table
    columns: str  # of the table, and what follows them
    make_room: str  # statement that deletes what is needed least
    dropped: frozenset[int] = frozenset()  # versions whose table makes way without a word
    check_at_open: bool = False  # the whole file; without, damage shows where it is read
    write_ahead: bool = False  # a log for many small writes; needs a file system of this machine

    @property
    def statement(self) -> str:
        """The statement that makes the table, as SQLite keeps it in the file."""
        return f"CREATE TABLE {self.table} {self.columns}"


class Damage(Exception):
    """The file is not what a database of its layout writes."""


class Database:
    """One file; calls may come from any thread, but from one at a time.

    Parameters
    ----------
    path
        The file; made when it is missing, in a folder that exists.
    layout
        What it holds.
    max_bytes
        Bound of its size.
    said
        Warnings that were given and are not repeated. Databases that are opened often share one.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        max_bytes: int = MAX_BYTES,
        said: set[str] | None = None,
    ) -> None:
        self.path = path
        self._layout = layout
        self._max_bytes = max_bytes
        self._said = set() if said is None else said
        self._connection: sqlite3.Connection | None = None
        self._read_only = ""  # why nothing can be written; empty: it can
        self._rejected = 0
        self._looked = False  # at the whole file, since it was opened
        with self._surviving():
            self._connection = self._connect_in_turn()

    @property
    def usable(self) -> bool:
        """Whether the database can at least be read."""
        return self._connection is not None

    def read(self, statement: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        """Return the first row of an answer; None without one, or without a usable database.

        Text is returned as bytes: that of a damaged file need not be UTF-8.
        """
        with self._surviving():
            if self._connection is not None:
                row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
                return row
        return None

    def write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Write all rows or none; does nothing where that is not possible."""
        with self._surviving():
            if self._connection is None:
                return
            if self._read_only:
                self._say_read_only()
                return
            try:
                with self._connection:
                    self._connection.executemany(statement, rows)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_FULL:
                    raise
                # At its bound. On a full disk making room fails, and nothing is deleted.
                with self._connection:
                    self._connection.execute(self._layout.make_room)
                    self._connection.executemany(statement, rows)

    def reject(self) -> None:
        """Count an entry that fails its check."""
        self._rejected += 1

    def warn_rejected(self) -> int:
        """Return how many entries were rejected since the last call, and say so."""
        count, self._rejected = self._rejected, 0
        if count and self._is_more_than_entries():
            self._begin_anew(Damage("entries fail their check"))
        elif count:
            self._say(
                f"the {self._layout.name} {self.path} has entries that fail their check ({count}):"
                f" they are {self._layout.again}"
            )
        return count

    def _is_more_than_entries(self) -> bool:
        """Whether the whole file is damaged; looked at once, at the first entries rejected."""
        looked, self._looked = self._looked, True
        writable = self._connection is not None and not self._read_only
        return writable and not looked and self._is_damaged()

    def close(self) -> None:
        """Close the file, and say what was rejected; later calls read and write nothing."""
        self.warn_rejected()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    # ---- Opening.

    def _connect_in_turn(self) -> sqlite3.Connection:
        """Connect; wait for others that do so at the same time.

        Two that set up a new file in the same moment get in each other's way, and SQLite's own
        waiting does not cover the change to its write-ahead log.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._connect(self._layout.check_at_open)
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _connect(self, check: bool) -> sqlite3.Connection:
        """Open the file and make its table when it has none.

        Parameters
        ----------
        check
            Whether all of the file is checked.

        Raises
        ------
        Damage, sqlite3.Error, UnicodeError, OSError
            When it is damaged, or cannot be used.
        """
        self._read_only = "" if _make_private(self.path) else "it or its folder is read-only"
        # Read as it is: SQLite's own files beside it cannot be made.
        how = "?mode=ro&immutable=1" if self._read_only else ""
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}{how}",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
        )
        try:
            connection.text_factory = bytes
            if not self._read_only:
                self._set_up(connection)
            elif not self._fits(connection):
                raise OSError(errno.EROFS, "it is of an older version and read-only")
            if check:
                (state,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if state != b"ok":
                    raise Damage(state.decode(errors="replace").splitlines()[-1])
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        if self._layout.write_ahead:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        if not self._fits(connection):
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if not self._fits(connection):  # another process may have been quicker
                    connection.execute(f"DROP TABLE IF EXISTS {self._layout.table}")
                    connection.execute(self._layout.statement)
                    connection.execute(f"PRAGMA user_version = {self._layout.version}")
        if self.path.stat().st_size > self._max_bytes:
            with connection:
                connection.execute(self._layout.make_room)
            connection.execute("VACUUM")
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        pages = max(self._max_bytes // page_bytes, _LEAST_PAGES)
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def _fits(self, connection: sqlite3.Connection) -> bool:
        """Return whether the file has the table; False when the table may be made.

        Raises
        ------
        Damage
            When the file holds anything else.
        """
        layout = self._layout
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        schema = connection.execute(_SCHEMA).fetchall()
        if not schema and version in (0, layout.version):
            return False
        table = layout.table.encode()
        if version in layout.dropped and [name for name, _ in schema] == [table]:
            return False
        if version != layout.version:
            raise Damage(f"it has version {version}, this is {layout.version}")
        if schema != [(table, layout.statement.encode())]:
            raise Damage("it has other tables")
        return True

    # ---- What goes wrong.

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """Let no failure of the database out of the block; go on without what failed."""
        try:
            yield
        except (Damage, UnicodeError) as error:
            self._begin_anew(error)
        except sqlite3.Error as error:
            code = _code(error)
            if code in _BUSY:
                self._say_busy()
            elif code in _NO_WRITES and self._connection is not None:
                self._read_only = str(error)
                self._say_read_only()
            elif _is_damage(error):
                self._begin_anew(error)
            else:
                self._give_up(error)
        except OSError as error:
            self._give_up(error)

    def _begin_anew(self, error: Exception) -> None:
        """Set a damaged file aside, unless another process has done so, and start a new one."""
        self._rejected, self._looked = 0, False  # of that file: one warning is for all of it
        self.close()
        try:
            with locked(self.path.with_suffix(".lock"), BUSY_SECONDS):
                if self._is_damaged():
                    aside = self.path.with_name(f"{self.path.name}.damaged")
                    os.replace(self.path, aside)
                    for suffix in ("-journal", "-wal", "-shm"):  # they are not of the new file
                        Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                    logger.warning(
                        "the %s is damaged (%s): kept as %s and begun anew",
                        self._layout.name, error, aside,
                    )  # fmt: skip
                self._connection = self._connect_in_turn()
        except (Damage, sqlite3.Error, UnicodeError, OSError) as again:
            self._give_up(again)

    def _is_damaged(self) -> bool:
        try:
            self._connect(check=True).close()
        except (Damage, UnicodeError):
            return True
        except sqlite3.Error as error:
            return _is_damage(error)
        return False

    def _give_up(self, error: object) -> None:
        self.close()
        self._say(
            f"going on without the {self._layout.name} {self.path}: {error};"
            f" {self._layout.without}; set PIMLOOP_CACHE_DIR to another folder"
        )

    def _say_busy(self) -> None:
        if self._connection is None:
            self._give_up("it is in use")
        else:
            self._say(f"the {self._layout.name} {self.path} is in use: it was passed over")

    def _say_read_only(self) -> None:
        self._say(f"the {self._layout.name} {self.path} takes nothing new: {self._read_only}")

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            logger.warning(message)


def _make_private(path: Path) -> bool:
    """Make a file that is for its user alone; return whether it and its folder can be written to.

    Made here rather than by SQLite, whose files beside it follow its mode. No link is followed.

    Raises
    ------
    OSError
        When there can be no file.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(path, flags, _FILE_MODE)
    except OSError as error:
        if error.errno in _READABLE and path.is_file() and not path.is_symlink():
            return False
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        os.fchmod(file, _FILE_MODE)
    finally:
        os.close(file)
    return os.access(path.parent, os.W_OK, effective_ids=True)


def _code(error: sqlite3.Error) -> int | None:
    """Return the primary code of an error; None for one that SQLite did not give."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_damage(error: sqlite3.Error) -> bool:
    return _code(error) is not None and _code(error) not in _SOUND
