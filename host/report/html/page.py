"""Joins the parts of report.html and writes it whole or not at all."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pimloop.host.common.files import write_text
from pimloop.host.common.text import printable
from pimloop.host.report.format.report import Report
from pimloop.host.report.html import labels
from pimloop.host.report.html.payload import payload
from pimloop.host.report.html.view import view
from pimloop.partitioner.percent import percent

#: What the template may apply to a value, besides Jinja2's own filters.
FILTERS: dict[str, Callable[..., str]] = {
    "us": labels.format_us,
    "number": labels.format_number,
    "bytes": labels.format_bytes,
    "capitalize_first": labels.capitalize_first,
    "percent": percent,
}

#: Scripts in the order they are run; they share one scope.
_SCRIPTS = ("core", "graph", "timeline", "roofline", "matrix", "operators", "main")


def write_html(report: Report, path: Path) -> None:
    """Write the page of a report.

    Parameters
    ----------
    report
        The object of report.json (`pimloop-report/3`); optional parts may be null or absent.
    path
        The file; replaced when it exists.

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    write_text(path, render(report))


def render(report: Report) -> str:
    """Return the page of a report as text."""
    script = _script()
    text = template("report.html.j2").render(
        page=view(report),
        style=asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=payload(report),
    )
    # Names of a model may hold what HTML does not allow; the page's JSON has it escaped.
    return printable(text)


def template(name: str) -> Template:
    """Return a template of the pages."""
    environment = Environment(
        loader=PackageLoader("pimloop.host.report.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(FILTERS)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template(name)


def _script() -> str:
    body = "\n".join(asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{body}\n}})();\n'


def asset(name: str) -> str:
    """Return the text of a file of the pages."""
    return (resources.files("pimloop.host.report.html") / "assets" / name).read_text(
        encoding="utf-8"
    )
