"""Lengths of the axes of an .onnx file's inputs.

What decides, in this order: the shape of the values that are given, shapes given by input, lengths
given by axis name, the batch size and the sequence length. One name has one length in the whole
model; a length that follows from others by name (`past + sequence`, total from past and sequence)
is computed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pimloop.errors import PimloopError
from pimloop.host.models.graph import MAX_AXES, Array, TensorInfo
from pimloop.host.models.inputs import as_declared, type_advice

log = logging.getLogger(__name__)

#: The most elements an input may have (a hostile shape must not eat memory).
MAX_INPUT_ELEMENTS = 1 << 28

#: The longest axis.
MAX_LENGTH = 1 << 40

#: Words of a name that make a sequence axis one of something else than the tokens at hand.
_NOT_TOKENS = ("past", "total", "cache", "kv", "mem", "max", "history")

_TERM = re.compile(r"\s*(?:(\d+)|([A-Za-z_][\w.]*))\s*")
_SUM = re.compile(r"^\s*[\w.]+(?:\s*[+*-]\s*[\w.]+)+\s*$")


@dataclass(frozen=True)
class AxisOptions:
    """What a user says of the inputs' shapes."""

    given: Mapping[str, Array] = field(default_factory=dict)  # values of inputs
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by input
    axes: Mapping[str, int] = field(default_factory=dict)  # by axis name
    batch: int | None = None
    sequence_length: int | None = None


@dataclass(frozen=True)
class BoundInputs:
    """The inputs of a file with static shapes."""

    inputs: dict[str, TensorInfo]
    sequence_length: int | None  # of the axis of the tokens, where there is one
    batch: int | None  # of the batch axis, where there is one


def bind_inputs(
    values: Sequence[onnx.ValueInfoProto], options: AxisOptions, path: Path
) -> BoundInputs:
    """Return the inputs of a file with every axis bound.

    Raises
    ------
    PimloopError
        When an axis stays unknown, two sources disagree, a shape does not fit the file, or an
        option names nothing of the file.
    """
    return _Binder(values, options, path).bind()


class _Input:
    """One input: its type and, for each axis, a length, a name or nothing."""

    def __init__(self, value: onnx.ValueInfoProto, path: Path) -> None:
        self.name = value.name
        self.where = f"{path}: input '{value.name}'"
        if value.type.WhichOneof("value") != "tensor_type":
            raise PimloopError(
                f"{self.where} is no tensor; sequences, maps and optional values are not supported"
            )
        tensor = value.type.tensor_type
        try:
            self.dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except KeyError as error:
            raise PimloopError(f"{self.where} has the unknown type {tensor.elem_type}") from error
        #: None: the file does not even say how many axes there are.
        self.axes: list[int | str] | None = None
        if tensor.HasField("shape"):
            self.axes = [_axis(dim) for dim in tensor.shape.dim]
            if len(self.axes) > MAX_AXES:
                raise PimloopError(
                    f"{self.where} has {len(self.axes)} axes; at most {MAX_AXES} are supported"
                )

    def describe(self) -> str:
        return f"[{', '.join(str(a) or '?' for a in self.axes or ())}]"

    def fits(self, shape: Sequence[int]) -> bool:
        return self.axes is None or (
            len(shape) == len(self.axes)
            and all(isinstance(a, str) or a == n for a, n in zip(self.axes, shape, strict=True))
        )


def _axis(dim: Any) -> int | str:
    """Return the length of an axis, or its name; some writers put -1 for an unknown length."""
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return str(dim.dim_param).strip()


class _Binder:
    def __init__(
        self, values: Sequence[onnx.ValueInfoProto], options: AxisOptions, path: Path
    ) -> None:
        self._path = path
        self._options = options
        self._inputs = [_Input(value, path) for value in values]
        #: Length of each axis name, and what says so.
        self._bound: dict[str, tuple[int, str]] = {}
        self._sequence: int | None = None
        self._batch: int | None = None

    def bind(self) -> BoundInputs:
        self._check_names()
        whole = {declared.name: self._whole(declared) for declared in self._inputs}
        for name, length in self._options.axes.items():
            self._set(name, length, f"--axis {name}={length}")
        self._default_names()
        self._solve()
        inputs = {}
        for declared in self._inputs:
            shape = whole[declared.name]
            if shape is None:
                shape = tuple(
                    self._length(declared, i, axis) for i, axis in enumerate(declared.axes or ())
                )
            if any(not 0 <= n <= MAX_LENGTH for n in shape) or prod(shape) > MAX_INPUT_ELEMENTS:
                raise PimloopError(
                    f"{declared.where} has the shape {list(shape)}; at most {MAX_INPUT_ELEMENTS}"
                    " elements are supported"
                )
            inputs[declared.name] = TensorInfo(shape, declared.dtype)
        if self._sequence is None:
            self._check_used("--seq", self._options.sequence_length, _is_sequence)
        if self._batch is None:
            self._check_used("--batch", self._options.batch, _is_batch)
        for name, (length, _) in self._bound.items():
            if _is_sequence(name):
                self._sequence = length
            elif _is_batch(name):
                self._batch = length
        if self._options.batch is not None and self._batch is None:
            raise PimloopError(f"{self._path} has no batch axis to bind with --batch")
        if self._options.sequence_length is not None and self._sequence is None:
            # No error: `make sim` gives a length for every model.
            log.warning("%s has no axis of tokens: --seq binds nothing", self._path)
        return BoundInputs(inputs, self._sequence, self._batch)

    def _check_used(
        self, option: str, length: int | None, of_option: Callable[[str], bool]
    ) -> None:
        """Refuse a length that no axis has, where the axes that it is for have others."""
        named = {name: bound for name, bound in self._bound.items() if of_option(name)}
        if length is None or not named or any(known == length for known, _ in named.values()):
            return
        for name in named:
            self._set(name, length, f"{option} {length}")

    def _check_names(self) -> None:
        known = [declared.name for declared in self._inputs]
        for name in self._options.shapes:
            if name not in known:
                raise PimloopError(
                    f"{self._path} has no input '{name}'; its inputs: {', '.join(known)}"
                )
        axes = dict.fromkeys(
            word
            for declared in self._inputs
            for axis in declared.axes or ()
            if isinstance(axis, str)
            for word in (axis, *_words(axis))
            if word
        )
        for name in self._options.axes:
            if name not in axes:
                raise PimloopError(
                    f"{self._path} has no axis '{name}' to bind with --axis; its named axes:"
                    f" {', '.join(axes) or 'none'}"
                )

    def _whole(self, declared: _Input) -> tuple[int, ...] | None:
        """Return the shape of an input that is given as a whole; note its axes' lengths."""
        value = self._options.given.get(declared.name)
        shape = None if value is None else value.shape
        if value is not None and as_declared(value, declared.dtype).dtype != declared.dtype:
            raise PimloopError(
                f"{declared.where} is {declared.dtype}, the given values are {value.dtype}"
                f"{type_advice(value, declared.dtype)}"
            )
        said = "the given values"
        asked = self._options.shapes.get(declared.name)
        if shape is None:
            shape, said = asked, "--shape"
        elif asked is not None and asked != shape:
            raise PimloopError(
                f"{declared.where}: --shape says {list(asked)}, the given values have the shape"
                f" {list(shape)}"
            )
        if shape is None:
            if declared.axes is None:
                raise PimloopError(
                    f"{declared.where} has no shape; give --shape {declared.name}=..."
                )
            return None
        if not declared.fits(shape):
            raise PimloopError(
                f"{declared.where}: the shape {list(shape)} does not fit {declared.describe()}"
            )
        for axis, length in zip(declared.axes or (), shape, strict=bool(declared.axes)):
            if isinstance(axis, str) and axis:
                self._set(axis, length, f"{said} of '{declared.name}'")
        return shape

    def _set(self, name: str, length: int, said: str) -> None:
        known = self._bound.setdefault(name, (length, said))
        if known[0] != length:
            raise PimloopError(
                f"{self._path}: the axis '{name}' would have two lengths: {known[0]} by"
                f" {known[1]}, {length} by {said}"
            )

    def _default_names(self) -> None:
        """Bind what batch size and sequence length are for, where nothing else has."""
        options = self._options
        for declared in self._inputs:
            for axis in declared.axes or ():
                for word in _words(axis) if isinstance(axis, str) else ():
                    if word in self._bound:
                        continue
                    if _is_batch(word):
                        said = "the default" if options.batch is None else "--batch"
                        self._set(word, 1 if options.batch is None else options.batch, said)
                    elif _is_sequence(word) and options.sequence_length is not None:
                        self._set(word, options.sequence_length, "--seq")

    def _solve(self) -> None:
        """Bind names that follow from others, until nothing more follows."""
        axes = dict.fromkeys(
            axis
            for declared in self._inputs
            for axis in declared.axes or ()
            if isinstance(axis, str)
        )
        names = dict.fromkeys(word for axis in axes for word in _words(axis))
        before = -1
        while len(self._bound) != before:
            before = len(self._bound)
            for axis in axes:
                if _SUM.match(axis):
                    self._solve_expression(axis)
            self._solve_total(names)

    def _solve_expression(self, axis: str) -> None:
        missing = [word for word in _words(axis) if word not in self._bound]
        if not missing:
            self._set(axis, self._evaluate(axis, {}), f"the lengths in '{axis}'")
        elif len(missing) == 1 and axis in self._bound and not re.search("[*-]", axis):
            (name,) = missing
            rest = self._evaluate(axis, {name: 0})
            self._set(name, self._bound[axis][0] - rest, f"the length of '{axis}'")

    def _solve_total(self, names: Mapping[str, None]) -> None:
        """Use total = past + sequence where each of them is one name."""
        total = [n for n in names if "total" in n.lower()]
        past = [n for n in names if "past" in n.lower() and "total" not in n.lower()]
        tokens = [n for n in names if _is_sequence(n)]
        if not (len(total) == len(past) == len(tokens) == 1):
            return
        t, p, s = (self._bound.get(n, (None, ""))[0] for n in (total[0], past[0], tokens[0]))
        said = f"'{total[0]}' = '{past[0]}' + '{tokens[0]}'"
        if p is not None and s is not None:
            self._set(total[0], p + s, said)
        elif t is not None and s is not None:
            self._set(past[0], t - s, said)
        elif t is not None and p is not None:
            self._set(tokens[0], t - p, said)

    def _evaluate(self, axis: str, further: Mapping[str, int]) -> int:
        """Return the value of a sum, a difference or a product of names and numbers."""
        result, operator, rest = 0, "+", axis
        while rest:
            term = _TERM.match(rest)
            assert term is not None  # `_SUM` has matched
            word = term[2]
            number = int(term[1]) if word is None else further.get(word)
            if number is None:
                number = self._bound[word][0]
            match operator:
                case "+":
                    result += number
                case "-":
                    result -= number
                case _:
                    result *= number
            rest = rest[term.end() :]
            operator, rest = rest[:1], rest[1:]
        return result

    def _length(self, declared: _Input, index: int, axis: int | str) -> int:
        if isinstance(axis, int):
            return axis
        if axis in self._bound:
            return self._bound[axis][0]
        options = self._options
        if not axis and index == 0:
            self._batch = 1 if options.batch is None else options.batch
            return self._batch
        if not axis and options.sequence_length is not None:
            self._sequence = options.sequence_length
            return self._sequence
        ways = [f"--shape {declared.name}=..."]
        if axis and not _SUM.match(axis):
            ways.append(f"--axis {axis}=N")
        seq = "--seq N or " if _is_sequence(axis) or not axis else ""
        raise PimloopError(
            f"{declared.where}: axis {index} ({axis or 'unnamed'}) of {declared.describe()} is"
            f" dynamic; bind it with {seq}{', '.join(ways)}, or give the values with --inputs"
        )


def _words(axis: str) -> list[str]:
    """Return the names in an axis' name, which may be an expression.

    >>> _words("past_sequence_length + 1"), _words("batch size")
    (['past_sequence_length'], ['batch size'])
    """
    if not _SUM.match(axis):
        return [axis] if axis else []
    return [word for word in re.findall(r"[\w.]+", axis) if not word.isdigit()]


def _is_batch(name: str) -> bool:
    return "batch" in name.lower()


def _is_sequence(name: str) -> bool:
    """Return whether a name is that of the axis of the tokens.

    >>> [_is_sequence(n) for n in ("sequence_length", "seq", "past_sequence_length", "height")]
    [True, True, False, False]
    """
    label = name.lower()
    return ("seq" in label or "length" in label) and not any(w in label for w in _NOT_TOKENS)
