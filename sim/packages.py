"""Python packages that a tool needs and that `make setup` does not install."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from pimloop.sim.errors import SimError


def require_packages(user: str, names: Sequence[str], *requirements: str) -> None:
    """See that every package which a tool imports is installed.

    Parameters
    ----------
    user
        Who needs them, as the message begins: "the SoC".
    names
        Names by which they are imported, without dots.
    requirements
        The files that have them: "dev" is requirements-dev.txt.

    Raises
    ------
    SimError
        One is missing; the message says which, and what installs it.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        files = " ".join(f"-r requirements-{name}.txt" for name in requirements)
        raise SimError(
            f"{user} needs the Python package {missing[0]}; install it with: "
            f"{sys.executable} -m pip install {files}"
        )
