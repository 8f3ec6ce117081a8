"""What is synthesised: one lane with its neighbours, the control path, its blocks."""

from __future__ import annotations

from pathlib import Path

from pimloop.sim.device.config import primitive_sources, synthesizable_sources

RTL = Path(__file__).resolve().parents[2]
#: Harnesses and stand-ins, SystemVerilog that only synthesis has.
SYNTHESIS = RTL / "synth"

LANE_TOP = "pim_lane_harness"
CONTROL_TOP = "pim_top"
SCHEDULER_TOP = "pim_sched_harness"

#: Lanes with their neighbours, by their names in docs/synthesis.md: title, parameters.
LANES: dict[str, tuple[str, dict[str, int]]] = {
    "lane": ("one lane with its neighbours", {}),
    "lane-integers": ("one lane with integers, and its neighbours", {"Integers": 1}),
}

#: Parameters of the control path: the stand-in for the lanes.
CONTROL_PARAMETERS = {"ControlOnly": 1}

#: Registers on every port, which stand in for the lanes: they are not control.
STAND_IN = "pim_lanes_stand_in"

#: Not counted: the stand-in, and clock gates, which are wires here (`PIM_NO_CLOCK_GATES`).
NOT_COUNTED = (STAND_IN, "pim_clock_gate")

_PACKAGES = ("pim_isa_pkg", "pim_pkg")

_LANE = (*_PACKAGES, "pim_lane", "pim_lane_unpack")


def lane_sources() -> list[Path]:
    """Return the sources of one lane between the registers of its neighbours."""
    return [*(RTL / f"{name}.sv" for name in _LANE), SYNTHESIS / f"{LANE_TOP}.sv"]


def control_sources() -> list[Path]:
    """Return the sources of the device with a stand-in for the lanes."""
    return [*synthesizable_sources(), SYNTHESIS / f"{STAND_IN}.sv"]


def scheduler_sources() -> list[Path]:
    """Return the sources of the scheduler between registers, fed by `pim_spans`."""
    kept = [p for p in synthesizable_sources() if p.stem in _PACKAGES or "sched" in p.stem]
    return [*primitive_sources(), *kept, RTL / "pim_spans.sv", SYNTHESIS / f"{SCHEDULER_TOP}.sv"]


def block_name(module: str) -> str | None:
    """Return the block a module of the hierarchical netlist belongs to, None: not counted."""
    name = module.split("$")[0]
    return None if name in NOT_COUNTED else name
