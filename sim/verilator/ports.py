"""Reads the port names of a SystemVerilog module, so that only these are made public.

Public signals cost simulation speed: Verilator may not optimise them away and must keep them up to
date. cocotb needs only the ports of the top module; `control_file` names exactly these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pimloop.sim.errors import SimError

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_OPENING, _CLOSING = "([{", ")]}"


def _balanced(text: str, start: int) -> int:
    """Return the index after the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] in _OPENING:
            depth += 1
        elif text[index] in _CLOSING:
            depth -= 1
            if depth == 0:
                return index + 1
    return len(text)


def _split(text: str) -> Iterable[str]:
    """Yield the parts of `text` between commas that are inside no bracket."""
    depth, start = 0, 0
    for index, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def port_names(source: str, module: str) -> list[str] | None:
    """Return the names in the ANSI port list of `module`, or None when it is not in `source`.

    >>> port_names("module m #(int W = f(1, 2)) (input logic a, b, output logic [W-1:0] y);", "m")
    ['a', 'b', 'y']
    >>> port_names("module m (input pim_pkg::x_t [1:0] x_i, output logic y [2]);", "m")
    ['x_i', 'y']
    """
    text = _COMMENT.sub(" ", source)
    match = re.search(rf"\bmodule\s+{re.escape(module)}\b([^(#;]*)", text)
    if not match:
        return None
    index = match.end()
    if text.startswith("#", index):
        index = _balanced(text, text.index("(", index))
    start = re.compile(r"\s*\(").match(text, index)
    if not start:
        return []
    ports = text[start.end() : _balanced(text, start.end() - 1) - 1]
    names = []
    for part in _split(ports):
        declaration = part.split("=")[0].strip()
        while declaration.endswith("]"):
            declaration = declaration[: declaration.rindex("[")].strip()
        name = re.search(r"(\w+)$", declaration)
        if name:
            names.append(name[1])
    return names


def control_file(top: str, sources: Sequence[Path]) -> str:
    """Return the text of a Verilator control file that makes the ports of `top` public.

    Raises
    ------
    SimError
        No source declares the module `top`.
    """
    for source in sources:
        names = port_names(source.read_text(encoding="utf-8"), top)
        if names is not None:
            lines = [f'public_flat_rw -module "{top}" -var "{name}"' for name in names]
            return "\n".join(["`verilator_config", *lines, ""])
    listed = ", ".join(source.name for source in sources)
    raise SimError(f"module {top} is in none of the sources ({listed}); correct the list")
