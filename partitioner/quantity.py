"""Numbers of things, the same in every message, table and page."""

from __future__ import annotations


def quantity(number: int, noun: str, plural: str = "", *, form: str = "") -> str:
    """Return a number and its noun, which is singular after 1 alone.

    Parameters
    ----------
    number
        How many.
    noun
        The singular; a verb may follow it where `plural` has its own.
    plural
        Where it is not the noun and an s.
    form
        How the number is formatted: "," groups its digits.

    >>> quantity(1, "segment"), quantity(0, "segment"), quantity(1934, "list", form=",")
    ('1 segment', '0 segments', '1,934 lists')
    >>> quantity(1, "axis", "axes"), quantity(2, "axis", "axes")
    ('1 axis', '2 axes')
    """
    return f"{number:{form}} {noun if number == 1 else plural or noun + 's'}"
