"""Options that would do nothing: which, when and why; they are refused before any work.

Commands and `pimloop`'s functions have tables of `Idle`. A test takes every option of every command
in every mode: it changes what is done, or it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pimloop.errors import PimloopError

#: Everything that is asked for, by name.
Values = Mapping[str, Any]


def _always(_: Values) -> bool:
    return True


@dataclass(frozen=True)
class Idle:
    """Options that do nothing beside certain others."""

    options: Mapping[str, Any]  # by name, with the value of one that is not given
    why: str  # may hold names of options in braces
    when: Callable[[Values], bool] = _always  # of all that is asked for


def refuse_idle(values: Values, table: Iterable[Idle], spelt: Callable[[str], str] = str) -> None:
    """Refuse what a table says would do nothing.

    Parameters
    ----------
    values
        What is asked for; an option that is missing is not given.
    spelt
        From a name to what the user knows it by.

    Raises
    ------
    PimloopError
        Naming the options and the reason.
    """
    for idle in table:
        given = [name for name, unset in idle.options.items() if values.get(name, unset) != unset]
        if given and idle.when(values):
            names = ", ".join(map(spelt, given))
            why = idle.why.format_map(values)
            raise PimloopError(f"{names} would do nothing: {why}; leave it out")
