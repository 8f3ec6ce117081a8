"""Finds the architectures of this room: nothing names their files.

A file holds its architecture as `ARCHITECTURE`; one that has none is no architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.common.rooms import claimed_once, modules_beside
from pimloop.host.models.architectures.base import Architecture, CachedDecoder
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.config_json import OTHERS, shown


@cache
def architectures() -> Mapping[str, Architecture]:
    """Return all architectures by `model_type`: encoders by publication, then decoders.

    Raises
    ------
    PimloopError
        When two files have an architecture of one `model_type`.
    """
    modules = [module for module in modules_beside(__name__) if hasattr(module, "ARCHITECTURE")]
    known = claimed_once(
        "the model_type",
        ((module, module.ARCHITECTURE.model_type, module.ARCHITECTURE) for module in modules),
    )
    ordered = sorted(
        known.values(), key=lambda a: (isinstance(a, CachedDecoder), a.published, a.model_type)
    )
    return {architecture.model_type: architecture for architecture in ordered}


def architecture_of(config: ModelConfig) -> Architecture:
    """Return the architecture that a configuration names.

    Raises
    ------
    PimloopError
        When there is none of that name.
    """
    if config.architecture not in architectures():
        raise PimloopError(f"model {config.name}: architecture {_unsupported(config.architecture)}")
    return architectures()[config.architecture]


def from_hugging_face(data: Mapping[str, Any], where: str) -> ModelConfig:
    """Return the configuration that the content of a config.json describes.

    Parameters
    ----------
    data
        The parsed file.
    where
        Its path, for messages.

    Raises
    ------
    PimloopError
        When the architecture or an option is not supported, or a size is missing or wrong.
    """
    model_type = data.get("model_type")
    if not isinstance(model_type, str) or model_type not in architectures():
        raise PimloopError(f"{where}: model_type {_unsupported(model_type)}")
    return architectures()[model_type].read(data, where)


def _unsupported(name: object) -> str:
    return f"{shown(name)} is not supported; known: {', '.join(architectures())}; {OTHERS}"
