"""The built-in models of all architectures, by name."""

from __future__ import annotations

from collections.abc import Mapping

from pimloop.host.models.architectures.base import BuiltIn
from pimloop.host.models.architectures.registry import architectures
from pimloop.host.models.config import ModelConfig

MODELS: Mapping[str, BuiltIn] = {
    model.config.name: model
    for architecture in architectures().values()
    for model in architecture.built_in
}

BUILT_IN: Mapping[str, ModelConfig] = {name: model.config for name, model in MODELS.items()}
