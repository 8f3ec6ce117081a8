"""ONNX's own backend tests: each is right, or refused for a reason that is listed."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest
from onnx_backend import (
    PAGE,
    REASONS,
    cases,
    listed,
    outcome,
    page_with,
    reason_of,
    refusals,
    table,
)

#: Groups of the tests by a hash of their names; every fifth runs in `make test`.
GROUPS = 20


@pytest.mark.parametrize(
    "group",
    [pytest.param(g, marks=[] if g % 5 == 0 else pytest.mark.full) for g in range(GROUPS)],
)
def test_node_tests(group: int, tmp_path: Path) -> None:
    expected = refusals(listed())
    rounded = set(listed()["rounded"])
    checked = [case for case in cases() if crc32(case.name.encode()) % GROUPS == group]
    assert len(checked) > 50
    for case in checked:
        result = outcome(case, tmp_path)
        assert result.kind != "wrong", f"{case.name}: {result.detail}"
        reason = reason_of(result.detail) if result.kind == "refused" else None
        assert reason == expected.get(case.name), f"{case.name}: {result}"
        assert result.kind != "rounded" or case.name in rounded, case.name


def test_at_most_a_twentieth_is_refused_and_the_page_says_which() -> None:
    content = listed()
    assert set(content["refused"]) == set(REASONS)
    assert content["tests"] == len(cases()) > 1800
    assert len(refusals(content)) <= len(cases()) / 20
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with(table(content), page)
