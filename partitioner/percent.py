"""Ratios as percent, the same in every table, page and figure."""

from __future__ import annotations


def percent(ratio: float, digits: int = 1, *, signed: bool = False) -> str:
    """Return a ratio in percent; what rounds to zero has no sign.

    >>> percent(0.0612), percent(-0.000004, 2), percent(0.0123, 2, signed=True)
    ('6.1 %', '0.00 %', '+1.23 %')
    >>> percent(-0.00004, 2, signed=True), percent(0.0, 2, signed=True)
    ('0.00 %', '0.00 %')
    """
    text = f"{100.0 * ratio:,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        return text.removeprefix("-") + " %"
    return ("+" if signed and ratio > 0 else "") + text + " %"
