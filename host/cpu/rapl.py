"""Energy counters of the CPU's packages: RAPL, as Linux shows it in sysfs (powercap).

A package is a folder `intel-rapl:N` whose `name` is `package-...`, on AMD's processors too; the
same package by another way (`intel-rapl-mmio:N`), its parts (`intel-rapl:N:M`) and the platform
around it (`psys`) are left out. `pimloop.host.cpu.power` makes the power of a core of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pimloop.errors import PimloopError

#: Where Linux shows its power counters.
POWERCAP = Path("/sys/class/powercap")

_PACKAGE = re.compile(r"intel-rapl:\d+")


class NoRaplError(PimloopError):
    """The energy of the CPU cannot be read on this machine; the message says why."""


@dataclass(frozen=True)
class Package:
    """The energy counter of a package."""

    folder: Path
    range_uj: int  # the largest value, microjoules: the counter starts again at 0 behind it

    def read_uj(self) -> int:
        """Return the counter, microjoules.

        Raises
        ------
        NoRaplError
            When it cannot be read.
        """
        return _number(self.folder / "energy_uj")

    def between_uj(self, before: int, after: int) -> int:
        """Return what was taken between two readings; the counter started again at most once.

        >>> Package(Path("intel-rapl:0"), 999).between_uj(990, 5)
        15
        """
        return after - before if after >= before else after - before + self.range_uj + 1


def packages(root: Path | None = None) -> tuple[Package, ...]:
    """Return the packages of this machine, each once, all of them readable.

    Parameters
    ----------
    root
        The powercap folder; default: `POWERCAP`.

    Raises
    ------
    NoRaplError
        When there is none, or one cannot be read.
    """
    root = POWERCAP if root is None else root
    try:
        folders = sorted(each for each in root.iterdir() if _PACKAGE.fullmatch(each.name))
    except OSError as error:
        raise NoRaplError(f"has no RAPL: {root}: {error.strerror}") from error
    packs = [each for each in folders if _text(each / "name").startswith("package")]
    if not packs:
        raise NoRaplError(f"has no RAPL: {root} has no package (intel-rapl:N)")
    listed = tuple(Package(each, _number(each / "max_energy_range_uj")) for each in packs)
    for package in listed:
        package.read_uj()
    return listed


def taken_uj(packs: Sequence[Package], before: Sequence[int], after: Sequence[int]) -> int:
    """Return what all packages took between two readings of each, microjoules."""
    return sum(
        package.between_uj(first, last)
        for package, first, last in zip(packs, before, after, strict=True)
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise NoRaplError(
            f"has no RAPL: {path} can be read by root alone; allow it (chmod a+r {path})"
        ) from error
    except (OSError, ValueError) as error:
        raise NoRaplError(f"has no RAPL: {path} cannot be read: {error}") from error


def _number(path: Path) -> int:
    text = _text(path)
    if not (text.isascii() and text.isdigit()):
        raise NoRaplError(f"has no RAPL: {path} has {text!r}, no number of microjoules")
    return int(text)
