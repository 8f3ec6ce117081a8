"""Where the graph builders get their parameters: by their Hugging Face names.

`weights.RandomWeights` draws them, `checkpoint.CheckpointWeights` reads them from a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pimloop.host.models.graph import Array
from pimloop.host.models.stored import in_one_piece


class Weights(Protocol):
    """A named set of parameters."""

    def stored(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return one parameter in the type it is stored in, float32 or a narrower one.

        Raises
        ------
        PimloopError
            When there is no such parameter, or it has another shape.
        """
        ...

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one parameter as float32; raises as `stored`."""
        values: NDArray[np.float32] = self.stored(name, shape).astype(np.float32, copy=False)
        return values


class SharedWeights(Weights):
    """Parameters that are read or drawn once, and transposed once, for all who ask.

    The graphs of a generation read the same ones; so may several operators of a graph (tied
    tables).
    """

    def __new__(cls, weights: Weights) -> SharedWeights:
        """Return `weights` where they are shared already."""
        return weights if isinstance(weights, SharedWeights) else super().__new__(cls)

    def __init__(self, weights: Weights) -> None:
        if weights is self:
            return
        self._weights = weights
        self._stored: dict[str, Array] = {}
        self._transposed: dict[str, Array] = {}

    def stored(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return one parameter as it is stored; vectors, which are small, as float32."""
        return self._once(self._stored, name, lambda: self._read(name, shape))

    def transposed(self, name: str, shape: tuple[int, int]) -> Array:
        """Return a matrix transposed, as it is stored otherwise; `shape` is the stored one.

        A parameter is in memory once: of one that was asked for as it is stored (a tied table) the
        result is a view, of any other an array of its own, and what is stored is not kept for it.
        """
        return self._once(self._transposed, name, lambda: self._turned(name, shape))

    def _read(self, name: str, shape: tuple[int, ...]) -> Array:
        return (self._weights.stored if len(shape) > 1 else self._weights.get)(name, shape)

    def _turned(self, name: str, shape: tuple[int, int]) -> Array:
        if name in self._stored:
            return self._stored[name].T
        matrix = self._weights.stored(name, shape)
        # As integers: numpy copies the types of ml_dtypes element by element.
        bits = in_one_piece(matrix.view(f"u{matrix.itemsize}").T)
        return bits.view(matrix.dtype)

    @staticmethod
    def _once(made: dict[str, Array], name: str, make: Callable[[], Array]) -> Array:
        if name not in made:
            made[name] = make()
        return made[name]
