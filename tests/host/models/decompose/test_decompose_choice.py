"""What is decomposed, by choice, and what `pimloop models show` says of the rest."""

from __future__ import annotations

import json

import numpy as np
import onnx
from support.fused_models import CONTRIB, load, model_of, ops

from pimloop.host.cli import main

DRAW = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)


def attention(**attributes):
    inputs = {"q": DRAW, "k": DRAW, "v": DRAW}
    return model_of("MultiHeadAttention", inputs, ["y"], domain=CONTRIB, num_heads=2, **attributes)


def test_fused_operators_are_kept_where_asked_for():
    assert ops(load(attention())).count("MatMul") == 2
    graph = load(attention(), keep_fused=True)
    assert ops(graph) == ["MultiHeadAttention"]
    assert not graph.decomposed
    assert "--keep-fused" in graph.kept_whole["MultiHeadAttention_y"]


def test_primitives_are_named_after_their_operator_and_make_its_result():
    graph = load(attention())
    assert graph.decomposed == {"MultiHeadAttention": 1}
    assert all(node.id.startswith("MultiHeadAttention_y/") for node in graph.nodes)
    assert graph.outputs == ("y",)
    assert "Identity" not in ops(graph)


def test_models_show_names_what_is_decomposed_and_why_the_rest_is_not(tmp_path, capsys):
    path = tmp_path / "m.onnx"
    onnx.save(attention(), str(path))
    assert main(["models", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["decomposed"] == {"MultiHeadAttention": 1}
    assert main(["models", "show", str(path), "--json", "--keep-fused"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["decomposed"] == {}
    assert [row["op"] for row in shown["operators"]] == ["MultiHeadAttention"]
