"""Write a fitted `[cpu]` section into the text of a platform file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields

from host.cpu.parameters import CpuSection

#: Longest line written.
_WIDTH = 100


def cpu_table(parameters: CpuSection, sources: Mapping[str, str]) -> str:
    """Return the section as TOML, every value with its unit and source.

    Parameters
    ----------
    sources
        Where each value comes from, by its name; one for every parameter.
    """
    lines, long = ["[cpu]"], []
    for one in fields(CpuSection):
        value = getattr(parameters, one.name)
        number = str(value) if isinstance(value, int) else f"{value:.4g}"
        # A JSON string is a TOML basic string as long as nothing beyond ASCII is in it.
        unit, source = json.dumps(one.metadata["unit"]), json.dumps(sources[one.name])
        line = f"{one.name} = {{ value = {number}, unit = {unit}, source = {source} }}"
        if len(line) <= _WIDTH:
            lines.append(line)
        else:
            long.append(f"\n[cpu.{one.name}]\nvalue = {number}\nunit = {unit}\nsource = {source}")
    return "\n".join(lines + long) + "\n"


def with_cpu_table(text: str, table: str) -> str:
    """Return the text of a platform file with its `[cpu]` section replaced, or added at the end.

    >>> text = '[a]\\nx = 1\\n[cpu]\\ny = 2\\n[cpu.z]\\nw = 3\\n[b]\\n'
    >>> with_cpu_table(text, '[cpu]\\nn = 4\\n')
    '[a]\\nx = 1\\n[b]\\n\\n[cpu]\\nn = 4\\n'
    """
    kept, dropping = [], False
    for line in text.splitlines():
        header = line.strip()
        if header.startswith("["):
            name = header.strip("[] \t").split("]")[0]
            dropping = name == "cpu" or name.startswith("cpu.")
        if not dropping:
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n\n" + table
