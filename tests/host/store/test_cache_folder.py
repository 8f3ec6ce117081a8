"""The cache folder: where it is, who may read it, and what happens without one."""

import os
import stat
from pathlib import Path

import pytest

from pimloop.host.store import folder
from pimloop.host.store.folder import cache_folder


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PIMLOOP_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(folder, "_warned", set())


def test_order_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "home" / ".cache" / "pimloop"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "pimloop"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pimloop"
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_it_is_private_to_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "own"))
    made = cache_folder()
    assert made is not None
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_unusable_place_warns_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert cache_folder() is None
    assert cache_folder() is None
    assert len(caplog.records) == 1
    assert "set PIMLOOP_CACHE_DIR" in caplog.text


def test_folder_of_another_user_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert cache_folder() is None
    assert "belongs to another user" in caplog.text
