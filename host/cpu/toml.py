"""Write a section with new values into the text of a platform file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import tomlkit

#: Longest line written.
_WIDTH = 100


def with_section(text: str, name: str, section: Any, described: Mapping[str, str]) -> str:
    """Return the text of a platform file with a section replaced, or added at the end.

    Everything else stays as it is, comments included.

    Parameters
    ----------
    text
        TOML.
    name
        The section's name in the file.
    section
        One of the dataclasses of a platform: numbers and texts.
    described
        Where each value comes from, by its name; one for every value.
    """
    document = tomlkit.parse(text)
    if name in document:
        document.remove(name)
    table, long = tomlkit.table(), {}
    for one in fields(section):
        value = getattr(section, one.name)
        entry = {"value": float(f"{value:.4g}") if isinstance(value, float) else value}
        entry |= {"unit": one.metadata["unit"]} if one.metadata["unit"] else {}
        entry |= {"source": described[one.name]}
        inline = tomlkit.inline_table()
        inline.update(entry)
        if len(f"{one.name} = {inline.as_string()}") <= _WIDTH:
            table.add(one.name, inline)
        else:
            long[one.name] = entry
    for key, entry in long.items():
        lines = tomlkit.table()
        lines.update(entry)
        table.add(key, lines)
    document.add(name, table)
    return tomlkit.dumps(document)
