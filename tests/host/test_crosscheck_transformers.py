"""Hidden states and logits against Hugging Face transformers (optional extra `crosscheck`).

The errors found are logged: `pytest --log-cli-level=INFO` shows them (docs/models.md).
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from tiny_checkpoints import hugging_face_config, parameters, write_safetensors
from tiny_models import TINY

from host.accuracy import compare
from host.capabilities import Capabilities, pim_capable
from host.cpu.operators import run_reference
from host.device.model import ModelDevice
from host.driver import PimDriver
from host.executor import Executor
from host.models.config import BUILT_IN
from host.models.inputs import random_inputs
from host.models.loader import LoadOptions, load_model
from host.platform import load_platform
from host.policies import pim_first
from host.resident import ResidentModel

NEEDED = "needs torch and transformers: pip install 'pimloop[crosscheck]'"
torch = pytest.importorskip("torch", reason=NEEDED)
transformers = pytest.importorskip("transformers", reason=NEEDED)

logger = logging.getLogger(__name__)

LIMIT = 1e-5

#: Relative L2 error with the matrix products on the PIM: tiny models, and those of full size.
TINY_LIMIT, FULL_LIMIT = 1.5e-2, 2e-2
LEAST_COSINE = 0.999

ORIGINALS = dict(BUILT_IN) | {
    "distilbert": replace(
        BUILT_IN["bert"], name="distilbert", architecture="distilbert", layers=6, token_types=0
    )
}
CONFIGS = {f"tiny-{name}": config for name, config in TINY.items()} | ORIGINALS
FULL_SIZE = [pytest.param(name, marks=pytest.mark.full) for name in ORIGINALS]
PRODUCTS = Capabilities(operators=frozenset({"MatMul", "Gemm"}), activation_matmul=False)


def relative_l2(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


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
        found = executor.run(feeds).values
    tensors = {name: wanted[name] for name in graph.outputs}
    for comparison in compare(graph, assignment, found, tensors):
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
