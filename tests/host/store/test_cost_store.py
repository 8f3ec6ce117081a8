"""The cost store: what it answers, and damage, bounds and read-only files that it survives."""

from __future__ import annotations

import sqlite3

import pytest

from pimloop.host.store.cost_store import FILE_NAME, Cost, CostStore

COSTS = [
    Cost("device", "Add/4x8", "model/a", 1.0),
    Cost("device", "Add/4x8", "model/b", 3.0),
    Cost("device", "Add/4x8", "model/c", 8.0),
    Cost("machine", "Add/4x8", "model/a", 100.0),
]


def filled(folder):
    with CostStore(folder) as store:
        store.add(COSTS)
    return folder / FILE_NAME


def test_an_operator_has_its_own_time_and_others_none(tmp_path):
    filled(tmp_path)
    with CostStore(tmp_path) as store:
        assert store.find("device", "Add/4x8", "model/a").us == 1.0
        assert store.find("machine", "Add/4x8", "model/a").us == 100.0
        assert store.find("device", "Add/4x8", "other/z") is None
        assert store.find("device", "Add/4x9", "model/a") is None
        assert store.find("elsewhere", "Add/4x8", "model/a") is None


def test_a_new_time_takes_the_place_of_the_old(tmp_path):
    filled(tmp_path)
    with CostStore(tmp_path) as store:
        store.add([Cost("device", "Add/4x8", "model/a", 2.0)])
        assert store.find("device", "Add/4x8", "model/a").us == 2.0


def test_a_disturbed_time_stays_marked(tmp_path):
    filled(tmp_path)
    marked = Cost("device", "Add/4x8", "model/a", 2.0, disturbed=True)
    with CostStore(tmp_path) as store:
        store.add([marked])
    with CostStore(tmp_path) as store:
        assert store.find("device", "Add/4x8", "model/a") == marked
        assert not store.find("device", "Add/4x8", "model/b").disturbed
        store.add([Cost("device", "Add/4x8", "model/a", 2.0)])
        assert not store.find("device", "Add/4x8", "model/a").disturbed


def test_two_runs_at_once(tmp_path):
    with CostStore(tmp_path) as first, CostStore(tmp_path) as other:
        first.add(COSTS[:1])
        other.add(COSTS[1:])
        assert first.find("device", "Add/4x8", "model/b").us == 3.0


def test_no_folder_no_store():
    with CostStore(None) as store:
        store.add(COSTS)
        assert store.find("device", "Add/4x8", "model/a") is None


@pytest.mark.parametrize("damage", ["text", "cut", "middle", "version"])
def test_a_damaged_store_is_put_aside_and_begun_anew(damage, tmp_path, caplog):
    path = filled(tmp_path)
    if damage == "text":
        path.write_text("this is no database, and longer than a header of one would be" * 20)
    elif damage == "version":
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        data = bytearray(path.read_bytes())
        if damage == "cut":
            del data[len(data) // 2 :]
        else:
            data[4096:4200] = bytes(range(104))
        path.write_bytes(data)
    with CostStore(tmp_path) as store:
        assert store.find("device", "Add/4x8", "model/a") is None
        store.add(COSTS)
        assert store.find("device", "Add/4x8", "model/a").us == 1.0
    assert "the cost store is damaged" in caplog.text
    assert path.with_name(FILE_NAME + ".damaged").exists()


def test_damage_met_while_reading(tmp_path, caplog):
    path = filled(tmp_path)
    with CostStore(tmp_path) as store:
        path.write_bytes(b"x" * path.stat().st_size)
        assert store.find("device", "Add/4x8", "model/a") is None
        store.add(COSTS)
    with CostStore(tmp_path) as store:
        assert store.find("device", "Add/4x8", "model/b").us == 3.0
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    "message", ["attempt to write a readonly database", "database or disk is full"]
)
def test_a_run_goes_on_when_nothing_can_be_written(message, tmp_path, caplog):
    class Refusing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def executemany(self, *_):
            raise sqlite3.OperationalError(message)

        def close(self):
            pass

    filled(tmp_path)
    store = CostStore(tmp_path)
    store._database._connection.close()
    store._database._connection = Refusing()
    store.add(COSTS)
    assert f"going on without the cost store {tmp_path / FILE_NAME}: {message}" in caplog.text
    assert store.find("device", "Add/4x8", "model/a") is None
    store.add(COSTS)
    assert len(caplog.records) == 1


def test_a_folder_where_no_file_can_be(tmp_path, caplog):
    (tmp_path / FILE_NAME).mkdir()
    with CostStore(tmp_path) as store:
        store.add(COSTS)
        assert store.find("device", "Add/4x8", "model/a") is None
    assert "going on without the cost store" in caplog.text
