"""BERT (Devlin et al. 2019)."""

from __future__ import annotations

from dataclasses import replace

from pimloop.host.models import heads
from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.encoder import BERT_SIZES, Encoder, given_token_types

_POOLER = "bert.pooler.dense"

_BASE = ModelConfig(
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

_SMALL = replace(_BASE, name="bert-small", layers=4, hidden=512, heads=8, intermediate=2048)

ARCHITECTURE = Encoder(
    model_type="bert",
    class_prefix="Bert",
    published="2018-10",
    sizes=BERT_SIZES,
    base_prefix="bert.",
    embeddings="bert.embeddings",
    layers="bert.encoder.layer",
    token_types=given_token_types,
    norms=("LayerNorm",),
    pooler=_POOLER,
    heads={
        "classification": heads.first_token_classifier(_POOLER, "Tanh", "classifier"),
        "tokens": heads.token_classifier,
        "questions": heads.question_answering,
        "masked": heads.masked_lm(
            dense="cls.predictions.transform.dense",
            norm="cls.predictions.transform.LayerNorm",
            bias="cls.predictions.bias",
            table="bert.embeddings.word_embeddings.weight",
        ),
        "none": heads.bare_with_pooler(_POOLER),
    },
    # Buffers, and what pretraining needed: pooler, next sentence.
    unread=(
        "bert.embeddings.position_ids",
        "bert.embeddings.token_type_ids",
        f"{_POOLER}.weight",
        f"{_POOLER}.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ),
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    built_in=(
        BuiltIn(
            _BASE,
            "BERT-base: 12 layers, hidden 768, sequence classification",
            "Devlin et al. 2019",
        ),
        BuiltIn(
            _SMALL,
            "BERT of 4 layers, hidden 512, sequence classification (the paper's BERT)",
            "Kim et al. 2024",
        ),
    ),
)
