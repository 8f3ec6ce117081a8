"""What the functions of `pimloop` are given: numbers and names that nothing can use are refused."""

from __future__ import annotations

from collections.abc import Collection

from pimloop.errors import PimloopError


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no finite number of seconds above 0.

    Raises
    ------
    PimloopError
        Naming the parameter and its value.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= 1e9:  # type: ignore[operator]
        raise PimloopError(
            f"{name} is {value!r}; it must be a number of seconds above 0, at most 1000000000"
        )


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse what is none of the choices.

    Raises
    ------
    PimloopError
        Naming the parameter, its value and the choices.
    """
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise PimloopError(f"{name} is {value!r}; it must be one of {listed}")


def check_name(name: str, value: object) -> None:
    """Refuse a name or a path that is empty.

    Raises
    ------
    PimloopError
        Naming the parameter.
    """
    if not str(value).strip():
        raise PimloopError(f"{name} is empty")
