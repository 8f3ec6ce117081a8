"""Where the graph builders get their parameters: by their Hugging Face names.

`weights.RandomWeights` draws them, `checkpoint.CheckpointWeights` reads them from a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Rows of a matrix that are transposed together.
_BAND = 64


class Weights(Protocol):
    """A named set of float32 parameters."""

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one parameter.

        Raises
        ------
        PimloopError
            When there is no such parameter, or it has another shape.
        """
        ...


class SharedWeights:
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
        self._stored: dict[str, NDArray[np.float32]] = {}
        self._transposed: dict[str, NDArray[np.float32]] = {}

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one parameter as it is stored; see `Weights.get`."""
        return self._once(self._stored, name, lambda: self._weights.get(name, shape))

    def transposed(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return a matrix transposed, in an array of its own; `shape` is the stored one.

        What is stored is not kept for it, so that a parameter is in memory once.
        """
        return self._once(self._transposed, name, lambda: self._turned(name, shape))

    def _turned(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        stored = self._stored.get(name)
        return _transposed(self._weights.get(name, shape) if stored is None else stored)

    @staticmethod
    def _once(
        made: dict[str, NDArray[np.float32]],
        name: str,
        make: Callable[[], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        if name not in made:
            made[name] = make()
        return made[name]


def _transposed(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a matrix transposed, by bands whose rows stay in the cache."""
    rows, columns = matrix.shape
    turned = np.empty((columns, rows), np.float32)
    for first in range(0, rows, _BAND):
        turned[:, first : first + _BAND] = matrix[first : first + _BAND].T
    return turned
