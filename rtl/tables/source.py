"""The folder of the tables, the file lists of the hardware, and `timing.toml` as a list of rows.

`isa.toml`, which only the generator reads, is in `pimloop.rtl.tools.interface`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

#: The folder of the hardware and its tables.
RTL = Path(__file__).resolve().parents[1]
Row = dict[str, Any]


def listed(name: str) -> tuple[Path, ...]:
    """Return the files of a list such as `pim.f`, in its order."""
    lines = (RTL / name).read_text(encoding="utf-8").splitlines()
    return tuple(RTL / line for line in lines if line and not line.startswith("//"))


def load_timing() -> list[Row]:
    """Return the rows of `timing.toml`, each with its `parameter` of pim_top and its `key`.

    The row `rcd_rd` is the parameter TRcdRd and the key trcd_rd of a platform file.
    """
    rows: list[Row] = tomllib.loads((RTL / "timing.toml").read_text(encoding="utf-8"))["timing"]
    return [row | {"parameter": f"T{camel(row['name'])}", "key": f"t{row['name']}"} for row in rows]


def camel(name: str) -> str:
    """Return a name of the tables as SystemVerilog spells it.

    >>> camel("COPY_IN")
    'CopyIn'
    """
    return "".join(part.capitalize() for part in name.lower().split("_"))
