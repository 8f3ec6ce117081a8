"""JSON files read against a type: what is wrong is said by its place, before anything uses it.

A file's contents are described once, as `TypedDict`s whose keys carry their description
(`pimloop.partitioner.cost_file`, `pimloop.partitioner.plan_file`, `pimloop.host.report.format`).
The type checker reads them, `check` holds a file against them, and the published JSON Schemas are
generated from them (`pimloop.host.report.schemas`). Keys that a type does not name are let through:
newer versions add some.

Values are checked by msgspec. Its errors leave out which key of a mapping is meant and what stands
there; `check` finds both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from pimloop.errors import PimloopError

#: Numbers beyond this are damage: no time, count or rate of a run is as large.
LARGEST = 10**18

Number = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Quantity = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=LARGEST)]
Us = Quantity  # microseconds
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]

Kind = TypeVar("Kind")

#: A step of a place: the key of an object, or the index in a list.
Step = str | int


def doc(text: str) -> msgspec.Meta:
    """Return the description of a key: what it means, its unit, where it comes from."""
    return msgspec.Meta(description=text)


class JsonError(PimloopError, ValueError):
    """A file that is not what it should be; the message says where and what was expected.

    Attributes
    ----------
    place
        The keys and indices that lead to the fault; () is the whole file.
    """

    def __init__(self, message: str, place: tuple[Step, ...] = ()) -> None:
        super().__init__(message)
        self.place = place


def read_json(path: Path, *, constants: bool = False) -> Any:
    """Return what a JSON file holds.

    Parameters
    ----------
    path
        The file.
    constants
        Whether NaN and infinity are let through, which `check` then refuses by their place.

    Raises
    ------
    OSError
        When it cannot be read.
    JsonError
        When it is not JSON.
    """
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), parse_constant=None if constants else _refuse
        )
    except RecursionError as error:
        raise JsonError("it is not JSON that can be read: nested too deeply") from error
    except ValueError as error:  # also UnicodeDecodeError, and whole numbers of 5,000 digits
        raise JsonError(f"it is not JSON: {error}") from error


def check(value: Any, kind: type[Kind]) -> Kind:
    """Return `value`, which has the type `kind`; whole numbers may have been written as 3.0.

    Parameters
    ----------
    value
        What `read_json` returned.
    kind
        A TypedDict of the types that msgspec knows.

    Raises
    ------
    JsonError
        Where it has another type; says where and what was expected.

    >>> check({"a": [1, "x"]}, dict[str, list[int]])
    Traceback (most recent call last):
    pimloop.partitioner.typed_json.JsonError: a[1] must be a whole number, not "x"
    """
    if _failure(value, kind) is None:
        return value  # type: ignore[no-any-return]
    value = _whole(value)
    failure = _failure(value, kind)
    if failure is None:
        return value  # type: ignore[no-any-return]
    place = _place(value, kind, failure)
    raise JsonError(_message(value, kind, failure, place), place)


def type_of_version(data: Any, versions: Mapping[str, Any]) -> Any:
    """Return the type of a file's version.

    Parameters
    ----------
    data
        What `read_json` returned.
    versions
        The type by `format`, oldest first.

    Raises
    ------
    JsonError
        When the file is none of these versions.
    """
    if not isinstance(data, dict):
        raise JsonError(f"the file must be an object, not {brief(data)}")
    version = data.get("format")
    if not isinstance(version, str) or version not in versions:
        raise JsonError(
            f"the format is {brief(version)}, expected {' or '.join(map(brief, versions))}",
            ("format",),
        )
    return versions[version]


def advice(data: Any, versions: Mapping[str, Any]) -> str:
    """Return what to do about a file that is not what it should be, the end of a message.

    >>> advice({"format": "a/2"}, {"a/1": None, "a/2": None}), advice([], {"a/1": None})
    ('; `pimloop schema a/2` prints what it must be', '; `pimloop schema` lists what is read')
    """
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, str) and version in versions:
        return f"; `pimloop schema {version}` prints what it must be"
    return "; `pimloop schema` lists what is read"


def brief(value: Any) -> str:
    """Return a value as JSON for a message, cut where it is long.

    >>> brief({"a": 1}), brief("x" * 100)
    ('an object', '"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...')
    """
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def place_text(place: tuple[Step, ...]) -> str:
    """Return a place as a message has it.

    >>> place_text(("schedules", "optimal", "timeline", 3)), place_text(("assignment", "a.b"))
    ('schedules.optimal.timeline[3]', 'assignment["a.b"]')
    """
    text = ""
    for step in place:
        if isinstance(step, str) and step.isidentifier():
            text += f".{step}" if text else step
        else:
            text += f"[{step if isinstance(step, int) else brief(step)}]"
    return text


class _Failure(NamedTuple):
    """What msgspec says of a value."""

    fault: str  # without the place
    path: str  # as $.schedules[...].timeline[3].us


def _failure(value: Any, kind: Any) -> _Failure | None:
    """Return the first fault of a value, None where it has the type."""
    try:
        msgspec.convert(value, kind)
    except UnicodeEncodeError as error:
        raise JsonError("it holds half a surrogate pair, which is no text") from error
    except msgspec.ValidationError as error:
        fault, _, path = str(error).partition(" - at `")
        return _Failure(fault, path.removesuffix("`") or "$")
    return None


_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")


def _place(value: Any, kind: Any, failure: _Failure) -> tuple[Step, ...]:
    """Return the place of a fault, which msgspec gives but for the keys of mappings.

    A mapping with the fault is halved until one key is left.
    """
    place: list[Step] = []
    for step in _STEP.finditer(failure.path):
        name, index = step.groups()
        if index != "...":
            place.append(name if name is not None else int(index))
            continue
        upto = failure.path[: step.end()]
        mapping = _value_at(value, place)
        keys = list(mapping)
        while len(keys) > 1:
            half = {key: mapping[key] for key in keys[: len(keys) // 2]}
            in_half = _failure(_with(value, place, half), kind)
            here = in_half is not None and in_half.path.startswith(upto)
            keys = list(half) if here else keys[len(keys) // 2 :]
        value = _with(value, place, {keys[0]: mapping[keys[0]]})
        place.append(keys[0])
    return tuple(place)


def _value_at(value: Any, place: list[Step] | tuple[Step, ...]) -> Any:
    """Return what stands at a place."""
    for step in place:
        value = value[step]
    return value


def _with(value: Any, place: list[Step], part: Any) -> Any:
    """Return a value with another part at a place; what leads there is copied, nothing else."""
    if not place:
        return part
    first, *rest = place
    changed: Any = dict(value) if isinstance(value, Mapping) else list(value)
    changed[first] = _with(value[first], rest, part)
    return changed


def _whole(value: Any) -> Any:
    """Return a value with whole numbers for floats that are, and floats for numpy's."""
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < LARGEST
        return int(value) if whole else float(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


#: What msgspec calls the types of JSON, and what a message does.
_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_EXPECTED = re.compile(
    r"Expected `(?P<types>[^`]*)`(?: of length (?P<length>(?:>= )?\d+))?"
    r"(?: (?P<bound>>=|<=|>|<) (?P<limit>\S+))?(?:, got .*)?"
)
_BOUNDS = {">=": "at least", ">": "above", "<=": "of at most", "<": "below"}


def _message(value: Any, kind: Any, failure: _Failure, place: tuple[Step, ...]) -> str:
    """Return what is wrong at a place in words."""
    missing = re.fullmatch(r"Object missing required field `(.*)`", failure.fault)
    if missing:
        return f"the key {place_text((*place, missing[1]))} is missing"
    where = place_text(place) or "the file"
    return f"{where} must be {_wanted(kind, failure, place)}, not {brief(_value_at(value, place))}"


def _wanted(kind: Any, failure: _Failure, place: tuple[Step, ...]) -> str:
    """Return what was expected in words."""
    if failure.fault.startswith("Invalid enum value"):
        return " or ".join(brief(text) for text in _choices(kind, place))
    if failure.fault == "Number out of range":
        return f"a number of at most {LARGEST:g}"
    expected = _EXPECTED.fullmatch(failure.fault)
    if expected is None:
        return f"other than it is ({failure.fault})"
    types = expected["types"].split(" | ")
    # Null is meant by few: where a number or null may stand, "a number" says it.
    named = [name for name in types if name != "null"] or types
    words = " or ".join(_WORDS.get(name, name) for name in named)
    if expected["length"]:
        return f"{words} of length {expected['length'].replace('>=', 'at least')}"
    if expected["bound"]:
        limit = float(expected["limit"])
        return f"{words} {_BOUNDS[expected['bound']]} {limit:g}"
    return words


def _choices(kind: Any, place: tuple[Step, ...]) -> list[Any]:
    """Return the values that a `Literal` at a place allows."""
    from msgspec import inspect

    info = inspect.type_info(kind)
    for step in (*place, None):
        while isinstance(info, inspect.Metadata | inspect.UnionType):
            info = (
                info.type
                if isinstance(info, inspect.Metadata)
                else next(t for t in info.types if not isinstance(t, inspect.NoneType))
            )
        if isinstance(info, inspect.TypedDictType):
            info = next(field.type for field in info.fields if field.encode_name == step)
        elif isinstance(info, inspect.DictType):
            info = info.value_type
        elif isinstance(info, inspect.ListType):
            info = info.item_type
    return list(info.values) if isinstance(info, inspect.LiteralType) else []


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")
