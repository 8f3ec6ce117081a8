"""Where the graph builders get their parameters: seeded random values by Hugging Face names.

`checkpoint.CheckpointWeights` is the other source; both are `Weights`.
"""

from __future__ import annotations

import zlib
from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pimloop.host.models.config import ModelConfig

#: Standard deviation of random LayerNorm scales about 1, and of LayerNorm biases about 0.
NORM_SPREAD = 0.1


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


class RandomWeights:
    """Random parameters with the initialisation of the originals, the same for the same seed.

    Weight matrices and embeddings are normal with the configuration's deviation (GPT-2's residual
    projections divided by sqrt(2 layers), as its authors did). Unlike the originals, biases and
    LayerNorm parameters are not 0 and 1: with equal parameters exporters share them and
    simplifiers delete the operators, and an error in them would not show.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self._config = config
        self._seed = seed

    def get(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the parameter `name`; its values depend on the seed and the name alone."""
        generator = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        values = generator.standard_normal(shape, dtype=np.float32)
        if _is_norm(name):
            values *= np.float32(NORM_SPREAD)
            if name.endswith(".weight"):
                values += np.float32(1.0)
            return values
        deviation = self._config.initializer_range
        if self._config.architecture == "gpt2" and name.endswith("c_proj.weight"):
            deviation /= sqrt(2 * self._config.layers)
        values *= np.float32(deviation)
        return values


def _is_norm(name: str) -> bool:
    owner = name.rsplit(".", 2)[-2]
    return owner in ("LayerNorm", "layer_norm", "sa_layer_norm", "output_layer_norm") or (
        owner.startswith("ln_")
    )
