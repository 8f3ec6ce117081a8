"""Decoders with rotary positions against Hugging Face transformers (optional extra `crosscheck`).

Hidden states and logits, with and without padding, of whole sequences, and of a prompt and eight
steps. An error is the largest difference of an element, as a part of the largest value.
The errors found are logged: `pytest --log-cli-level=INFO` shows them (docs/llm.md).
"""

from __future__ import annotations

import inspect
import logging

import numpy as np
import pytest
from support.tiny_decoders import CASES, PUBLISHED, write_decoder

from pimloop.host.common.machine import cores
from pimloop.host.cpu.operators import open_session, run_reference
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.generator import LOGITS, Cache, build_generator, load_generator
from pimloop.host.models.graph import to_model
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.models.weights import RandomWeights

NEEDED = "needs torch and transformers: pip install 'pimloop[crosscheck]'"
torch = pytest.importorskip("torch", reason=NEEDED)
transformers = pytest.importorskip("transformers", reason=NEEDED)

logger = logging.getLogger(__name__)

LIMIT = 1e-5
STEPS = 8


#: Decoders that are compared in full size.
FULL_SIZE = ["smollm2-135m", "qwen3-0.6b"]


@pytest.fixture(params=CASES)
def model(request, tmp_path):
    """Return (folder, transformers' model with the weights of that folder)."""
    write_decoder(tmp_path, request.param, seed=5)
    return tmp_path, original(tmp_path)


def original(folder):
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
    )
    # The head may be tied to the token table; nothing else may have been made up or left out.
    assert set(report["missing_keys"]) <= {"lm_head.weight"}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return loaded.eval()


def error(got, wanted):
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def check(label, got, wanted):
    off = error(got, wanted)
    logger.info("%s: %.2g", label, off)
    assert off < LIMIT, label


def ids_and_mask(length, padded, batch=3):
    """Return tokens and a mask with padding behind, in front and nowhere."""
    ids = np.random.default_rng(length).integers(0, 101, (batch, length))
    mask = np.ones_like(ids)
    if padded == "both":
        mask[0, length - 2 :] = 0
    if padded:
        mask[1, : length // 3] = 0
    return ids, mask


@pytest.mark.parametrize(("length", "padded"), [(1, None), (17, None), (17, "both")])
def test_whole_sequences(model, length, padded):
    folder, theirs = model
    ids, mask = ids_and_mask(length, padded)
    feeds = {"input_ids": ids} | ({"attention_mask": mask} if padded else {})
    graph = load_model(str(folder), LoadOptions(hidden_states=True, given=feeds))
    results = run_reference(graph, feeds)
    with torch.no_grad():
        wanted = theirs(
            **{name: torch.from_numpy(value) for name, value in feeds.items()},
            output_hidden_states=True,
        )
    real = mask.astype(bool)
    check("logits", results["logits"][real], wanted.logits.numpy()[real])
    hidden = wanted.hidden_states[-1].numpy()
    check("hidden states", results["last_hidden_state"][real], hidden[real])


@pytest.mark.parametrize(("length", "padded"), [(1, None), (10, None), (10, "front")])
def test_a_prompt_and_eight_steps(model, length, padded):
    folder, theirs = model
    ids, mask = ids_and_mask(length, padded)
    given = {"attention_mask": mask} if padded else {}
    options = LoadOptions(sequence_length=length, batch=len(ids), given=given)
    generator = load_generator(str(folder), STEPS + 1, options)
    check_steps(generator, theirs, ids, mask, given)


@pytest.mark.full
@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_prompt_and_eight_steps_in_full_size(name):
    """Both sides have the seeded weights of the built-in model."""
    config = BUILT_IN[name]
    data = {key: value for key, value in PUBLISHED[name].items() if key != "model_type"}
    kind = transformers.AutoConfig.for_model(PUBLISHED[name]["model_type"], **data)
    theirs = transformers.AutoModelForCausalLM.from_config(
        kind, attn_implementation="eager", dtype=torch.float32
    )
    weights = RandomWeights(config, 2)
    with torch.no_grad():
        for parameter, value in theirs.named_parameters():
            value.copy_(torch.from_numpy(weights.get(parameter, tuple(value.shape))))
    ids, mask = ids_and_mask(12, None, batch=2)
    options = LoadOptions(sequence_length=12, batch=2)
    check_steps(build_generator(config, weights, STEPS + 1, options), theirs.eval(), ids, mask, {})


def check_steps(generator, theirs, ids, mask, given):
    """Compare the logits of a prompt and eight steps, and choose the tokens by ours."""
    graphs = (generator.prefill, generator.step)
    prefill, step = (
        open_session(to_model(graph, outputs=graph.results), cores(), prepack=False)
        for graph in graphs
    )
    cache = Cache(generator, padding=mask)
    feeds, session, past = {"input_ids": ids} | given, prefill, None
    everyone = torch.from_numpy(mask)
    tokens = torch.from_numpy(ids)
    names = inspect.signature(theirs.forward).parameters
    name = "cache" if "cache" in names else "past_key_values"  # the newer name, the older one
    for index in range(STEPS + 1):
        outputs = [output.name for output in session.get_outputs()]
        results = dict(zip(outputs, session.run(outputs, feeds), strict=True))
        with torch.no_grad():
            wanted = theirs(
                input_ids=tokens, attention_mask=everyone, use_cache=True, **{name: past},
                position_ids=torch.arange(everyone.shape[1])[-tokens.shape[1] :][None],
            )  # fmt: skip
        past = wanted[name]
        check(f"step {index}", results[LOGITS], wanted.logits.numpy()[:, -1:])
        chosen = results[LOGITS].argmax(-1)
        if index < STEPS:
            cache.add(results)
            feeds, session = cache.feeds(chosen.reshape(-1).tolist()), step
        tokens = torch.from_numpy(chosen)
        everyone = torch.cat([everyone, torch.ones_like(everyone[:, :1])], 1)
