"""Reads values of a Hugging Face config.json; `architectures.base` says which.

Every function takes the parsed file and, for messages, its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import Repr
from typing import Any, TypeGuard

from pimloop.errors import PimloopError
from pimloop.host.models.config import WeightType

#: Bound on a size or a token's id.
MAX_SIZE = 1 << 24

#: The largest finite number of float32, which graphs compute in.
MAX_NUMBER = (2 - 2**-23) * 2.0**127

#: The smallest number above 0 whose reciprocal float32 holds.
MIN_NUMBER = 2.0**-126

#: What to do about options that are not supported.
_ADVICE: Mapping[str, str] = {"quantization_config": "give the unquantized checkpoint"}

#: What to do about models that are not supported.
OTHERS = "other models can be exported to ONNX and given as an .onnx file"

#: Shows values in messages, long ones in part.
_SHOWN = Repr()
_SHOWN.maxstring = _SHOWN.maxother = 120


def shown(value: object) -> str:
    """Return a value for a message, a long one in part.

    >>> shown(True), len(shown(10**400))
    ('True', 40)
    """
    return _SHOWN.repr(value)


def size(data: Mapping[str, Any], key: str, where: str) -> int:
    """Return a size.

    Raises
    ------
    PimloopError
        When it is missing, or no whole number from 1 to 2^24.
    """
    if key not in data:
        raise PimloopError(f"{where}: {key} is missing; give a whole number from 1 to 2^24")
    value = data[key]
    if not _is_whole(value) or not 1 <= value <= MAX_SIZE:
        raise PimloopError(
            f"{where}: {key} must be a whole number from 1 to 2^24, got {shown(value)}"
        )
    return value


def number(data: Mapping[str, Any], key: str, default: float, where: str) -> float:
    """Return a number of 0 or more that float32 holds; without the key `default`.

    Raises
    ------
    PimloopError
        When it is something else: also when it is infinite or no number.
    """
    value = data.get(key, default)
    # Whole numbers of JSON have any length: they are compared before they become floats.
    if isinstance(value, bool) or not isinstance(value, int | float) or not _in_range(value):
        raise PimloopError(
            f"{where}: {key} must be a number of 0 or more that float32 holds ({MIN_NUMBER:.1e} to"
            f" {MAX_NUMBER:.1e}), got {shown(value)}"
        )
    return float(value)


def weight_type(data: Mapping[str, Any]) -> WeightType:
    """Return the type of random weights: bfloat16 where the checkpoint's are, else float32."""
    return "bfloat16" if "bfloat16" in (data.get("dtype"), data.get("torch_dtype")) else "float32"


def token(
    data: Mapping[str, Any], key: str, default: int | None, least: int, where: str
) -> int | None:
    """Return a token's id; without the key, or where it is null, `default`.

    Raises
    ------
    PimloopError
        When it is no whole number from `least` to 2^24.
    """
    value = data.get(key)
    if value is None:
        return default
    if not _is_whole(value) or not least <= value < MAX_SIZE:
        raise PimloopError(
            f"{where}: {key} must be null or a whole number from {least} to 2^24, got"
            f" {shown(value)}"
        )
    return value


def labels(data: Mapping[str, Any], where: str) -> int:
    """Return the number of labels of a classification: `num_labels`, names, else 2.

    Raises
    ------
    PimloopError
        When `num_labels` is no size.
    """
    if data.get("num_labels") is not None:
        return size(data, "num_labels", where)
    names = data.get("id2label")
    return len(names) if isinstance(names, Mapping) and names else 2


def head(data: Mapping[str, Any], classes: Mapping[str, str], model_type: str, where: str) -> str:
    """Return the head of the class that `architectures` names; "none" where it names none.

    Parameters
    ----------
    classes
        The classes of the `model_type` that are supported, and the heads that they have.

    Raises
    ------
    PimloopError
        For a class that is none of them, and for what is no list of names.
    """
    names = data.get("architectures")
    if names is None or names == []:
        return "none"
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PimloopError(
            f"{where}: architectures must be a list with the name of a class, got {shown(names)}"
        )
    if names[0] not in classes:
        raise PimloopError(
            f"{where}: architectures names {shown(names[0])}, which is no class that is supported"
            f" of model_type {model_type!r}; known: {', '.join(classes)}; {OTHERS}"
        )
    return classes[names[0]]


def refuse_others(
    data: Mapping[str, Any], options: Mapping[str, tuple[Any, ...]], where: str
) -> None:
    """Raise PimloopError when an option has none of its values; a missing key is None."""
    for key, allowed in options.items():
        value = data.get(key)
        if value not in allowed:
            advice = f"; {_ADVICE[key]}" if key in _ADVICE else ""
            raise PimloopError(f"{where}: {key} = {shown(value)} is not supported{advice}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _in_range(value: float) -> bool:
    return value == 0 or MIN_NUMBER <= value <= MAX_NUMBER
