"""Finds the operations of this room: nothing names their files.

A file names the ONNX operator types that it matches (`MATCHERS`) and its element-wise operations
(`KINDS`); one that has neither is no operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from pimloop.host.common.rooms import modules_beside
from pimloop.host.operators.base import Matcher

if TYPE_CHECKING:
    from pimloop.host.operators.elementwise import Kind


@cache
def matchers() -> Mapping[str, Matcher]:
    """Return what matches operators of a model, by operator type of the default domain."""
    table: dict[str, Matcher] = {}
    for module in modules_beside(__name__):
        table |= getattr(module, "MATCHERS", {})
    return table


@cache
def elementwise() -> Mapping[str, Kind]:
    """Return the device's element-wise operations by name, in the order of their opcodes.

    Those of one operand are among them.
    """
    kinds = [kind for module in modules_beside(__name__) for kind in getattr(module, "KINDS", ())]
    return {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.opcode)}
