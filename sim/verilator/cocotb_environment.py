"""What makes cocotb in a simulator run a Python module: for benches, and for the device server."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import cocotb_tools.config
import find_libpython

from pimloop.sim.paths import REPOSITORY
from pimloop.sim.verilator.toolchain import missing


def cocotb_environment(top: str, test_module: str, *folders: Path) -> dict[str, str]:
    """Return the variables that make cocotb in a simulator run `test_module` on `top`.

    Parameters
    ----------
    top
        Name of the top module.
    test_module
        Name of the Python module with the `@cocotb.test`s.
    folders
        Further folders to import from.

    Raises
    ------
    SimError
        This Python has no shared library to load into the simulator.
    """
    library = _libpython()
    if library is None:
        raise missing("libpython", f"{sys.executable} has no shared library")
    path = [str(folder) for folder in (*folders, REPOSITORY)] + [p for p in sys.path if p]
    return {
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_USERS": f"{library};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "TOPLEVEL_LANG": "verilog",
    }


@functools.cache
def _libpython() -> str | None:
    """Return the shared library of this Python; the search calls the compiler: once is enough."""
    library: str | None = find_libpython.find_libpython()
    return library
