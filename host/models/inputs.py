"""Inputs of a model: read from an .npz file, or seeded random ones of the right type and range."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from host.errors import PimloopError
from host.files import write_whole
from host.models.graph import Array, Graph, TensorInfo


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Return a value for every input: masks of ones, token ids in range, normal floats."""
    generator = np.random.default_rng(seed)
    ranges = graph.input_ranges or {}
    return {
        name: _random(name, graph.tensors[name], ranges.get(name, 2), generator)
        for name in graph.inputs
    }


def _random(name: str, info: TensorInfo, below: int, generator: np.random.Generator) -> Array:
    kind = info.dtype.kind
    if kind == "b" or "mask" in name.lower():
        # A mask hides nothing: additive ones are 0, the others 1.
        filled = np.zeros if kind == "f" else np.ones
        return filled(info.shape, info.dtype)
    if kind in "iu":
        return generator.integers(0, below, info.shape).astype(info.dtype)
    if kind == "f":
        return generator.standard_normal(info.shape).astype(info.dtype)
    raise PimloopError(f"input '{name}' has type {info.dtype}; numbers and booleans are supported")


#: What a damaged archive raises: also for a compression or a version that zipfile lacks, a bad
#: stream, an array header of any form, and sizes that no memory holds.
_UNREADABLE = (
    OSError, ValueError, EOFError, BadZipFile, NotImplementedError, RuntimeError, KeyError,
    zlib.error, MemoryError, OverflowError, SyntaxError, struct.error, AttributeError,
)  # fmt: skip


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by name (no pickled objects are ever loaded).

    Raises
    ------
    PimloopError
        When the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _UNREADABLE as error:
        raise PimloopError(f"inputs {path}: cannot be read as .npz: {error}") from error
    except TypeError as error:  # numpy returns a bare array for a .npy file
        raise PimloopError(f"inputs {path}: this is one array; save with numpy.savez") from error


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write outputs as an .npz file; any text may be a name (`numpy.savez` keeps some for itself).

    Raises
    ------
    PimloopError
        When the file cannot be written.
    """
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    write_whole(path, content.getvalue())


def check_inputs(graph: Graph, values: Mapping[str, Array], where: str) -> None:
    """Raise PimloopError unless `values` are the inputs of `graph`: names, shapes, types, range."""
    wanted = ", ".join(
        f"{n} {graph.tensors[n].dtype}{list(graph.tensors[n].shape)}" for n in graph.inputs
    )
    for name in values:
        if name not in graph.inputs:
            raise PimloopError(f"{where}: unknown input '{name}'; the model takes {wanted}")
    for name in graph.inputs:
        if name not in values:
            raise PimloopError(f"{where}: input '{name}' is missing; the model takes {wanted}")
        info, value = graph.tensors[name], values[name]
        if value.shape != info.shape or value.dtype != info.dtype:
            raise PimloopError(
                f"{where}: input '{name}' is {value.dtype}{list(value.shape)}, the model takes"
                f" {info.dtype}{list(info.shape)}"
            )
        below = (graph.input_ranges or {}).get(name)
        # A negative index counts from the end of its table.
        if below is not None and value.size and (value.min() < -below or value.max() >= below):
            raise PimloopError(
                f"{where}: input '{name}' has values outside 0..{below - 1} and their like from"
                f" the end, {-below}..-1"
                f" ({value.min()}..{value.max()})"
            )
