"""Starts cocotb in a simulated device without pytest, most of what it would import.

cocotb asks pytest for the exceptions that skip or fail a test, and for readable assertions. The
device server (`pimloop.sim.device.server`) has none of them. `pimloop.sim.device.process` names
`without_pytest` before cocotb's own entry points, of the version that pimloop is pinned to.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

#: Value of $PYGPI_USERS: what cocotb calls in a simulator, and before it `without_pytest`.
ENTRY_POINTS = ",".join(
    (
        "pimloop.sim.device.start:without_pytest",
        "cocotb.logging:_configure",
        "cocotb._init:init_package_from_simulation",
        "cocotb.regression:_run_regression",
    )
)


class _NeverRaised(Exception):
    """Stands for every exception of pytest."""


def without_pytest() -> None:
    """Put names that cocotb looks up, and does not use here, in the place of pytest."""
    exceptions = SimpleNamespace(Exception=_NeverRaised)
    contents: dict[str, dict[str, object]] = {
        "pytest": dict.fromkeys(("raises", "skip", "xfail"), exceptions),
        "_pytest": {},
        "_pytest.assertion": {"install_importhook": None},
        "_pytest.config": {"Config": None},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        sys.modules[name] = module
