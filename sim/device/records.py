"""Records of what tests showed for this very hardware, by hashes of its sources.

A property that makes runs quick, but that a change of the hardware may end, is used only while the
record of its verification names the sources that are there: `pimloop.sim.device.lanes` and
`pimloop.sim.device.moves`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pimloop.sim.errors import SimError
from pimloop.sim.files import replace_file
from pimloop.sim.packages import require_packages
from pimloop.sim.paths import REPOSITORY

#: Packages that the tests import and that are no part of `make setup`.
PACKAGES = ("hypothesis", "apytypes")

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


@dataclass(frozen=True)
class Record:
    """One property: the file of its record, its tests, and what is said about it."""

    path: Path
    program: str  # checks the record; with --verify it runs the tests
    title: str  # what the record is of, for its first line
    tests: tuple[str, ...]  # files of tests, from the top of the tree
    holds: str  # said when the record holds
    fails: str  # said when the sources have changed since
    unverified: str  # said when the tests fail

    @property
    def command(self) -> str:
        """What verifies the property and writes the record."""
        return f"{self.program} --verify"

    def names(self, hashes: Mapping[str, str]) -> bool:
        """Whether the record is of these sources."""
        try:
            return tomllib.loads(self.path.read_text(encoding="utf-8")) == dict(hashes)
        except (OSError, ValueError):
            return False

    def write(self, hashes: Mapping[str, str]) -> None:
        """Note that the property was shown for these sources."""
        lines = [f"# Written by `{self.command}`: {self.title}."]
        lines += [f'{name} = "{value}"' for name, value in hashes.items()]
        replace_file(self.path, ("\n".join(lines) + "\n").encode())


def main(
    record: Record,
    description: str,
    hashes: Callable[[], Mapping[str, str]],
    arguments: Sequence[str] | None,
) -> int:
    """Run the command of a record: 0 when it holds, with --verify after its tests have passed.

    2: a package of the tests is missing.
    """
    parser = argparse.ArgumentParser(prog=record.program, description=description)
    parser.add_argument("--verify", action="store_true", help="run the tests, write the record")
    if parser.parse_args(arguments).verify:
        try:
            require_packages("--verify", PACKAGES, "dev")
        except SimError as error:
            print(error, file=sys.stderr)
            return 2
        before = hashes()
        tests = [sys.executable, "-m", "pytest", "-q", *record.tests]
        if subprocess.run(tests, cwd=REPOSITORY, check=False).returncode or before != hashes():
            print(f"{record.unverified}: the record stays as it was", file=sys.stderr)
            return 1
        record.write(before)
    if record.names(hashes()):
        print(record.holds)
        return 0
    print(f"{record.fails}: run `{record.command}`")
    return 1


def code(text: str) -> str:
    """Return SystemVerilog or C++ without comments and with one space for all white space."""
    return " ".join(COMMENT.sub(" ", text).split())


def hash_of(texts: Iterable[str]) -> str:
    """Return a hash of texts in this order."""
    return hashlib.sha256(repr(list(texts)).encode()).hexdigest()
