"""Finds the operations of this room: nothing names their files.

A file names the ONNX operator types that it matches (`MATCHERS`) and its element-wise operations
(`KINDS`); one that has neither is no operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from pimloop.host.common.rooms import claimed_once, modules_beside
from pimloop.host.operators.base import Matcher

if TYPE_CHECKING:
    from pimloop.host.operators.elementwise import Kind


@cache
def matchers() -> Mapping[str, Matcher]:
    """Return what matches operators of a model, by operator type of the default domain.

    Raises
    ------
    PimloopError
        When two files match one type.
    """
    return claimed_once(
        "the ONNX operator type",
        (
            (module, op, matcher)
            for module in modules_beside(__name__)
            for op, matcher in getattr(module, "MATCHERS", {}).items()
        ),
    )


@cache
def elementwise() -> Mapping[str, Kind]:
    """Return the device's element-wise operations by name, in the order of their opcodes.

    Those of one operand are among them.

    Raises
    ------
    PimloopError
        When two files compute one opcode, or give an operation the same name.
    """
    files = [
        (module, kind)
        for module in modules_beside(__name__)
        for kind in getattr(module, "KINDS", ())
    ]
    claimed_once("the opcode", ((module, kind.opcode.name, kind) for module, kind in files))
    files.sort(key=lambda entry: entry[1].opcode)
    return claimed_once("the operation name", ((module, kind.name, kind) for module, kind in files))
