"""Runs a C program on a device of this process: its registers over a socket, its memory shared."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from pimloop.host.pim.device.base import Device, DeviceTimeoutError

_READ, _WRITE, _WAIT = range(3)


def run_on(
    device: Device, memory: Path, command: Sequence[str | Path], size: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that was linked with `socket_board.c`.

    Parameters
    ----------
    device
        Answers its register accesses and waits.
    memory
        A path of the memory that is `device.buffer`.
    size
        Bytes of it that the program is given; None: all.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    shared = os.open(memory, os.O_RDWR)
    server = threading.Thread(target=_serve, args=(device, ours), daemon=True)
    server.start()
    environment = os.environ | {
        "PIMLOOP_TEST_SOCKET": str(theirs.fileno()),
        "PIMLOOP_TEST_MEMORY": str(shared),
        "PIMLOOP_TEST_ADDRESS": str(device.buffer_address),
        "PIMLOOP_TEST_BYTES": str(device.buffer.size if size is None else size),
    }
    try:
        return subprocess.run(
            command,
            env=environment,
            pass_fds=(theirs.fileno(), shared),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        theirs.close()
        os.close(shared)
        server.join()


def _serve(device: Device, connection: socket.socket) -> None:
    with connection:
        while request := connection.recv(12):
            operation, first, second = struct.unpack("<III", request)
            answer = 0
            if operation == _READ:
                answer = device.read32(first)
            elif operation == _WRITE:
                device.write32(first, second)
            elif operation == _WAIT:
                try:
                    device.wait_irq(first / 1e3)
                except DeviceTimeoutError:
                    answer = 1
            connection.send(struct.pack("<I", answer))
