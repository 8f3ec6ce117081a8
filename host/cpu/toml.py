"""Write a section with new values into the text of a platform file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

#: Longest line written.
_WIDTH = 100


def section_table(name: str, section: Any, described: Mapping[str, str]) -> str:
    """Return a section as TOML, every value with its unit and source.

    Parameters
    ----------
    name
        The section's name in the file.
    section
        One of the dataclasses of a platform: numbers and texts.
    described
        Where each value comes from, by its name; one for every value.
    """
    lines, long = [f"[{name}]"], []
    for one in fields(section):
        value = _value(getattr(section, one.name))
        # A JSON string is a TOML basic string as long as nothing beyond ASCII is in it.
        source = json.dumps(described[one.name])
        unit = json.dumps(one.metadata["unit"]) if one.metadata["unit"] else ""
        middle = f", unit = {unit}" if unit else ""
        line = f"{one.name} = {{ value = {value}{middle}, source = {source} }}"
        if len(line) <= _WIDTH:
            lines.append(line)
        else:
            middle = f"\nunit = {unit}" if unit else ""
            long.append(f"\n[{name}.{one.name}]\nvalue = {value}{middle}\nsource = {source}")
    return "\n".join(lines + long) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def with_table(text: str, name: str, table: str) -> str:
    """Return the text of a platform file with a section replaced, or added; it stands at the end.

    >>> text = '[a]\\nx = 1\\n[cpu]\\ny = 2\\n[cpu.z]\\nw = 3\\n[b]\\n'
    >>> with_table(text, "cpu", '[cpu]\\nn = 4\\n')
    '[a]\\nx = 1\\n[b]\\n\\n[cpu]\\nn = 4\\n'
    """
    kept, dropping = [], False
    for line in text.splitlines():
        header = line.strip()
        if header.startswith("["):
            found = header.strip("[] \t").split("]")[0]
            dropping = found == name or found.startswith(f"{name}.")
        if not dropping:
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n\n" + table
