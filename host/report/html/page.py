"""Joins the parts of report.html and writes it whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import shlex
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pimloop.host.common.files import write_text
from pimloop.host.common.text import printable
from pimloop.host.report.format.report import Report
from pimloop.host.report.html import charts, headline, labels, rates
from pimloop.host.report.html.payload import payload
from pimloop.host.report.html.splits import split_schedules
from pimloop.host.report.html.what_if import what_if_table
from pimloop.partitioner.percent import percent
from pimloop.partitioner.quantity import quantity

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
    environment = Environment(
        loader=PackageLoader("pimloop.host.report.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(
        us=labels.format_us,
        number=labels.format_number,
        bytes=labels.format_bytes,
        value=labels.format_value,
        error=charts.error_text,
        capitalize_first=labels.capitalize_first,
        percent=percent,
        quantity=quantity,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    script = _script()
    meters, counters = charts.counters(report)
    rows = rates.rate_rows(report)
    text = environment.get_template("report.html.j2").render(
        report=report,
        title=headline.title(report),
        sentence=headline.sentence(report),
        where=headline.where(report),
        proof=headline.proof(report),
        together=headline.together(report),
        cards=headline.cards(report),
        main=headline.main_schedule(report),
        rows=charts.schedule_rows(report),
        further=labels.further_devices(report),
        by_operator=charts.operator_breakdown(report),
        split_schedules=split_schedules(report),
        what_if=what_if_table(report),
        by_device=charts.device_breakdown(report),
        devices=charts.devices_used(report),
        device_title=labels.device_title,
        operator_colours=labels.OPERATOR_COLOURS,
        executed=labels.executed_word(report),
        executed_meaning=labels.executed_meaning(report),
        rates=rows,
        limits=rates.LIMITS,
        limits_shown=[key for key in rates.LIMITS if key in {row.limited_by for row in rows}],
        limit_meanings=rates.LIMIT_MEANINGS,
        weights=charts.weights_text(report),
        values_set=sum("file_value" in value for value in report.get("platform_values") or ()),
        meters=meters,
        counters=counters,
        verification=charts.verification_rows(report),
        command=shlex.join(report.get("command") or ()),
        style=_asset("report.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=payload(report),
    )
    # Names of a model may hold what HTML does not allow; the page's JSON has it escaped.
    return printable(text)


def _script() -> str:
    body = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{body}\n}})();\n'


def _asset(name: str) -> str:
    return (resources.files("pimloop.host.report.html") / "assets" / name).read_text(
        encoding="utf-8"
    )
