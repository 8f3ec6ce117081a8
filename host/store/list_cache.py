"""What simulated descriptor lists cost, kept in a database for later runs.

Each list has a check over its name and its cost; one that fails it is simulated again. What the
database survives: `pimloop.host.store.database`. Neighbours: `pimloop.host.pim.device.chain` names
lists, `pimloop.host.pim.device.cached` uses this.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from pimloop.host.store.database import MAX_BYTES, Database, Layout
from pimloop.host.store.folder import cache_folder
from pimloop.rtl.tables.isa import COUNTERS

#: Name of the database; the number is that of its layout.
FILE_NAME = "lists-1.sqlite"

#: Every list is written when it was simulated, by several simulators at once: a write-ahead log. At
#: the bound, some hundred thousand lists, the older half makes room.
LAYOUT = Layout(
    name="list cache",
    without="every list is simulated",
    again="simulated again",
    version=0,
    table="lists",
    columns=(
        "(number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE NOT NULL, cost BLOB NOT NULL)"
    ),
    make_room=(
        "DELETE FROM lists WHERE number <= (SELECT (min(number) + max(number)) / 2 FROM lists)"
    ),
    write_ahead=True,
)

#: Totals of a list, in the order of the device's counters.
TOTALS = len(COUNTERS)

_CHECK_BYTES = 16
_HEADER = struct.Struct(f"<{TOTALS}QI")

_FIND = "SELECT cost FROM lists WHERE key = ?"
_ADD = "INSERT OR REPLACE INTO lists (key, cost) VALUES (?, ?)"

# Said already, to say it once in a process and not for every device.
_said: set[str] = set()


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
        self._database = Database(path, LAYOUT, max_bytes, _said)

    @classmethod
    def of_user(cls) -> ListCache | None:
        """Return the cache in the user's cache folder, or None without such a folder."""
        folder = cache_folder()
        return None if folder is None else cls(folder / FILE_NAME)

    @property
    def usable(self) -> bool:
        """Whether the database can at least be read."""
        return self._database.usable

    def get(self, key: bytes) -> ListCost | None:
        """Return the cost known by a name, or None."""
        row = self._database.read(_FIND, (key,))
        if row is None:
            return None
        cost = ListCost.decode(key, row[0])
        if cost is None:
            self._database.reject()
            self._database.warn_rejected()
        return cost

    def put(self, key: bytes, cost: ListCost) -> None:
        """Keep a cost under a name; does nothing when that is not possible."""
        self._database.write(_ADD, [(key, cost.encode(key))])

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
        self._database.close()


def _distrust_key(identity: str) -> bytes:
    return hashlib.sha256(f"wrong values of {identity}".encode()).digest()
