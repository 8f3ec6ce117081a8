"""Generations on devices that weights, caches or activations do not fit into."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from pimloop.host.cli import main
from pimloop.host.cli.generation_tables import print_growth
from pimloop.host.pipeline.growth import OTHERS_FIT, TOO_LARGE

#: A decoder whose caches take 53,248 bytes of keys and 211,456 of values a layer on `aim`, with
#: 206 rows.
DECODER = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2,
    "hidden_size": 64, "head_dim": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "vocab_size": 101, "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}  # fmt: skip


def generated(tmp_path, capsys, *options):
    """Return the report of a generation on a small `aim-a53`, and what it printed."""
    (tmp_path / "config.json").write_text(json.dumps(DECODER))
    command = ["sim", str(tmp_path / "config.json"), "--seq", "200", "--generate", "6",
               "--platform", "aim-a53", "--policy", "pim_first", "--no-plots",
               "--out", str(tmp_path / "out"), *options]  # fmt: skip
    assert main(command) == 0
    report = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert report["verification"]["passed"]
    assert report["verification"]["pim_bit_exact"]
    return report, " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("rows", "on_pim", "too_large", "beside"),
    [
        (4, [], 4, 0),
        (8, [], 2, 2),
        (16, ["30", "31"], 0, 2),
        (64, ["30", "31", "82", "83"], 0, 0),
    ],
)
def test_a_cache_that_does_not_fit_is_on_the_cpu(rows, on_pim, too_large, beside, tmp_path, capsys):
    """States too large alone are said to be; others take what the weights before them leave.

    With 16 rows scores of the second layer are made by the CPU and scaled on the PIM: they are
    moved to a place that no other activation has.
    """
    report, printed = generated(
        tmp_path, capsys, "--device", "model", "--set", f"device.rows={rows}"
    )
    decode = report["phases"][1]
    states = {k: v for k, v in decode["assignment"].items() if k.startswith("ScatterElements")}
    assert [k.split("_")[1] for k, device in states.items() if device == "pim"] == on_pim
    assert len(states) == 4
    kept = [why for node, why in decode["kept_on_cpu"].items() if node in states]
    assert len(kept) == too_large
    assert all("its state, at full length, takes" in why for why in kept)
    assert ("kept on the CPU: " in printed) == (rows < 64)
    without = decode["states_without_room"]
    shared = [name for name, why in without.items() if "left beside what the plan has" in why]
    assert (len(without), len(shared)) == (4 - len(on_pim), beside)
    page = " ".join((tmp_path / "out" / "report.html").read_text().split())
    text = f"{4 - len(on_pim)} of 4 KV caches on the CPU for want of room: "
    for shown in (printed, page):
        assert (text in shown) == bool(without)
        assert all(f"{name} ({why})" in shown for name, why in list(without.items())[:3])
    assert ("; 1 more (generation.json has all)" in printed) == (len(without) == 4)


@pytest.mark.full  # profiles two devices
@pytest.mark.parametrize(("rows", "why"), [(4, OTHERS_FIT), (16, TOO_LARGE)])
def test_longer_caches_are_left_out_where_their_times_are_not_known(rows, why, tmp_path, capsys):
    report, printed = generated(tmp_path, capsys, "--set", f"device.rows={rows}")
    assert report["growth_left_out"] == why
    assert report["growth"] == []
    assert f"longer caches left out: {why}" in printed


def test_why_longer_caches_are_left_out_is_printed(capsys):
    row = {"us": {"optimal": 2000.0}, "attention": {"optimal": 0.25}}
    rows = [{"context": 40} | row, {"context": 1280} | row]
    for growth, wanted in (([], "longer caches left out: it is [so]"),
                           (rows, "caches beyond 1,280 rows left out: it is [so]")):  # fmt: skip
        report = {"growth": growth, "growth_left_out": "it is [so]", "schedules": []}
        print_growth(Console(), report)
        assert wanted in capsys.readouterr().out
        print_growth(Console(), report | {"growth_left_out": ""})
        assert "left out" not in capsys.readouterr().out
