"""Small models of many architectures by configuration, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

TOKENS = 16
_WIDTH, _LAYERS, _HEADS, _WORDS = 128, 2, 4, 256


@dataclass(frozen=True)
class Example:
    """A model, inputs for it, and what optimum exports where the model is a part of that."""

    model: Any
    inputs: dict[str, Any]
    whole: Any = None  # None: the model itself
    task: str = "feature-extraction"  # for optimum
    file: str = "model.onnx"  # of the files that optimum writes
    shapes: dict[str, int] = field(default_factory=dict)  # of optimum's own inputs


def _ids() -> Any:
    return torch.randint(5, _WORDS, (1, TOKENS))


def _text(config_class: str, model_class: str, **sizes: Any) -> Example:
    """Return a language model that reads tokens and a mask."""
    config = getattr(transformers, config_class)(vocab_size=_WORDS, **sizes)
    model = getattr(transformers, model_class)(config)
    ids = _ids()
    causal = "Causal" in model_class or "LMHead" in model_class
    return Example(
        model,
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        task="text-generation-with-past" if causal else "feature-extraction",
    )


def _bert(config_class: str, model_class: str, **sizes: Any) -> Example:
    """Return a model whose configuration has the names that BERT's has."""
    names = {
        "hidden_size": _WIDTH, "num_hidden_layers": _LAYERS, "num_attention_heads": _HEADS,
        "intermediate_size": 4 * _WIDTH, "max_position_embeddings": 64,
    }  # fmt: skip
    return _text(config_class, model_class, **{**names, **sizes})


def _llama(config_class: str, model_class: str, **sizes: Any) -> Example:
    """Return a decoder whose configuration has the names that Llama's has."""
    names = {
        "num_key_value_heads": 2, "head_dim": _WIDTH // _HEADS, "intermediate_size": 3 * _WIDTH,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return _bert(config_class, model_class, **{**names, **sizes})


def _gpt2(config_class: str, model_class: str, **sizes: Any) -> Example:
    """Return a decoder whose configuration has the names that GPT-2's has."""
    names = {"n_embd": _WIDTH, "n_layer": _LAYERS, "n_head": _HEADS, "n_positions": 64}
    return _text(config_class, model_class, **names, **sizes, use_cache=False)


def _images(config_class: str, model_class: str, **sizes: Any) -> Example:
    config = getattr(transformers, config_class)(**sizes)
    model = getattr(transformers, model_class)(config)
    size = sizes.get("image_size", 64)
    return Example(model, {"pixel_values": torch.randn(1, 3, size, size)})


def _vit(config_class: str, model_class: str, **sizes: Any) -> Example:
    return _images(
        config_class, model_class, hidden_size=_WIDTH, num_hidden_layers=_LAYERS, image_size=64,
        num_attention_heads=_HEADS, intermediate_size=4 * _WIDTH, patch_size=16, **sizes,
    )  # fmt: skip


def _t5(decoder: bool) -> Example:
    config = transformers.T5Config(
        vocab_size=_WORDS, d_model=_WIDTH, d_kv=32, d_ff=4 * _WIDTH, num_layers=_LAYERS,
        num_heads=_HEADS, use_cache=False, decoder_start_token_id=0,
    )  # fmt: skip
    whole = transformers.T5ForConditionalGeneration(config)
    part, inputs = (whole.decoder, _decoder_inputs(TOKENS)) if decoder else (whole.encoder, {})
    if not decoder:
        ids = _ids()
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    file = "decoder_model.onnx" if decoder else "encoder_model.onnx"
    return Example(part, inputs, whole, "text2text-generation", file)


def _decoder_inputs(encoded: int) -> dict[str, Any]:
    """Return inputs of a decoder that reads `encoded` results of an encoder."""
    return {"input_ids": _ids(), "encoder_hidden_states": torch.randn(1, encoded, _WIDTH)}


def _bart() -> Example:
    config = transformers.BartConfig(
        vocab_size=_WORDS, d_model=_WIDTH, encoder_layers=_LAYERS, decoder_layers=_LAYERS,
        encoder_attention_heads=_HEADS, decoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH, decoder_ffn_dim=4 * _WIDTH, max_position_embeddings=64,
        use_cache=False,
    )  # fmt: skip
    ids = _ids()
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "decoder_input_ids": ids}
    return Example(transformers.BartModel(config), inputs)


def _whisper(decoder: bool) -> Example:
    config = transformers.WhisperConfig(
        d_model=_WIDTH, encoder_layers=_LAYERS, encoder_attention_heads=_HEADS,
        encoder_ffn_dim=4 * _WIDTH, decoder_layers=_LAYERS, decoder_attention_heads=_HEADS,
        decoder_ffn_dim=4 * _WIDTH, num_mel_bins=16, max_source_positions=32, use_cache=False,
        max_target_positions=64, vocab_size=_WORDS, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    whole = transformers.WhisperForConditionalGeneration(config)
    part = whole.model.decoder if decoder else whole.model.encoder
    inputs = _decoder_inputs(32) if decoder else {"input_features": torch.randn(1, 16, 64)}
    file = "decoder_model.onnx" if decoder else "encoder_model.onnx"
    sizes = {"nb_max_frames": 64}
    return Example(part, inputs, whole, "automatic-speech-recognition", file, sizes)


#: From a name to a function that returns a model and its example inputs.
ARCHITECTURES: dict[str, Callable[[], Example]] = {
    "bert": lambda: _bert("BertConfig", "BertModel"),
    "roberta": lambda: _bert("RobertaConfig", "RobertaModel"),
    "xlm-roberta": lambda: _bert("XLMRobertaConfig", "XLMRobertaModel"),
    "albert": lambda: _bert("AlbertConfig", "AlbertModel"),
    "electra": lambda: _bert("ElectraConfig", "ElectraModel"),
    "distilbert": lambda: _text(
        "DistilBertConfig", "DistilBertModel", dim=_WIDTH, n_layers=_LAYERS, n_heads=_HEADS,
        hidden_dim=4 * _WIDTH, max_position_embeddings=64,
    ),
    "mpnet": lambda: _bert("MPNetConfig", "MPNetModel"),
    "deberta": lambda: _bert(
        "DebertaConfig", "DebertaModel", relative_attention=True, pos_att_type="c2p|p2c",
        max_relative_positions=-1, position_biased_input=False,
    ),
    "deberta-v2": lambda: _bert(
        "DebertaV2Config", "DebertaV2Model", relative_attention=True, pos_att_type="p2c|c2p",
        position_buckets=16, share_att_key=True, norm_rel_ebd="layer_norm",
        position_biased_input=False,
    ),
    "gpt2": lambda: _gpt2("GPT2Config", "GPT2LMHeadModel"),
    "gpt-bigcode": lambda: _gpt2("GPTBigCodeConfig", "GPTBigCodeForCausalLM"),
    "gpt-j": lambda: _gpt2("GPTJConfig", "GPTJForCausalLM", rotary_dim=16),
    "gpt-neo": lambda: _text(
        "GPTNeoConfig", "GPTNeoForCausalLM", hidden_size=_WIDTH, num_layers=_LAYERS,
        num_heads=_HEADS, attention_types=[[["global", "local"], 1]], max_position_embeddings=64,
        use_cache=False,
    ),
    "gpt-neox": lambda: _bert("GPTNeoXConfig", "GPTNeoXForCausalLM"),
    "opt": lambda: _text(
        "OPTConfig", "OPTForCausalLM", hidden_size=_WIDTH, num_hidden_layers=_LAYERS,
        ffn_dim=4 * _WIDTH, num_attention_heads=_HEADS, max_position_embeddings=64,
        word_embed_proj_dim=_WIDTH, use_cache=False,
    ),
    "bloom": lambda: _text(
        "BloomConfig", "BloomForCausalLM", hidden_size=_WIDTH, n_layer=_LAYERS, n_head=_HEADS,
        use_cache=False,
    ),
    "falcon": lambda: _text(
        "FalconConfig", "FalconForCausalLM", hidden_size=_WIDTH, num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
    ),
    "llama": lambda: _llama("LlamaConfig", "LlamaForCausalLM"),
    "mistral": lambda: _llama("MistralConfig", "MistralForCausalLM"),
    "qwen2": lambda: _llama("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": lambda: _llama("Qwen3Config", "Qwen3ForCausalLM"),
    "gemma": lambda: _llama("GemmaConfig", "GemmaForCausalLM"),
    "phi": lambda: _llama("PhiConfig", "PhiForCausalLM", num_key_value_heads=_HEADS),
    "phi3": lambda: _llama("Phi3Config", "Phi3ForCausalLM"),
    "mamba": lambda: _text(
        "MambaConfig", "MambaForCausalLM", hidden_size=_WIDTH, num_hidden_layers=_LAYERS,
        state_size=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "t5 (encoder)": lambda: _t5(decoder=False),
    "t5 (decoder)": lambda: _t5(decoder=True),
    "bart": _bart,
    "whisper (encoder)": lambda: _whisper(decoder=False),
    "whisper (decoder)": lambda: _whisper(decoder=True),
    "clip (text)": lambda: _bert("CLIPTextConfig", "CLIPTextModel", eos_token_id=2),
    "clip (vision)": lambda: _vit("CLIPVisionConfig", "CLIPVisionModel"),
    "vit": lambda: _vit("ViTConfig", "ViTModel"),
    "deit": lambda: _vit("DeiTConfig", "DeiTModel"),
    "swin": lambda: _images(
        "SwinConfig", "SwinModel", image_size=64, patch_size=4, embed_dim=32, depths=[2, 2],
        num_heads=[2, 4], window_size=4,
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
