"""Each kept fault in Python fails the tests its patch names; the tree as it is passes them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import Forks
from mutants import MUTANTS, changed_texts, description, is_full, killers

PATCHES = sorted((MUTANTS / "python").glob("*/*.patch"))
PARAMETERS = [
    pytest.param(
        patch,
        id=f"{patch.parent.name}-{patch.stem}",
        marks=[pytest.mark.full] if is_full(patch) else [],
    )
    for patch in PATCHES
]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.full  # each of them is a test of the suite too
def test_the_tests_pass_without_a_fault(forks: Forks) -> None:
    """Otherwise a mutant would be caught by a test that fails anyway."""
    tests = sorted({test for patch in PATCHES for test in killers(patch)})
    outcome = forks.run({}, tests, cpu_seconds=300)
    assert (outcome.failed, outcome.broken) == ((), "")
    assert outcome.passed >= len(tests)


@pytest.mark.parametrize("patch", PARAMETERS)
def test_mutant_is_caught(patch: Path, forks: Forks) -> None:
    """By a failed test, not by a file that cannot be imported or a time limit."""
    texts = changed_texts(patch)
    for name, text in texts.items():
        compile(text, name, "exec")
    assert description(patch)
    outcome = forks.run(texts, killers(patch))
    assert not outcome.broken, outcome.broken
    assert outcome.failed, f"{description(patch)} The tests it names pass with it."
