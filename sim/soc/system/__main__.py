"""Writes the SoC as Verilog: `python -m pimloop.sim.soc.system FOLDER`, the request on stdin.

It runs as a process of its own (`pimloop.sim.soc.machine`), because LiteX logs, and writes files
into the current folder. VexRiscv fetches and loads through its Wishbone ports; the bus is 32 bits
wide, of the standard that is asked for. The device's registers are an AXI4-Lite slave of it and its
512-bit AXI4 master a master of it. All adapters between are LiteX's own.

Beside the Verilog it writes `soc.h`, the addresses for the program, and `soc.json`, the sources.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.gen import LiteXModule
from litex.soc.integration import export
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCCore
from litex.soc.interconnect import axi
from litex.soc.interconnect.csr import CSRStorage
from migen import ClockSignal, If, Instance, ResetSignal, Signal

NAME = "pimloop_soc"
CLOCK_HZ = 100_000_000  # what the program takes for a second
ROM_BYTES = 1 << 16
SRAM_BYTES = 1 << 14
MAIN_RAM_BYTES = 1 << 20
DEVICE_ADDRESS = 0x9000_0000  # in VexRiscv's range without a cache
DEVICE_BYTES = 1 << 12

_IO = [
    ("sys_clk", 0, Pins(1)),
    ("sys_rst", 0, Pins(1)),
    (
        "serial",
        0,
        *(
            Subsignal(f"{end}_{name}", Pins(bits))
            for end in ("source", "sink")
            for name, bits in (("valid", 1), ("ready", 1), ("data", 8))
        ),
    ),
    ("finish", 0, Subsignal("done", Pins(1)), Subsignal("code", Pins(32))),
]


def make_soc(bus: str, device: Mapping[str, int]) -> Any:
    """Return the SoC, not yet finalized.

    Parameters
    ----------
    bus
        Standard of its bus: "axi", "axi-lite" or "wishbone".
    device
        Parameters of `pim_soc_device`.
    """
    platform = SimPlatform("SIM", list(_IO))
    soc = SoCCore(
        platform,
        CLOCK_HZ,
        cpu_type="vexriscv",
        cpu_variant="full",
        bus_standard=bus,
        bus_interconnect="shared",
        integrated_rom_size=ROM_BYTES,
        integrated_rom_init=[0],  # makes it read its file, which a run replaces
        integrated_sram_size=SRAM_BYTES,
        integrated_main_ram_size=MAIN_RAM_BYTES,
        integrated_main_ram_init=[0],
        uart_name="sim",
        with_timer=False,
    )
    soc.crg = CRG(platform.request("sys_clk"), rst=platform.request("sys_rst"))
    _add_finish(soc, platform.request("finish"))
    _add_device(soc, device)
    return soc


def _add_finish(soc: Any, pads: Any) -> None:
    """Add a register by which the program ends the run with an exit code."""
    soc.finish = LiteXModule()
    soc.finish._code = code = CSRStorage(32)
    soc.comb += pads.code.eq(code.storage)
    soc.sync += If(code.re, pads.done.eq(1))


def _add_device(soc: Any, parameters: Mapping[str, int]) -> None:
    registers = axi.AXILiteInterface(data_width=32, address_width=32)
    region = SoCRegion(origin=DEVICE_ADDRESS, size=DEVICE_BYTES, cached=False)
    soc.bus.add_slave("pim", registers, region)
    memory = axi.AXIInterface(data_width=512, address_width=32)
    soc.bus.add_master("pim", memory)
    interrupt = Signal()
    soc.irq.add("pim")
    soc.comb += soc.cpu.interrupt[soc.irq.locs["pim"]].eq(interrupt)
    soc.specials += Instance(
        "pim_soc_device",
        # A number of Migen's would have as few bits as its value needs.
        **{f"p_{name}": Instance.PreformattedParam(str(v)) for name, v in parameters.items()},
        i_clk_i=ClockSignal("sys"),
        i_rst_ni=~ResetSignal("sys"),
        o_irq_o=interrupt,
        **dict(_ports("s_axil", registers, True)),
        **dict(_ports("m_axi", memory, False)),
    )


def _ports(prefix: str, bus: Any, slave: bool) -> Iterator[tuple[str, Any]]:
    """Yield the ports of the device for one of its buses, each with LiteX's signal."""
    fields = {
        "aw": ("addr",) if slave else ("addr", "len", "size", "burst"),
        "w": ("data", "strb") if slave else ("data", "strb", "last"),
        "b": ("resp",),
        "ar": ("addr",) if slave else ("addr", "len", "size", "burst"),
        "r": ("data", "resp") if slave else ("data", "resp", "last"),
    }
    for channel, names in fields.items():
        endpoint = getattr(bus, channel)
        # What the master of a bus drives goes into the slave.
        driven_by_device = (channel in ("b", "r")) == slave
        for name in (*names, "valid", "ready"):
            output = driven_by_device != (name == "ready")
            signal = getattr(endpoint, name)
            yield f"{'o' if output else 'i'}_{prefix}_{channel}{name}", signal


def header(soc: Any) -> str:
    """Return the addresses of a finalized SoC as a C header."""
    described = json.loads(export.get_csr_json(soc.csr_regions, soc.constants, soc.mem_regions))
    registers, memories = described["csr_registers"], described["memories"]
    values = {
        "CLOCK_HZ": CLOCK_HZ,
        "UART_RXTX": registers["uart_rxtx"]["addr"],
        "UART_TXFULL": registers["uart_txfull"]["addr"],
        "UART_TXEMPTY": registers["uart_txempty"]["addr"],
        "FINISH": registers["finish_code"]["addr"],
        "PIM": memories["pim"]["base"],
        "PIM_INTERRUPT": described["constants"]["pim_interrupt"],
        **{f"{name.upper()}": memories[name]["base"] for name in ("rom", "sram", "main_ram")},
        **{f"{name.upper()}_BYTES": memories[name]["size"] for name in ("rom", "sram", "main_ram")},
    }
    lines = [f"#define SOC_{name} 0x{value:X}" for name, value in values.items()]
    return "\n".join(["/* Written by LiteX's description of the SoC. */", *lines, ""])


def main() -> None:
    """Write the SoC that the standard input describes into the folder that the argument names."""
    request = json.load(sys.stdin)
    os.chdir(sys.argv[1])
    soc = make_soc(request["bus"], request["device"])
    soc.finalize()
    soc.platform.get_verilog(soc, name=NAME, regular_comb=False).write(f"{NAME}.v")
    verilog = Path(f"{NAME}.v")
    # The comments have the time in them, and a build is named by what it is made from.
    lines = verilog.read_text(encoding="utf-8").splitlines()
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("//")]
    verilog.write_text("\n".join([*code, ""]), encoding="utf-8")
    Path("soc.h").write_text(header(soc), encoding="utf-8")
    sources = [name for name, language, _ in soc.platform.sources if language == "verilog"]
    Path("soc.json").write_text(json.dumps({"sources": sources}), encoding="utf-8")


if __name__ == "__main__":
    main()
