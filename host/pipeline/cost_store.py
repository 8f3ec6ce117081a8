"""Costs that earlier runs measured, in an SQLite file under the user's cache folder.

A row is the time of one operator or transfer under a context (`host.pipeline.keys`: device,
machine), its signature, and a variant: which operator of which model was measured. Asked for an
operator the store answers with that very operator's time, else with the median of the operators
of the same signature: times of equal operators differ a little by where in memory they sit.

Nothing in the store is needed. A damaged file is put aside and begun anew; where nothing can be
read or written the run goes on without, and says so once.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

FILE_NAME = "costs.sqlite"

#: Version of the table, in the file's `user_version`.
_SCHEMA = 1

#: Bound on waiting for another process that writes, seconds.
_BUSY_TIMEOUT = 10.0

_TABLE = """CREATE TABLE IF NOT EXISTS costs (
    context TEXT NOT NULL, signature TEXT NOT NULL, variant TEXT NOT NULL, us REAL NOT NULL,
    PRIMARY KEY (context, signature, variant)) WITHOUT ROWID"""


@dataclass(frozen=True)
class Cost:
    """One measured time."""

    context: str  # device and, for what was timed natively, machine
    signature: str  # what was measured
    variant: str  # which one of those with this signature
    us: float  # microseconds


class CostStore:
    """The store; a context manager.

    Parameters
    ----------
    folder
        The cache folder (`host.cache.folder.cache_folder`); None: no store, nothing is known.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE_NAME
        self._connection: sqlite3.Connection | None = None
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
        """Close the file; more calls do nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def find(self, context: str, signature: str, variant: str) -> float | None:
        """Return a time in microseconds, None when nothing of this signature was measured."""
        if self._connection is None:
            return None
        try:
            rows = self._connection.execute(
                "SELECT variant, us FROM costs WHERE context = ? AND signature = ?",
                (context, signature),
            ).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return None
        for found, us in rows:
            if found == variant:
                return float(us)
        return float(median(us for _, us in rows)) if rows else None

    def add(self, costs: Iterable[Cost]) -> None:
        """Keep times, in place of earlier ones of the same operators."""
        if self._connection is None:
            return
        rows = [(cost.context, cost.signature, cost.variant, cost.us) for cost in costs]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO costs VALUES (?,?,?,?)", rows)
        except sqlite3.Error as error:
            self._fail(error)

    def _open(self, path: Path) -> None:
        try:
            self._connection = _connect(path)
        except sqlite3.OperationalError as error:
            self._give_up(error)
        except sqlite3.DatabaseError as error:
            self._rebuild(path, error)

    def _fail(self, error: sqlite3.Error) -> None:
        """Go on after an error of a statement: with a new file when this one is damaged."""
        self.close()
        assert self._path is not None
        if isinstance(error, sqlite3.OperationalError):
            self._give_up(error)
        else:
            self._rebuild(self._path, error)

    def _rebuild(self, path: Path, error: sqlite3.Error) -> None:
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
            self._connection = _connect(path)
        except (OSError, sqlite3.Error) as second:
            self._give_up(second)
            return
        log.warning("the cost store is damaged (%s): kept as %s and begun anew", error, aside)

    def _give_up(self, error: Exception) -> None:
        log.warning("going on without the cost store %s: %s", self._path, error)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _SCHEMA):
            raise sqlite3.DatabaseError(f"it has version {version}, this is {_SCHEMA}")
        if version == 0:
            with connection:
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        # A damaged page may hide behind a good header: read the table once.
        connection.execute("SELECT count(*), sum(us) FROM costs").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
