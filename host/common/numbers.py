"""Whole numbers that users give: one check and one bound, for commands and functions."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

from pimloop.errors import PimloopError

#: The largest whole number that anything takes: what 64 bits with a sign hold.
LARGEST = 2**63 - 1


def whole(name: str, value: object, least: int) -> int | None:
    """Return a whole number of `least` or more as an int; None, the default, stays None.

    Raises
    ------
    PimloopError
        Naming the parameter and its value.
    """
    if value is None:
        return None
    # Numpy's whole numbers are some too; True and False are none.
    number = (
        None if isinstance(value, bool) or not isinstance(value, SupportsIndex) else index(value)
    )
    if number is None or not least <= number <= LARGEST:
        limit = f"of {least} or more"
        if number is not None and number > LARGEST:
            limit = f"from {least} to {LARGEST}"
        raise PimloopError(f"{name} is {value!r}; it must be a whole number {limit}")
    return number
