"""Seeded random parameters by their Hugging Face names.

`checkpoint.CheckpointWeights` is the other source; both are `parameters.Weights`.
"""

from __future__ import annotations

import zlib

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from pimloop.host.models.architectures.registry import architecture_of
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Array
from pimloop.host.models.parameters import Weights

#: Standard deviation of random LayerNorm scales about 1, and of LayerNorm biases about 0.
NORM_SPREAD = 0.1


class RandomWeights(Weights):
    """Random parameters with the initialisation of the originals, the same for the same seed.

    Weight matrices and embeddings are normal with the architecture's deviation. Unlike the
    originals, biases and LayerNorm parameters are not 0 and 1: with equal parameters exporters
    share them and simplifiers delete the operators, and an error in them would not show.

    Raises
    ------
    PimloopError
        When the configuration names no known architecture.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self._config = config
        self._architecture = architecture_of(config)
        self._seed = seed

    def stored(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return the parameter `name` in the configuration's type of weights.

        Its values depend on the seed, the name and that type alone.
        """
        values = self._drawn(name, shape)
        if self._config.weight_type == "float32":
            return values
        return values.astype(ml_dtypes.bfloat16)

    def _drawn(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        generator = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        values = generator.standard_normal(shape, dtype=np.float32)
        owner, _, part = name.rpartition(".")
        if owner.rpartition(".")[2] in self._architecture.norms:
            values *= np.float32(NORM_SPREAD)
            if part == "weight":
                values += np.float32(1.0)
            return values
        values *= np.float32(self._architecture.deviation(self._config, name))
        return values
