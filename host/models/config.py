"""Model configurations in Hugging Face's vocabulary.

`architectures` says what a configuration means; `built_in` has those of the built-in models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: Types of random weights.
WeightType = Literal["float32", "bfloat16"]

#: Heads by what Hugging Face's class names end with; "none": hidden states.
HEADS: Mapping[str, str] = {
    "ForSequenceClassification": "classification",
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": "questions",
    "ForMaskedLM": "masked",
    "LMHeadModel": "lm",
    "Model": "none",
}


#: Heads that multiply by the token table, or by a matrix of its own of that size.
TOKEN_HEADS = ("lm", "masked")


@dataclass(frozen=True)
class ModelConfig:
    """One transformer; every architecture reads the fields that it has.

    An architecture that needs others derives a class from this one.
    """

    name: str
    architecture: str  # `model_type` of one of `architectures`
    layers: int
    hidden: int  # features
    heads: int
    intermediate: int  # features between the two feed-forward products
    vocabulary: int  # tokens
    positions: int  # rows of the position table
    token_types: int = 0  # rows of the token-type table; 0: none
    labels: int = 2  # outputs of the classification head
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02  # standard deviation of random weights
    weight_type: WeightType = "float32"  # of random weights; a checkpoint's are as stored
    pad_token: int | None = None  # RoBERTa's positions skip it; GPT-2 classifies the last other
    head: str = "classification"  # one of `HEADS`, or an architecture's own
    pooler: bool = False  # without a head: also the pooled first token

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden // self.heads

    @property
    def position_offset(self) -> int:
        """Row of the position table that the first token reads."""
        # What an architecture is has configurations in it, so that their module comes first.
        from pimloop.host.models.architectures.registry import architecture_of

        return architecture_of(self).position_offset(self)

    @property
    def max_sequence(self) -> int:
        """The longest sequence that the position table allows."""
        return self.positions - self.position_offset
