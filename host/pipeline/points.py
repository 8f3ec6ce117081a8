"""The finished points of a sweep on disk: what each depends on, and whether a kept one still holds.

A point's folder is named by what the user asked for, so a point that is run again takes the place
of its earlier self. Its report says under `sweep` what its numbers depend on (`content_key`),
on which machine times were measured, and has a check over all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from pimloop.errors import PimloopError
from pimloop.host.common.folders import make_subfolder
from pimloop.host.execution.options import Options
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.loader import LoadOptions
from pimloop.host.planning.keys import (
    digest,
    inputs_key,
    is_measured,
    machine_key,
    model_key,
    report_key,
)
from pimloop.host.platforms.platform import Platform
from pimloop.host.plugins.registry import POLICIES, load_model, plugins
from pimloop.host.report.build import FILE_NAME, read_report, write_report
from pimloop.host.report.format.report import Report

_KEY = "sweep"


def model_content(name: str, loading: LoadOptions) -> str | None:
    """Return a hash of what a model's name stands for now, its inputs included.

    Parameters
    ----------
    name
        As `pimloop.host.plugins.registry.load_model` takes it.
    loading
        Lengths, seed (of random inputs too), values of inputs and which operators are decomposed.

    Returns
    -------
    str or None
        None: it cannot be loaded here, so nothing kept is sure to be of this model.
    """
    given = inputs_key(loading.given)
    if name in BUILT_IN:  # its code is in every report's key
        return digest(
            "built in", name, loading.sequence_length, loading.seed, loading.batch,
            loading.quantize, given,
        )  # fmt: skip
    try:
        content = model_key(load_model(name, loading))
        return digest(content, loading.seed, loading.decompose, given)
    except PimloopError:
        return None


def content_key(model: str | None, platform: Platform, options: Options) -> str | None:
    """Return a hash of everything that the numbers of a point depend on.

    Parameters
    ----------
    model
        Of `model_content`; None: there is no key, and the point is always run.
    """
    if model is None:
        return None
    return digest(report_key(model, platform, options), _policies(options))


def load_point(folder: Path, key: str | None, platform: Platform) -> Report | None:
    """Return the report kept in `folder` when its numbers still hold.

    None when there is none, it is damaged or cut off, something that it depends on has changed,
    its times were measured on another machine, or its verification failed.
    """
    if key is None or not (folder / FILE_NAME).exists():
        return None
    try:
        report: dict[str, Any] = dict(read_report(folder))
    except PimloopError:
        return None
    return cast(Report, report) if holds(report, key, platform) else None


def holds(report: dict[str, Any], key: str, platform: Platform) -> bool:
    """Return whether the numbers of a kept report still hold; take out what was kept about them."""
    about = report.pop(_KEY, None)
    if not isinstance(about, dict) or about.get("key") != key:
        return False
    if is_measured(platform) and about.get("measured_on") != machine_key():
        return False
    if about.get("check") != _check(report, about):
        return False
    return bool(report["verification"]["passed"])


def save_point(folder: Path, key: str | None, measured_on: str | None, report: Report) -> None:
    """Keep the report of a point.

    Parameters
    ----------
    folder
        OUT/points/<point>; a symbolic link that leads out of OUT is refused.
    measured_on
        `pimloop.host.planning.keys.machine_key` of where it ran, None when no time was measured.

    Raises
    ------
    PimloopError
        When it cannot be written.
    """
    make_subfolder(folder.parent.parent, folder.parent.name, folder.name)
    write_report(kept(report, key, measured_on), folder)


def kept(report: Mapping[str, object], key: str | None, measured_on: str | None) -> dict[str, Any]:
    """Return a report with what its numbers depend on, as `holds` looks it up."""
    about = {"key": key, "measured_on": measured_on}
    about["check"] = _check(json.loads(json.dumps(report)), about)
    return {**report, _KEY: about}


def _check(report: dict[str, Any], about: dict[str, Any]) -> str:
    text = json.dumps([report, about.get("key"), about.get("measured_on")], sort_keys=True)
    return digest(text)


def _policies(options: Options) -> list[tuple[str, str]]:
    """Return the plug-in policies that are asked for, each with a hash of its package's code."""
    known = plugins(POLICIES)
    return [(name, _code(known[name].value)) for name in options.policies if name in known]


def _code(value: str) -> str:
    spec = find_spec(value.partition(":")[0].partition(".")[0])
    if spec is None or spec.origin is None:
        return "unknown"
    origin = Path(spec.origin)
    files = origin.parent.rglob("*.py") if origin.name == "__init__.py" else [origin]
    return digest(value, sorted((path.name, path.read_bytes()) for path in files))
