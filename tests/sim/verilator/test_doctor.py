"""`pimloop doctor`: names what is there, and the one command for what is not."""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import stat
import subprocess
import sys

import find_libpython
import pytest
from support.paths import REPOSITORY

from pimloop.host.cli import doctor
from pimloop.sim.verilator.doctor import PACKAGES, examine
from pimloop.sim.verilator.toolchain import REMEDIES


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.register(parser.add_subparsers())
    args = parser.parse_args(["doctor", *arguments])
    return args.func(args)


def missing() -> dict[str, str]:
    return {finding.name: finding.remedy for finding in examine() if not finding.present}


def test_this_machine_has_everything(capsys):
    assert run("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    tools = {tool["name"]: tool for tool in report["tools"]}
    assert set(PACKAGES) | {"python", "libpython", "verilator", "c++", "make", "ar"} <= set(tools)
    assert all(tool["found"] and tool["version"] for tool in tools.values())
    assert tools["cocotb"]["version"] == importlib.metadata.version("cocotb")
    assert "Verilator 5." in tools["verilator"]["version"]
    assert tools["zlib"]["version"][0].isdigit()


def test_table(capsys):
    assert run() == 0
    text = capsys.readouterr().out
    assert "Nothing is missing." in text
    assert "verilator" in text


def test_nothing_on_path(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert missing() == {
        "c++": "sudo apt-get install g++",
        "make": "sudo apt-get install make",
        "ar": "sudo apt-get install binutils",
    }
    assert run() == 1
    text = capsys.readouterr().out
    assert "c++: no C++ compiler (g++, clang++ or c++) on PATH; mend it with:" in text
    assert "\n  sudo apt-get install g++\n" in text
    assert run("--json") == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_no_verilator(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert missing()["verilator"] == REMEDIES["verilator"]


def test_verilator_of_the_system_without_perl(monkeypatch, tmp_path):
    script = tmp_path / "verilator"
    script.write_text("#!/bin/sh\necho 'Verilator 5.040 2025'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing()["perl"] == "sudo apt-get install perl"


def test_missing_package(monkeypatch):
    version = importlib.metadata.version

    def without_onnx(name: str) -> str:
        if name == "onnx":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_onnx)
    assert missing()["onnx"].endswith("-m pip install onnx")


def test_without_cocotb(tmp_path):
    """Not even its import fails: the command is there for a broken installation."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('cocotb', 'cocotb_tools', 'find_libpython'):\n"
        "    sys.modules[name] = None\n"
    )
    code = (
        "from pimloop.sim.verilator.doctor import examine\n"
        "print([f.name for f in examine() if not f.present])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "['libpython']"


def test_missing_libpython(monkeypatch):
    monkeypatch.setattr(find_libpython, "find_libpython", lambda: None)
    assert missing() == {"libpython": REMEDIES["libpython"]}


@pytest.mark.parametrize("below", ["", "builds"])
def test_build_folder_that_is_none(monkeypatch, tmp_path, below):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIMLOOP_BUILD_DIR", str(tmp_path / "file" / below))
    assert missing()["build folder"].startswith("export PIMLOOP_BUILD_DIR=")
