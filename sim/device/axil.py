"""AXI4-Lite master of the device server: one register access at a time, every wait bounded."""

from __future__ import annotations

from typing import Any

from cocotb.triggers import FallingEdge, RisingEdge

from pimloop.sim.errors import SimError

#: Cycles after which an access is given up.
ACCESS_CYCLES = 1000

_OKAY = 0


class RegisterError(SimError):
    """The register bus answered with an error, or not at all."""


class RegisterBus:
    """Drives the `s_axil_*` ports of `dut`.

    Parameters
    ----------
    dut
        Handle of the top module.
    """

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._edge = RisingEdge(dut.clk_i)
        # An access starts in mid-cycle: who was woken by a timer at the very time of a rising edge
        # would otherwise see that edge before what it drives has arrived.
        self._start = FallingEdge(dut.clk_i)
        for name in ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready"):
            self._port(name).value = 0
        for name in ("araddr", "arvalid", "rready"):
            self._port(name).value = 0

    def _port(self, name: str) -> Any:
        return getattr(self._dut, f"s_axil_{name}")

    async def write(self, offset: int, value: int) -> None:
        """Write a 32-bit register.

        Raises
        ------
        RegisterError
            The response is an error, or there is none within ACCESS_CYCLES.
        """
        await self._start
        self._port("awaddr").value = offset
        self._port("wdata").value = value
        self._port("wstrb").value = 0xF
        waiting = ["aw", "w"]
        for channel in waiting:
            self._port(f"{channel}valid").value = 1
        self._port("bready").value = 1
        for _ in range(ACCESS_CYCLES):
            # At the edge the values are those before it: what the flip-flops see.
            await self._edge
            for channel in list(waiting):
                if self._port(f"{channel}ready").value == 1:
                    self._port(f"{channel}valid").value = 0
                    waiting.remove(channel)
            if self._port("bvalid").value == 1:
                self._port("bready").value = 0
                self._check(int(self._port("bresp").value), "write of", offset)
                return
        raise self._stuck("write of", offset, ("awvalid", "wvalid", "bready"))

    async def read(self, offset: int) -> int:
        """Return a 32-bit register.

        Raises
        ------
        RegisterError
            The response is an error, or there is none within ACCESS_CYCLES.
        """
        await self._start
        self._port("araddr").value = offset
        self._port("arvalid").value = 1
        self._port("rready").value = 1
        asking = True
        for _ in range(ACCESS_CYCLES):
            await self._edge
            if asking and self._port("arready").value == 1:
                self._port("arvalid").value = 0
                asking = False
            if self._port("rvalid").value == 1:
                self._port("rready").value = 0
                self._check(int(self._port("rresp").value), "read of", offset)
                return int(self._port("rdata").value)
        raise self._stuck("read of", offset, ("arvalid", "rready"))

    def _check(self, response: int, access: str, offset: int) -> None:
        if response != _OKAY:
            raise RegisterError(f"{access} register 0x{offset:03X}: bus error {response}")

    def _stuck(self, access: str, offset: int, driven: tuple[str, ...]) -> RegisterError:
        for name in driven:
            self._port(name).value = 0
        return RegisterError(
            f"{access} register 0x{offset:03X}: no response within {ACCESS_CYCLES} cycles"
        )
