"""The device server: a cocotb test that does what the host process asks over a socket.

It runs inside the simulator (`pimloop.sim.device.process` starts it) and imports only cocotb and
the standard library, so that it starts fast. While the device works on a list, simulated time runs
and Python is called only for the interrupt, the end of the list, or after a slice of time to look
at the socket. While the device is idle, Python waits on the socket and simulated time stands still.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

import cocotb
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer

from pimloop.sim.device.axil import RegisterBus, RegisterError
from pimloop.sim.device.wire import PeerGoneError, receive, send

#: Cycles the reset is held, and that follow it before anything else.
RESET_CYCLES = 16

#: Cycles after the end of a list in which its interrupt has to come.
IRQ_GRACE_CYCLES = 64

#: Wall time between two looks at the socket while simulated time runs, seconds.
SLICE_SECONDS = 0.02

_FIRST_SLICE_CYCLES = 20_000
_MOST_SLICE_CYCLES = 1 << 30

_COUNTERS = ("pimloop_cycles", "pimloop_fast_cycles", "pimloop_fast_ns")


class Server:
    """Answers the requests of one host.

    Parameters
    ----------
    dut
        Handle of the top module.
    connection
        Socket to the host.
    period
        Of the clock, in time precisions.
    events
        File for one JSON line for every request, or None.
    """

    def __init__(
        self, dut: Any, connection: socket.socket, period: int, events: TextIO | None
    ) -> None:
        self._dut = dut
        self._connection = connection
        self._period = period
        self._events = events
        self._bus = RegisterBus(dut)
        self._slice_cycles = _FIRST_SLICE_CYCLES
        self._program = ctypes.CDLL(None)
        for name in _COUNTERS:
            getattr(self._program, name).restype = ctypes.c_uint64
        self._operations: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "read32": self._read32,
            "write32": self._write32,
            "wait_irq": self._wait_irq,
            "reset": self._reset,
            "script": self._script,
            "trace_open": self._trace_open,
            "trace_close": self._trace_close,
            "memory_error": self._memory_error,
            "stats": self._stats,
        }

    async def run(self) -> None:
        """Serve until the host says `close` or is gone."""
        await self._reset()
        send(self._connection, {"ready": True})
        while True:
            await self._run_while_busy()
            request = receive(self._connection)
            operation = request.pop("op")
            if operation == "close":
                send(self._connection, {})
                return
            try:
                answer = await self._operations[operation](**request)
            except RegisterError as error:
                answer = {"error": str(error)}
            self._record(operation, request, answer)
            send(self._connection, answer)

    def _record(self, operation: str, request: dict[str, Any], answer: dict[str, Any]) -> None:
        if self._events is None:
            return
        event = {"t": time.time(), "cycle": self._program.pimloop_cycles(), "op": operation}
        self._events.write(json.dumps(event | request | {"answer": answer}) + "\n")
        self._events.flush()

    # ---- Simulated time.

    def _host_waits(self) -> bool:
        """Whether a message, or the end of the host, is there to be received."""
        return bool(select.select([self._connection], [], [], 0)[0])

    async def _slice(self, *triggers: Any) -> None:
        """Let time run until a trigger fires, for about SLICE_SECONDS of wall time."""
        cycles = self._slice_cycles
        before = self._program.pimloop_cycles()
        started = time.monotonic()
        await First(*triggers, Timer(cycles * self._period, unit="step"))
        if self._program.pimloop_cycles() - before >= cycles:
            # A full slice: adjust the next to the speed seen.
            scale = SLICE_SECONDS / max(time.monotonic() - started, 1e-6)
            wanted = int(cycles * min(max(scale, 0.25), 4.0))
            self._slice_cycles = min(max(wanted, 1), _MOST_SLICE_CYCLES)

    async def _run_while_busy(self) -> None:
        """Let the device work until it has finished or the host wants something."""
        while self._dut.busy_o.value == 1 and not self._host_waits():
            await self._slice(FallingEdge(self._dut.busy_o))

    # ---- Operations.

    async def _read32(self, offset: int) -> dict[str, Any]:
        return {"value": await self._bus.read(offset)}

    async def _write32(self, offset: int, value: int) -> dict[str, Any]:
        await self._bus.write(offset, value)
        return {}

    async def _wait_irq(self, timeout: float) -> dict[str, Any]:
        """Wait for the interrupt; `timeout` says why none came."""
        deadline = time.monotonic() + timeout
        irq, busy = self._dut.irq_o, self._dut.busy_o
        while irq.value == 0:
            if time.monotonic() >= deadline:
                return {"timeout": f"no interrupt within {timeout:g} s"}
            if self._host_waits():
                raise PeerGoneError  # the host asks nothing while it waits: this is its end
            if busy.value == 1:
                await self._slice(RisingEdge(irq), FallingEdge(busy))
                continue
            grace = Timer(IRQ_GRACE_CYCLES * self._period, unit="step")
            await First(RisingEdge(irq), RisingEdge(busy), grace)
            if irq.value == 0 and busy.value == 0:
                return {"timeout": "the device is idle and raises no interrupt"}
        return {}

    async def _reset(self) -> dict[str, Any]:
        self._dut.rst_ni.value = 0
        await Timer(RESET_CYCLES * self._period, unit="step")
        self._dut.rst_ni.value = 1
        await Timer(RESET_CYCLES * self._period, unit="step")
        return {}

    async def _script(self, steps: list[list[Any]]) -> dict[str, Any]:
        """Do several accesses and pauses with nothing in between; return what was read."""
        values = []
        for name, *arguments in steps:
            if name == "delay":
                await Timer(arguments[0] * self._period, unit="step")
            elif name == "read":
                values.append(await self._bus.read(arguments[0]))
            elif name == "write":
                await self._bus.write(*arguments)
            else:
                await self._reset()
        return {"values": values}

    async def _trace_open(self, path: str) -> dict[str, Any]:
        if not self._program.pimloop_trace_open(path.encode()):
            return {"error": f"cannot write the waveform {path}, or one is being written already"}
        return {}

    async def _trace_close(self) -> dict[str, Any]:
        self._program.pimloop_trace_close()
        return {}

    async def _memory_error(self, address: int) -> dict[str, Any]:
        self._program.pimloop_hostmem_error(ctypes.c_uint64(address))
        return {}

    async def _stats(self) -> dict[str, Any]:
        return {name.removeprefix("pimloop_"): getattr(self._program, name)() for name in _COUNTERS}


@cocotb.test()
async def serve(dut: Any) -> None:
    """Serve the host whose socket is $PIMLOOP_SOCKET_FD."""
    event_path = os.environ.get("PIMLOOP_EVENT_LOG")
    events = open(event_path, "w", encoding="utf-8") if event_path else None  # noqa: SIM115
    with socket.socket(fileno=int(os.environ["PIMLOOP_SOCKET_FD"])) as connection:
        period = int(os.environ["PIMLOOP_CLOCK_PERIOD"])
        try:
            await Server(dut, connection, period, events).run()
        except PeerGoneError:
            sys.stderr.write("device server: the host is gone\n")
        finally:
            if events is not None:
                events.close()
