"""Reads what a config.json says of a decoder with rotary positions, in its older and newer forms.

Older files have rope_theta and rope_scaling, newer ones rope_parameters, which may be a table for
each kind of layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pimloop.errors import PimloopError
from pimloop.host.models import config_json
from pimloop.host.models.decoders.rope import Asked, Rope, read_scaling

FULL, WINDOWED = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class LeftOut:
    """What the configuration class of transformers has for a size that a config.json leaves out.

    Without arguments: what follows from the other sizes.
    """

    size: int | None = None
    nullable: bool = True  # null is what follows from the other sizes; else it is an error


def not_read(said: str, where: str) -> PimloopError:
    """Return the error of a key that transformers does not read of the `model_type`.

    Ignored or followed, it would be another model than the file seems to say. `said` has the key.
    """
    return PimloopError(f"{where}: {said}; take it out, or give the model_type that reads it")


def size_or(data: Mapping[str, Any], key: str, left_out: LeftOut, where: str) -> int | None:
    """Return a size; None: what follows from the other sizes.

    Raises
    ------
    PimloopError
        When it is no size, or null where transformers does not take it.
    """
    if key not in data:
        return left_out.size
    if data[key] is None and left_out.nullable:
        return None
    return config_json.size(data, key, where)


def optional_number(
    data: Mapping[str, Any], key: str, default: float | None, where: str
) -> float | None:
    """Return a number above 0; `default` without the key, None where it is null."""
    if key not in data:
        return default
    if data[key] is None:
        return None
    value = config_json.number(data, key, 0.0, where)
    if value == 0:
        raise PimloopError(
            f"{where}: {key} must be null or a number above 0, got {config_json.shown(data[key])}"
        )
    return value


def flag(data: Mapping[str, Any], key: str, default: bool, where: str) -> bool:
    """Return true or false; without the key `default`."""
    value = data.get(key, default)
    if not isinstance(value, bool):
        raise PimloopError(f"{where}: {key} must be true or false, got {config_json.shown(value)}")
    return value


def layer_kinds(data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...] | None:
    """Return for each layer whether it has a window, where `layer_types` says so.

    Raises
    ------
    PimloopError
        When it is no list of the two kinds, one for each layer.
    """
    kinds = data.get("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise PimloopError(
            f"{where}: layer_types must be a list of {layers} kinds, one for each layer"
        )
    for kind in kinds:
        if kind not in (FULL, WINDOWED):
            raise PimloopError(
                f"{where}: layer type {config_json.shown(kind)} is not supported; known: {FULL},"
                f" {WINDOWED}; {config_json.OTHERS}"
            )
    return tuple(kind == WINDOWED for kind in kinds)


def read_rope(
    data: Mapping[str, Any],
    where: str,
    *,
    head_size: int,
    positions: int,
    original: int | None,
    kind: str | None = None,
    theta: float = 10000.0,
    theta_key: str = "rope_theta",
    scaled: bool = True,
    partial: bool = False,
) -> Rope:
    """Return the rotary positions of a kind of layer.

    Parameters
    ----------
    data, where
        Of the config.json.
    head_size
        Features of a head.
    positions
        Tokens, the most.
    original
        Tokens that the architecture was trained on first, where the file does not say it.
    kind
        Of the layers, where a newer file has a table for each kind; None: it has one for all.
    theta
        Without a key.
    theta_key
        Of an older file.
    scaled
        Whether `rope_scaling` of an older file is of these layers too.
    partial
        Whether layers of the architecture can turn a part of a head.

    Raises
    ------
    PimloopError
        When a number is missing or wrong, the scaling is not known, or a part of a head is to be
        turned that cannot be.
    """
    table = _rope_table(data, where, kind=kind, scaled=scaled)
    theta = _number_of(((table, "rope_theta"), (data, theta_key)), theta, where)
    share_key = "partial_rotary_factor"
    share = _number_of(((table, share_key), (data, share_key)), 1.0, where)
    if share != 1 and not partial:
        said = f"{share_key} is {share:g}, and layers of this model_type turn whole heads"
        raise not_read(said, where)
    asked = Asked(table, data, int(head_size * share), positions, original, where)
    if share == 1 and (head_size < 2 or head_size % 2):
        source = f"head_dim is {head_size}"
        if data.get("head_dim") is None:
            source = f"hidden_size / num_attention_heads is {head_size}"
        raise PimloopError(
            f"{where}: {source}; rotary positions turn the features of a head in pairs: it must be"
            " an even number"
        )
    if share > 1 or asked.width < 2 or asked.width % 2:
        raise PimloopError(
            f"{where}: {share_key} {share:g} of {head_size} features of a head turns"
            f" {asked.width}: it must be an even number from 2 to {head_size}"
        )
    return Rope(theta, share, read_scaling(asked))


def _rope_table(
    data: Mapping[str, Any], where: str, *, kind: str | None, scaled: bool
) -> Mapping[str, Any]:
    """Return the table of a kind of layer's rotary positions; arguments as of `read_rope`."""
    tables: dict[str, Mapping[str, Any]] = {}
    for key in ("rope_parameters", "rope_scaling"):
        value = data.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise PimloopError(
                f"{where}: {key} must be null or a table, got {config_json.shown(value)}"
            )
        tables[key] = value or {}
    newer, older = tables["rope_parameters"], tables["rope_scaling"]
    if newer and older and newer != older:
        raise PimloopError(
            f"{where}: rope_parameters and rope_scaling are both there and differ; keep the one"
            " that the model was trained with"
        )
    if not newer:
        return older if scaled else {}
    if kind is None:
        if FULL in newer or WINDOWED in newer:
            raise PimloopError(
                f"{where}: rope_parameters has tables of kinds of layers, and all layers of this"
                " model_type have one; give that alone"
            )
        return newer
    table = newer.get(kind)
    if newer.keys() != {FULL, WINDOWED} or not isinstance(table, Mapping):
        raise PimloopError(
            f"{where}: rope_parameters must have two tables, {FULL} and {WINDOWED}, and nothing"
            f" else; got {config_json.shown(newer)}"
        )
    return table


def _number_of(
    places: Sequence[tuple[Mapping[str, Any], str]], default: float, where: str
) -> float:
    """Return the number above 0 at the first of some places that has one."""
    for table, key in places:
        value = optional_number(table, key, None, where)
        if value is not None:
            return value
    return default


def late_windows(data: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
    """Return which layers have a window by Qwen's keys: from `max_window_layers` on, if any."""
    if not flag(data, "use_sliding_window", False, where):
        return (False,) * layers
    if data.get("sliding_window") is None:
        raise PimloopError(
            f"{where}: use_sliding_window is true and sliding_window is missing or null; give its"
            " tokens, or set use_sliding_window to false"
        )
    key = "max_window_layers"
    first = data.get(key, 28)
    whole = isinstance(first, int) and not isinstance(first, bool)
    if not whole or not 0 <= first <= config_json.MAX_SIZE:
        raise PimloopError(
            f"{where}: {key} must be a whole number, 0 or more and at most 2^24, got"
            f" {config_json.shown(first)}"
        )
    return tuple(layer >= first for layer in range(layers))


def caps_and_scale(
    data: Mapping[str, Any], where: str, *, score_cap: float | None, logit_cap: float | None
) -> dict[str, Any]:
    """Return Gemma's caps and the scale of its scores; the caps given are those of missing keys."""
    key = "query_pre_attn_scalar"
    scalar = optional_number(data, key, 256.0, where)
    if scalar is None:
        raise PimloopError(f"{where}: {key} must be a number above 0, got None")
    return {
        "score_cap": optional_number(data, "attn_logit_softcapping", score_cap, where),
        "logit_cap": optional_number(data, "final_logit_softcapping", logit_cap, where),
        "score_scale": scalar**-0.5,
    }
