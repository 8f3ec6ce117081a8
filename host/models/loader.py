"""The one way in: a model's name, and out comes its graph.

A name is a built-in model (`config.BUILT_IN`).
"""

from __future__ import annotations

from dataclasses import dataclass

from host.errors import PimloopError
from host.models.config import BUILT_IN, ModelConfig
from host.models.decoder import build_decoder
from host.models.encoder import build_encoder
from host.models.graph import Graph
from host.models.weights import RandomWeights, Weights

#: Sequence length when none is given.
DEFAULT_SEQUENCE = 16


@dataclass(frozen=True)
class LoadOptions:
    """What a user may choose about a model; fields a kind of model lacks are refused."""

    sequence_length: int | None = None  # tokens; None: DEFAULT_SEQUENCE
    seed: int = 0  # of random weights
    hidden_states: bool = False  # also return the last layer's output


def load_model(name: str, options: LoadOptions | None = None) -> Graph:
    """Return the graph of a model.

    Raises
    ------
    PimloopError
        When there is no such model, or the sequence length is outside 1..the model's limit.
    """
    options = options or LoadOptions()
    config = BUILT_IN.get(name)
    if config is None:
        raise PimloopError(f"unknown model '{name}'; known models: {', '.join(BUILT_IN)}")
    return build_graph(config, RandomWeights(config, options.seed), options)


def build_graph(config: ModelConfig, weights: Weights, options: LoadOptions) -> Graph:
    """Return the graph of a transformer with the given parameters."""
    length = options.sequence_length
    if length is None:
        length = min(DEFAULT_SEQUENCE, config.max_sequence)
    if not 1 <= length <= config.max_sequence:
        raise PimloopError(
            f"model {config.name}: sequence length {length} is outside 1..{config.max_sequence}"
        )
    build = build_decoder if config.architecture == "gpt2" else build_encoder
    return build(config, weights, length, hidden_states=options.hidden_states)
