"""Modules of SystemVerilog are short enough to be read at once."""

from __future__ import annotations

import re
from pathlib import Path

from support.paths import REPOSITORY

#: Lines at most, from `module` to `endmodule`; the comment above a module does not count.
LIMIT = 300

#: Modules that are longer, to be split; one that no longer is must leave the list.
KNOWN: set[str] = set()


def modules(folder: str) -> dict[str, int]:
    """Return the lines of every module that is written by hand, by name."""
    result = {}
    for path in sorted((REPOSITORY / folder).rglob("*.sv")):
        text = path.read_text(encoding="utf-8")
        if not text.startswith("// Generated from"):
            result |= lengths(text, path)
    return result


def lengths(text: str, path: Path) -> dict[str, int]:
    bodies = re.findall(r"^(module (\w+).*?^endmodule)", text, re.MULTILINE | re.DOTALL)
    assert len(bodies) == len(re.findall(r"^\s*endmodule\b", text, re.MULTILINE)), path
    return {name: body.count("\n") + 1 for body, name in bodies}


def test_lengths_count_from_the_first_to_the_last_line() -> None:
    text = "// one\nmodule a;\nendmodule\n\nmodule b (\n  input x\n);\nendmodule\n"
    assert lengths(text, Path("ab.sv")) == {"a": 2, "b": 4}


def test_no_module_is_longer_than_the_limit() -> None:
    sizes = modules("rtl") | modules("sim/rtl")
    assert len(sizes) > 25
    assert {name for name, lines in sizes.items() if lines > LIMIT} == KNOWN
