"""Inputs: random ones fit the model; files with wrong names, shapes or types are refused."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import TINY

from host.errors import PimloopError
from host.models.encoder import build_encoder
from host.models.inputs import check_inputs, random_inputs, read_arrays
from host.models.weights import RandomWeights


@pytest.fixture(scope="module")
def graph():
    return build_encoder(TINY["bert"], RandomWeights(TINY["bert"]), 6)


def test_random_inputs_fit(graph):
    values = random_inputs(graph, seed=4)
    check_inputs(graph, values, "random")
    assert values["attention_mask"].all()
    assert not np.array_equal(values["input_ids"], random_inputs(graph, seed=5)["input_ids"])


def test_file_round_trip(graph, tmp_path):
    values = random_inputs(graph)
    np.savez(tmp_path / "in.npz", **values)
    loaded = read_arrays(tmp_path / "in.npz")
    check_inputs(graph, loaded, "in.npz")
    assert all(np.array_equal(loaded[name], values[name]) for name in values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("input_ids"), "input 'input_ids' is missing"),
        (lambda v: v.update(extra=np.zeros(1)), "unknown input 'extra'"),
        (lambda v: v.update(input_ids=np.zeros((1, 5), np.int64)), r"int64\[1, 5\]"),
        (lambda v: v.update(input_ids=np.zeros((1, 6), np.int32)), r"int32\[1, 6\]"),
        (lambda v: v.update(input_ids=np.full((1, 6), 101)), "outside 0..100"),
    ],
)
def test_wrong_inputs_are_named(graph, tmp_path, change, message):
    values = random_inputs(graph)
    change(values)
    np.savez(tmp_path / "in.npz", **values)
    with pytest.raises(PimloopError, match=message):
        check_inputs(graph, read_arrays(tmp_path / "in.npz"), "in.npz")


def test_files_that_are_no_archive(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(PimloopError, match=r"text\.npz"):
        read_arrays(tmp_path / "text.npz")
    with pytest.raises(PimloopError, match=r"absent\.npz"):
        read_arrays(tmp_path / "absent.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(PimloopError, match=r"one array"):
        read_arrays(tmp_path / "one.npy")
    np.savez(tmp_path / "pickle.npz", input_ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(PimloopError, match=r"pickle\.npz"):
        read_arrays(tmp_path / "pickle.npz")
