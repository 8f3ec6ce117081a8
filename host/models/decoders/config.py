"""What `ModelConfig` does not have of a decoder with rotary positions."""

from __future__ import annotations

from dataclasses import dataclass, field

from pimloop.host.models.config import ModelConfig
from pimloop.host.models.decoders.rope import Rope


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(ModelConfig):
    """A decoder with rotary positions."""

    key_heads: int | None = None  # heads of keys and values; None: as many as of queries
    head_width: int | None = None  # features of a head; None: hidden / heads
    tied: bool = False  # the output's weights are the token table
    rope: Rope = field(default_factory=Rope)
    window_rope: Rope | None = None  # of layers with a window; None: as of the others
    window: int | None = None  # tokens that a layer with a window attends to, the newest
    windowed: tuple[bool, ...] = ()  # which layers have one; repeated; (): none
    score_scale: float | None = None  # of attention scores; None: 1 / sqrt(head size)
    score_cap: float | None = None  # c tanh(x / c) of attention scores
    logit_cap: float | None = None  # the same of logits
    attention_bias: bool = False  # of the four products of attention
    feed_forward_bias: bool = False

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.head_width or self.hidden // self.heads

    @property
    def cached_heads(self) -> int:
        """Heads of keys and values."""
        return self.key_heads or self.heads

    def window_of(self, layer: int) -> int | None:
        """Return the tokens that a layer attends to; None: all before."""
        if not self.windowed or not self.windowed[layer % len(self.windowed)]:
            return None
        return self.window

    def rope_of(self, layer: int) -> Rope:
        """Return the rotary positions of a layer."""
        if self.window_of(layer) is None or self.window_rope is None:
            return self.rope
        return self.window_rope
