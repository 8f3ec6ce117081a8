"""Random bits of what is kept on disk are flipped: the right number comes back, or none."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import stat

import pytest

import pimloop.host.store.list_cache
from pimloop.host.store import cost_store
from pimloop.host.store.cost_store import FILE_NAME, Cost, CostStore
from pimloop.host.store.list_cache import FILE_NAME as LISTS
from pimloop.host.store.list_cache import TOTALS, ListCache, ListCost

#: Flips in each database; each opens it anew.
FLIPS = 400


def costs(count=90):
    rng = random.Random(1)
    return [
        Cost(
            f"context{i % 3}",
            f"MatMul/1x{i}x512/const=1",
            f"model/MatMul_{i}",
            rng.uniform(1, 1e5),
            disturbed=i % 4 == 0,
        )
        for i in range(count)
    ]


def flipped(data, rng):
    """Return bytes with one to three bits flipped."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def test_flipped_bits_of_the_cost_store_never_give_a_wrong_number(tmp_path, caplog):
    kept = costs()
    with CostStore(tmp_path) as store:
        store.add(kept)
    path = tmp_path / FILE_NAME
    good = path.read_bytes()
    rng = random.Random(7)
    failed_checks = rebuilt = 0
    for _ in range(FLIPS):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        path.write_bytes(flipped(good, rng))
        caplog.clear()
        with CostStore(tmp_path) as store:
            read = [store.find(entry.context, entry.signature, entry.variant) for entry in kept]
            damaged = store.warn_damaged()
            assert all(cost in (None, entry) for cost, entry in zip(read, kept, strict=True))
            failed_checks += damaged
            if damaged:
                assert caplog.text.count("fail their check") == 1
            rebuilt += "begun anew" in caplog.text
            store.add(kept)  # what was not found is measured again
            again = [store.find(entry.context, entry.signature, entry.variant) for entry in kept]
        # A file that cannot be used gives nothing; any other has everything again.
        assert all(cost in (None, entry) for cost, entry in zip(again, kept, strict=True))
        if None in again:
            assert "the cost store" in caplog.text
    assert failed_checks > FLIPS // 10
    assert rebuilt > 0


def test_flipped_bits_of_the_list_cache_never_give_a_wrong_number(tmp_path, caplog, monkeypatch):
    rng = random.Random(3)
    kept = {
        rng.randbytes(32): ListCost(
            tuple(rng.randrange(1 << 40) for _ in range(TOTALS)),
            tuple(rng.randbytes(64) for _ in range(i % 3)),
        )
        for i in range(40)
    }
    path = tmp_path / LISTS
    cache = ListCache(path)
    for key, cost in kept.items():
        cache.put(key, cost)
    cache.close()
    good = path.read_bytes()
    damaged = 0
    for _ in range(FLIPS):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        path.write_bytes(flipped(good, rng))
        monkeypatch.setattr(pimloop.host.store.list_cache, "_said", set())
        caplog.clear()
        cache = ListCache(path)
        read = {key: cache.get(key) for key in kept}
        assert all(read[key] in (None, cost) for key, cost in kept.items())
        if caplog.text:
            damaged += 1
        for key, cost in kept.items():
            cache.put(key, cost)
        assert all(cache.get(key) in (None, cost) for key, cost in kept.items())
        cache.close()
    assert damaged > FLIPS // 4


@pytest.mark.parametrize("us", [float("nan"), float("inf"), -1.0])
def test_no_time_is_kept_that_cannot_be_one(us, tmp_path):
    with CostStore(tmp_path) as store, pytest.raises(ValueError, match="is no time to keep"):
        store.add([Cost("device", "Add/4", "model/a", us)])


def change(folder, statement, *values):
    with sqlite3.connect(folder / FILE_NAME) as connection:
        connection.execute(statement, values)
    connection.close()


def test_a_mark_that_is_taken_off_fails_the_check_of_its_row(tmp_path):
    marked = Cost("device", "Add/4", "model/a", 1.0, disturbed=True)
    for mark in (0, 2):
        with CostStore(tmp_path) as store:
            store.add([marked])
        change(tmp_path, "UPDATE costs SET disturbed = ?", mark)
        with CostStore(tmp_path) as store:
            assert store.find("device", "Add/4", "model/a") is None
            assert store.warn_damaged() == 1


@pytest.mark.parametrize("us", [float("inf"), -1.0, 1.0000001, "4", None])
def test_a_changed_value_fails_the_check_of_its_row(us, tmp_path, caplog):
    kept = costs(3)
    with CostStore(tmp_path) as store:
        store.add(kept)
    if us is None:  # the check of another row
        change(tmp_path, 'UPDATE costs SET "check" = (SELECT max("check") FROM costs)')
    else:
        change(tmp_path, "UPDATE costs SET us = ?", us)
    with CostStore(tmp_path) as store:
        read = [store.find(entry.context, entry.signature, entry.variant) for entry in kept]
        assert read.count(None) == (2 if us is None else 3)
        assert store.warn_damaged() == read.count(None)
        assert store.warn_damaged() == 0
        store.add(kept)
        assert [store.find(o.context, o.signature, o.variant) for o in kept] == kept
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


def test_a_valid_check_does_not_make_a_time_of_what_is_none(tmp_path):
    negative = Cost("device", "Add/4", "model/a", -1.0)
    with CostStore(tmp_path) as store:
        store.add([Cost("device", "Add/4", "model/a", 1.0)])
    change(tmp_path, 'UPDATE costs SET us = ?, "check" = ?', negative.us, negative.check())
    with CostStore(tmp_path) as store:
        assert store.find("device", "Add/4", "model/a") is None
        assert store.warn_damaged() == 1


def test_the_store_is_for_its_user_alone(tmp_path):
    old = os.umask(0)
    try:
        with CostStore(tmp_path) as store:
            store.add(costs(1))
    finally:
        os.umask(old)
    path = tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    CostStore(tmp_path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_place_of_the_store_is_not_followed(tmp_path, caplog):
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with CostStore(tmp_path) as store:
        store.add(costs(1))
    assert (tmp_path / "elsewhere").read_bytes() == b""
    assert "going on without the cost store" in caplog.text


@pytest.mark.parametrize(
    ("version", "columns", "values"), [(1, "", ""), (2, ', "check" BLOB', ", x'00'")]
)
def test_rows_without_checks_or_marks_are_dropped(version, columns, values, tmp_path, caplog):
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(
            f"CREATE TABLE costs (context TEXT, signature TEXT, variant TEXT, us REAL{columns},"
            " PRIMARY KEY (context, signature, variant)) WITHOUT ROWID"
        )
        connection.execute(f"INSERT INTO costs VALUES ('device', 'Add/4', 'model/a', 3.0{values})")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with CostStore(tmp_path) as store:
        assert store.find("device", "Add/4", "model/a") is None
        store.add(costs(2))
    assert not caplog.text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_store_beyond_its_bound_is_begun_anew(tmp_path, monkeypatch):
    with CostStore(tmp_path) as store:
        store.add(costs())
    monkeypatch.setattr(cost_store, "MAX_BYTES", 8 << 10)
    with CostStore(tmp_path) as store:
        entry = costs()[0]
        assert store.find(entry.context, entry.signature, entry.variant) is None
        store.add([entry])
        assert store.find(entry.context, entry.signature, entry.variant) == entry
    assert (tmp_path / FILE_NAME).stat().st_size <= 8 << 10
