"""Mutants: one fault each, kept as a unified patch, put into copies of the files it changes.

A patch is applied by content: the lines that a hunk removes or keeps must stand in the file
together exactly once, wherever that is, so that edits elsewhere in the file do not matter. Where
they do not, the file has changed under the patch and it has to be written again: `MutantError`.

    sources = mutated(MUTANTS / "dram" / "trcd.patch", rtl("pim_sched"), tmp_path)
    run_bench("pim_sched", sources, ...)                      # or
    SimConfig(flavour="rtl", device_sources=mutated(patch, rtl_sources(), tmp_path))

Text before the first `---` line says what the fault is. Patches of Python lie under `python/`, and
name the tests that must fail, each on a line such as
`caught by: tests/host/pim/driver/test_driver.py::test_name`. A line `full` leaves one to
`make test-full`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

#: Folder of the patches, one folder for each kind.
MUTANTS = Path(__file__).resolve().parent

_REPOSITORY = MUTANTS.parents[1]


class MutantError(AssertionError):
    """A patch is malformed or does not fit the file; the message says which and where."""


def patches(kind: str) -> list[Path]:
    """Return the patches of a folder such as `dram`, by name; at least one.

    Raises
    ------
    MutantError
        There is none.
    """
    files = sorted((MUTANTS / kind).glob("*.patch"))
    if not files:
        raise MutantError(f"no *.patch in {MUTANTS / kind}")
    return files


def mutated(patch: Path, sources: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Return `sources` with the files that `patch` changes replaced by changed copies.

    Parameters
    ----------
    patch
        A unified patch; paths in it are relative to the repository (`a/rtl/x.sv`).
    sources
        Files of a build, in order.
    folder
        Where the changed copies are written.

    Raises
    ------
    MutantError
        The patch is malformed, a hunk does not fit, or the patch changes none of `sources`.
    """
    changed: dict[Path, Path] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in changed_texts(patch).items():
        original = _REPOSITORY / name
        copy = folder / original.name
        copy.write_text(text, encoding="utf-8")
        changed[original.resolve()] = copy
    result = tuple(changed.get(path.resolve(), path) for path in sources)
    unused = set(changed.values()) - set(result)
    if unused:
        names = ", ".join(sorted(path.name for path in unused))
        raise MutantError(f"{patch.name} changes {names}, which this build does not use")
    return result


def changed_texts(patch: Path) -> dict[str, str]:
    """Return the text of each file that a patch changes, by path in the repository.

    Raises
    ------
    MutantError
        The patch is malformed or a hunk does not fit.
    """
    changed: dict[str, str] = {}
    for name, hunks in _parse(patch).items():
        try:
            text = (_REPOSITORY / name).read_text(encoding="utf-8")
        except OSError as error:
            raise MutantError(f"{patch.name}: cannot read {name}: {error.strerror}") from error
        for number, (old, new) in enumerate(hunks, 1):
            places = ("\n" + text).count("\n" + old)
            if places != 1:
                raise MutantError(
                    f"{patch.name}: hunk {number} fits {places} places of {name}, not 1; "
                    "the file has changed: write the patch again"
                )
            text = ("\n" + text).replace("\n" + old, "\n" + new)[1:]
        changed[name] = text
    return changed


def killers(patch: Path) -> list[str]:
    """Return the tests that a patch of Python says must fail, one a line `caught by: ...`.

    Raises
    ------
    MutantError
        It names none.
    """
    head = patch.read_text(encoding="utf-8").split("--- ", 1)[0]
    tests = re.findall(r"^caught by: (\S.*)$", head, re.MULTILINE)
    if not tests:
        raise MutantError(f"{patch.name} has no line 'caught by: TEST'")
    return tests


def description(patch: Path) -> str:
    """Return the text before the first file of a patch, on one line."""
    head = patch.read_text(encoding="utf-8").split("--- ", 1)[0]
    return " ".join(re.sub(r"^(caught by: .*|full)$", "", head, flags=re.MULTILINE).split())


def is_full(patch: Path) -> bool:
    """Return whether a patch has the line `full`: it is run by `make test-full` only."""
    head = patch.read_text(encoding="utf-8").split("--- ", 1)[0]
    return re.search(r"^full$", head, re.MULTILINE) is not None


def _parse(patch: Path) -> dict[str, list[tuple[str, str]]]:
    """Return, for each file of a patch, its hunks as (text before, text after)."""
    files: dict[str, list[tuple[str, str]]] = {}
    name: str | None = None
    old: list[str] = []
    new: list[str] = []

    def close_hunk() -> None:
        if old == new:
            raise MutantError(f"{patch.name}: a hunk of {name} changes nothing")
        files[str(name)].append(("".join(old), "".join(new)))
        old.clear()
        new.clear()

    for line in patch.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("--- "):
            if old or new:
                close_hunk()
            name = None
        elif match := re.match(r"\+\+\+ (?:b/)?(\S+)", line):
            name = match[1]
            files[name] = []
        elif name is not None and line.startswith("@@"):
            if old or new:
                close_hunk()
        elif name is not None and line[0] in " -+":
            if line[0] != "+":
                old.append(line[1:])
            if line[0] != "-":
                new.append(line[1:])
        elif name is not None and line.strip():
            raise MutantError(f"{patch.name}: not a line of a unified patch: {line.rstrip()!r}")
        elif name is not None:  # an editor took the blank off an empty context line
            old.append("\n")
            new.append("\n")
    if old or new:
        close_hunk()
    if not files or not all(files.values()):
        raise MutantError(f"{patch.name} is no unified patch")
    return files
