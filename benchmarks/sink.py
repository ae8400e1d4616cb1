"""A server that takes mail and throws it away: Postfix's smtp-sink."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

MISSING = "smtp-sink is missing; it comes with Postfix: apt-get install --no-install-recommends postfix"
BACKLOG = "100"


@dataclass(frozen=True)
class Sink:
    port: int
    counted: Path

    def messages(self) -> int:
        """How many it has taken so far."""
        told = self.counted.read_text().split("mesg=")
        return int(told[-1].split("\r")[0]) if len(told) > 1 else 0


def program() -> str:
    """Raises SystemExit, saying how to get it, where it is missing."""
    found = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(MISSING)
    return found


@contextmanager
def sink() -> Iterator[Sink]:
    """A sink on a free port of this machine."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    # It refuses to serve as root.
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    with tempfile.NamedTemporaryFile() as counted:
        process = subprocess.Popen(
            [program(), *user, "-c", f"127.0.0.1:{port}", BACKLOG], stdout=counted, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(port)
            yield Sink(port, Path(counted.name))
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with closing(socket.socket()) as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"smtp-sink does not answer on port {port}")
