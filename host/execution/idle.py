"""What does nothing on the functional model, for the commands and for `pimloop`'s functions."""

from __future__ import annotations

from pimloop.host.common.idle import Idle, Values


def on_model(values: Values) -> bool:
    """Whether the functional model is asked for."""
    return bool(values.get("device") == "model")


#: Of every use of a device.
ON_MODEL = (
    Idle({"flavour": None}, "the model device simulates nothing, it has no lanes", on_model),
    Idle(
        {"no_cache": False},
        "the model device simulates nothing, so nothing is taken from the list cache",
        on_model,
    ),
    Idle({"timeout": 600.0}, "the model device answers at once", on_model),
    Idle({"shares": None}, "the model device has no clock, so no plan is made by times", on_model),
)


def on_board(values: Values) -> bool:
    """Whether a board is asked for."""
    return bool(values.get("device") == "board")


#: Of every use of a device.
ON_BOARD = (Idle({"flavour": None}, "a board's lanes are in its bitstream", on_board),)

#: Of the whole way.
PIPELINE_ON_MODEL = (
    *ON_MODEL,
    Idle(
        {"objective": "sequential"},
        "the model device has no clock, so no plan is made by times",
        on_model,
    ),
)
