"""What is synthesised: one lane with its neighbours, the control path, its blocks."""

from __future__ import annotations

from pathlib import Path

from pimloop.sim.device.config import synthesizable_sources

RTL = Path(__file__).resolve().parents[2]
#: Harnesses and stand-ins, SystemVerilog that only synthesis has.
SYNTHESIS = RTL / "synth"

LANE_TOP = "pim_lane_harness"
CONTROL_TOP = "pim_top"

#: What a stand-in replaces in the control path: the lanes, which are not control, by registers on
#: every port, and the clock gates, which are latches, by wires.
STAND_INS = ("pim_lanes", "pim_clock_gate")


def lane_sources() -> list[Path]:
    """Return the sources of one lane between the registers of its neighbours."""
    return [RTL / "pim_pkg.sv", RTL / "pim_lane.sv", SYNTHESIS / f"{LANE_TOP}.sv"]


def control_sources() -> list[Path]:
    """Return the sources of the device with stand-ins for what is not control."""
    replaced = {*STAND_INS, "pim_lane"}
    kept = [path for path in synthesizable_sources() if path.stem not in replaced]
    return [*kept, *(SYNTHESIS / f"{name}.sv" for name in STAND_INS)]


def block_name(module: str) -> str | None:
    """Return the block a module of the hierarchical netlist belongs to, None for a stand-in."""
    name = module.split("$")[0]
    return None if name in STAND_INS else name
