"""What a transformer ends in: the heads of Hugging Face's classes.

A head adds operators behind the last layer's output (batch, length, hidden) and returns the
model's outputs by name. An architecture says which heads it has and under which names their
parameters are stored (`Architecture.heads`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from onnx import TensorProto

from pimloop.host.models.builder import GraphBuilder

#: (graph, last layer's output, input_ids) -> outputs by name.
Head = Callable[[GraphBuilder, str, str], dict[str, str]]


def bare(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
    """No head: the graph returns the hidden states."""
    return {}


def bare_with_pooler(dense: str) -> Head:
    """Return the head of a bare model that may have a pooler: `pooler_output` (batch, hidden)."""

    def head(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
        if not build.config.pooler:
            return {}
        return {"pooler_output": _dense_on_first_token(build, x, dense, "Tanh")}

    return head


def token_classifier(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
    """`logits` (batch, length, labels): one product for each token."""
    return {"logits": build.linear(x, "classifier", build.config.hidden, build.config.labels)}


def question_answering(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
    """`start_logits` and `end_logits` (batch, length): one product for each token."""
    both = build.linear(x, "qa_outputs", build.config.hidden, 2)
    parts = build.multi("Split", both, build.integers(1, 1), outputs=2, axis=-1)
    start, end = (build.op("Squeeze", part, build.integers(-1)) for part in parts)
    return {"start_logits": start, "end_logits": end}


def first_token_classifier(dense: str, activation: Literal["Tanh", "Relu"], output: str) -> Head:
    """Return the head with `logits` (batch, labels): two dense layers on the first token."""

    def head(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
        pooled = _dense_on_first_token(build, x, dense, activation)
        return {"logits": build.gemm(pooled, output, build.config.hidden, build.config.labels)}

    return head


def last_token_classifier(score: str) -> Head:
    """Return the head with `logits` (batch, labels): a product of the last token's output.

    As in transformers' GPT2ForSequenceClassification, the last token is the last that is not
    padding: padding may stand on either side, a sequence of padding alone is classified at its
    first token, and without a padding token the last counts.
    """

    def head(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
        columns = build.transposed(f"{score}.weight", (build.config.labels, build.config.hidden))
        return {"logits": build.op("MatMul", _last_token(build, x, ids), columns)}

    return head


def masked_lm(dense: str, norm: str, bias: str, table: str, activation: str | None = None) -> Head:
    """Return the head with `logits` (batch, length, vocabulary) of a masked language model.

    Dense, activation, normalization and the product with the token table, which is tied. The
    activation is that of the layers where None.
    """

    def head(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
        config = build.config
        inner = build.activation(build.linear(x, dense, config.hidden, config.hidden), activation)
        columns = build.transposed(table, (config.vocabulary, config.hidden))
        product = build.op("MatMul", build.layer_norm(inner, norm), columns)
        return {"logits": build.op("Add", product, build.parameter(bias, (config.vocabulary,)))}

    return head


def tied_lm(table: str) -> Head:
    """Return the head with `logits` (batch, length, vocabulary): a product with the token table."""

    def head(build: GraphBuilder, x: str, ids: str) -> dict[str, str]:
        # Transposed here once, not in every step.
        columns = build.transposed(table, (build.config.vocabulary, build.config.hidden))
        return {"logits": build.op("MatMul", x, columns)}

    return head


def _dense_on_first_token(build: GraphBuilder, x: str, dense: str, activation: str) -> str:
    width = build.config.hidden
    first = build.op("Gather", x, build.constant("first_token", np.array(0, np.int64)), axis=1)
    return build.op(activation, build.gemm(first, dense, width, width))


def _last_token(build: GraphBuilder, x: str, ids: str) -> str:
    """Return the rows of x (batch, hidden) at the last token that is not padding."""
    length, pad = build.sequence_length, build.config.pad_token
    if pad is None:
        last = build.constant("last_token", np.array(length - 1, np.int64))
        return build.op("Gather", x, last, axis=1)
    padding = build.op("Equal", ids, build.constant("pad_token", np.array(pad, np.int64)))
    kept = build.op("Cast", build.op("Not", padding), to=TensorProto.INT64)
    places = build.constant("token_places", np.arange(length, dtype=np.int64))
    last = build.op("ArgMax", build.op("Mul", kept, places), axis=-1, keepdims=1)
    return build.op("GatherND", x, last, batch_dims=1)
