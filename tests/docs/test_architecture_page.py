"""docs/add-an-architecture.md, done in a copy of the code: one file, and the model runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trees import copy_code

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "add-an-architecture.md").read_text(encoding="utf-8")
FILE = "host/models/architectures/megatron_bert.py"

#: Writes the parameters of the original to a folder, with the names and shapes that it has there,
#: and compares the model with a forward pass in numpy that shares nothing with the graph builders.
VALUES = """
import json, sys
from pathlib import Path
import numpy as np
from scipy.special import erf
from support.tiny_checkpoints import write_safetensors
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.loader import LoadOptions, load_model

folder = Path(sys.argv[1])
data = json.loads((folder / "config.json").read_text())
n, inner, layers = data["hidden_size"], data["intermediate_size"], data["num_hidden_layers"]
shapes = {
    "bert.embeddings.word_embeddings.weight": (data["vocab_size"], n),
    "bert.embeddings.position_embeddings.weight": (data["max_position_embeddings"], n),
    "bert.embeddings.token_type_embeddings.weight": (data["type_vocab_size"], n),
}
owners = {"bert.encoder.ln": (n,), "bert.pooler.dense": (n, n), "classifier": (2, n)}
for i in range(layers):
    p = f"bert.encoder.layer.{i}"
    owners |= {
        f"{p}.attention.ln": (n,), f"{p}.attention.self.query": (n, n),
        f"{p}.attention.self.key": (n, n), f"{p}.attention.self.value": (n, n),
        f"{p}.attention.output.dense": (n, n), f"{p}.ln": (n,),
        f"{p}.intermediate.dense": (inner, n), f"{p}.output.dense": (n, inner),
    }
for owner, shape in owners.items():
    shapes |= {f"{owner}.weight": shape, f"{owner}.bias": shape[:1]}
rng = np.random.default_rng(1)
w = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
write_safetensors(folder / "model.safetensors", w)

def linear(x, name):
    return x @ w[name + ".weight"].T.astype(np.float64) + w[name + ".bias"]

def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
    return x * w[name + ".weight"] + w[name + ".bias"]

length, heads = 8, data["num_attention_heads"]
ids, types = rng.integers(0, data["vocab_size"], length), rng.integers(0, 2, length)
mask = np.array([1] * 6 + [0] * 2)
e = "bert.embeddings"
x = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.token_type_embeddings.weight"][types]
x = (x + w[f"{e}.position_embeddings.weight"][:length]).astype(np.float64)
for i in range(layers):
    p = f"bert.encoder.layer.{i}"
    h = norm(x, f"{p}.attention.ln")
    q, k, v = (
        linear(h, f"{p}.attention.self.{part}").reshape(length, heads, -1).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    s = q @ k.transpose(0, 2, 1) / np.sqrt(n / heads) + np.where(mask, 0, -10000.0)
    s = np.exp(s - s.max(-1, keepdims=True))
    a = (s / s.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(length, n)
    x = x + linear(a, f"{p}.attention.output.dense")
    h = linear(norm(x, f"{p}.ln"), f"{p}.intermediate.dense")
    x = x + linear(h * 0.5 * (1 + erf(h / np.sqrt(2))), f"{p}.output.dense")
x = norm(x, "bert.encoder.ln")
wanted = linear(np.tanh(linear(x[:1], "bert.pooler.dense")), "classifier")

graph = load_model(str(folder), LoadOptions(sequence_length=length))
feeds = {"input_ids": ids[None], "attention_mask": mask[None], "token_type_ids": types[None]}
logits = run_reference(graph, feeds)["logits"]
print(json.dumps(float(np.abs(logits - wanted).max() / np.abs(wanted).max())))
"""


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of the page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """Return the words behind a program's name of the page's indented lines."""
    return [line.split() for line in re.findall(rf"^ {{4}}{program} ?(.*)$", PAGE, re.MULTILINE)]


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what runs Python in a copy of the code that has the page's file."""
    copy = tmp_path_factory.mktemp("copy")
    copy_code(copy)
    (code,) = blocks("python")
    assert f"`{FILE}`:\n" in PAGE
    (copy / FILE).write_text(code, encoding="utf-8")
    path = os.pathsep.join((str(copy), str(REPOSITORY / "tests")))
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
    environment["PIMLOOP_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's config.json and random weights, compared with numpy."""
    folder = tmp_path_factory.mktemp("megatron")
    (config,) = blocks("json")
    (folder / "config.json").write_text(config, encoding="utf-8")
    done = run("-c", VALUES, folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 1e-5
    return folder


def pimloop(run: Run, words: list[str], folder: Path, *further: object) -> str:
    """Run a command of the page on the folder; return its output."""
    given = [str(folder) if word == "path/to/folder" else word for word in words]
    done = run("-m", "pimloop", *given, *further)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_of_the_page_run_the_model(run: Run, folder: Path, tmp_path: Path) -> None:
    """The model is listed, shown, planned and executed on the functional device."""
    listed, shown, simulated = commands("pimloop")
    assert "Megatron-BERT 345M: 24 layers" in pimloop(run, listed, folder)
    text = pimloop(run, shown, folder)
    assert re.search(r"[1-9]\d* operators can run on the PIM of htg-z920", text)
    assert "output logits: float32 [1, 2]" in text
    pimloop(run, simulated, folder, "--out", tmp_path)
    assert on_pim(tmp_path, "pim_first") > 20


@pytest.mark.full
def test_without_the_functional_device_the_optimal_placement_is_found(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    *_, simulated = commands("pimloop")
    words = simulated[: simulated.index("--device")]
    pimloop(run, words, folder, "--out", tmp_path)
    assert on_pim(tmp_path, "pim_first") > 20
    assert on_pim(tmp_path, "optimal") >= 0


def on_pim(folder: Path, schedule: str) -> int:
    """Return how many operators a schedule of a report had on the PIM."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return int(report["schedules"][schedule]["pim_nodes"])


def test_the_tests_of_the_page_take_the_architecture_as_the_others(run: Run) -> None:
    (first,) = [
        words for words in commands("python") if "tests/host/models/test_architectures.py" in words
    ]
    assert first[:2] == ["-m", "pytest"]
    done = run("-m", "pytest", "-q", "-n", "0", REPOSITORY / first[2], "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    again = run(
        "-m", "pytest", "-v", "-n", "0", REPOSITORY / first[2], "--collect-only", "-q",
        "-p", "no:cacheprovider",
    )  # fmt: skip
    assert "[megatron-bert]" in again.stdout


def test_the_row_that_the_table_of_models_lacks_is_the_pages(run: Run) -> None:
    (row,) = re.findall(r"^ {4}(\| megatron-bert \|.*)$", PAGE, re.MULTILINE)
    file = REPOSITORY / "tests/docs/test_models_page.py"
    done = run("-m", "pytest", "-q", "-n", "0", file, "-p", "no:cacheprovider")
    assert done.returncode == 1
    assert row in done.stdout


def test_nothing_but_the_file_is_new() -> None:
    """No other file of the code knows the example."""
    places = [
        path for path in (REPOSITORY / "host").rglob("*.py") if "megatron" in path.read_text()
    ]
    assert places == []
