"""Messages between a host process and its simulator: JSON objects on a SOCK_SEQPACKET pair.

The socket keeps message boundaries and tells at once when the other side is gone. Only the standard
library is imported: the simulator loads this file at its start.
"""

from __future__ import annotations

import json
import socket
from typing import Any

#: Longest message, bytes.
MAX_BYTES = 1 << 16


class PeerGoneError(Exception):
    """The other side closed the socket or died."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one message.

    Raises
    ------
    PeerGoneError
        Nobody is there to receive it.
    """
    try:
        connection.sendall(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionError) as error:
        raise PeerGoneError from error


def receive(connection: socket.socket) -> dict[str, Any]:
    """Return the next message; waits as long as the timeout of the socket.

    Raises
    ------
    PeerGoneError
        There is none and the other side is gone.
    TimeoutError
        None came in time.
    """
    try:
        data = connection.recv(MAX_BYTES)
    except ConnectionError as error:
        raise PeerGoneError from error
    if not data:
        raise PeerGoneError
    message: dict[str, Any] = json.loads(data)
    return message
