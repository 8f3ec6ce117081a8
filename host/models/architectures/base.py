"""What an architecture says of itself.

`registry` finds the architectures; `pimloop.host.models.encoder` and `decoder` have the graphs
that several share. Reading config.json, a checkpoint and random weights, and building graphs ask
an architecture and never compare its name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.models import config_json
from pimloop.host.models.activations import ACTIVATIONS, Activation
from pimloop.host.models.builder import MASKED_SCORE, GraphBuilder
from pimloop.host.models.config import HEADS, ModelConfig
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.heads import Head
from pimloop.host.models.parameters import Weights
from pimloop.partitioner.quantity import quantity

#: The option of config.json that no architecture supports, with the value that it may have.
UNQUANTIZED: Mapping[str, tuple[Any, ...]] = {"quantization_config": (None,)}

#: Options of config.json that change the arithmetic, with the values that the builders have; a
#: missing key is None.
FIXED_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "scale_attn_weights": (True, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
    "tie_word_embeddings": (True, None),
    **UNQUANTIZED,
}

#: What old TensorFlow conversions call the parameters of LayerNorm, by the ends of names.
OLD_NAMES: Mapping[str, str] = {
    ".LayerNorm.weight": ".LayerNorm.gamma",
    ".LayerNorm.bias": ".LayerNorm.beta",
}


@dataclass(frozen=True)
class BuiltIn:
    """A model that comes with pimloop; its weights are random (`weights.RandomWeights`)."""

    config: ModelConfig
    description: str  # one line, for `pimloop models`
    source: str  # where its sizes are published


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture(ABC):
    """How the models of one `model_type` are read and built."""

    model_type: str  # in config.json
    class_prefix: str  # of Hugging Face's class names: Bert of BertModel
    published: str  # year and month; the registry lists architectures in this order
    config_type: type[ModelConfig] = ModelConfig
    sizes: Mapping[str, str]  # field of `config_type` -> its key in config.json
    heads: Mapping[str, Head]  # by the names of `config.HEADS`, or by names of its own
    norms: tuple[str, ...]  # owners of normalization parameters: LayerNorm of a.LayerNorm.weight
    #: Ends of Hugging Face's class names -> head.
    head_classes: Mapping[str, str] = field(default_factory=lambda: HEADS)
    activation_key: str = "hidden_act"
    activation: str = "gelu"  # of a config.json that names none
    activations: Mapping[str, Activation] = field(default_factory=lambda: ACTIVATIONS)
    epsilon_key: str = "layer_norm_eps"
    epsilon: float = 1e-12  # of a config.json that names none
    pad_token: int | None = None  # of a config.json that names none
    positions_behind_padding: bool = False  # the first token's position is `pad_token` + 1
    fixed_options: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: FIXED_OPTIONS)
    base_prefix: str  # what checkpoints of the bare model leave out in front of names
    #: Ends of names -> what they are called as well.
    old_names: Mapping[str, str] = field(default_factory=lambda: OLD_NAMES)
    #: Names that a checkpoint may have and the graph not; * is the number of a layer.
    unread: tuple[str, ...] = ()
    #: The same of copies of other parameters, with the names of these.
    copies: Mapping[str, str] = field(default_factory=dict)
    pooler: str | None = None  # the pooler's dense layer, which a bare model may have
    built_in: tuple[BuiltIn, ...] = ()

    @property
    def class_heads(self) -> Mapping[str, str]:
        """The classes of Hugging Face that are supported, and the heads that they have."""
        ends = self.head_classes.items()
        return {f"{self.class_prefix}{end}": head for end, head in ends if head in self.heads}

    @abstractmethod
    def graph(
        self,
        config: ModelConfig,
        weights: Weights,
        length: int,
        *,
        batch: int = 1,
        hidden_states: bool = False,
        masked: bool = False,
    ) -> Graph:
        """Return the graph over whole sequences.

        Parameters
        ----------
        config
            Of this architecture.
        weights
            Parameters under their Hugging Face names.
        length
            Tokens, 1 to `config.max_sequence`.
        batch
            Sequences at once.
        hidden_states
            Also return the last layer's output (batch, length, hidden) as `last_hidden_state`;
            without a head it is returned in any case.
        masked
            Whether the caller gives an `attention_mask`, for graphs that need not read one.

        Returns
        -------
        Graph
            Input `input_ids` (batch, length) int64 and what else the architecture reads; outputs
            of the head (`pimloop.host.models.heads`).
        """

    def read(self, data: Mapping[str, Any], where: str) -> ModelConfig:
        """Return the configuration in the content of a config.json; `where` is its path.

        Raises
        ------
        PimloopError
            When an option is not supported, or a size is missing or wrong.
        """
        least_pad = 0 if self.positions_behind_padding else -1  # -1 is no token: it is never met
        # First: the options of another model's class need not be read.
        head = config_json.head(data, self.class_heads, self.model_type, where)
        config = self.config_type(
            name=self.model_type,
            architecture=self.model_type,
            **self.read_fields(data, where),
            labels=config_json.labels(data, where),
            activation=data.get(self.activation_key, self.activation),
            layer_norm_epsilon=config_json.number(data, self.epsilon_key, self.epsilon, where),
            initializer_range=config_json.number(data, "initializer_range", 0.02, where),
            weight_type=config_json.weight_type(data),
            pad_token=config_json.token(data, "pad_token_id", self.pad_token, least_pad, where),
            head=head,
        )
        self.check(config, where)
        config_json.refuse_others(data, self.fixed_options, where)
        return config

    def read_fields(self, data: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the sizes of a config.json, and what else `config_type` has fields for."""
        return {field: config_json.size(data, key, where) for field, key in self.sizes.items()}

    def check(self, config: ModelConfig, where: str) -> None:
        """Raise PimloopError when the sizes of `config` do not fit together."""
        if config.hidden % config.heads:
            raise PimloopError(
                f"{where}: hidden size {config.hidden} is no multiple of {config.heads} heads"
            )
        self.check_activation(config, where)
        if config.max_sequence < 1:
            raise PimloopError(
                f"{where}: the position table has {quantity(config.positions, 'row')} only"
            )

    def check_activation(self, config: ModelConfig, where: str) -> None:
        """Raise PimloopError for an activation that the architecture does not have."""
        if config.activation not in tuple(self.activations):  # it may be anything that JSON has
            raise PimloopError(
                f"{where}: {self.activation_key}: activation"
                f" {config_json.shown(config.activation)} is not supported; known:"
                f" {', '.join(self.activations)}"
            )

    def completed(self, config: ModelConfig, has: Callable[[str], bool]) -> ModelConfig:
        """Return `config` with what only the names in a checkpoint show (`has`): a pooler."""
        if config.head != "none" or self.pooler is None:
            return config
        return replace(config, pooler=has(f"{self.pooler}.weight"))

    def position_offset(self, config: ModelConfig) -> int:
        """Return the row of the position table that the first token reads."""
        return (config.pad_token or 0) + 1 if self.positions_behind_padding else 0

    def deviation(self, config: ModelConfig, name: str) -> float:
        """Return the standard deviation of a random parameter that is no normalization's."""
        return config.initializer_range

    def builder(
        self, config: ModelConfig, weights: Weights, length: int, batch: int = 1
    ) -> GraphBuilder:
        """Return what collects a graph, with this architecture's activations."""
        return GraphBuilder(config, weights, length, batch, self.activations)

    def head(self, config: ModelConfig) -> Head:
        """Return the head that a configuration names.

        Raises
        ------
        PimloopError
            When the architecture does not have it.
        """
        if config.head not in self.heads:
            raise PimloopError(
                f"model {config.name}: {self.model_type} has no head '{config.head}';"
                f" known: {', '.join(self.heads)}"
            )
        return self.heads[config.head]


class CachedDecoder(Architecture):
    """An architecture that generates: it also has the graphs of `generator.Generator`."""

    @abstractmethod
    def prefill(
        self,
        config: ModelConfig,
        weights: Weights,
        length: int,
        *,
        batch: int = 1,
        masked: bool = False,
    ) -> Graph:
        """Return the graph over a prompt for each of `batch` sequences.

        Parameters
        ----------
        config, weights
            As of `graph`.
        length
            Tokens of each prompt.
        batch
            Sequences at once.
        masked
            Whether prompts may have padding in front, which `attention_mask` (batch, length) int64
            says by 0. An architecture without such an input does not have it then.

        Returns
        -------
        Graph
            Input `input_ids` (batch, length) int64; outputs `logits` (batch, 1, vocabulary) of the
            last token and, of each layer, `present.<layer>.key` and `.value` (batch, heads of keys,
            length, head size).
        """

    @abstractmethod
    def step(self, config: ModelConfig, weights: Weights, context: int, *, batch: int = 1) -> Graph:
        """Return the graph for one more token after up to `context` earlier ones.

        Keys and values are states of context + 1 rows, so that one graph and one plan serve every
        step; masks hide the rows not written yet.

        Returns
        -------
        Graph
            Inputs `input_ids` (batch, 1), `position_ids` (batch, 1), those of `step_masks`,
            `cache_index` (batch, heads of keys, 1, head size), which is the row to write
            everywhere, and the states `past.<layer>.key` and `.value` (batch, heads of keys,
            context + 1, head size). Output `logits` (batch, 1, vocabulary). The rows written are
            `present.<layer>.key` and `.value` (batch, heads of keys, 1, head size).
        """

    def step_masks(
        self, config: ModelConfig, used: int, kept: NDArray[np.bool_]
    ) -> dict[str, Array]:
        """Return the masks that a step takes, by the names of its inputs.

        Parameters
        ----------
        config
            Of the model.
        used
            Rows of the cache that are written; the new token's position.
        kept
            (batch, context + 1): which rows of the cache hold a token that is no padding, the new
            one's included.

        Returns
        -------
        dict
            `cache_mask` (batch, 1, 1, context + 1) float32, added to the scores: 0, or
            `builder.MASKED_SCORE` where a token is not attended to.
        """
        scores = np.where(kept, np.float32(0), np.float32(MASKED_SCORE))
        return {"cache_mask": scores[:, None, None]}
