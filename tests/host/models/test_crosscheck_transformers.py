"""Hidden states and logits against Hugging Face transformers (optional extra `crosscheck`).

The errors found are logged: `pytest --log-cli-level=INFO` shows them (docs/models.md).
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_checkpoints import hugging_face_config, parameters, write_safetensors
from support.tiny_models import TINY

from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.accuracy import compare
from pimloop.host.execution.executor import Executor
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.operators import Capabilities, pim_capable
from pimloop.host.pim.device.model import ModelDevice
from pimloop.host.pim.driver import PimDriver
from pimloop.host.pim.resident import ResidentModel
from pimloop.host.planning.policies import pim_first
from pimloop.host.platforms.platform import load_platform

NEEDED = "needs torch and transformers: pip install 'pimloop[crosscheck]'"
torch = pytest.importorskip("torch", reason=NEEDED)
transformers = pytest.importorskip("transformers", reason=NEEDED)

logger = logging.getLogger(__name__)

LIMIT = 1e-5

#: Relative L2 error with the matrix products on the PIM: tiny models, and those of full size.
TINY_LIMIT, FULL_LIMIT = 1.5e-2, 2e-2
LEAST_COSINE = 0.999

ORIGINALS = {name: BUILT_IN[name] for name in ("bert", "bert-small", "roberta", "gpt2")} | {
    "distilbert": replace(
        BUILT_IN["bert"], name="distilbert", architecture="distilbert", layers=6, token_types=0
    )
}
CONFIGS = {f"tiny-{name}": config for name, config in TINY.items()} | ORIGINALS
FULL_SIZE = [pytest.param(name, marks=pytest.mark.full) for name in ORIGINALS]
PRODUCTS = Capabilities(operators=frozenset({"MatMul", "Gemm"}), activation_matmul=False)


def relative_l2(computed, wanted):
    return np.linalg.norm(computed - wanted) / np.linalg.norm(wanted)


@pytest.fixture(params=[f"tiny-{name}" for name in TINY] + FULL_SIZE)
def model(request, tmp_path):
    """Return (folder, transformers' model with the weights of that folder)."""
    config = CONFIGS[request.param]
    folder = tmp_path / request.param
    folder.mkdir()
    data = hugging_face_config(config)
    (folder / "config.json").write_text(json.dumps(data))
    write_safetensors(folder / "model.safetensors", parameters(config, seed=11))
    kind = getattr(transformers, data["architectures"][0])
    loaded, report = kind.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", torch_dtype=torch.float32
    )
    # The head is tied to the token table; nothing else may have been made up.
    assert set(report["missing_keys"]) <= {"lm_head.weight"}
    assert not report["mismatched_keys"]
    return folder, loaded.eval()


def inputs_without_padding(graph, seed):
    """RoBERTa numbers its positions by the padding tokens; our graph has none (see encoder.py)."""
    feeds = random_inputs(graph, seed)
    ids = feeds["input_ids"]
    ids[ids < 2] = 2
    return feeds


def transformers_values(model, feeds):
    arguments = {name: torch.from_numpy(value) for name, value in feeds.items()}
    with torch.no_grad():
        result = model(**arguments, output_hidden_states=True)
    return {
        "logits": result.logits.numpy(),
        "last_hidden_state": result.hidden_states[-1].numpy(),
    }


@pytest.mark.parametrize("length", [1, 13])
def test_float32_on_the_cpu(model, length):
    folder, original = model
    options = LoadOptions(sequence_length=length, hidden_states=True)
    graph = load_model(str(folder), options)
    feeds = inputs_without_padding(graph, length)
    if "attention_mask" in feeds and length > 3:
        feeds["attention_mask"][0, -3:] = 0
    wanted = transformers_values(original, feeds)
    for name, values in run_reference(graph, feeds).items():
        error = relative_l2(values, wanted[name])
        logger.info("%s, %d tokens, %s in float32: %.2g", graph.name, length, name, error)
        assert error < LIMIT, name


@pytest.mark.parametrize("placement", ["all", "products"])
def test_pim_first_in_bfloat16(model, placement):
    folder, original = model
    graph = load_model(str(folder), LoadOptions(sequence_length=9, hidden_states=True))
    feeds = inputs_without_padding(graph, 0)
    wanted = transformers_values(original, feeds)
    platform = load_platform("htg-z920")
    capabilities = platform.capabilities if placement == "all" else PRODUCTS
    assignment = pim_first(graph, capabilities)
    operations = pim_capable(graph, capabilities)
    with (
        ModelDevice(platform.geometry()) as device,
        PimDriver(device) as driver,
        ResidentModel(graph, operations, driver) as resident,
    ):
        executor = Executor(graph, assignment, operations, resident)
        executor.load_weights()
        values = executor.run(feeds).values
    tensors = {name: wanted[name] for name in graph.outputs}
    for comparison in compare(graph, assignment, values, tensors):
        logger.info(
            "%s, %s on the PIM, %s: relative L2 %.2g (at most %.2g), cosine %.6f",
            graph.name, placement, comparison.tensor, comparison.relative_l2, comparison.limit,
            comparison.cosine,
        )  # fmt: skip
        assert comparison.passed, comparison
        if placement == "products" and comparison.tensor == "last_hidden_state":
            limit = TINY_LIMIT if folder.name.startswith("tiny") else FULL_LIMIT
            assert comparison.relative_l2 < limit
            assert comparison.cosine > LEAST_COSINE


SIZES = {"vocab_size": 101, "pad_token_id": None}
ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
           "intermediate_size": 48, "max_position_embeddings": 40}  # fmt: skip
KINDS = {
    "Bert": SIZES | ENCODER,
    "Roberta": SIZES | ENCODER | {"pad_token_id": 1, "type_vocab_size": 1},
    "DistilBert": SIZES | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
                           "max_position_embeddings": 40},
    "GPT2": SIZES | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40},
}  # fmt: skip
ENDINGS = ("Model", "ForMaskedLM", "LMHeadModel", "ForSequenceClassification",
           "ForTokenClassification", "ForQuestionAnswering")  # fmt: skip
HEADS = [
    (kind, ending)
    for kind in KINDS
    for ending in ENDINGS
    if ending != ("ForMaskedLM" if kind == "GPT2" else "LMHeadModel")
]


@pytest.mark.parametrize(("kind", "ending"), HEADS)
def test_every_head(kind, ending, tmp_path):
    """Also a padded sequence where there is a mask: tokens behind it see nothing of the padding."""
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(
        **KINDS[kind], num_labels=2 if ending == "ForQuestionAnswering" else 3
    )
    original = getattr(transformers, f"{kind}{ending}")._from_config(
        config, attn_implementation="eager"
    )
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    original.eval().save_pretrained(tmp_path)
    chance = np.random.default_rng(0)
    feeds = {"input_ids": chance.integers(2, 101, (2, 7))}
    if kind != "GPT2":
        feeds["attention_mask"] = np.array([[1] * 7, [1] * 5 + [0] * 2])
    if kind == "Bert":
        feeds["token_type_ids"] = chance.integers(0, 2, (2, 7))
    if kind == "GPT2" and ending == "ForSequenceClassification":
        feeds["input_ids"] = feeds["input_ids"][:1]  # transformers takes no batch without padding
    check_head(original, tmp_path, feeds)


@pytest.mark.parametrize("pad", [0, 7])
def test_the_last_token_that_is_no_padding_is_classified(pad, tmp_path):
    """Padding behind, in front, in the middle, nowhere, everywhere, for one folder each."""
    torch.manual_seed(4)
    config = transformers.GPT2Config(**KINDS["GPT2"] | {"pad_token_id": pad}, num_labels=3)
    original = transformers.GPT2ForSequenceClassification._from_config(
        config, attn_implementation="eager"
    )
    original.eval().save_pretrained(tmp_path)
    ids = np.random.default_rng(1).integers(8, 101, (5, 7))
    ids[0, 4:] = ids[1, :3] = ids[2, 3] = ids[4] = pad
    check_head(original, tmp_path, {"input_ids": ids})


def check_head(original, folder, feeds):
    """Compare every output of a saved model with transformers' own."""
    kind = type(original).__name__
    graph = load_model(str(folder), LoadOptions(given=feeds))
    results = run_reference(graph, feeds)
    with torch.no_grad():
        wanted = original(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    names = set(wanted.keys()) - {"past_key_values", "cache"}
    assert set(results) == names
    for name in names:
        right, got = wanted[name].numpy(), results[name]
        if kind.startswith("Roberta") and got.ndim > 1 and got.shape[1] == 7:
            got, right = got[:, :5], right[:, :5]  # positions of padding differ
        assert got.shape == right.shape
        assert relative_l2(got, right) <= LIMIT, name
