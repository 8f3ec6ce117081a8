"""The graphs of a configuration, by its architecture."""

from __future__ import annotations

from pimloop.host.models.architectures.registry import architecture_of


def build_encoder(config, weights, length, **options):
    """Return the graph over whole sequences."""
    return architecture_of(config).graph(config, weights, length, **options)


def build_decoder(config, weights, length, **options):
    """Return the graph over a sequence from its start, with its cache where that is asked for."""
    return architecture_of(config).sequence(config, weights, length, **options)


def build_decoder_step(config, weights, context):
    """Return the graph for one more token."""
    return architecture_of(config).step(config, weights, context)
