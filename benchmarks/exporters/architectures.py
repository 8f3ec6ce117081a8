"""Small models of many architectures by configuration, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

TOKENS = 16
_WIDTH, _LAYERS, _HEADS, _WORDS = 128, 2, 4, 256


def _text(**names: int) -> Callable[[str, str], tuple[Any, dict[str, Any]]]:
    """Return a builder for a language model whose sizes have the names given."""

    def build(config_class: str, model_class: str) -> tuple[Any, dict[str, Any]]:
        config = getattr(transformers, config_class)(**names)
        model = getattr(transformers, model_class)(config)
        ids = torch.randint(5, _WORDS, (1, TOKENS))
        return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    return build


_BERT = _text(
    vocab_size=_WORDS, hidden_size=_WIDTH, num_hidden_layers=_LAYERS, num_attention_heads=_HEADS,
    intermediate_size=4 * _WIDTH, max_position_embeddings=64,
)  # fmt: skip
_LLAMA = _text(
    vocab_size=_WORDS, hidden_size=_WIDTH, num_hidden_layers=_LAYERS, num_attention_heads=_HEADS,
    num_key_value_heads=2, head_dim=_WIDTH // _HEADS, intermediate_size=3 * _WIDTH,
    max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip


def _images(config_class: str, model_class: str, **sizes: Any) -> tuple[Any, dict[str, Any]]:
    config = getattr(transformers, config_class)(**sizes)
    model = getattr(transformers, model_class)(config)
    size = sizes.get("image_size", 64)
    return model, {"pixel_values": torch.randn(1, 3, size, size)}


def _t5() -> tuple[Any, dict[str, Any]]:
    config = transformers.T5Config(
        vocab_size=_WORDS, d_model=_WIDTH, d_kv=32, d_ff=4 * _WIDTH, num_layers=_LAYERS,
        num_heads=_HEADS,
    )  # fmt: skip
    ids = torch.randint(5, _WORDS, (1, TOKENS))
    return transformers.T5EncoderModel(config), {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
    }


def _bart() -> tuple[Any, dict[str, Any]]:
    config = transformers.BartConfig(
        vocab_size=_WORDS, d_model=_WIDTH, encoder_layers=_LAYERS, decoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS, decoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH, decoder_ffn_dim=4 * _WIDTH, max_position_embeddings=64,
        use_cache=False,
    )  # fmt: skip
    ids = torch.randint(5, _WORDS, (1, TOKENS))
    return transformers.BartModel(config), {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "decoder_input_ids": ids,
    }


def _whisper() -> tuple[Any, dict[str, Any]]:
    config = transformers.WhisperConfig(
        d_model=_WIDTH, encoder_layers=_LAYERS, encoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH, decoder_layers=1, num_mel_bins=16, max_source_positions=32,
        vocab_size=_WORDS, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    encoder = transformers.WhisperModel(config).encoder
    return encoder, {"input_features": torch.randn(1, 16, 64)}


#: From a name to a function that returns a model and its example inputs.
ARCHITECTURES: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "bert": lambda: _BERT("BertConfig", "BertModel"),
    "roberta": lambda: _BERT("RobertaConfig", "RobertaModel"),
    "albert": lambda: _BERT("AlbertConfig", "AlbertModel"),
    "electra": lambda: _BERT("ElectraConfig", "ElectraModel"),
    "deberta-v2": lambda: _BERT("DebertaV2Config", "DebertaV2Model"),
    "distilbert": lambda: _text(
        vocab_size=_WORDS, dim=_WIDTH, n_layers=_LAYERS, n_heads=_HEADS, hidden_dim=4 * _WIDTH,
        max_position_embeddings=64,
    )("DistilBertConfig", "DistilBertModel"),
    "gpt2": lambda: _text(
        vocab_size=_WORDS, n_embd=_WIDTH, n_layer=_LAYERS, n_head=_HEADS, n_positions=64,
        use_cache=False,
    )("GPT2Config", "GPT2LMHeadModel"),
    "gpt-neo": lambda: _text(
        vocab_size=_WORDS, hidden_size=_WIDTH, num_layers=_LAYERS, num_heads=_HEADS,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=64, use_cache=False,
    )("GPTNeoConfig", "GPTNeoForCausalLM"),
    "opt": lambda: _text(
        vocab_size=_WORDS, hidden_size=_WIDTH, num_hidden_layers=_LAYERS, ffn_dim=4 * _WIDTH,
        num_attention_heads=_HEADS, max_position_embeddings=64, word_embed_proj_dim=_WIDTH,
        use_cache=False,
    )("OPTConfig", "OPTForCausalLM"),
    "bloom": lambda: _text(
        vocab_size=_WORDS, hidden_size=_WIDTH, n_layer=_LAYERS, n_head=_HEADS, use_cache=False,
    )("BloomConfig", "BloomForCausalLM"),
    "llama": lambda: _LLAMA("LlamaConfig", "LlamaForCausalLM"),
    "mistral": lambda: _LLAMA("MistralConfig", "MistralForCausalLM"),
    "qwen2": lambda: _LLAMA("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": lambda: _LLAMA("Qwen3Config", "Qwen3ForCausalLM"),
    "gemma": lambda: _LLAMA("GemmaConfig", "GemmaForCausalLM"),
    "phi": lambda: _LLAMA("PhiConfig", "PhiForCausalLM"),
    "t5 (encoder)": _t5,
    "bart": _bart,
    "whisper (encoder)": _whisper,
    "clip (text)": lambda: _BERT("CLIPTextConfig", "CLIPTextModel"),
    "vit": lambda: _images(
        "ViTConfig", "ViTModel", hidden_size=_WIDTH, num_hidden_layers=_LAYERS, image_size=64,
        num_attention_heads=_HEADS, intermediate_size=4 * _WIDTH, patch_size=16,
    ),
    "resnet": lambda: _images(
        "ResNetConfig", "ResNetModel", embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1],
        layer_type="bottleneck",
    ),
    "mobilenet-v2": lambda: _images(
        "MobileNetV2Config", "MobileNetV2Model", image_size=64, depth_multiplier=0.35,
    ),
    "convnext": lambda: _images(
        "ConvNextConfig", "ConvNextModel", hidden_sizes=[32, 64], depths=[1, 1], num_stages=2,
        image_size=64,
    ),
}  # fmt: skip
