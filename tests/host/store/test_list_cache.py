"""The database of list costs: damage, bounds, several users at once, places it cannot be."""

from __future__ import annotations

import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.paths import REPOSITORY, TESTS

from pimloop.host.store import database, list_cache
from pimloop.host.store.database import Database
from pimloop.host.store.list_cache import FILE_NAME, TOTALS, ListCache, ListCost

#: Where a process that a test starts imports this file from, and what it imports.
FOLDERS = [str(Path(__file__).parent), str(TESTS)]


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def cost(number: int, records: int = 1) -> ListCost:
    totals = tuple(number + place for place in range(TOTALS))
    return ListCost(totals, tuple(bytes([number % 256, index]) * 32 for index in range(records)))


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_cache, "_said", set())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def test_what_is_put_is_got(path: Path) -> None:
    cache = ListCache(path)
    for number in range(20):
        assert cache.get(key(number)) is None
        cache.put(key(number), cost(number, records=number % 4))
    cache.put(key(3), cost(33))
    cache.close()
    cache.close()
    assert cache.get(key(3)) is None
    again = ListCache(path)
    assert again.get(key(3)) == cost(33)
    for number in range(4, 20):
        assert again.get(key(number)) == cost(number, records=number % 4)
    largest = ListCost((2**64 - 1,) * TOTALS, ())
    again.put(key(100), largest)
    assert again.get(key(100)) == largest
    again.close()


def test_files_are_the_users_alone(path: Path) -> None:
    cache = ListCache(path)
    cache.put(key(1), cost(1))
    files = list(path.parent.iterdir())
    assert len(files) == 3  # the database, its log and the log's index
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    cache.close()


def test_entry_that_was_damaged_or_belongs_to_another_list_is_not_used(path: Path) -> None:
    cache = ListCache(path)
    cache.put(key(1), cost(1))
    cache.put(key(2), cost(2))
    cache.close()
    with sqlite3.connect(path) as database:
        data = bytearray(database.execute("SELECT cost FROM lists").fetchone()[0])
        data[20] ^= 1
        database.execute("UPDATE lists SET cost = ? WHERE key = ?", (bytes(data), key(1)))
        swapped = database.execute("SELECT cost FROM lists WHERE key = ?", (key(2),)).fetchone()[0]
        database.execute("INSERT INTO lists (key, cost) VALUES (?, ?)", (key(3), swapped))
        database.execute("INSERT INTO lists (key, cost) VALUES (?, ?)", (key(4), b""))
    database.close()
    cache = ListCache(path)
    assert [cache.get(key(number)) for number in (1, 2, 3, 4)] == [None, cost(2), None, None]
    cache.put(key(1), cost(1))
    assert cache.get(key(1)) == cost(1)
    cache.close()


def fill(path: Path, count: int) -> None:
    cache = ListCache(path)
    for number in range(count):
        cache.put(key(number), cost(number))
    cache.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database" * 100,
        lambda data: data[:4096] + b"\xff" * 8192 + data[12288:],
        lambda data: data[: len(data) // 2],
        lambda data: data[:100] + bytes(len(data) - 100),
    ],
    ids=["other file", "overwritten pages", "cut in half", "zeroed"],
)
def test_broken_database_is_put_aside(
    path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, 500)
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        cache = ListCache(path)
        for number in range(500):
            assert cache.get(key(number)) in (None, cost(number))
            cache.put(key(number), cost(number))
        assert cache.usable
        cache.close()
    cache = ListCache(path)
    assert all(cache.get(key(number)) == cost(number) for number in range(500))
    cache.close()
    assert path.with_name(f"{FILE_NAME}.damaged").exists()
    assert len([record for record in caplog.records if "is damaged" in record.message]) == 1


def test_it_does_not_grow_beyond_its_bound(path: Path) -> None:
    bound = 256 << 10
    cache = ListCache(path, max_bytes=bound)
    for number in range(4000):
        cache.put(key(number), cost(number))
    assert cache.get(key(3999)) == cost(3999)
    assert cache.get(key(0)) is None
    kept = sum(cache.get(key(number)) is not None for number in range(4000))
    assert 300 < kept < 4000
    cache.close()
    assert path.stat().st_size <= bound


WRITER = """
import sys
sys.path[:0] = {folders!r}
from pathlib import Path
from pimloop.host.store.list_cache import ListCache
from test_list_cache import cost, key
cache = ListCache(Path({path!r}))
for number in range(300):
    cache.put(key(number), cost(number))
    cache.put(key(1000 + 1000 * {index} + number), cost(number))
    found = cache.get(key(number))
    assert found == cost(number), number
cache.close()
"""


@pytest.mark.parametrize("broken", [False, True])
def test_several_processes_at_once(path: Path, broken: bool) -> None:
    """Also when all of them find the database broken."""
    if broken:
        path.write_bytes(b"no database" * 1000)
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER.format(folders=FOLDERS, path=str(path), index=index),
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for index in range(4)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    cache = ListCache(path)
    assert all(cache.get(key(number)) == cost(number) for number in range(300))
    if not broken:
        assert all(cache.get(key(4000 + number)) == cost(number) for number in range(300))
    cache.close()


def test_several_threads_at_once(path: Path) -> None:
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            cache = ListCache(path)
            for number in range(100):
                cache.put(key(1000 * index + number), cost(number))
                assert cache.get(key(1000 * index + number)) == cost(number)
            cache.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_locked_database_is_passed_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    cache = ListCache(path)
    cache.put(key(1), cost(1))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    cache.put(key(2), cost(2))
    assert cache.get(key(1)) == cost(1)
    assert cache.get(key(2)) is None
    other.execute("ROLLBACK")
    other.close()
    cache.put(key(2), cost(2))
    assert cache.get(key(2)) == cost(2)
    cache.close()


def test_read_only_database_is_still_read(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, 3)
    connect = sqlite3.connect

    def read_only(*args: object, **options: object) -> sqlite3.Connection:
        connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA query_only = ON")
        return connection

    monkeypatch.setattr(sqlite3, "connect", read_only)
    cache = ListCache(path)
    cache.put(key(7), cost(7))
    cache.put(key(8), cost(8))
    assert cache.get(key(1)) == cost(1)
    assert cache.get(key(7)) is None
    cache.close()
    assert [r.message for r in caplog.records if "takes nothing new" in r.message]
    assert len(caplog.records) == 1


def test_place_that_cannot_have_a_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for place in (tmp_path / "missing" / FILE_NAME, tmp_path):
        for _ in range(2):
            cache = ListCache(place)
            assert not cache.usable
            cache.put(key(1), cost(1))
            assert cache.get(key(1)) is None
            cache.close()
    assert len(caplog.records) == 2
    assert "every list is simulated" in caplog.text


FULL_DISK = """
import sys
sys.path[:0] = {folders!r}
from pathlib import Path
from pimloop.host.store.list_cache import ListCache
from test_list_cache import cost, key
cache = ListCache(Path({path!r}))
for number in range(4000):
    cache.put(key(number), cost(number))
print(cache.get(key(0)) in (None, cost(0)))
cache.close()
"""


def test_full_disk_is_survived(path: Path) -> None:
    """Writes fail beyond a file size that the process may not exceed."""
    limit = 128 << 10
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK.format(folders=FOLDERS, path=str(path))],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=REPOSITORY,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "True\n"
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    # The next run, with room again, has a working cache.
    fill(path, 50)
    cache = ListCache(path)
    assert all(cache.get(key(number)) == cost(number) for number in range(50))
    cache.close()


def test_no_folder_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "file"))
    assert ListCache.of_user() is None


@pytest.mark.parametrize("times", [3, None])
def test_a_database_that_another_sets_up_is_waited_for(
    times: int | None, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two devices that begin together both have the cache; one that never gets it says so."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    connect, asked = Database._connect, []

    def in_use(self: Database, check: bool) -> sqlite3.Connection:
        asked.append(self)
        if times is not None and len(asked) > times:
            return connect(self, check)
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(Database, "_connect", in_use)
    cache = ListCache(path)
    assert cache.usable == (times is not None)
    assert ("is in use" in caplog.text) == (times is None)
    cache.put(key(1), cost(1))
    assert cache.get(key(1)) == (None if times is None else cost(1))
    cache.close()
