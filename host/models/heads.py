"""What a transformer ends in: the heads of Hugging Face's classes.

Every parameter of a head is read under its Hugging Face name. Neighbours: `encoder` and `decoder`
build what is in front of a head, `config.HEADS` names them.
"""

from __future__ import annotations

import numpy as np

from pimloop.host.models.builder import GraphBuilder


def encoder_head(build: GraphBuilder, x: str) -> dict[str, str]:
    """Return the outputs of an encoder's head on the last layer's output x, by name.

    `logits` (batch, labels) of a classification, (batch, length, labels) of tokens, (batch, length,
    vocabulary) of a masked language model; `start_logits` and `end_logits` (batch, length) of
    questions; `pooler_output` (batch, hidden) of a bare model with a pooler.
    """
    match build.config.head:
        case "classification":
            return {"logits": _classifier(build, x)}
        case "masked":
            return {"logits": _masked_lm(build, x)}
        case "none" if build.config.pooler:
            return {"pooler_output": _pooled(build, x)}
    return token_head(build, x)


def token_head(build: GraphBuilder, x: str) -> dict[str, str]:
    """Return the outputs of a head that is one product for each token; {} where there is none."""
    width = build.config.hidden
    match build.config.head:
        case "tokens":
            return {"logits": build.linear(x, "classifier", width, build.config.labels)}
        case "questions":
            both = build.linear(x, "qa_outputs", width, 2)
            parts = build.multi("Split", both, build.integers(1, 1), outputs=2, axis=-1)
            start, end = (build.op("Squeeze", part, build.integers(-1)) for part in parts)
            return {"start_logits": start, "end_logits": end}
    return {}


def _first_token(build: GraphBuilder, x: str) -> str:
    return build.op("Gather", x, build.constant("first_token", np.array(0, np.int64)), axis=1)


def _pooled(build: GraphBuilder, x: str) -> str:
    width, name = build.config.hidden, f"{build.config.architecture}.pooler.dense"
    return build.op("Tanh", build.gemm(_first_token(build, x), name, width, width))


def _classifier(build: GraphBuilder, x: str) -> str:
    """The classification head on the first token."""
    config = build.config
    width = config.hidden
    if config.architecture == "bert":
        return build.gemm(_pooled(build, x), "classifier", width, config.labels)
    first = _first_token(build, x)
    if config.architecture == "roberta":
        pooled = build.op("Tanh", build.gemm(first, "classifier.dense", width, width))
        return build.gemm(pooled, "classifier.out_proj", width, config.labels)
    pooled = build.op("Relu", build.gemm(first, "pre_classifier", width, width))
    return build.gemm(pooled, "classifier", width, config.labels)


#: Of a masked language model: its dense layer, its normalization and its bias.
_MASKED = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
             "cls.predictions.bias"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
}  # fmt: skip


def _masked_lm(build: GraphBuilder, x: str) -> str:
    """Dense, activation, normalization and the product with the token table, which is tied."""
    config = build.config
    dense, norm, bias = _MASKED[config.architecture]
    inner = build.activation(build.linear(x, dense, config.hidden, config.hidden))
    table = f"{config.architecture}.embeddings.word_embeddings.weight"
    columns = build.transposed(table, (config.vocabulary, config.hidden))
    product = build.op("MatMul", build.layer_norm(inner, norm), columns)
    return build.op("Add", product, build.parameter(bias, (config.vocabulary,)))
