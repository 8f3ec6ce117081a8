"""What simulated descriptor lists cost, kept in a database for later runs.

The database is a convenience: whatever is wrong with it, a run goes on without it and gives the
same results. It is safe for several processes and threads, each with a `ListCache` of its own, is
for its user alone, and does not grow beyond a bound. Neighbours: `pimloop.host.pim.device.chain`
names lists, `pimloop.host.pim.device.cached` uses this.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pimloop.host.store.folder import cache_folder
from pimloop.rtl.isa import COUNTERS
from pimloop.sim.files import locked

logger = logging.getLogger(__name__)

#: Name of the database; the number is that of its layout.
FILE_NAME = "lists-1.sqlite"
#: Bound of the database, bytes; some hundred thousand lists.
MAX_BYTES = 64 << 20

#: Totals of a list, in the order of the device's counters.
TOTALS = len(COUNTERS)

_PAGE_BYTES = 4096
_LEAST_PAGES = 16
_BUSY_SECONDS = 5.0
_CHECK_BYTES = 16
_HEADER = struct.Struct(f"<{TOTALS}QI")
_LAYOUT = (
    "CREATE TABLE IF NOT EXISTS lists"
    " (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE NOT NULL, cost BLOB NOT NULL)"
)
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_WRITES = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

# Said already, to say it once in a process and not for every device.
_warned: set[str] = set()


@dataclass(frozen=True)
class ListCost:
    """What one list cost in a simulation."""

    totals: tuple[int, ...]  # what the list added to each counter, (TOTALS,)
    records: tuple[bytes, ...]  # completion records in list order, 64 bytes each

    def encode(self, key: bytes) -> bytes:
        """Return this as bytes, with a check against damage and mixed-up keys."""
        body = _HEADER.pack(*self.totals, len(self.records)) + b"".join(self.records)
        return _check(key, body) + body

    @classmethod
    def decode(cls, key: bytes, data: object) -> ListCost | None:
        """Return what `encode` was given, or None when `data` is damaged, whatever it is."""
        if not isinstance(data, bytes):
            return None
        body = data[_CHECK_BYTES:]
        if data[:_CHECK_BYTES] != _check(key, body):
            return None
        *totals, count = _HEADER.unpack_from(body)
        size = (len(body) - _HEADER.size) // count if count else 0
        starts = range(_HEADER.size, len(body), size) if size else ()
        return cls(tuple(totals), tuple(body[start : start + size] for start in starts))


def _check(key: bytes, body: bytes) -> bytes:
    return hashlib.sha256(key + body).digest()[:_CHECK_BYTES]


class ListCache:
    """Costs of lists by their names (`pimloop.host.pim.device.chain.chain_key`).

    Use one for each thread of work: calls may come from any thread, but from one at a time.

    Parameters
    ----------
    path
        The database; made when it is missing.
    max_bytes
        Bound of its size; the oldest entries make room.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_pages = max(max_bytes // _PAGE_BYTES, _LEAST_PAGES)
        self._connection: sqlite3.Connection | None = None
        self._writable = True
        with self._surviving():
            self._connection = self._connect_in_turn()

    @classmethod
    def of_user(cls) -> ListCache | None:
        """Return the cache in the user's cache folder, or None without such a folder."""
        folder = cache_folder()
        return None if folder is None else cls(folder / FILE_NAME)

    @property
    def usable(self) -> bool:
        """Whether the database can at least be read."""
        return self._connection is not None

    def get(self, key: bytes) -> ListCost | None:
        """Return the cost known by a name, or None."""
        with self._surviving():
            if self._connection is not None:
                statement = "SELECT cost FROM lists WHERE key = ?"
                row = self._connection.execute(statement, (key,)).fetchone()
                if row is None:
                    return None
                cost = ListCost.decode(key, row[0])
                if cost is None:
                    _warn_once(
                        f"the list cache {self._path} has entries that fail their check: these"
                        " lists are simulated again"
                    )
                return cost
        return None

    def put(self, key: bytes, cost: ListCost) -> None:
        """Keep a cost under a name; quietly does nothing when that is not possible."""
        with self._surviving():
            if self._connection is not None and self._writable:
                _insert(self._connection, key, cost)

    def distrust(self, identity: str) -> None:
        """Note that simulators of an identity gave wrong values: their lists are not to be used.

        A list from the cache has the model's values, which would hide what is wrong.
        """
        self.put(_distrust_key(identity), ListCost((0,) * TOTALS, ()))

    def distrusted(self, identity: str) -> bool:
        """Whether simulators of an identity gave wrong values."""
        return self.get(_distrust_key(identity)) is not None

    def close(self) -> None:
        """Close the database; later calls find and keep nothing."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _connect_in_turn(self) -> sqlite3.Connection:
        """Connect; wait for others that do so at the same time.

        Two that set up a new database in the same moment get in each other's way, and SQLite's own
        waiting does not cover the change to its write-ahead log.
        """
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._connect()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _connect(self) -> sqlite3.Connection:
        # Made here rather than by SQLite, for the user alone; the files beside it follow its mode.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.text_factory = bytes  # of a damaged entry, which need not be UTF-8
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
            connection.execute(_LAYOUT)
        except BaseException:
            connection.close()
            raise
        return connection

    # ---- What goes wrong.

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """Let no failure of the database out of the block; go on without what failed."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _BUSY and self._connection is None:
                _warn_once(f"no list cache, every list is simulated: {self._path} is in use")
            elif code in _BUSY:
                logger.debug("the list cache %s is busy", self._path)
            elif code in _BROKEN:
                self._rebuild(error)
            elif code in _NO_WRITES and self._connection is not None:
                self._writable = False
                _warn_once(f"the list cache {self._path} takes nothing new: {error}")
            else:
                self._give_up(error)
        except UnicodeError as error:  # of a message that quotes damaged text
            self._rebuild(error)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.close()
        _warn_once(
            f"no list cache, every list is simulated: {self._path}: {error}; "
            "set PIMLOOP_CACHE_DIR to another folder"
        )

    def _rebuild(self, error: Exception) -> None:
        """Put a broken database aside, unless another process has done so, and start a new one."""
        self.close()
        try:
            with locked(self._path.with_suffix(".lock"), _BUSY_SECONDS):
                if self._is_broken():
                    aside = self._path.with_suffix(".broken")
                    logger.warning(
                        "the list cache %s is broken (%s): it is now %s and a new one is begun",
                        self._path,
                        error,
                        aside,
                    )
                    os.replace(self._path, aside)
                    for suffix in ("-wal", "-shm"):
                        Path(f"{self._path}{suffix}").unlink(missing_ok=True)
                self._connection = self._connect()
        except (sqlite3.Error, UnicodeError, OSError) as again:
            self._give_up(again)

    def _is_broken(self) -> bool:
        try:
            connection = self._connect()
        except UnicodeError:
            return True
        except sqlite3.DatabaseError as error:
            return error.sqlite_errorcode & 0xFF in _BROKEN
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != b"ok")
        except (sqlite3.DatabaseError, UnicodeError):
            return True
        finally:
            connection.close()


def _insert(connection: sqlite3.Connection, key: bytes, cost: ListCost) -> None:
    """Write an entry; when the database has its full size, drop the older half first."""
    statement = "INSERT OR REPLACE INTO lists (key, cost) VALUES (?, ?)"
    row = (key, cost.encode(key))
    try:
        connection.execute(statement, row)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        connection.execute(
            "DELETE FROM lists WHERE number <= (SELECT (min(number) + max(number)) / 2 FROM lists)"
        )
        connection.execute(statement, row)


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning(message)


def _distrust_key(identity: str) -> bytes:
    return hashlib.sha256(f"wrong values of {identity}".encode()).digest()
