"""Cost store and list cache on one base: each survives the same damage in the same way.

What is read afterwards is the right entry or none, what is wrong is said once, and the next run has
a working file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.paths import REPOSITORY, TESTS

from pimloop.host.store import cost_store, database, list_cache
from pimloop.host.store.cost_store import Cost, CostStore
from pimloop.host.store.list_cache import TOTALS, ListCache, ListCost

#: Where a process that a test starts imports this file from, and what it imports.
FOLDERS = [str(Path(__file__).parent), str(TESTS)]
NOBODY = 65534


class Costs:
    """Entries of the cost store, by number."""

    file, layout = cost_store.FILE_NAME, cost_store.LAYOUT

    def __init__(self, folder, max_bytes=database.MAX_BYTES):
        kept, cost_store.MAX_BYTES = cost_store.MAX_BYTES, max_bytes
        try:
            self.store = CostStore(folder)
        finally:
            cost_store.MAX_BYTES = kept

    @staticmethod
    def entry(number):
        return Cost(f"context{number % 3}", f"MatMul/{number}", f"m/{number}", 1.5 * number + 1)

    def put(self, *numbers):
        self.store.add(self.entry(number) for number in numbers)

    def get(self, number):
        entry = self.entry(number)
        return self.store.find(entry.context, entry.signature, entry.variant)

    def close(self):
        self.store.close()


class Lists:
    """Entries of the list cache, by number."""

    file, layout = list_cache.FILE_NAME, list_cache.LAYOUT

    def __init__(self, folder, max_bytes=database.MAX_BYTES):
        self.cache = ListCache(folder / self.file, max_bytes)

    @staticmethod
    def entry(number):
        return ListCost(tuple(range(number, number + TOTALS)), (bytes([number % 256]) * 64,))

    def put(self, *numbers):
        for number in numbers:
            self.cache.put(number.to_bytes(32, "little"), self.entry(number))

    def get(self, number):
        return self.cache.get(number.to_bytes(32, "little"))

    def close(self):
        self.cache.close()


BOTH = {"costs": Costs, "lists": Lists}
NUMBERS = range(120)


@pytest.fixture(params=BOTH)
def kind(request, monkeypatch):
    monkeypatch.setattr(list_cache, "_said", set())
    return BOTH[request.param]


@contextlib.contextmanager
def opened(kind, folder, **options):
    store = kind(folder, **options)
    try:
        yield store
    finally:
        store.close()


def filled(kind, folder, numbers=NUMBERS):
    with opened(kind, folder) as store:
        store.put(*numbers)
    return folder / kind.file


def check_entries(store, numbers=NUMBERS):
    """Check that every entry is right or absent; return how many are there."""
    entries = [(store.get(number), store.entry(number)) for number in numbers]
    assert all(got in (None, right) for got, right in entries)
    return sum(got is not None for got, _ in entries)


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def check_works(kind, folder, caplog):
    """Check that the file takes entries and has them in the next run, which warns of nothing."""
    with opened(kind, folder) as store:
        store.put(*NUMBERS)
        assert check_entries(store) == len(NUMBERS)
    caplog.clear()
    with opened(kind, folder) as store:
        assert check_entries(store) == len(NUMBERS)
    assert warnings(caplog) == []


def check_set_aside(kind, folder, content, caplog):
    """Check that the file was set aside whole, with one warning that names it."""
    aside = folder / f"{kind.file}.damaged"
    assert aside.read_bytes() == content
    (message,) = warnings(caplog)
    assert message.startswith(f"the {kind.layout.name} is damaged (")
    assert message.endswith(f"): kept as {aside} and begun anew")


@pytest.mark.parametrize("length", [50, 512, 4096, 5000, 0.5, -4096])
def test_truncated(kind, length, tmp_path, caplog):
    path = filled(kind, tmp_path)
    whole = path.read_bytes()
    kept = whole[: int(length * len(whole)) if length == 0.5 else length]
    path.write_bytes(kept)
    with opened(kind, tmp_path) as store:
        check_entries(store)
        store.put(*NUMBERS)
        check_entries(store)
    check_set_aside(kind, tmp_path, kept, caplog)
    check_works(kind, tmp_path, caplog)


def test_a_last_byte_that_is_missing_costs_at_most_an_entry(kind, tmp_path, caplog):
    path = filled(kind, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with opened(kind, tmp_path) as store:
        assert check_entries(store) >= len(NUMBERS) - 1
    assert len(warnings(caplog)) <= 1
    check_works(kind, tmp_path, caplog)


def test_an_empty_file_is_a_new_one(kind, tmp_path, caplog):
    (tmp_path / kind.file).touch()
    check_works(kind, tmp_path, caplog)
    assert not list(tmp_path.glob("*.damaged"))


@pytest.mark.parametrize("seed", range(20))
def test_overwritten_bytes(kind, seed, tmp_path, caplog):
    rng = random.Random(seed)
    path = filled(kind, tmp_path)
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    size = rng.choice([1, 16, 300, 5000])
    content[start : start + size] = rng.randbytes(len(content[start : start + size]))
    path.write_bytes(content)
    with opened(kind, tmp_path) as store:
        check_entries(store)
        store.put(*NUMBERS)
        check_entries(store)
    assert len(warnings(caplog)) <= 1
    # What the first run could not mend the second may: a header that forbids writing.
    with opened(kind, tmp_path) as store:
        check_entries(store)


FOREIGN = {
    "version 0": ["CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('precious')"],
    "version 1": ["CREATE TABLE notes (text)", "PRAGMA user_version = 1"],
    "its version": ["CREATE TABLE notes (text)", "PRAGMA user_version = {version}"],
    "its table": ["CREATE TABLE {table} (text)", "PRAGMA user_version = {version}"],
    "one table more": [
        "CREATE TABLE {table} {columns}", "CREATE TABLE notes (text)",
        "PRAGMA user_version = {version}",
    ],
    "later version": ["CREATE TABLE {table} {columns}", "PRAGMA user_version = 99"],
    "negative version": ["CREATE TABLE {table} {columns}", "PRAGMA user_version = -1"],
}  # fmt: skip


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN)
def test_a_database_of_another_program_or_version_is_kept(kind, statements, tmp_path, caplog):
    path = tmp_path / kind.file
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement.format_map(vars(kind.layout)))
    before = sqlite_dump(path)
    with opened(kind, tmp_path) as store:
        assert check_entries(store) == 0
    assert sqlite_dump(tmp_path / f"{kind.file}.damaged") == before
    assert len(warnings(caplog)) == 1
    assert "is damaged (it has " in caplog.text
    check_works(kind, tmp_path, caplog)


def sqlite_dump(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return [*connection.iterdump(), version]


def test_files_beside_a_damaged_one_are_not_those_of_the_new_one(kind, tmp_path, caplog):
    path = filled(kind, tmp_path)
    path.write_bytes(b"no database " * 1000)
    beside = [Path(f"{path}{suffix}") for suffix in ("-journal", "-wal", "-shm")]
    for file in beside:
        file.write_bytes(b"of the damaged file" * 100)
    with opened(kind, tmp_path) as store:
        assert check_entries(store) == 0
    check_set_aside(kind, tmp_path, path.with_name(f"{kind.file}.damaged").read_bytes(), caplog)
    assert not any(file.exists() for file in beside)
    check_works(kind, tmp_path, caplog)


@pytest.mark.parametrize("place", ["folder", "link", "pipe", "missing folder"])
def test_no_file_can_be_there(kind, place, tmp_path, caplog):
    folder = tmp_path / "cache"
    if place != "missing folder":
        folder.mkdir()
    path = folder / kind.file
    if place == "folder":
        path.mkdir()
    elif place == "link":
        (tmp_path / "elsewhere").write_bytes(b"")
        path.symlink_to(tmp_path / "elsewhere")
    elif place == "pipe":
        os.mkfifo(path)
    with opened(kind, folder) as store:
        store.put(*NUMBERS)
        assert check_entries(store) == 0
        store.put(*NUMBERS)
    (message,) = warnings(caplog)
    assert message.startswith(f"going on without the {kind.layout.name} {path}: ")
    assert message.endswith("; set PIMLOOP_CACHE_DIR to another folder")
    if place == "link":
        assert (tmp_path / "elsewhere").read_bytes() == b""


@pytest.fixture
def as_user():
    """Return a folder and a way to act as a user whom permissions bind, as root they do not."""
    folder = Path(tempfile.mkdtemp(prefix="pimloop-"))
    root = os.geteuid() == 0

    @contextlib.contextmanager
    def acting():
        if root:
            for path in (folder, *folder.iterdir()):
                os.chown(path, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    yield folder, acting
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("read_only", ["file", "folder", "both"])
def test_read_only(kind, read_only, as_user, caplog):
    """What is there is read; nothing is written, which is said once and when there is something."""
    folder, acting = as_user
    path = filled(kind, folder)
    before = path.read_bytes()
    if read_only != "folder":
        path.chmod(0o400)
    if read_only != "file":
        folder.chmod(0o500)
    with acting(), opened(kind, folder) as store:
        assert check_entries(store) == len(NUMBERS)
        assert warnings(caplog) == []
        store.put(1000, 1001)
        store.put(1002)
        assert check_entries(store) == len(NUMBERS)
        assert store.get(1000) is None
    (message,) = warnings(caplog)
    assert message.startswith(f"the {kind.layout.name} {path} takes nothing new: ")
    assert path.read_bytes() == before
    assert [file.name for file in folder.iterdir()] == [kind.file]


def test_a_read_only_folder_without_a_file(kind, as_user, caplog):
    folder, acting = as_user
    folder.chmod(0o500)
    with acting(), opened(kind, folder) as store:
        store.put(1)
        assert store.get(1) is None
    (message,) = warnings(caplog)
    assert "Permission denied" in message


def test_damage_in_a_read_only_folder(kind, as_user, caplog):
    folder, acting = as_user
    path = filled(kind, folder)
    path.write_bytes(b"no database " * 1000)
    folder.chmod(0o500)
    with acting(), opened(kind, folder) as store:
        store.put(1)
        assert store.get(1) is None
    (message,) = warnings(caplog)
    assert message.startswith(f"going on without the {kind.layout.name}")


def test_full_disk_deletes_nothing(kind, tmp_path, caplog, monkeypatch):
    filled(kind, tmp_path)
    connect = sqlite3.connect

    class Full(sqlite3.Connection):
        """Every statement that writes finds the disk full."""

        def execute(self, statement, *values):
            if statement.startswith("DELETE"):
                self.executemany(statement, values)
            return super().execute(statement, *values)

        def executemany(self, *_):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, factory=Full, **o))
    with opened(kind, tmp_path) as store:
        store.put(1000)
        store.put(1001)
        assert check_entries(store) == len(NUMBERS)
    (message,) = warnings(caplog)
    assert message.endswith("takes nothing new: database or disk is full")


@dataclass(frozen=True)
class Script:
    """A program that writes entries."""

    kind: type
    folder: Path
    body: str

    def start(self, **options):
        text = f"""
import sys
from pathlib import Path
sys.path[:0] = {FOLDERS!r}
from {Path(__file__).stem} import Costs, Lists, check_entries
store = {self.kind.__name__}(Path({str(self.folder)!r}))
{self.body}
store.close()
"""
        return subprocess.Popen(
            [sys.executable, "-c", text], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=REPOSITORY, **options,
        )  # fmt: skip


def test_full_disk_of_a_process(kind, tmp_path, caplog):
    """Writes fail beyond a file size that the process may not exceed."""
    limit = 96 << 10
    import_first = "import resource\n"
    body = f"""{import_first}resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
for number in range(0, 2000, 20):
    store.put(*range(number, number + 20))
print(check_entries(store, range(2000)) < 2000)"""
    output, errors = Script(kind, tmp_path, body).start().communicate(timeout=120)
    assert output == "True\n", errors
    assert len(errors.splitlines()) == 1
    assert "going on without" in errors or "takes nothing new" in errors
    check_works(kind, tmp_path, caplog)


@pytest.mark.parametrize("damaged", [False, True])
def test_several_processes_at_once(kind, damaged, tmp_path, caplog):
    """Also when all of them find the file damaged: it is set aside once."""
    if damaged:
        (tmp_path / kind.file).write_bytes(b"no database" * 1000)
    writers = [
        Script(
            kind,
            tmp_path,
            f"""
for number in range(100):
    store.put(number, {1000 * (index + 1)} + number)
    assert store.get(number) == store.entry(number), number""",
        ).start()
        for index in range(4)
    ]
    said = []
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
        said += errors.splitlines()
    assert len([line for line in said if "is damaged" in line]) == damaged
    assert len(said) == damaged
    with opened(kind, tmp_path) as store:
        assert check_entries(store, range(100)) == 100
        if not damaged:
            assert check_entries(store, range(4000, 4100)) == 100
    assert warnings(caplog) == []


def test_killed_in_the_middle_of_a_write(kind, tmp_path, caplog):
    """Eight times at a random moment: the file is whole, and what was kept before is there."""
    rng = random.Random(5)
    for attempt in range(8):
        first = 1000 * attempt
        body = f"""print("begun", flush=True)
for number in range({first}, {first + 1000}):
    store.put(*range({first}, number + 1, 7))
    print(number, flush=True)"""
        writer = Script(kind, tmp_path, body).start()
        assert writer.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        # Not `communicate`: it leaves out what was read ahead with the first line.
        output = writer.stdout.read()
        writer.communicate(timeout=60)
        written = [int(line) for line in output.splitlines()]
        with opened(kind, tmp_path) as store:
            if written:
                numbers = range(first, written[-1] + 1, 7)
                assert check_entries(store, numbers) == len(numbers)
            check_entries(store, range(first, first + 1000))
    assert warnings(caplog) == []
    check_works(kind, tmp_path, caplog)


def test_it_does_not_grow_beyond_its_bound(kind, tmp_path, caplog):
    bound = 128 << 10
    with opened(kind, tmp_path, max_bytes=bound) as store:
        for number in range(0, 3000, 20):
            store.put(*range(number, number + 20))
        assert store.get(2999) == store.entry(2999)
        assert 0 < check_entries(store, range(3000)) < 3000
    assert (tmp_path / kind.file).stat().st_size <= bound
    assert warnings(caplog) == []


def test_a_larger_file_is_brought_below_the_bound(kind, tmp_path, caplog):
    path = filled(kind, tmp_path, range(3000))
    bound = path.stat().st_size // 2 + 8192
    with opened(kind, tmp_path, max_bytes=bound) as store:
        store.put(3000)
        assert store.get(3000) == store.entry(3000)
        assert store.get(0) is None
    assert path.stat().st_size <= bound
    assert warnings(caplog) == []


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_one_that_another_writes_to_is_passed_over(kind, lock, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    path = filled(kind, tmp_path)
    with opened(kind, tmp_path) as store, contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"BEGIN {lock}")
        store.put(1000)
        store.put(1001)
        check_entries(store)
        other.rollback()
        store.put(1002)
        assert [store.get(number) is None for number in (1000, 1001, 1002)] == [True, True, False]
        assert check_entries(store) == len(NUMBERS)
    (message,) = warnings(caplog)
    assert "is in use" in message


def test_the_file_and_those_beside_it_are_for_their_user_alone(kind, tmp_path):
    mask = os.umask(0)
    try:
        with opened(kind, tmp_path) as store:
            store.put(1)
            modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert modes == {0o600}


def test_an_entry_of_another_key_is_rejected(kind, tmp_path, caplog):
    """The values of two entries change places; both checks then fail."""
    path = filled(kind, tmp_path, (1, 2))
    values = {"costs": ("us", "check"), "lists": ("cost",)}[kind.layout.table]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for value in values:
            first, second = connection.execute(
                f'SELECT "{value}" FROM {kind.layout.table}'
            ).fetchall()
            for old, new in ((first, b"-"), (second, first[0]), ((b"-",), second[0])):
                connection.execute(
                    f'UPDATE {kind.layout.table} SET "{value}" = ? WHERE "{value}" = ?',
                    (new, old[0]),
                )
    with opened(kind, tmp_path) as store:
        assert check_entries(store, (1, 2)) == 0
        store.put(1, 2)
        assert check_entries(store, (1, 2)) == 2
    (message,) = warnings(caplog)
    assert "has entries that fail their check" in message
    assert message.endswith(f"they are {kind.layout.again}")
