"""What cocotb imports in a simulated device: the same as elsewhere, without pytest."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pygpi.entry

from pimloop.sim.device.start import ENTRY_POINTS

IN_A_SIMULATOR = """
import sys
from pimloop.sim.device.start import without_pytest
without_pytest()
import cocotb.regression
cocotb.regression.RegressionManager.setup_pytest_assertion_rewriting()
names = {name for name in sys.modules if name.partition(".")[0] in ("pytest", "_pytest")}
print(*sorted(name for name in names if getattr(sys.modules[name], "__file__", None)))
print(cocotb.regression._TestFailures[0].__name__)
"""


def test_cocotb_imports_nothing_of_pytest() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_SIMULATOR],
        env={"COCOTB_REWRITE_ASSERTION_FILES": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "\nAssertionError\n"


def test_all_else_is_what_cocotb_calls_itself() -> None:
    """But for the coverage of cocotb's own code."""
    ours, *others = ENTRY_POINTS.split(",")
    assert ours == "pimloop.sim.device.start:without_pytest"
    text = inspect.getsource(pygpi.entry.load_entry)
    assert [name for name in text.split('"') if name.startswith("cocotb")] == [
        "cocotb_tools._coverage:start_cocotb_library_coverage",
        *others,
    ]
