"""Where the graph builders get their parameters: by their Hugging Face names.

`weights.RandomWeights` draws them, `checkpoint.CheckpointWeights` reads them from a folder.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
