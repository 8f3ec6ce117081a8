"""Rotary positions (Su et al. 2021) and the ways to stretch them over longer sequences.

A head's features i and i + width / 2 are turned together by the angle position x frequency i. A
scaling changes the frequencies. Tables are computed in float32, as the models were trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log, pi, sqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.models import config_json

Floats = NDArray[np.float32]


class Scaling(Protocol):
    """How the frequencies of a model differ from those of its theta."""

    @property
    def amplitude(self) -> float:
        """What sines and cosines are multiplied by."""
        ...

    def frequencies(self, plain: Floats, tokens: int) -> Floats:
        """Return the frequencies (width / 2) in a sequence of `tokens`, given those of theta."""
        ...


@dataclass(frozen=True)
class Unscaled:
    """The frequencies of theta."""

    amplitude: float = 1.0

    def frequencies(self, plain: Floats, tokens: int) -> Floats:
        """Return them as they are."""
        return plain


@dataclass(frozen=True)
class Linear:
    """Positions divided by a factor (Chen et al. 2023)."""

    factor: float
    amplitude: float = 1.0

    def frequencies(self, plain: Floats, tokens: int) -> Floats:
        """Return them divided by the factor."""
        return plain / np.float32(self.factor)


@dataclass(frozen=True)
class Llama3:
    """Low frequencies divided by a factor, high ones kept, those between in proportion.

    Source: Llama 3.1 (Grattafiori et al. 2024), `rope_type` llama3.
    """

    factor: float
    low: float  # turns in `original` tokens below which a frequency is divided
    high: float  # turns beyond which it is kept
    original: int  # tokens that the model was trained on first
    amplitude: float = 1.0

    def frequencies(self, plain: Floats, tokens: int) -> Floats:
        """Return them, each by its number of turns in `original` tokens."""
        turns = np.float32(self.original) * plain / np.float32(2 * pi)
        kept = np.clip((turns - self.low) / np.float32(self.high - self.low), 0, 1)
        mixed: Floats = (1 - kept) * plain / np.float32(self.factor) + kept * plain
        return mixed.astype(np.float32)


@dataclass(frozen=True)
class LongRope:
    """A factor for each frequency, others in sequences beyond the original length.

    Source: Ding et al. 2024.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int  # tokens
    amplitude: float

    def frequencies(self, plain: Floats, tokens: int) -> Floats:
        """Return them divided by the factors of the sequence's length."""
        chosen = self.long if tokens > self.original else self.short
        factors: Floats = np.array(chosen, np.float32)
        return plain / factors


@dataclass(frozen=True)
class Rope:
    """The rotary positions of a layer."""

    theta: float = 10000.0
    share: float = 1.0  # of a head's features that are turned, the first ones
    scaling: Scaling = field(default_factory=Unscaled)

    def width(self, head_size: int) -> int:
        """Return how many features of a head are turned."""
        return int(head_size * self.share)

    def tables(self, head_size: int, positions: int, *, alone: bool = False) -> tuple[Floats, ...]:
        """Return cosines and signed sines of the positions from 0, (positions, width) each.

        The sines of the first half are negative: turned = x cos + swapped(x) sin, where `swapped`
        exchanges the halves.

        Parameters
        ----------
        head_size
            Features of a head.
        positions
            How many.
        alone
            Whether a position is that of the last token of a sequence, as in a step with a cache;
            else it is one of a sequence of `positions` tokens. Scalings may ask for the length.
        """
        width = self.width(head_size)
        exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
        plain = np.reciprocal(np.float_power(self.theta, exponents)).astype(np.float32)
        place = np.arange(positions, dtype=np.float32)[:, None]
        if alone:
            rows = [self.scaling.frequencies(plain, index + 1) for index in range(positions)]
            angles = place * np.stack(rows)
        else:
            angles = place * self.scaling.frequencies(plain, positions)
        amplitude = np.float32(self.scaling.amplitude)
        cosines, sines = np.cos(angles) * amplitude, np.sin(angles) * amplitude
        return np.concatenate([cosines, cosines], 1), np.concatenate([-sines, sines], 1)


@dataclass(frozen=True)
class Asked:
    """What a scaling is read from."""

    parameters: Mapping[str, Any]  # rope_scaling or rope_parameters
    data: Mapping[str, Any]  # the whole config.json
    width: int  # features that are turned
    positions: int  # tokens, the most
    original: int | None  # of a config.json that does not say it beside the table
    where: str  # for messages

    def number(self, key: str) -> float:
        """Return a number that must be there, above 0."""
        if key not in self.parameters:
            raise PimloopError(f"{self.where}: {key} is missing")
        value = config_json.number(self.parameters, key, 0.0, self.where)
        if value == 0:
            raise PimloopError(f"{self.where}: {key} must be above 0, got {value}")
        return value

    def original_length(self) -> int | None:
        """Return the length that the model was trained on first, where it is said.

        Raises
        ------
        PimloopError
            When the table says another one than config.json beside it, where transformers reads
            it; so also when it does not agree with what an architecture has without the key.
        """
        key = "original_max_position_embeddings"
        inside, beside = (
            None if source.get(key) is None else config_json.size(source, key, self.where)
            for source in (self.parameters, self.data)
        )
        if beside is None:
            beside = self.original
        if inside is not None and beside is not None and inside != beside:
            raise PimloopError(
                f"{self.where}: {key} is {inside} in the table of rotary positions and {beside}"
                f" beside it{' where it is missing' if self.data.get(key) is None else ''}; give"
                " the right one in both places"
            )
        return beside if inside is None else inside

    def factors(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers above 0, one for each frequency."""
        values = self.parameters.get(key)
        right = isinstance(values, list) and len(values) == self.width // 2
        if not right or not all(_is_positive(value) for value in values or ()):
            raise PimloopError(
                f"{self.where}: {key} must be a list of {self.width // 2} numbers above 0,"
                " one for each two features of a head that are turned"
            )
        return tuple(float(value) for value in values or ())


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return config_json.MIN_NUMBER <= value <= config_json.MAX_NUMBER


def _read_linear(asked: Asked) -> Scaling:
    return Linear(asked.number("factor"))


def _read_llama3(asked: Asked) -> Scaling:
    original = asked.original_length()
    if original is None:
        raise PimloopError(f"{asked.where}: original_max_position_embeddings is missing")
    low, high = asked.number("low_freq_factor"), asked.number("high_freq_factor")
    if low >= high:
        raise PimloopError(
            f"{asked.where}: low_freq_factor must be below high_freq_factor, got {low} and {high}"
        )
    return Llama3(asked.number("factor"), low, high, original)


def _read_longrope(asked: Asked) -> Scaling:
    original = asked.original_length()
    if original is None or asked.parameters.get("factor") is not None:
        original, factor = original or asked.positions, asked.number("factor")
    else:
        factor = asked.positions / original
    if asked.parameters.get("attention_factor") is not None:
        amplitude = asked.number("attention_factor")
    else:
        amplitude = sqrt(1 + log(factor) / log(original)) if factor > 1 and original > 1 else 1.0
    short, long = asked.factors("short_factor"), asked.factors("long_factor")
    return LongRope(short, long, original, amplitude)


@dataclass(frozen=True)
class _Kind:
    """A scaling: how it is read, and from which keys of its table."""

    read: Callable[[Asked], Scaling]
    keys: frozenset[str] = frozenset()


_LONGROPE = _Kind(
    _read_longrope, frozenset({"factor", "attention_factor", "short_factor", "long_factor"})
)

#: Scalings by their `rope_type`; "su" is what the first files of Phi-3 call longrope.
SCALINGS: Mapping[str, _Kind] = {
    "default": _Kind(lambda asked: Unscaled()),
    "linear": _Kind(_read_linear, frozenset({"factor"})),
    "llama3": _Kind(_read_llama3, frozenset({"factor", "low_freq_factor", "high_freq_factor"})),
    "longrope": _LONGROPE,
    "su": _LONGROPE,
}

#: Keys of a table without a type, which says no scaling.
_PLAIN = frozenset({"rope_theta", "partial_rotary_factor"})

#: Keys that every table may have; a type that reads no original length has no use for it.
_ANYWHERE = _PLAIN | {"rope_type", "type", "original_max_position_embeddings", "finetuned"}


def read_scaling(asked: Asked) -> Scaling:
    """Return the scaling that a config.json names; none where it names none.

    Raises
    ------
    PimloopError
        For a scaling that is not known, for a table that does not name one or has keys that its
        scaling does not read, and for one whose numbers are missing or wrong.
    """
    table = asked.parameters
    said = {key for key, value in table.items() if value is not None}
    types = [table[key] for key in ("rope_type", "type") if key in table]
    if not types and said - _PLAIN:
        raise PimloopError(
            f"{asked.where}: the table of rotary positions has {', '.join(sorted(said))} and no"
            f" rope_type; add it: {', '.join(SCALINGS)}"
        )
    for kind in types:
        if kind not in tuple(SCALINGS):  # it may be anything that JSON has
            raise PimloopError(
                f"{asked.where}: the rope_scaling of type {config_json.shown(kind)} is not"
                f" supported; known: {', '.join(SCALINGS)}; {config_json.OTHERS}"
            )
    if len({SCALINGS[kind] for kind in types}) > 1:
        raise PimloopError(
            f"{asked.where}: rope_type {types[0]!r} and type {types[1]!r} of the rotary positions"
            " differ; keep one"
        )
    name = types[0] if types else "default"
    unknown = said - _ANYWHERE - SCALINGS[name].keys
    if unknown:
        raise PimloopError(
            f"{asked.where}: rotary positions of type {name!r} do not read"
            f" {', '.join(sorted(unknown))}; take them out, or name the type that does"
        )
    return SCALINGS[name].read(asked)
