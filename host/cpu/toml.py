"""Write values with their units and sources into the text of a platform file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import tomlkit

#: Longest line written.
_WIDTH = 100


def entries(section: Any, described: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the values of a platform's section as its file has them, by key.

    Parameters
    ----------
    section
        One of the dataclasses of a platform: numbers and texts.
    described
        Where each value comes from, by its name. Values without a source are left out.
    """
    rows = {}
    for parameter in fields(section):
        if parameter.name not in described:
            continue
        value, unit = getattr(section, parameter.name), parameter.metadata["unit"]
        entry: dict[str, Any] = (
            {"value": float(f"{value:.4g}")} if isinstance(value, float) else {"value": value}
        )
        rows[parameter.name] = (
            entry | ({"unit": unit} if unit else {}) | {"source": described[parameter.name]}
        )
    return rows


def with_values(text: str, name: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of a platform file with values of a section replaced.

    The section is written anew at the end, its other values unchanged; everything else stays as it
    is, comments included.

    Parameters
    ----------
    text
        TOML.
    name
        The section's name in the file; it is added where there is none.
    values
        The new ones by key (`entries`).
    """
    document = tomlkit.parse(text)
    known = dict(document.pop(name).unwrap()) if name in document else {}
    table, long = tomlkit.table(), {}
    for key, entry in (known | dict(values)).items():
        inline = tomlkit.inline_table()
        inline.update(entry)
        if len(f"{key} = {inline.as_string()}") <= _WIDTH:
            table.add(key, inline)
        else:
            long[key] = entry
    for key, entry in long.items():
        lines = tomlkit.table()
        lines.update(entry)
        table.add(key, lines)
    document.add(name, table)
    return tomlkit.dumps(document)
