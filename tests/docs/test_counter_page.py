"""docs/add-a-counter.md, done step by step on a copy of the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support.trees import copy_code

from pimloop.sim.check.command_trace import read_commands
from pimloop.sim.paths import REPOSITORY

TEXT = (REPOSITORY / "docs" / "add-a-counter.md").read_text(encoding="utf-8")
PATCH = REPOSITORY / "docs" / "examples" / "count-turns.patch"
COMMANDS = re.findall(r"^ {4}(\S.*)$", TEXT, re.MULTILINE)

#: What Python knows of the counters, in a process of the copy.
STATE = """
import json
from pimloop.host.pim.driver import OpStats
from pimloop.host.report.html.labels import counter_meaning
from pimloop.rtl.tables.isa import COUNTERS, RECORD, Reg
print(json.dumps({
    "registers": {name: [int(low), int(Reg[f"CNT_{name.upper()}_HI"])]
                  for name, low in COUNTERS.items()},
    "record": list(RECORD.names), "bytes": RECORD.itemsize,
    "stats": list(OpStats().counters), "meaning": counter_meaning("turn"),
}))
"""


def changed_lines(text: str) -> list[str]:
    """Return the lines that a patch, or a piece of one, adds and removes."""
    return [line for line in text.splitlines() if re.match(r"[+-](?!\+\+ |-- )", line)]


def test_the_page_shows_the_whole_patch() -> None:
    patch = PATCH.read_text(encoding="utf-8")
    shown = "\n".join(re.findall(r"^```diff\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
    assert changed_lines(shown) == changed_lines(patch)
    assert re.findall(r"^\+\+\+ b/(.*)$", patch, re.MULTILINE) == [
        "rtl/isa.toml",
        "rtl/pim_counters.sv",
        "tests/rtl/sv/pim_counters_bench.sv",
        "tests/rtl/test_pim_counters.py",
    ]


class Copy:
    """The code in a folder, with caches of its own."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        copy_code(self.tree)
        for part in ("docs/examples", "tests/rtl", "tests/mutants", "tests/support"):
            shutil.copytree(REPOSITORY / part, self.tree / part)
        shutil.copy(REPOSITORY / "pyproject.toml", self.tree)
        subprocess.run(["git", "init", "--quiet", "."], cwd=self.tree, check=True)
        cache = folder / "cache"
        cache.mkdir(mode=0o700)
        self._environment = os.environ | {
            "PYTHONPATH": str(self.tree),
            "PIMLOOP_CACHE_DIR": str(cache),
            "PIMLOOP_BUILD_DIR": os.environ.get("PIMLOOP_BUILD_DIR", str(REPOSITORY / "build")),
        }

    def run(self, command: str) -> str:
        """Run a command of the page; return what it says."""
        words = command.split()
        if words[0] == "python":
            words[0] = sys.executable
        elif words[0] == "pimloop":
            words[:1] = [sys.executable, "-m", "pimloop"]
        return self._run(words)

    def python(self, code: str) -> str:
        """Run Python code; return what it prints."""
        return self._run([sys.executable, "-c", code])

    def _run(self, words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=self.tree, env=self._environment, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def changed(self) -> set[str]:
        """Return the files of the packages that are not as in the repository."""
        paths = (path for folder in ("host", "partitioner", "rtl", "sim")
                 for path in (self.tree / folder).rglob("*") if path.is_file())  # fmt: skip
        names = (path.relative_to(self.tree) for path in paths if "__pycache__" not in path.parts)
        return {
            str(name)
            for name in names
            if (self.tree / name).read_bytes() != (REPOSITORY / name).read_bytes()
        }


def test_the_entry_is_enough_for_registers_record_and_python(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for command in COMMANDS[:2]:
        copy.run(command)
    written = {"rtl/README.md", "rtl/tables/isa.py", "rtl/pim_isa_pkg.sv", "host/pim/c/pim_isa.h"}
    assert copy.changed() == written | {"rtl/isa.toml", "rtl/pim_counters.sv"}
    state = json.loads(copy.python(STATE))
    low, high = state["registers"]["turn"]
    assert f"`CNT_TURN_LO` at 0x{low:X}, `CNT_TURN_HI` at 0x{high:X}" in TEXT
    assert f"| completion record | word {state['record'].index('turn')}, `turn`;" in TEXT
    assert state["bytes"] == 64
    assert state["stats"][-1] == "turn"
    assert state["meaning"] == "column commands that read after a write or write after a read"


@pytest.mark.full
def test_every_step_of_the_page(tmp_path: Path) -> None:
    """Lint, bench, product and model: the counter is right and shows up everywhere."""
    copy = Copy(tmp_path)
    said = {command.split()[-1]: copy.run(command) for command in COMMANDS}
    assert len(said) == 6
    assert "passed" in said["tests/rtl/test_pim_counters.py"]
    rows = dict(re.findall(r"│ +(\w+) +│ ([\d,]+) ", said["trace.txt"]))
    for name in ("rd", "wr", "turn"):
        assert f"| {name} | {rows[name]} |" in TEXT
    assert re.search(r"cycles \(DRAM clocks\) +│ 111,232 ", said["trace.txt"])

    # Between lists the memory is in self-refresh.
    segments: list[list[str]] = [[]]
    with (copy.tree / "trace.txt").open(encoding="utf-8") as trace:
        for command in read_commands(trace):
            if command.name == "SRE":
                segments.append([])
            elif command.name in ("RD", "WR"):
                segments[-1].append(command.name)
    product = max(segments, key=len)
    turns = sum(command != following for command, following in pairwise(product))
    counted = {"rd": product.count("RD"), "wr": product.count("WR"), "turn": turns}
    assert {name: f"{value:,}" for name, value in counted.items()} == {
        name: rows[name] for name in counted
    }

    folder = copy.tree / "turns"
    counters = json.loads((folder / "report.json").read_text(encoding="utf-8"))["counters"]
    assert f": {counters['turn']:,} for the optimal placement, in {counters['cycles']:,}" in TEXT
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "column commands that read after a write or write after a read" in page
