"""JSON files read against a type: what is wrong is said by its place, before anything uses it.

A file's contents are described once, as `TypedDict`s (`pimloop.host.report.types`), which the type
checker and `check` both read. Keys that a type does not name are let through: newer versions add
some.
"""

from __future__ import annotations

import json
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pimloop.errors import PimloopError

#: Numbers beyond this are damage: no time, count or rate of a run is as large.
LARGEST = 1e18


class JsonError(PimloopError, ValueError):
    """A file that is not what it should be; the message says where and what was expected."""


@dataclass(frozen=True)
class AtLeast:
    """The least value of a number."""

    value: float
    exclusive: bool = False

    def __str__(self) -> str:
        """Return the bound in words."""
        return f"{'above' if self.exclusive else 'at least'} {self.value:g}"


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; NaN and infinity are refused.

    Raises
    ------
    OSError
        When it cannot be read.
    JsonError
        When it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except RecursionError as error:
        raise JsonError("it is not JSON that can be read: nested too deeply") from error
    except ValueError as error:  # also UnicodeDecodeError, and whole numbers of 5,000 digits
        raise JsonError(f"it is not JSON: {error}") from error


def check(value: Any, kind: Any, where: str = "") -> None:
    """Raise JsonError unless `value` has the type `kind`.

    Parameters
    ----------
    value
        What `read_json` returned.
    kind
        A TypedDict, `list[...]`, `dict[str, ...]`, a union, `Literal`, `Annotated[..., AtLeast]`,
        str, int, float, bool, None, or Any. A float may be written as a whole number.
    where
        Its place in the file, as `schedules.optimal.timeline[3].us`; "" is the whole file.

    >>> check({"a": [1, "x"]}, dict[str, list[int]])
    Traceback (most recent call last):
    pimloop.host.common.typed_json.JsonError: a[1] must be a whole number, not "x"
    """
    origin = get_origin(kind)
    if kind is Any:
        return
    if origin is Annotated:
        base, *bounds = get_args(kind)
        check(value, base, where)
        for bound in bounds:
            if isinstance(bound, AtLeast) and (
                value < bound.value or (bound.exclusive and value == bound.value)
            ):
                _wrong(where, f"a number {bound}", value)
    elif origin in (Union, types.UnionType):
        _check_union(value, get_args(kind), where)
    elif origin is Literal:
        if not any(value is literal or (type(value) is type(literal) and value == literal)
                   for literal in get_args(kind)):  # fmt: skip
            _wrong(where, " or ".join(map(brief, get_args(kind))), value)
    elif origin is list:
        if not isinstance(value, list):
            _wrong(where, "a list", value)
        for i, item in enumerate(value):
            check(item, get_args(kind)[0], f"{where}[{i}]")
    elif origin is dict or is_typeddict(kind):
        _check_object(value, kind, where)
    else:
        _check_scalar(value, kind, where)


def brief(value: Any) -> str:
    """Return a value as JSON for a message, cut where it is long.

    >>> brief({"a": 1}), brief("x" * 100)
    ('an object', '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...')
    """
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def member(where: str, key: str) -> str:
    """Return the place of an object's value.

    >>> member("schedules", "optimal"), member("assignment", "a.b")
    ('schedules.optimal', 'assignment["a.b"]')
    """
    if key.isidentifier():
        return f"{where}.{key}" if where else key
    return f"{where}[{brief(key)}]"


def _check_object(value: Any, kind: Any, where: str) -> None:
    if not isinstance(value, dict):
        _wrong(where, "an object", value)
    if not is_typeddict(kind):
        for key, item in value.items():
            check(item, get_args(kind)[1], member(where, key))
        return
    for key, (item_kind, required) in _members(kind).items():
        if key in value:
            check(value[key], item_kind, member(where, key))
        elif required:
            raise JsonError(f"the key {member(where, key)} is missing")


@cache
def _members(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the keys of a TypedDict, each with its type and whether it must be there."""
    entries = {}
    for key, hint in get_type_hints(kind, include_extras=True).items():
        optional = get_origin(hint) is NotRequired
        entries[key] = (get_args(hint)[0] if optional else hint, not optional)
    return entries


def _check_union(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    """Raise for a value that fits no member; the message is that of the one it comes nearest to."""
    if value is None and type(None) in kinds:
        return
    others = [kind for kind in kinds if kind is not type(None)]
    failure: JsonError | None = None
    for kind in others:
        try:
            check(value, kind, where)
        except JsonError as error:
            failure = failure or error
        else:
            return
    if failure is not None:
        raise failure
    _wrong(where, "null", value)


#: The types of JSON's plain values, and what a message calls them.
_SCALARS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    type(None): ((type(None),), "null"),
    None: ((type(None),), "null"),
}


def _check_scalar(value: Any, kind: Any, where: str) -> None:
    allowed, words = _SCALARS[kind]
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        _wrong(where, words, value)
    if isinstance(value, int | float) and not abs(value) <= LARGEST:
        _wrong(where, f"{words} of at most {LARGEST:g}", value)


def _wrong(where: str, expected: str, value: Any) -> NoReturn:
    raise JsonError(f"{where or 'the file'} must be {expected}, not {brief(value)}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
