"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler, under names of its own."""

from __future__ import annotations

from pimloop.host.models import heads
from pimloop.host.models.architectures.base import FIXED_OPTIONS
from pimloop.host.models.encoder import Encoder, LayerNames

ARCHITECTURE = Encoder(
    model_type="distilbert",
    class_prefix="DistilBert",
    published="2019-10",
    sizes={
        "layers": "n_layers",
        "hidden": "dim",
        "heads": "n_heads",
        "intermediate": "hidden_dim",
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
    },
    activation_key="activation",
    fixed_options={**FIXED_OPTIONS, "layer_norm_eps": (None, 1e-12)},  # transformers reads none
    base_prefix="distilbert.",
    embeddings="distilbert.embeddings",
    layers="distilbert.transformer.layer",
    names=LayerNames(
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        intermediate="ffn.lin1",
        output="ffn.lin2",
        output_norm="output_layer_norm",
    ),
    norms=("LayerNorm", "sa_layer_norm", "output_layer_norm", "vocab_layer_norm"),
    heads={
        "classification": heads.first_token_classifier("pre_classifier", "Relu", "classifier"),
        "tokens": heads.token_classifier,
        "questions": heads.question_answering,
        "masked": heads.masked_lm(
            dense="vocab_transform",
            norm="vocab_layer_norm",
            bias="vocab_projector.bias",
            table="distilbert.embeddings.word_embeddings.weight",
        ),
        "none": heads.bare,
    },
    unread=("distilbert.embeddings.position_ids",),  # a buffer
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
)
