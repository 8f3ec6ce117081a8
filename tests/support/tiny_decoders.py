"""Tiny decoders with rotary positions: config.json, weights and folders, by the names of cases.

Together the cases have every switch of `pimloop.host.models.decoders`: a case is the content of a
config.json as transformers writes it, in the older form of rotary positions or in the newer one.
"""

from __future__ import annotations

import json
from dataclasses import replace

from pimloop.host.models.architectures.registry import from_hugging_face
from support.tiny_checkpoints import parameters, write_safetensors

SIZES = {
    "num_hidden_layers": 3, "hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 72, "vocab_size": 101, "max_position_embeddings": 64,
    "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip

#: Gemma's numbers; its heads are wider than hidden / heads.
GEMMA = SIZES | {
    "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 20,
    "sliding_window": 4,
}  # fmt: skip

LONG = {
    "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5],
    "long_factor": [1.0, 2.0, 4.0, 8.0, 12.0, 16.0],
}

#: Case -> (class of transformers without its ending, config.json).
CASES = {
    "llama": ("Llama", SIZES | {
        "model_type": "llama", "rope_theta": 5000.0, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    }),
    "llama-biases": ("Llama", SIZES | {
        "model_type": "llama", "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True,
        "tie_word_embeddings": False, "rope_scaling": {"type": "linear", "factor": 3.0},
    }),
    "mistral": ("Mistral", SIZES | {
        "model_type": "mistral", "sliding_window": 5, "head_dim": 16, "rope_theta": 1000.0,
        "tie_word_embeddings": False,
    }),
    "qwen2": ("Qwen2", SIZES | {
        "model_type": "qwen2", "num_key_value_heads": 1, "tie_word_embeddings": False,
        "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
    }),
    "qwen3": ("Qwen3", SIZES | {
        "model_type": "qwen3", "head_dim": 20, "rope_theta": 1000000.0, "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }),
    "llama-tables": ("Llama", SIZES | {
        "model_type": "llama", "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
        },
    }),
    "qwen3-window": ("Qwen3", SIZES | {
        "model_type": "qwen3", "tie_word_embeddings": False, "use_sliding_window": True,
        "sliding_window": 5, "max_window_layers": 1, "head_dim": 20,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 2.0},
    }),
    "gemma3-caps": ("Gemma3", GEMMA | {
        "model_type": "gemma3_text", "final_logit_softcapping": 0.7,
        "sliding_window_pattern": 2, "rope_local_base_freq": 100.0, "rope_theta": 20000.0,
    }),
    "gemma2": ("Gemma2", GEMMA | {
        "model_type": "gemma2", "attn_logit_softcapping": 0.5, "final_logit_softcapping": 0.7,
    }),
    "gemma3": ("Gemma3", GEMMA | {
        "model_type": "gemma3_text", "sliding_window_pattern": 3, "rope_local_base_freq": 100.0,
        "rope_theta": 20000.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    }),
    "gemma3-tables": ("Gemma3", GEMMA | {
        "model_type": "gemma3_text", "final_logit_softcapping": 0.5,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 30000.0, "factor": 2.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
        },
    }),
    "phi3": ("Phi3", SIZES | {
        "model_type": "phi3", "partial_rotary_factor": 0.5, "sliding_window": 7,
        "tie_word_embeddings": False,
    }),
    # In twelve tokens and more the other factors hold: within the steps of a generation.
    "phi3-longrope": ("Phi3", SIZES | {
        "model_type": "phi3", "original_max_position_embeddings": 12, "tie_word_embeddings": True,
        "rope_scaling": {"type": "longrope"} | LONG,
    }),
    "phi3-longrope-tables": ("Phi3", SIZES | {
        "model_type": "phi3", "original_max_position_embeddings": 12, "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0,
            "original_max_position_embeddings": 12,
        } | LONG,
    }),
}  # fmt: skip


#: What the config.json files of the built-in decoders say of their graphs, as published.
PUBLISHED = {
    "smollm2-135m": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": False,
        "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "max_position_embeddings": 8192, "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "rms_norm_eps": 1e-05,
        "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True,
        "torch_dtype": "bfloat16", "vocab_size": 49152,
    },
    "llama-3.2-1b": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": False,
        "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False,
        "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
        "torch_dtype": "bfloat16", "vocab_size": 128256,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "attention_bias": False,
        "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02,
        "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False,
        "torch_dtype": "bfloat16", "vocab_size": 151936,
    },
}  # fmt: skip


def config_json(case, head="ForCausalLM"):
    """Return the content of a case's config.json."""
    kind, data = CASES[case]
    return data | {"architectures": [f"{kind}{head}"], "initializer_range": 0.15}


def config_of(case):
    """Return the configuration of a case."""
    return replace(from_hugging_face(config_json(case), "config.json"), name=f"tiny-{case}")


def tensors_of(case, seed=0):
    """Return the parameters of a case by their Hugging Face names, float32."""
    return parameters(config_of(case), seed)


def write_decoder(folder, case, seed=0, dtype="F32"):
    """Write a case as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_json(case)))
    write_safetensors(folder / "model.safetensors", tensors_of(case, seed), dtype)
