"""Decoders with rotary positions in numpy, float64, from the papers' formulas: an oracle.

Reads a config.json by itself, in its older and newer forms, and computes one sequence at a time,
one head at a time. Nothing is shared with `pimloop.host.models`.

RMSNorm: Zhang and Sennrich 2019. Rotary positions: Su et al. 2021, as turns of complex numbers.
Grouped queries: Ainslie et al. 2023. Gated units: Shazeer 2020. Windows: Jiang et al. 2023. Caps
and norms around blocks: Gemma Team 2024. Stretched positions: Chen et al. 2023 (linear),
Grattafiori et al. 2024 (llama3), Ding et al. 2024 (longrope).
"""

from __future__ import annotations

import math

import numpy as np


class Reference:
    """A decoder of one config.json and its tensors, by Hugging Face names."""

    def __init__(self, data, tensors):
        self.data = data
        self.tensors = {name: array.astype(np.float64) for name, array in tensors.items()}
        self.kind = data["model_type"]
        self.gemma = self.kind.startswith("gemma")
        self.heads = data["num_attention_heads"]
        self.groups = data["num_key_value_heads"]
        self.size = data.get("head_dim") or data["hidden_size"] // self.heads

    def run(self, ids, real=None):
        """Return hidden states and logits of one sequence; `real`: which tokens are no padding."""
        t, data = self.tensors, self.data
        real = np.ones(len(ids), bool) if real is None else np.asarray(real, bool)
        table = t["model.embed_tokens.weight"]
        x = table[ids] * (math.sqrt(data["hidden_size"]) if self.gemma else 1)
        for layer in range(data["num_hidden_layers"]):
            p = f"model.layers.{layer}"
            if self.gemma:
                a = self.attention(self.norm(x, f"{p}.input_layernorm"), layer, real)
                x = x + self.norm(a, f"{p}.post_attention_layernorm")
                m = self.mlp(self.norm(x, f"{p}.pre_feedforward_layernorm"), p)
                x = x + self.norm(m, f"{p}.post_feedforward_layernorm")
            else:
                x = x + self.attention(self.norm(x, f"{p}.input_layernorm"), layer, real)
                x = x + self.mlp(self.norm(x, f"{p}.post_attention_layernorm"), p)
        x = self.norm(x, "model.norm")
        logits = x @ t.get("lm_head.weight", table).T
        return x, self.cap(logits, data.get("final_logit_softcapping"))

    def norm(self, x, name):
        scale = self.tensors[f"{name}.weight"] + (1 if self.gemma else 0)
        eps = self.data.get("rms_norm_eps", 1e-5 if self.kind == "phi3" else 1e-6)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale

    @staticmethod
    def cap(x, limit):
        return x if limit is None else limit * np.tanh(x / limit)

    def linear(self, x, name):
        y = x @ self.tensors[f"{name}.weight"].T
        bias = self.tensors.get(f"{name}.bias")
        return y if bias is None else y + bias

    def mlp(self, x, p):
        if self.kind == "phi3":
            gate, up = np.split(self.linear(x, f"{p}.mlp.gate_up_proj"), 2, axis=-1)
        else:
            gate, up = self.linear(x, f"{p}.mlp.gate_proj"), self.linear(x, f"{p}.mlp.up_proj")
        if self.gemma:
            inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
            gate = gate * (1 + np.tanh(inner)) / 2
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.linear(gate * up, f"{p}.mlp.down_proj")

    def attention(self, x, layer, real):
        p, n, d = f"model.layers.{layer}.self_attn", len(x), self.size
        if self.kind == "phi3":
            joint = self.linear(x, f"{p}.qkv_proj")
            q, k, v = np.split(joint, [self.heads * d, (self.heads + self.groups) * d], axis=-1)
        else:
            q, k, v = (self.linear(x, f"{p}.{part}_proj") for part in "qkv")
        scale = self.data.get("query_pre_attn_scalar", d) ** -0.5
        window = self.window(layer)
        mixed = np.zeros((n, self.heads, d))
        for head in range(self.heads):
            shared = head // (self.heads // self.groups)
            one_q = q[:, head * d : (head + 1) * d]
            one_k, one_v = (part[:, shared * d : (shared + 1) * d] for part in (k, v))
            if f"{p}.q_norm.weight" in self.tensors:
                one_q, one_k = self.norm(one_q, f"{p}.q_norm"), self.norm(one_k, f"{p}.k_norm")
            one_q, one_k = self.turn(one_q, layer), self.turn(one_k, layer)
            for i in range(n):
                first = 0 if window is None else max(0, i - window + 1)
                seen = [j for j in range(first, i + 1) if real[j]] or [i]
                scores = self.cap(one_k[seen] @ one_q[i] * scale,
                                  self.data.get("attn_logit_softcapping"))  # fmt: skip
                shares = np.exp(scores - scores.max())
                mixed[i, head] = shares @ one_v[seen] / shares.sum()
        return self.linear(mixed.reshape(n, -1), f"{p}.o_proj")

    def window(self, layer):
        data = self.data
        if "layer_types" in data:
            slides = data["layer_types"][layer] == "sliding_attention"
        elif self.kind == "gemma2":
            slides = layer % 2 == 0
        elif self.kind == "gemma3_text":
            slides = (layer + 1) % data["sliding_window_pattern"] != 0
        elif self.kind.startswith("qwen"):
            slides = data.get("use_sliding_window", False) and layer >= data["max_window_layers"]
        else:
            slides = self.kind in ("mistral", "phi3")
        return data.get("sliding_window") if slides else None

    def turn(self, x, layer):
        """Turn features i and i + width / 2 of every token by its position."""
        theta, table, share = self.positions_of(layer)
        width = int(self.size * share)
        turns = theta ** (-np.arange(0, width, 2) / width)
        turns, amplitude = self.stretched(turns, table, len(x))
        half = width // 2
        z = (x[:, :half] + 1j * x[:, half:width]) * np.exp(1j * np.outer(np.arange(len(x)), turns))
        return np.concatenate([z.real * amplitude, z.imag * amplitude, x[:, width:]], axis=1)

    def positions_of(self, layer):
        data = self.data
        share = data.get("partial_rotary_factor", 1)
        slides = self.kind == "gemma3_text" and self.window(layer) is not None
        if "rope_parameters" in data:
            table = data["rope_parameters"]
            if self.kind == "gemma3_text":
                table = table["sliding_attention" if slides else "full_attention"]
            return table["rope_theta"], table, table.get("partial_rotary_factor", share)
        if slides:
            return data["rope_local_base_freq"], None, share
        return data.get("rope_theta", 10000.0), data.get("rope_scaling"), share

    def stretched(self, turns, table, length):
        kind = "default" if table is None else table.get("rope_type", table.get("type"))
        if kind == "linear":
            return turns / table["factor"], 1
        if kind == "llama3":
            low, high = table["low_freq_factor"], table["high_freq_factor"]
            wave = 2 * math.pi / turns
            ratio = table["original_max_position_embeddings"] / wave
            smooth = (ratio - low) / (high - low)
            middle = (1 - smooth) * turns / table["factor"] + smooth * turns
            return np.where(ratio < low, turns / table["factor"],
                            np.where(ratio > high, turns, middle)), 1  # fmt: skip
        if kind == "longrope":
            original = self.data["original_max_position_embeddings"]
            factor = self.data["max_position_embeddings"] / original
            key = "long_factor" if length > original else "short_factor"
            return turns / table[key], math.sqrt(1 + math.log(factor) / math.log(original))
        assert kind == "default"
        return turns, 1
