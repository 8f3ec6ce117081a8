"""What the end-to-end tests share: a cache of their own, and a model on which the PIM pays off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.tiny_checkpoints import write_checkpoint
from support.tiny_models import TINY

from pimloop.host.models.graph import Graph
from pimloop.host.models.loader import LoadOptions, build_graph
from pimloop.host.models.weights import RandomWeights


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests a cache folder of their own: never the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIMLOOP_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a tiny BERT as Hugging Face would write it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_checkpoint(folder, "bert")
    return str(folder)


@pytest.fixture(scope="session")
def wide() -> Graph:
    """Return one layer of 512 features, 4 tokens: products are quicker on the board's PIM."""
    config = replace(
        TINY["bert"], name="wide", layers=1, hidden=512, heads=8, intermediate=512, labels=3
    )
    return build_graph(config, RandomWeights(config, 0), LoadOptions(sequence_length=4))
