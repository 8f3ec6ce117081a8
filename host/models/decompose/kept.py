"""Operators that hold what the PIM could do and always stay whole, and why."""

from __future__ import annotations

from collections.abc import Sequence

from pimloop.host.models.decompose.registry import CONTRIB, KeptWhole, Rule, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer

_RECURRENT = "each of its steps reads the result of the one before"
_REASONS = {
    ("", "LSTM"): _RECURRENT,
    ("", "GRU"): _RECURRENT,
    ("", "RNN"): _RECURRENT,
    (CONTRIB, "DynamicQuantizeLSTM"): _RECURRENT,
    (CONTRIB, "AttnLSTM"): _RECURRENT,
    ("", "ConvTranspose"): "it adds up overlapping products",
    ("", "DeformConv"): "where it reads depends on the data",
    (CONTRIB, "NhwcFusedConv"): "its channels are last",
    (CONTRIB, "QLinearAdd"): "the PIM would round its sums to bfloat16 before they become integers",
    (CONTRIB, "QLinearMul"): "the PIM would round products to bfloat16 before they become integers",
    (CONTRIB, "MatMulBnb4"): "its weights are in a table of 16 values",
    (CONTRIB, "MatMulFpQ4"): "its weights are packed for one kind of CPU",
    (CONTRIB, "PackedAttention"): "its sequences are packed without padding",
    (CONTRIB, "PackedMultiHeadAttention"): "its sequences are packed without padding",
    (CONTRIB, "DecoderMaskedMultiHeadAttention"): "its cache is one buffer for all steps",
    (CONTRIB, "DecoderMaskedSelfAttention"): "its cache is one buffer for all steps",
    (CONTRIB, "SparseAttention"): "which keys it reads depends on a table of blocks",
    (CONTRIB, "PagedAttention"): "its cache is in pages",
    (CONTRIB, "LongformerAttention"): "its window is sparse",
    (CONTRIB, "MoE"): "which weights it reads depends on the data",
    (CONTRIB, "QMoE"): "which weights it reads depends on the data",
}


def _keeping(reason: str) -> Rule:
    def keep(whole: Whole, write: Writer) -> Sequence[str]:
        raise KeptWhole(reason)

    return keep


for (_domain, _op), _reason in _REASONS.items():
    decomposes(_domain, _op)(_keeping(_reason))
