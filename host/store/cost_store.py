"""Costs that earlier runs measured, in an SQLite file under the user's cache folder.

A row is the time of one operator or transfer under a context (what its time depends on apart from
the model, `pimloop.host.planning.keys`) and a variant: which operator of which model. The store
answers for that very operator or not at all, so what ran before never changes a result. A time that
other work disturbed when it was measured stays marked. Each row has a check over key, value and
mark; a row that fails it is ignored, counted and measured again.

Nothing in the store is needed. A damaged file is put aside and begun anew; where nothing can be
read or written the run goes on without, and says so once.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import sqlite3
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

FILE_NAME = "costs.sqlite"

#: A file larger than this is begun anew: most of its rows are of code that is no more.
MAX_BYTES = 64 << 20

#: Version of the table, in the file's `user_version`. Rows of version 1 had no check, those of
#: version 2 do not say whether they were disturbed: both are measured again.
_SCHEMA = 3
_DROPPED = (1, 2)

#: Bound on waiting for another process that writes, seconds.
_BUSY_TIMEOUT = 10.0

_TABLE = """CREATE TABLE IF NOT EXISTS costs (
    context TEXT NOT NULL, signature TEXT NOT NULL, variant TEXT NOT NULL, us REAL NOT NULL,
    disturbed INTEGER NOT NULL, "check" BLOB NOT NULL,
    PRIMARY KEY (context, signature, variant)) WITHOUT ROWID"""

_CHECK_BYTES = 16

#: The file is for its user alone.
_FILE_MODE = 0o600

#: What a statement may raise; a message that quotes damaged text need not be UTF-8.
_ERRORS = (sqlite3.Error, UnicodeError)

#: Errors of a file that is as it should be; what else goes wrong is damage.
_REFUSED = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


@dataclass(frozen=True)
class Cost:
    """One measured time."""

    context: str  # device and, for what was timed natively, machine
    signature: str  # what was measured
    variant: str  # which one of those with this signature
    us: float  # microseconds
    disturbed: bool = False  # other work disturbed the measurement: not trusted

    @property
    def valid(self) -> bool:
        """Whether the time can be one: finite and not negative."""
        return math.isfinite(self.us) and self.us >= 0

    def check(self) -> bytes:
        """Return a hash of key, value and mark, kept beside them against damage."""
        content = hashlib.sha256(repr((self.context, self.signature, self.variant)).encode())
        content.update(struct.pack("<d?", self.us, self.disturbed))
        return content.digest()[:_CHECK_BYTES]


class CostStore:
    """The store; a context manager.

    Parameters
    ----------
    folder
        The cache folder (`pimloop.host.store.folder.cache_folder`); None: no store, nothing is
        known.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE_NAME
        self._connection: sqlite3.Connection | None = None
        self._damaged = 0  # rows that failed their check and nobody was told of
        if self._path is not None:
            self._open(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and say what was damaged unless that was said; more calls do nothing."""
        self.warn_damaged()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def find(self, context: str, signature: str, variant: str) -> Cost | None:
        """Return the time of this very operator, None when it was not measured."""
        if self._connection is None:
            return None
        try:
            row = self._connection.execute(
                'SELECT us, disturbed, "check" FROM costs'
                " WHERE context = ? AND signature = ? AND variant = ?",
                (context, signature, variant),
            ).fetchone()
        except _ERRORS as error:
            self._fail(error)
            return None
        if row is None:
            return None
        us, disturbed, check = row
        if isinstance(us, float) and disturbed in (0, 1):
            cost = Cost(context, signature, variant, us, bool(disturbed))
            if cost.valid and check == cost.check():
                return cost
        self._damaged += 1
        return None

    def warn_damaged(self) -> int:
        """Return how many rows failed their check since the last call, and say so once."""
        count, self._damaged = self._damaged, 0
        if count:
            log.warning(
                "the cost store %s: %d stored costs fail their check and are measured again",
                self._path, count,
            )  # fmt: skip
        return count

    def add(self, costs: Iterable[Cost]) -> None:
        """Keep times, in place of earlier ones of the same operators.

        Raises
        ------
        ValueError
            When a time is infinite, negative or not a number.
        """
        rows = []
        for cost in costs:
            if not cost.valid:
                raise ValueError(f"{cost.variant}: {cost.us} us is no time to keep")
            key = (cost.context, cost.signature, cost.variant)
            rows.append((*key, cost.us, int(cost.disturbed), cost.check()))
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO costs VALUES (?,?,?,?,?,?)", rows
                )
        except _ERRORS as error:
            self._fail(error)

    def _open(self, path: Path) -> None:
        try:
            self._connection = _connect(path)
        except (OSError, *_ERRORS) as error:
            self._mend(path, error)

    def _fail(self, error: Exception) -> None:
        """Go on after an error of a statement: with a new file when this one is damaged."""
        self.close()
        assert self._path is not None
        self._mend(self._path, error)

    def _mend(self, path: Path, error: Exception) -> None:
        """Begin a damaged file anew; do without one that cannot be read or written."""
        if isinstance(error, OSError | sqlite3.OperationalError) and not _is_damage(error):
            self._give_up(error)
            return
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
            self._connection = _connect(path)
        except (OSError, *_ERRORS) as second:
            self._give_up(second)
            return
        log.warning("the cost store is damaged (%s): kept as %s and begun anew", error, aside)

    def _give_up(self, error: Exception) -> None:
        log.warning("going on without the cost store %s: %s", self._path, error)


def _is_damage(error: Exception) -> bool:
    """Return whether an error means that the file is not what was written."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF not in _REFUSED


def _connect(path: Path) -> sqlite3.Connection:
    # Made here rather than by SQLite: for the user alone, as the files beside it.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE)
    try:
        os.fchmod(file, _FILE_MODE)
        size = os.fstat(file).st_size
    finally:
        os.close(file)
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT)
    # Bytes of a damaged text need not be UTF-8.
    connection.text_factory = bytes
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, *_DROPPED, _SCHEMA):
            raise sqlite3.DatabaseError(f"it has version {version}, this is {_SCHEMA}")
        if version != _SCHEMA or size > MAX_BYTES:
            with connection:
                connection.execute("DROP TABLE IF EXISTS costs")
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")
            connection.execute("VACUUM")
        # A damaged page may hide behind a good header, and rows out of order are never found.
        (state,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if state != b"ok":
            raise sqlite3.DatabaseError(state.decode(errors="replace").splitlines()[-1])
    except BaseException:
        connection.close()
        raise
    return connection
