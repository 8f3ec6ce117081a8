"""Model configurations in Hugging Face's vocabulary, and the built-in models.

Sources of the built-in values: Devlin et al. 2019 (BERT), Liu et al. 2019 (RoBERTa), Radford et
al. 2019 (GPT-2), and Kim et al. 2024 for the reduced BERT (4 layers, hidden 512).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pimloop.host.common.errors import PimloopError
from pimloop.partitioner.quantity import quantity

#: Activation functions the graph builders have.
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")

#: Heads by what Hugging Face's class names end with; "none": hidden states.
HEADS: Mapping[str, str] = {
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": "questions",
    "ForMaskedLM": "masked",
    "LMHeadModel": "lm",
    "Model": "none",
}

ARCHITECTURES = ("bert", "roberta", "distilbert", "gpt2")


@dataclass(frozen=True)
class ModelConfig:
    """One transformer; every architecture reads the fields that it has."""

    name: str
    architecture: str  # one of ARCHITECTURES
    layers: int
    hidden: int  # features
    heads: int
    intermediate: int  # features between the two feed-forward products
    vocabulary: int  # tokens
    positions: int  # rows of the position table
    token_types: int  # rows of the token-type table; 0: none
    labels: int = 2  # outputs of the classification head
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02  # standard deviation of random weights
    pad_token: int | None = None  # RoBERTa's positions skip it; GPT-2 classifies the last other
    head: str = "classification"  # one of `HEADS`
    pooler: bool = False  # without a head: also the pooled first token

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden // self.heads

    @property
    def position_offset(self) -> int:
        """Row of the position table that the first token reads (RoBERTa skips the padding row)."""
        return (self.pad_token or 0) + 1 if self.architecture == "roberta" else 0

    @property
    def max_sequence(self) -> int:
        """The longest sequence that the position table allows."""
        return self.positions - self.position_offset


_BERT = ModelConfig(
    name="bert",
    architecture="bert",
    layers=12,
    hidden=768,
    heads=12,
    intermediate=3072,
    vocabulary=30522,
    positions=512,
    token_types=2,
)

BUILT_IN: Mapping[str, ModelConfig] = {
    "bert": _BERT,
    "bert-small": replace(
        _BERT, name="bert-small", layers=4, hidden=512, heads=8, intermediate=2048
    ),
    "roberta": replace(
        _BERT,
        name="roberta",
        architecture="roberta",
        vocabulary=50265,
        positions=514,
        token_types=1,
        layer_norm_epsilon=1e-5,
        pad_token=1,
    ),
    "gpt2": ModelConfig(
        name="gpt2",
        architecture="gpt2",
        layers=12,
        hidden=768,
        heads=12,
        intermediate=3072,
        vocabulary=50257,
        positions=1024,
        token_types=0,
        activation="gelu_new",
        layer_norm_epsilon=1e-5,
        head="lm",
    ),
}

#: One line on each built-in model, for `pimloop models`.
DESCRIPTIONS: Mapping[str, str] = {
    "bert": "BERT-base: 12 layers, hidden 768, sequence classification",
    "bert-small": "BERT of 4 layers, hidden 512, sequence classification (the paper's BERT)",
    "roberta": "RoBERTa-base: 12 layers, hidden 768, sequence classification",
    "gpt2": "GPT-2 124M: 12 layers, hidden 768, language-model head",
}

#: Where each architecture keeps a size in config.json: ModelConfig field -> key.
_KEYS: Mapping[str, Mapping[str, str]] = {
    "bert": {
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "intermediate": "intermediate_size",
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "token_types": "type_vocab_size",
    },
    "distilbert": {
        "layers": "n_layers",
        "hidden": "dim",
        "heads": "n_heads",
        "intermediate": "hidden_dim",
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
    },
    "gpt2": {
        "layers": "n_layer",
        "hidden": "n_embd",
        "heads": "n_head",
        "vocabulary": "vocab_size",
        "positions": "n_positions",
    },
}

_DEFAULT_EPSILON = {"bert": 1e-12, "roberta": 1e-12, "distilbert": 1e-12, "gpt2": 1e-5}


def from_hugging_face(data: Mapping[str, Any], where: str) -> ModelConfig:
    """Return the configuration that the content of a config.json describes.

    Parameters
    ----------
    data
        The parsed file.
    where
        Its path, for messages.

    Raises
    ------
    PimloopError
        When the architecture or an option is not supported, or a size is missing or wrong.
    """
    architecture = data.get("model_type")
    if architecture not in ARCHITECTURES:
        raise PimloopError(
            f"{where}: model_type {architecture!r} is not supported;"
            f" known: {', '.join(ARCHITECTURES)}"
        )
    keys = _KEYS["bert" if architecture == "roberta" else architecture]
    sizes = {field: _size(data, key, where) for field, key in keys.items()}
    if architecture == "gpt2":
        inner = data.get("n_inner")
        sizes["intermediate"] = (
            4 * sizes["hidden"] if inner is None else _size(data, "n_inner", where)
        )
    activation_key = {"distilbert": "activation", "gpt2": "activation_function"}
    default_activation = "gelu_new" if architecture == "gpt2" else "gelu"
    config = ModelConfig(
        name=architecture,
        architecture=architecture,
        layers=sizes["layers"],
        hidden=sizes["hidden"],
        heads=sizes["heads"],
        intermediate=sizes["intermediate"],
        vocabulary=sizes["vocabulary"],
        positions=sizes["positions"],
        token_types=sizes.get("token_types", 0),
        labels=_labels(data),
        activation=data.get(activation_key.get(architecture, "hidden_act"), default_activation),
        layer_norm_epsilon=float(
            data.get(
                "layer_norm_epsilon" if architecture == "gpt2" else "layer_norm_eps",
                _DEFAULT_EPSILON[architecture],
            )
        ),
        initializer_range=float(data.get("initializer_range", 0.02)),
        pad_token=_pad_token(data, architecture, where),
        head=_head(data, where),
    )
    check(config, where)
    _refuse_variants(data, where)
    return config


def check(config: ModelConfig, where: str) -> None:
    """Raise PimloopError when the sizes of `config` do not fit together."""
    if config.hidden % config.heads:
        raise PimloopError(
            f"{where}: hidden size {config.hidden} is no multiple of {config.heads} heads"
        )
    if config.activation not in ACTIVATIONS:
        raise PimloopError(
            f"{where}: activation {config.activation!r} is not supported;"
            f" known: {', '.join(ACTIVATIONS)}"
        )
    if config.max_sequence < 1:
        raise PimloopError(
            f"{where}: the position table has {quantity(config.positions, 'row')} only"
        )


def _size(data: Mapping[str, Any], key: str, where: str) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 24:
        raise PimloopError(f"{where}: {key} must be a whole number from 1 to 2^24, got {value!r}")
    return value


def _labels(data: Mapping[str, Any]) -> int:
    if isinstance(data.get("num_labels"), int):
        return int(data["num_labels"])
    names = data.get("id2label")
    return len(names) if isinstance(names, Mapping) and names else 2


def _head(data: Mapping[str, Any], where: str) -> str:
    names = data.get("architectures") or []
    if not isinstance(names, list) or not names:
        return "none"
    name = str(names[0])
    head = next((head for ending, head in HEADS.items() if name.endswith(ending)), None)
    decoder = data.get("model_type") == "gpt2"
    if head is None or head == ("masked" if decoder else "lm"):
        raise PimloopError(
            f"{where}: the head of {name} is not supported; known: {', '.join(HEADS)}"
        )
    return head


def _pad_token(data: Mapping[str, Any], architecture: str, where: str) -> int | None:
    """Return the id of padding; of a RoBERTa that names none it is 1, as in transformers."""
    value = data.get("pad_token_id")
    if value is None:
        return 1 if architecture == "roberta" else None
    least = 0 if architecture == "roberta" else -1  # -1 is no token, and so never met
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 24:
        raise PimloopError(
            f"{where}: pad_token_id must be null or a whole number from {least} to 2^24, got"
            f" {value!r}"
        )
    return value


def _refuse_variants(data: Mapping[str, Any], where: str) -> None:
    """Refuse options that change the arithmetic and that the builders do not have."""
    expected: Mapping[str, tuple[Any, ...]] = {
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
        "scale_attn_weights": (True, None),
        "scale_attn_by_inverse_layer_idx": (False, None),
        "tie_word_embeddings": (True, None),
    }
    for key, allowed in expected.items():
        if data.get(key) not in allowed:
            raise PimloopError(f"{where}: {key} = {data[key]!r} is not supported")
