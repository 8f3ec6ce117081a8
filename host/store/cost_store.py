"""Costs that earlier runs measured, in an SQLite file under the user's cache folder.

A row is the time of one operator or transfer under a context (what its time depends on apart from
the model, `pimloop.host.planning.keys`) and a variant: which operator of which model. The store
answers for that very operator or not at all, so what ran before never changes a result. A time that
other work disturbed when it was measured stays marked. Each row has a check over key, value and
mark; a row that fails it is ignored, counted and measured again. What the store survives:
`pimloop.host.store.database`.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pimloop.host.store import database
from pimloop.host.store.database import Database, Layout

FILE_NAME = "costs.sqlite"

#: Bound of the file; at its bound it is begun anew: most of its rows are of code that is no more.
MAX_BYTES = database.MAX_BYTES

#: Rows of version 1 had no check, those of version 2 do not say whether they were disturbed: both
#: are measured again. A run writes a few times: no log, so that a home on a network serves too.
LAYOUT = Layout(
    name="cost store",
    without="every cost is measured",
    again="measured again",
    version=3,
    dropped=frozenset({1, 2}),
    table="costs",
    columns="""(
    context TEXT NOT NULL, signature TEXT NOT NULL, variant TEXT NOT NULL, us REAL NOT NULL,
    disturbed INTEGER NOT NULL, "check" BLOB NOT NULL,
    PRIMARY KEY (context, signature, variant)) WITHOUT ROWID""",
    make_room="DELETE FROM costs",
    # A damaged page may hide behind a good header, and rows out of order are never found.
    check_at_open=True,
)

_CHECK_BYTES = 16

_FIND = (
    'SELECT us, disturbed, "check" FROM costs WHERE context = ? AND signature = ? AND variant = ?'
)
_ADD = "INSERT OR REPLACE INTO costs VALUES (?,?,?,?,?,?)"


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
        path = None if folder is None else folder / FILE_NAME
        self._database = None if path is None else Database(path, LAYOUT, MAX_BYTES)

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
        if self._database is not None:
            self._database.close()

    def find(self, context: str, signature: str, variant: str) -> Cost | None:
        """Return the time of this very operator, None when it was not measured."""
        if self._database is None:
            return None
        row = self._database.read(_FIND, (context, signature, variant))
        if row is None:
            return None
        us, disturbed, check = row
        if isinstance(us, float) and disturbed in (0, 1):
            cost = Cost(context, signature, variant, us, bool(disturbed))
            if cost.valid and check == cost.check():
                return cost
        self._database.reject()
        return None

    def warn_damaged(self) -> int:
        """Return how many rows failed their check since the last call, and say so once."""
        return 0 if self._database is None else self._database.warn_rejected()

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
        if self._database is not None:
            self._database.write(_ADD, rows)
