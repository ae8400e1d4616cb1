"""A port for a server of another process, or for one that is not there."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

# Below those that a system gives to connections, and to whoever asks for any: none of them takes it meanwhile.
FIRST, LAST = 10_000, 32_000


def free_port() -> int:
    """One of 127.0.0.1 on which nobody listens."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
