"""`pimloop sweep --generate`: the grid over length, batch and weights, its files, and resume."""

from __future__ import annotations

import csv
import json

import pytest
from support.tiny_checkpoints import write_checkpoint
from support.tiny_decoders import config_json

import pimloop.host.cli
from pimloop.errors import PimloopError
from pimloop.host.cli import generation_sweep

SWEEP = ("--seq", "3,4", "--batch", "1,2", "--quantize", "none,w8", "--generate", "2")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """Return the folder of a tiny GPT-2."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    write_checkpoint(folder, "gpt2")
    return str(folder)


@pytest.fixture(scope="module")
def swept(decoder, tmp_path_factory):
    """Return the folder and the result of a sweep of one point."""
    folder = tmp_path_factory.mktemp("sweep")
    arguments = ["sweep", decoder, "--seq", "3", "--generate", "2", "--out", str(folder)]
    assert pimloop.host.cli.main([*arguments, "--quiet"]) == 0
    return arguments, folder, json.loads((folder / "generation-sweep.json").read_text())


def point_of(folder):
    (path,) = (folder / "points").glob("*/generation.json")
    return json.loads(path.read_text())


def test_every_schedule_has_the_numbers_of_its_generation(swept):
    _, folder, result = swept
    report = point_of(folder)
    assert result["format"] == "pimloop-generation-sweep/1"
    assert [row["schedule"] for row in result["rows"]] == [
        schedule["schedule"] for schedule in report["schedules"]
    ]
    for row, schedule in zip(result["rows"], report["schedules"], strict=True):
        for name in ("time_to_first_token_us", "us_per_token", "tokens_per_s", "executed"):
            assert row[name] == schedule[name]
        assert row["tokens_per_s"] == pytest.approx(1e6 / row["us_per_token"])
        assert (row["prompt_length"], row["generated"], row["batch"]) == (3, 2, 1)
        assert (row["quantize"], row["platform"]) == (None, "htg-z920")
    alone = [
        row for row in result["rows"] if row["schedule"] in ("cpu_serial", "cpu_parallel_first")
    ]
    assert max(row["against_cpu"] for row in alone) == 1.0
    with (folder / "generation-sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["tokens_per_s"] for row in table] == [
        str(r["tokens_per_s"]) for r in result["rows"]
    ]
    assert any((folder / "plots").glob("tokens.*"))


def test_the_command_of_a_point_repeats_it(swept, decoder):
    _, folder, _ = swept
    assert point_of(folder)["command"] == [
        "pimloop", "sim", decoder, "--seq", "3", "--seed", "0", "--platform", "htg-z920",
        "--objective", "sequential", "--generate", "2",
    ]  # fmt: skip


def test_a_finished_point_is_not_run_again_until_it_is_damaged(swept, monkeypatch):
    arguments, folder, result = swept
    ran = []

    def run(point, *_):
        ran.append(str(point))
        return point_of(folder)

    monkeypatch.setattr(generation_sweep, "_generate", run)
    assert pimloop.host.cli.main([*arguments, "--quiet"]) == 0
    again = json.loads((folder / "generation-sweep.json").read_text())
    assert ran == []
    assert again["rows"] == result["rows"]
    assert [point["reused"] for point in again["points"]] == [True]
    (path,) = (folder / "points").glob("*/generation.json")
    kept = path.read_text()
    report = json.loads(kept)
    report["schedules"][0]["us_per_token"] *= 2
    path.write_text(json.dumps(report))
    assert pimloop.host.cli.main([*arguments, "--quiet"]) == 0
    assert len(ran) == 1
    path.write_text(kept)


def test_every_combination_is_a_point(swept, decoder, tmp_path, capsys, monkeypatch):
    _, folder, _ = swept
    report = point_of(folder)
    asked = []

    def run(point, platform, tokens, *_):
        asked.append((point.sequence_length, point.loading.batch, point.loading.quantize, tokens))
        if point.loading.batch == 2 and point.sequence_length == 4:
            raise PimloopError("the cache does not fit")
        batch = point.loading.batch
        return {
            **report, "batch": batch, "prompt": [0] * point.sequence_length * batch,
            "tokens": report["tokens"] * batch,
        }  # fmt: skip

    monkeypatch.setattr(generation_sweep, "_generate", run)
    out = tmp_path / "out"
    assert pimloop.host.cli.main(["sweep", decoder, *SWEEP, "--out", str(out)]) == 2
    assert asked == [
        (length, batch, quantize, 2)
        for quantize in (None, "w8") for batch in (1, 2) for length in (3, 4)
    ]  # fmt: skip
    result = json.loads((out / "generation-sweep.json").read_text())
    assert len(result["points"]) == 8
    assert [p["error"] for p in result["points"]].count("the cache does not fit") == 2
    assert {(r["prompt_length"], r["batch"], r["quantize"]) for r in result["rows"]} == {
        (3, 1, None), (4, 1, None), (3, 2, None), (3, 1, "w8"), (4, 1, "w8"), (3, 2, "w8"),
    }  # fmt: skip
    names = {path.stem for path in (out / "plots").iterdir()}
    assert {"tokens", "tokens-batch", "tokens-weights"} <= names
    printed = capsys.readouterr().out
    assert "the cache does not fit" in printed
    assert "as stored" in printed
    assert "w8" in printed


def test_every_weight_format_is_generated(tmp_path):
    """As stored (bfloat16), of 8 and of 4 bits, on a device whose lanes keep up with all three."""
    # Wide enough for the PIM to be faster.
    wide = {"num_hidden_layers": 1, "hidden_size": 256, "intermediate_size": 512, "vocab_size": 512}
    path = tmp_path / "wide.json"
    path.write_text(json.dumps(config_json("llama") | wide))
    command = [
        "sweep", str(path), "--seq", "3", "--generate", "2", "--quantize", "none,w8,w4",
        "--set", "device.rows_per_beat=4", "--set", "device.lanes=128", "--quiet",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert pimloop.host.cli.main(command) == 0
    result = json.loads((tmp_path / "out" / "generation-sweep.json").read_text())
    assert [point["error"] for point in result["points"]] == [None] * 3
    clocks = {}
    for path in (tmp_path / "out" / "points").glob("*/generation.json"):
        report = json.loads(path.read_text())
        assert report["verification"]["passed"]
        assert report["verification"]["pim_results_checked"] > 0
        options = report["command"]
        kind = options[options.index("--quantize") + 1] if "--quantize" in options else None
        first = next(s for s in report["schedules"] if s["schedule"] == "pim_first")
        clocks[kind] = first["phases"]["decode"]["groups_us"]["weights"]
        assert first["phases"]["decode"]["pim_nodes"] >= 8
    assert clocks.keys() == {None, "w8", "w4"}
    assert len(set(clocks.values())) == 3  # each format takes times of its own
    assert {row["quantize"] for row in result["rows"]} == {None, "w8", "w4"}


def test_it_is_drawn_again_and_a_damaged_one_is_refused(swept, capsys):
    _, folder, result = swept
    path = folder / "generation-sweep.json"
    kept = path.read_text()
    table = (folder / "generation-sweep.csv").read_text()
    (folder / "generation-sweep.csv").unlink()
    assert pimloop.host.cli.main(["report", str(folder)]) == 0
    assert (folder / "generation-sweep.csv").read_text() == table
    assert "tokens/s" in capsys.readouterr().out
    del result["rows"][0]["schedule"]
    path.write_text(json.dumps(result))
    assert pimloop.host.cli.main(["report", str(folder)]) == 2
    assert "schedule" in capsys.readouterr().err
    path.write_text(kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--quantize", "w8,w2"), "'w2' is none of none, w8, w4"),
        (("--batch", "1,0"), "'0'"),
        (("--axis", "past=8"), "--generate takes the prompts' lengths from --seq, not from --axis"),
        (("--scheduler", "tcp://x"), "generations of a sweep run on this machine"),
    ],
)
def test_what_a_sweep_of_generations_cannot_have_is_refused(
    decoder, tmp_path, capsys, arguments, message
):
    command = ["sweep", decoder, "--generate", "2", "--out", str(tmp_path / "o"), *arguments]
    try:
        code = pimloop.host.cli.main(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
