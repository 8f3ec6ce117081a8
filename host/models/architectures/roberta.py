"""RoBERTa (Liu et al. 2019): BERT's layers, positions that are counted from behind the padding.

As in the graph that the paper measured, `input_ids` is the only input: every token is attended to
and none is padding. A mask is read where the caller gives one.
"""

from __future__ import annotations

from pimloop.host.models import heads
from pimloop.host.models.activations import ACTIVATIONS, gelu_half_first
from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.encoder import BERT_SIZES, Encoder, first_token_type

_POOLER = "roberta.pooler.dense"

_BASE = ModelConfig(
    name="roberta",
    architecture="roberta",
    layers=12,
    hidden=768,
    heads=12,
    intermediate=3072,
    vocabulary=50265,
    positions=514,
    token_types=1,
    layer_norm_epsilon=1e-5,
    pad_token=1,
)

ARCHITECTURE = Encoder(
    model_type="roberta",
    class_prefix="Roberta",
    published="2019-07",
    sizes=BERT_SIZES,
    pad_token=1,
    positions_behind_padding=True,
    activations={**ACTIVATIONS, "gelu": gelu_half_first},
    base_prefix="roberta.",
    embeddings="roberta.embeddings",
    layers="roberta.encoder.layer",
    token_types=first_token_type,
    mask_optional=True,
    norms=("LayerNorm", "layer_norm"),
    pooler=_POOLER,
    heads={
        "classification": heads.first_token_classifier(
            "classifier.dense", "Tanh", "classifier.out_proj"
        ),
        "tokens": heads.token_classifier,
        "questions": heads.question_answering,
        "masked": heads.masked_lm(
            dense="lm_head.dense",
            norm="lm_head.layer_norm",
            bias="lm_head.bias",
            table="roberta.embeddings.word_embeddings.weight",
            activation="gelu",  # whatever the layers have
        ),
        "none": heads.bare_with_pooler(_POOLER),
    },
    # Buffers, and the pooler of masked language models.
    unread=(
        "roberta.embeddings.position_ids",
        "roberta.embeddings.token_type_ids",
        f"{_POOLER}.weight",
        f"{_POOLER}.bias",
    ),
    copies={
        "lm_head.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    built_in=(
        BuiltIn(
            _BASE,
            "RoBERTa-base: 12 layers, hidden 768, sequence classification",
            "Liu et al. 2019",
        ),
    ),
)
