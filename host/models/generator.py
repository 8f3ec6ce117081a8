"""A generating model as two graphs: the prompt at once, then one token at a time.

The second graph has a cache of a fixed length, so that one graph, one plan and the same descriptor
lists on the PIM serve every step. The graphs share their parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.models.architectures.base import CachedDecoder
from pimloop.host.models.architectures.registry import architecture_of, architectures
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.checkpoint import open_checkpoint
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.loader import (
    DEFAULT_SEQUENCE,
    LoadOptions,
    check_mask,
    with_random_weights,
)
from pimloop.host.models.parameters import SharedWeights, Weights
from pimloop.host.models.quantize.products import Quantizer
from pimloop.partitioner.quantity import quantity

#: The output that tokens are chosen from.
LOGITS = "logits"

#: The most sequences at once.
MAX_BATCH = 16


@dataclass(frozen=True)
class Generator:
    """The two graphs of a model for one length of prompt and one number of tokens."""

    config: ModelConfig
    prefill: Graph  # input_ids (batch, length) -> logits (batch, 1, vocabulary), present.*
    step: Graph | None  # see `CachedDecoder.step`; None: one token, which prefill gives
    prompt_length: int
    tokens: int  # to generate, of each sequence
    batch: int = 1  # sequences at once

    @property
    def context(self) -> int:
        """Tokens before the last one that is fed: the states have a row more."""
        return self.prompt_length + self.tokens - 2


def load_generator(name: str, tokens: int, options: LoadOptions | None = None) -> Generator:
    """Return the graphs that generate `tokens` tokens.

    Parameters
    ----------
    name
        A built-in model, a Hugging Face folder or a config.json, of an architecture that is a
        `CachedDecoder`.
    tokens
        How many to generate.
    options
        `sequence_length` is the prompts', `batch` how many there are. Given values of
        `attention_mask` say that prompts may have padding in front.

    Raises
    ------
    PimloopError
        When there is no such model, it does not generate, prompt and tokens are more than it
        has positions for, or the mask is not (batch, length) of 0 and 1 with padding in front.
    """
    options = options or LoadOptions()
    path = Path(name)
    drawn = with_random_weights(name, options.seed)
    if drawn is not None:
        return build_generator(*drawn, tokens, options)
    if path.is_dir():
        config, weights = open_checkpoint(path)
        generator = build_generator(config, weights, tokens, options)
        weights.check_all_read(config.head)
        return generator
    known = _generating()
    models = [name for name, config in BUILT_IN.items() if config.architecture in known]
    theirs = "that architecture" if len(known) == 1 else f"an architecture of {', '.join(known)}"
    problem = f"model '{name}' cannot generate" if path.exists() else f"unknown model '{name}'"
    raise PimloopError(
        f"{problem}: --generate takes {', '.join(models)}, or a Hugging Face folder or its"
        f" config.json of {theirs}"
    )


def build_generator(
    config: ModelConfig, weights: Weights, tokens: int, options: LoadOptions
) -> Generator:
    """Return the graphs of a configuration; see `load_generator`."""
    architecture = _caching(config)
    length = min(DEFAULT_SEQUENCE, config.max_sequence)
    if options.sequence_length is not None:
        length = options.sequence_length
    if length < 1 or tokens < 1 or length + tokens > config.max_sequence:
        raise PimloopError(
            f"model {config.name}: a prompt of {length} and {quantity(tokens, 'generated token')};"
            f" both must be at least 1, and together at most {config.max_sequence}"
        )
    batch = 1 if options.batch is None else options.batch
    if not 1 <= batch <= MAX_BATCH:
        raise PimloopError(
            f"model {config.name}: batch {batch}: 1 to {MAX_BATCH} sequences are generated at once"
        )
    mask = options.given.get("attention_mask")
    _check_padding(mask, (batch, length), f"model {config.name}")
    kept = SharedWeights(weights)
    masked = mask is not None
    prefill = architecture.prefill(config, kept, length, batch=batch, masked=masked)
    prefill = replace(prefill, name=f"{config.name}-prefill")
    step = None
    if tokens > 1:
        step = architecture.step(config, kept, length + tokens - 2, batch=batch)
        shared = {
            n: prefill.constants[n] if _same(prefill.constants.get(n), array) else array
            for n, array in step.constants.items()
        }
        step = replace(step, name=f"{config.name}-step", constants=shared)
    generator = Generator(config, prefill, step, length, tokens, batch)
    if options.quantize is None:
        return generator
    return quantized_generator(generator, Quantizer.of(options.quantize))


def _check_padding(mask: Array | None, shape: tuple[int, int], where: str) -> None:
    """Raise PimloopError unless a mask is that of prompts with padding in front; None passes."""
    check_mask(mask, shape, where)
    if mask is not None and not mask[:, -1].all():
        raise PimloopError(
            f"{where}: attention_mask has padding at the end of a prompt; the next token follows"
            " the last one, so padding must be in front"
        )


def quantized_generator(generator: Generator, quantizer: Quantizer) -> Generator:
    """Return a generator whose products have integer weights, each matrix once."""
    step = None if generator.step is None else quantizer.graph(generator.step)
    return replace(generator, prefill=quantizer.graph(generator.prefill), step=step)


def _caching(config: ModelConfig) -> CachedDecoder:
    """Return the architecture of a configuration that generates."""
    architecture = architecture_of(config)
    if not isinstance(architecture, CachedDecoder) or config.head != "lm":
        raise PimloopError(
            f"model {config.name} cannot generate: its architecture is {config.architecture} with"
            f" the head '{config.head}'; {' or '.join(_generating())} with a language-model head"
            " can"
        )
    return architecture


def _generating() -> list[str]:
    """Return the architectures that generate."""
    return [name for name, a in architectures().items() if isinstance(a, CachedDecoder)]


def _same(array: Array | None, other: Array) -> bool:
    if array is None or array is other:
        return array is other
    return array.dtype == other.dtype and np.array_equal(array, other)


@dataclass
class Cache:
    """Keys and values of the tokens so far: what the states of the step graph hold."""

    generator: Generator
    used: int = 0  # rows written
    arrays: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    padding: NDArray[Any] | None = None  # `attention_mask` of the prompts (batch, length)

    def __post_init__(self) -> None:
        """Raise PimloopError for a padding that is not that of the prompts."""
        shape = (self.generator.batch, self.generator.prompt_length)
        _check_padding(self.padding, shape, f"model {self.generator.config.name}")
        step = self.generator.step
        if step is not None:
            self.arrays = {
                state.past: np.zeros(step.tensors[state.past].shape, np.float32)
                for state in step.states
            }

    def add(self, values: Mapping[str, Array]) -> None:
        """Write the `present.*` results of an execution behind what is there."""
        added = 0
        for name, cached in self.arrays.items():
            present = values[name.replace("past.", "present.", 1)]
            added = present.shape[2]
            # The last token of a prompt that fills the cache is never attended to by another one.
            room = cached[:, :, self.used : self.used + added]
            room[...] = present[:, :, : room.shape[2]]
        self.used += added

    def feeds(self, tokens: Sequence[int]) -> dict[str, Array]:
        """Return the inputs of the step that follows, for the token of each sequence."""
        generator = self.generator
        batch, context = generator.batch, generator.context
        kept = np.zeros((batch, context + 1), np.bool_)
        kept[:, : self.used + 1] = True
        if self.padding is not None:
            kept[:, : self.padding.shape[1]] &= self.padding != 0
        architecture = _caching(generator.config)
        assert generator.step is not None  # nobody asks for its inputs otherwise
        index = generator.step.tensors["cache_index"]
        return {
            "input_ids": np.array(tokens, np.int64).reshape(batch, 1),
            "position_ids": np.full((batch, 1), self.used, np.int64),
            "cache_index": np.full(index.shape, self.used, np.int64),
            **architecture.step_masks(generator.config, self.used, kept),
            **self.arrays,
        }
