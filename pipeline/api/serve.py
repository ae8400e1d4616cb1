"""The process that serves the API: uvicorn on a port of its own, or on a socket that the embedded tree keeps."""

from __future__ import annotations

import argparse
import gc
import socket
from typing import Any

import uvicorn

from pipeline import log
from pipeline.settings import settings

FACTORY = "pipeline.api.app:create_app"
# Seconds that open requests get to end once the process is asked to stop.
GRACE = 3


def serve(host: str | None = None, port: int | None = None, descriptor: int | None = None) -> None:
    """Serve until a signal ends it, on `host` and `port` (default: the settings') or on an inherited socket.

    Raises OSError when the address cannot be listened on.
    """
    configured = settings()
    log.configure(configured)
    listening = (
        socket.socket(fileno=descriptor)
        if descriptor is not None
        else socket.create_server((host or configured.web_host, port or configured.web_port), backlog=128)
    )
    with listening:
        options = uvicorn.Config(
            FACTORY,
            factory=True,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            proxy_headers=bool(configured.web_proxies),
            forwarded_allow_ips=configured.web_proxies,
        )
        Server(options).run(sockets=[listening])


class Server(uvicorn.Server):
    """Lets those go who watch runs before it waits for what is open: they would be waited for in vain."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was loaded stays: to look through it for garbage would hold up a page for a tenth of a second.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app: Any = self.config.loaded_app
        while not hasattr(app, "state"):  # what uvicorn itself puts around it
            app = app.app
        app.state.watchers.close()
        await super().shutdown(sockets)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--socket", type=int, required=True, help="the descriptor of a listening socket")
    serve(descriptor=arguments.parse_args().socket)


if __name__ == "__main__":
    main()
