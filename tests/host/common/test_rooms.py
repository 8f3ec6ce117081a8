"""Rooms whose files are found: two files that claim the same are refused, with both named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from support.trees import copy_code

from pimloop.errors import PimloopError
from pimloop.host.models.architectures import registry as models
from pimloop.host.operators import registry as operators
from pimloop.rtl.tables.isa import Opcode


def module(name: str, **content: Any) -> ModuleType:
    """Return a module of a file that is not there."""
    made = ModuleType(name)
    made.__file__ = f"/room/{name}.py"
    made.__dict__.update(content)
    return made


def kind(opcode: Opcode, name: str) -> SimpleNamespace:
    return SimpleNamespace(opcode=opcode, name=name)


BERT = SimpleNamespace(model_type="bert", published=2018)

CASES = [
    ("matchers", {"MATCHERS": {"Add": print}}, "the ONNX operator type Add"),
    ("elementwise", {"KINDS": (kind(Opcode.ADD, "add"),)}, "the opcode ADD"),
    ("architectures", {"ARCHITECTURE": BERT}, "the model_type bert"),
]


def offers(monkeypatch: pytest.MonkeyPatch, reader: str, *modules: ModuleType) -> Any:
    """Return what a registry reads from a room of these modules."""
    registry = models if reader == "architectures" else operators
    monkeypatch.setattr(registry, "modules_beside", lambda _: modules)
    read: Callable[[], Any] = getattr(registry, reader).__wrapped__
    return read()


@pytest.mark.parametrize(("reader", "content", "claim"), CASES)
def test_two_files_that_claim_the_same_are_refused(
    monkeypatch: pytest.MonkeyPatch, reader: str, content: dict[str, Any], claim: str
) -> None:
    first, second = module("first", **content), module("second", **content)
    assert len(offers(monkeypatch, reader, first, module("helper"))) == 1
    with pytest.raises(PimloopError) as raised:
        offers(monkeypatch, reader, first, module("helper"), second)
    assert str(raised.value) == (
        f"{claim} is claimed by /room/first.py and /room/second.py: remove it from one of them"
    )


def test_opcodes_and_names_are_both_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = module("first", KINDS=(kind(Opcode.SUB, "less"), kind(Opcode.ADD, "add")))
    assert list(offers(monkeypatch, "elementwise", first)) == ["add", "less"]
    same_opcode = module("second", KINDS=(kind(Opcode.ADD, "plus"),))
    with pytest.raises(PimloopError, match=r"opcode ADD is claimed by /room/first.py and /room/s"):
        offers(monkeypatch, "elementwise", first, same_opcode)
    same_name = module("second", KINDS=(kind(Opcode.MUL, "add"),))
    with pytest.raises(PimloopError, match=r"name add is claimed by /room/first.py and /room/sec"):
        offers(monkeypatch, "elementwise", first, same_name)
    twice = module("twice", KINDS=(kind(Opcode.MUL, "mul"),) * 2)
    with pytest.raises(PimloopError, match=r"opcode MUL is claimed by /room/twice.py and /room/tw"):
        offers(monkeypatch, "elementwise", twice)


def test_the_command_says_so_and_ends(tmp_path: Path) -> None:
    """A copied file that still has the opcode of the one it was copied from."""
    tree = tmp_path / "tree"
    copy_code(tree)
    room = tree / "host" / "operators"
    text = (room / "add.py").read_text(encoding="utf-8")
    (room / "plus.py").write_text(text.replace('"Add"', '"Plus"'), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pimloop", "elementwise", "add", "4", "4", "--backend", "model"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    files = [tree / "pimloop" / "host" / "operators" / name for name in ("add.py", "plus.py")]
    assert done.stderr == (
        f"pimloop: the opcode ADD is claimed by {files[0]} and {files[1]}: remove it from one of"
        " them\n"
    )
    assert (done.returncode, done.stdout) == (2, "")
