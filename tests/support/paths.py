"""Where the tests and what they read lie, whatever folder a test is in."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent

#: SystemVerilog of the simulator's tests: a counter, and a stand-in for the device.
SIM_RTL = TESTS / "sim" / "rtl"
