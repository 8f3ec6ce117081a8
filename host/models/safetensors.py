"""Reads .safetensors files: a JSON header and raw numbers, nothing that could run.

Every size is checked against the file before anything is allocated; tensors are views of the
mapped file until they are converted. Format: huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.common.numbers import LARGEST
from pimloop.host.models.graph import MAX_AXES, Array
from pimloop.partitioner.quantity import quantity

#: The longest header accepted, bytes (the reference implementation's limit).
MAX_HEADER = 100_000_000

_LENGTH_BYTES = 8

_FLOATS: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}

#: Bytes of the types that are not floating-point numbers; such tensors can be listed, not read.
_OTHER_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "U32": 4,
    "I32": 4, "U64": 8, "I64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    start: int  # bytes from the start of the file
    end: int


class SafetensorsFile:
    """One open file.

    Raises
    ------
    PimloopError
        When the file is truncated or its header does not describe it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise PimloopError(f"cannot read the weights {path}: {error}") from error
        self._entries = self._read_header()

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors of the file."""
        return tuple(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._entries[name].shape

    def get(self, name: str) -> Array:
        """Return a tensor in the type of the file, float64 as float32.

        Raises
        ------
        PimloopError
            When it is not of a floating-point type.
        """
        entry = self._entries[name]
        dtype = _FLOATS.get(entry.dtype)
        if dtype is None:
            raise PimloopError(
                f"{self.path}: weight '{name}' has type {entry.dtype};"
                f" supported: {', '.join(_FLOATS)}"
            )
        raw = self._data[entry.start : entry.end].view(np.ndarray)
        # A copy: a file that is overwritten must not change a graph. What is mapped stays on the
        # disk but for the tensor at hand; it need not be aligned.
        values = raw.copy().view(dtype).reshape(entry.shape)
        return values.astype(np.float32) if entry.dtype == "F64" else values

    def bits(self, name: str) -> tuple[str, NDArray[np.uint8]]:
        """Return the type of a tensor and its bytes, a view of the mapped file."""
        entry = self._entries[name]
        return entry.dtype, self._data[entry.start : entry.end]

    def _read_header(self) -> dict[str, _Entry]:
        size = self._data.size
        if size < _LENGTH_BYTES:
            raise PimloopError(f"{self.path} is truncated: {quantity(size, 'byte')}")
        length = int.from_bytes(self._data[:_LENGTH_BYTES].tobytes(), "little")
        if length > MAX_HEADER or _LENGTH_BYTES + length > size:
            raise PimloopError(
                f"{self.path} is truncated or no safetensors file: its header should be"
                f" {quantity(length, 'byte')}, the file has {size}"
            )
        first = _LENGTH_BYTES + length
        try:
            header = json.loads(self._data[_LENGTH_BYTES:first].tobytes())
        except (ValueError, RecursionError) as error:
            raise PimloopError(f"{self.path}: the header is not JSON: {error}") from error
        if not isinstance(header, dict):
            raise PimloopError(f"{self.path}: the header is no table")
        header.pop("__metadata__", None)
        entries = {name: self._entry(name, value, first) for name, value in header.items()}
        self._check_places(entries, first)
        return entries

    def _check_places(self, entries: Mapping[str, _Entry], first: int) -> None:
        """Raise PimloopError unless the tensors fill the file, one behind the other."""
        end, before = first, "the header"
        for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
            if entry.start != end:
                what = "overlaps" if entry.start < end else "leaves a hole behind"
                raise PimloopError(
                    f"{self.path}: weight '{name}' {what} {before}: it starts at byte"
                    f" {entry.start}, {before} ends at {end}; save or download the file anew"
                )
            end, before = entry.end, f"weight '{name}'"
        if end != self._data.size:
            raise PimloopError(
                f"{self.path}: {quantity(self._data.size - end, 'byte')} behind {before} belong to"
                " no weight; save or download the file anew"
            )

    def _entry(self, name: str, value: Any, first: int) -> _Entry:
        where = f"{self.path}: weight '{name}'"
        try:
            dtype, shape = value["dtype"], value["shape"]
            start, end = value["data_offsets"]
        except (TypeError, KeyError, ValueError) as error:
            raise PimloopError(f"{where}: its header entry is malformed") from error
        numbers = [*shape, start, end] if isinstance(shape, list) else [None]
        if any(type(n) is not int or not 0 <= n <= LARGEST for n in numbers):
            raise PimloopError(f"{where}: shape and offsets must be whole numbers from 0 to 2^63")
        if len(shape) > MAX_AXES:
            raise PimloopError(f"{where} has {len(shape)} axes; at most {MAX_AXES} are supported")
        if not isinstance(dtype, str):
            raise PimloopError(f"{where}: its header entry is malformed: dtype is no text")
        itemsize = _FLOATS[dtype].itemsize if dtype in _FLOATS else _OTHER_BYTES.get(dtype)
        if itemsize is None:
            raise PimloopError(f"{where} has the unknown type {dtype!r}")
        if end < start or end - start != prod(shape) * itemsize:
            raise PimloopError(
                f"{where}: {shape} of {dtype} takes {quantity(prod(shape) * itemsize, 'byte')},"
                f" its offsets span {end - start}"
            )
        if first + end > self._data.size:
            raise PimloopError(
                f"{self.path} is truncated: weight '{name}' ends at byte {first + end}, the file"
                f" has {self._data.size}"
            )
        return _Entry(dtype, tuple(shape), first + start, first + end)
