"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.host.models import config_json, heads
from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.decoder import Decoder, DecoderNames

_BASE = ModelConfig(
    name="gpt2",
    architecture="gpt2",
    layers=12,
    hidden=768,
    heads=12,
    intermediate=3072,
    vocabulary=50257,
    positions=1024,
    activation="gelu_new",
    layer_norm_epsilon=1e-5,
    head="lm",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gpt2(Decoder):
    """A decoder whose config.json may leave out the size between the feed-forward products."""

    def read_fields(self, data: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the sizes; without `n_inner` the feed-forward layer is 4 times as wide."""
        fields = super().read_fields(data, where)
        if data.get("n_inner") is None:
            return fields | {"intermediate": 4 * fields["hidden"]}
        return fields | {"intermediate": config_json.size(data, "n_inner", where)}


ARCHITECTURE = Gpt2(
    model_type="gpt2",
    class_prefix="GPT2",
    published="2019-02",
    sizes={
        "layers": "n_layer",
        "hidden": "n_embd",
        "heads": "n_head",
        "vocabulary": "vocab_size",
        "positions": "n_positions",
    },
    activation_key="activation_function",
    activation="gelu_new",
    epsilon_key="layer_norm_epsilon",
    epsilon=1e-5,
    base_prefix="transformer.",
    names=DecoderNames(
        tokens="transformer.wte",
        positions="transformer.wpe",
        layers="transformer.h",
        attention_norm="ln_1",
        attention="attn.c_attn",
        attention_output="attn.c_proj",
        feed_forward_norm="ln_2",
        intermediate="mlp.c_fc",
        output="mlp.c_proj",
        last_norm="transformer.ln_f",
    ),
    norms=("ln_1", "ln_2", "ln_f"),
    heads={
        "classification": heads.last_token_classifier("score"),
        "tokens": heads.token_classifier,
        "questions": heads.question_answering,
        "lm": heads.tied_lm("transformer.wte.weight"),
        "none": heads.bare,
    },
    # Buffers of the causal mask.
    unread=("transformer.h.*.attn.bias", "transformer.h.*.attn.masked_bias"),
    copies={"lm_head.weight": "transformer.wte.weight"},
    built_in=(
        BuiltIn(
            _BASE,
            "GPT-2 124M: 12 layers, hidden 768, language-model head",
            "Radford et al. 2019",
        ),
    ),
)
