"""Every attribute that the template of the page names is on the types it is given."""

from __future__ import annotations

from importlib import resources
from typing import Any, NamedTuple

import pytest
from jinja2 import UndefinedError
from support import report_samples as samples
from support.template_types import problems

from pimloop.host.report.html import page as module
from pimloop.host.report.html.page import FILTERS, render
from pimloop.host.report.html.view import Page

TEMPLATES = resources.files(module.__package__) / "templates"
TEMPLATE = TEMPLATES / "report.html.j2"
BARS = {"bars.html.j2": (TEMPLATES / "bars.html.j2").read_text(encoding="utf-8")}
VARIABLES = {"page": Page, "style": str, "script": str, "script_hash": str, "data": dict[str, Any]}


def test_the_template_names_nothing_that_is_not_there() -> None:
    assert problems(TEMPLATE.read_text(encoding="utf-8"), VARIABLES, FILTERS, BARS) == []


OTHER = "{% macro m(row) %}{{ row.title }}{% endmacro %}"


class _Row(NamedTuple):
    title: str
    parts: tuple[str, ...]


class _Table(NamedTuple):
    rows: tuple[_Row, ...]
    best: _Row | None

    @property
    def first(self) -> _Row:
        return self.rows[0]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ table.first.title }}{{ table.best.title }}", ""),
        ("{% for row in table.rows %}{% for p in row.parts %}{{ p }}{% endfor %}{% endfor %}", ""),
        ("{% macro m(row) %}{{ row.title }}{% endmacro %}{{ m(table.best) }}", ""),
        ("{{ table.titel }}", "_Table has no attribute titel"),
        ("{% for row in table.rows %}{{ row.name }}{% endfor %}", "_Row has no attribute name"),
        ("{% if x %}{% else %}{{ table.first.no }}{% endif %}", "x is not defined"),
        ("{% macro m(row) %}{{ row.no }}{% endmacro %}{{ m(table.first) }}", "no attribute no"),
        ("{% set row = table.best %}{{ row.no }}", "_Row has no attribute no"),
        ("{{ table.first.title.no }}", "str has no attribute no"),
        ("{{ table.first['title'] }}", "a look-up by key or index has no type"),
        ("{{ table.get('rows') }}", "only macros may be called"),
        ("{% for a, b in table.rows %}{% endfor %}", "a loop over several variables"),
        ("{% for row in table.first.title %}{% endfor %}", "neither tuple[X, ...] nor list[X]"),
        ("{{ 'x' ~ (table.no or 1)|upper }}", "_Table has no attribute no"),
        ("{% from 'other' import m %}{{ m(table.first) }}", ""),
        ("{% from 'other' import m %}{{ m(table) }}", "_Table has no attribute title"),
        ("{% from 'other' import n %}", "other has no macro n"),
    ],
)
def test_the_check_finds_what_is_not_there(template: str, problem: str) -> None:
    faults = problems(template, {"table": _Table}, {}, {"other": OTHER})
    assert bool(faults) == bool(problem)
    assert problem in "\n".join(faults)


def test_what_is_not_there_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a second net: nothing that is missing is printed as empty."""
    monkeypatch.setattr(module, "view", lambda report: None)
    with pytest.raises(UndefinedError, match="has no attribute"):
        render(samples.tiny_report())
