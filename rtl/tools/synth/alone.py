"""Blocks of the control path placed and routed alone, between registers on every port.

A block alone shows which clock it holds by itself: the paths inside it, and those from and to its
ports as long as the neighbour has a register there. Its parameters are those of its instance in the
device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pimloop.rtl.tools.synth import designs
from pimloop.rtl.tools.synth.tools import COMMANDS, ROOT, WORK, SynthError, read_design, yosys

#: What the netlist of the device before synthesis is called in the work folder.
_ELABORATED = "control-elaborated"

_TOP = "alone"
_CLOCK = "clk_i"


@dataclass(frozen=True)
class Port:
    """A port of a block."""

    name: str
    bits: int
    is_input: bool


@dataclass(frozen=True)
class Block:
    """A block as it is in the device."""

    name: str
    module: str  # its name in the netlist, with the path of the instance
    ports: tuple[Port, ...]  # without the clock


def elaborate(names: Sequence[str] = ()) -> list[Block]:
    """Elaborate the device and return its blocks, or those that are named, in order.

    Of a block with several instances the first one is returned.

    Raises
    ------
    SynthError
        The device has no block of a name.
    """
    out = WORK.relative_to(ROOT)
    read = read_design(
        designs.CONTROL_TOP,
        designs.control_sources(),
        hierarchy=True,
        params=designs.CONTROL_PARAMETERS,
    )
    yosys(
        f"{read}\nproc\nwrite_rtlil {out}/{_ELABORATED}.il\nwrite_json {out}/{_ELABORATED}.json\n",
        _ELABORATED,
    )
    modules: dict[str, Any] = json.loads((WORK / f"{_ELABORATED}.json").read_text("utf-8"))[
        "modules"
    ]
    blocks: dict[str, Block] = {}
    for key in sorted(modules):
        module = key.lstrip("\\")
        name = designs.block_name(module)
        ports = _ports(modules[key]["ports"])
        if name is not None and name != designs.CONTROL_TOP and ports:
            blocks.setdefault(name, Block(name, module, ports))
    for name in names:
        if name not in blocks:
            raise SynthError(f"no block {name}; there are {', '.join(blocks)}")
    return [blocks[name] for name in names or blocks]


def _ports(ports: Mapping[str, Any]) -> tuple[Port, ...]:
    return tuple(
        Port(name, len(port["bits"]), port["direction"] == "input")
        for name, port in ports.items()
        if name != _CLOCK
    )


def harness(block: Block) -> str:
    """Return Verilog of a module around the block, with a register on every port."""
    declared = [f"input {_CLOCK}"]
    body: list[str] = []
    moves: list[str] = []
    pins = [f".{_CLOCK}({_CLOCK})"]
    for port in block.ports:
        span = f"[{port.bits - 1}:0]"
        name = port.name
        if port.is_input:
            declared.append(f"input {span} {name}")
            body.append(f"  reg {span} {name}_q;")
            moves.append(f"    {name}_q <= {name};")
            pins.append(f".{name}({name}_q)")
        else:
            declared.append(f"output reg {span} {name}")
            body.append(f"  wire {span} {name}_d;")
            moves.append(f"    {name} <= {name}_d;")
            pins.append(f".{name}({name}_d)")
    lines = [f"module {_TOP} (", ",\n".join(f"  {line}" for line in declared), ");", *body]
    lines += [f"  \\{block.module} u_block (", ",\n".join(f"    {pin}" for pin in pins), "  );"]
    lines += [f"  always @(posedge {_CLOCK}) begin", *moves, "  end", "endmodule", ""]
    return "\n".join(lines)


def synthesise_alone(block: Block) -> str:
    """Synthesise a block between registers for ECP5; return the name of its netlist."""
    name = f"alone-{block.name}"
    out = WORK.relative_to(ROOT)
    (WORK / f"{name}.v").write_text(harness(block), encoding="utf-8")
    yosys(
        f"read_rtlil {out}/{_ELABORATED}.il\nread_verilog {out}/{name}.v\n"
        f"hierarchy -top {_TOP}\n{COMMANDS['ecp5']} -top {_TOP}\nwrite_json {out}/{name}.json\n",
        name,
    )
    return name
