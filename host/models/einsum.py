"""The equations of Einsum."""

from __future__ import annotations

from collections.abc import Sequence

from pimloop.partitioner.quantity import quantity


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the labels of every operand and of the result; an ellipsis becomes digits.

    >>> parse_equation("bij, bjk -> bik", [3, 3])
    (['bij', 'bjk'], 'bik')
    >>> parse_equation("...ij,jk", [4, 2])
    (['01ij', 'jk'], '01ik')
    """
    given, arrow, result_text = equation.replace(" ", "").partition("->")
    texts = given.split(",")
    if len(texts) != len(ranks):
        raise ValueError(f"the equation {equation!r} is not of {quantity(len(ranks), 'operand')}")
    widths = [
        rank - len(text.replace("...", "")) if "..." in text else 0
        for text, rank in zip(texts, ranks, strict=True)
    ]
    # Axes of ellipses are aligned at the right, as in a broadcast.
    wide = max(widths)
    digits = "".join(chr(ord("0") + axis) for axis in range(wide))
    terms = [
        text.replace("...", digits[wide - width :])
        for text, width in zip(texts, widths, strict=True)
    ]
    if arrow:
        return terms, result_text.replace("...", digits)
    every = given.replace(",", "").replace(".", "")
    return terms, digits + "".join(sorted(label for label in set(every) if every.count(label) == 1))
