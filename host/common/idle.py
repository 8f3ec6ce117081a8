"""Options that would do nothing, or that ask for what another option took away.

Which, when and why; they are refused before any work. Commands and `pimloop`'s functions have
tables of `Idle` and `Conflict`. A test takes every option of every command in every mode: it
changes what is done, or it is refused.
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

    def refusal(self, values: Values, spelt: Callable[[str], str]) -> str | None:
        """Return why the values are refused; None where they are not."""
        given = [name for name, unset in self.options.items() if values.get(name, unset) != unset]
        if not given or not self.when(values):
            return None
        names = ", ".join(map(spelt, given))
        return f"{names} would do nothing: {self.why.format_map(values)}; leave it out"


@dataclass(frozen=True)
class Conflict:
    """A value of an option that needs what another option took away."""

    option: str  # that needs it
    value: str
    taken_by: str  # the other option
    why: str  # says what the other takes away, and what to do next
    when: Callable[[Values], bool]  # of all that is asked for: whether it took it away

    def refusal(self, values: Values, spelt: Callable[[str], str]) -> str | None:
        """Return why the values are refused; None where they are not."""
        asked = values.get(self.option)
        given = (asked,) if isinstance(asked, str) else asked or ()
        if self.value not in given or not self.when(values):
            return None
        other = f"{spelt(self.taken_by)} {values[self.taken_by]}"
        return f"{spelt(self.option)} {self.value} cannot be done with {other}: {self.why}"


#: A rule that may refuse what is asked for.
Rule = Idle | Conflict


def refuse_idle(values: Values, table: Iterable[Rule], spelt: Callable[[str], str] = str) -> None:
    """Refuse what a table says would do nothing, or cannot be done.

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
    for rule in table:
        refusal = rule.refusal(values, spelt)
        if refusal is not None:
            raise PimloopError(refusal)
