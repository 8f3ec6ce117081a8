"""The main program whose clock runs in C++: what a build needs to use it instead of cocotb's.

`pimloop.sim.device.config` uses it for the device server,
`pimloop.sim.bench.unit.run_bench(cpp_clock_period=...)` for a bench. A bench that is to run with
either main starts its clock with `start_clock`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent

MAIN = _HERE / "main.cpp"
SOURCES = (_HERE / "vpi_watch.cpp",)
HEADERS = tuple(_HERE / f"{name}.h" for name in ("vpi_watch", "host_watch", "trace_window"))

#: Verilator's registration of callbacks goes through vpi_watch.cpp.
MAKE_RULES = (
    "verilated_vpi.o: CPPFLAGS += -Dvpi_register_cb=verilated_vpi_register_cb"
    " -Dvpi_remove_cb=verilated_vpi_remove_cb\n"
)

#: Set in the environment of a bench whose clock runs in C++: its period in time precisions.
VARIABLE = "PIMLOOP_CLOCK_PERIOD"


def start_clock(clock: Any, period: int) -> None:
    """Start the clock of a bench, unless the main program runs it.

    Parameters
    ----------
    clock
        Handle of the clock, `dut.clk_i`; it starts low.
    period
        In time precisions (`unit="step"`).
    """
    if VARIABLE not in os.environ:
        # Only inside a simulator: this file is imported outside of one too.
        from cocotb.clock import Clock

        Clock(clock, period, unit="step").start(start_high=False)
