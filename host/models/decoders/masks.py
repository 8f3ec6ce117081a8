"""Which tokens a token attends to: those before, within a window, and no padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pimloop.host.models.builder import MASKED_SCORE, GraphBuilder

#: Window of a layer (None: all tokens before) -> what is added to its scores; None: nothing.
Mask = Callable[[int | None], str | None]


def sequence_mask(build: GraphBuilder, padding: str | None) -> Mask:
    """Return the masks of a sequence from its start.

    Parameters
    ----------
    build
        The graph.
    padding
        `attention_mask` (batch, length), 0 where a token is padding; None: there is none.

    Returns
    -------
    Mask
        Tensors (batch or 1, 1, length, length).
    """
    length = build.sequence_length
    made: dict[int | None, str | None] = {}
    hidden = None if padding is None else _hidden(build, padding)

    def mask(window: int | None) -> str | None:
        if window is not None and window >= length:
            window = None
        if window not in made:
            made[window] = _combined(build, window, hidden)
        return made[window]

    return mask


def _combined(build: GraphBuilder, window: int | None, hidden: str | None) -> str | None:
    length = build.sequence_length
    if length == 1:
        return hidden
    place = np.arange(length)
    distance = place[:, None] - place
    kept = distance >= 0
    if window is not None:
        kept &= distance < window
    name = "causal.mask" if window is None else f"causal.mask.{window}"
    causal = build.constant(name, additive(kept)[None, None])
    return causal if hidden is None else build.op("Add", causal, hidden)


def _hidden(build: GraphBuilder, padding: str) -> str:
    """Return what hides padding, (batch, 1, 1, length)."""
    wide = build.op("Unsqueeze", padding, build.integers(1, 2))
    real = build.op("Cast", wide, to=1)
    return build.op("Mul", build.op("Sub", build.scalar(1.0), real), build.scalar(MASKED_SCORE))


def additive(kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what is added to scores: 0 where they are kept, else `MASKED_SCORE`."""
    return np.where(kept, np.float32(0), np.float32(MASKED_SCORE))
