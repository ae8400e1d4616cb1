"""What others ask of beat: its metrics and its health over HTTP; and a call to a monitor outside, minute by minute."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline import log
from pipeline.db import reading
from pipeline.errors import PermanentError, TransientError
from pipeline.services.health import beat_trouble
from pipeline.settings import settings

logger = log.get(__name__)
# Seconds between two calls of PIPELINE_HEARTBEAT_URL, and until one is given up.
MINUTE, PATIENCE = 60.0, 10.0
# Seconds after which the listener looks whether beat has ended.
GLANCE = 0.5
TEXT = "text/plain; version=0.0.4; charset=utf-8"


def exposition() -> bytes:
    """All metrics as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest

    from pipeline.services.metrics import metrics

    class Rows:
        def collect(self) -> Any:
            with reading() as session:
                yield from metrics(session)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    return generate_latest(registry)


def trouble() -> str | None:
    """What is wrong with this host's beat; None where it is well."""
    with reading() as session:
        return beat_trouble(session)


class Handler(BaseHTTPRequestHandler):
    """`/metrics` and `/healthz`, and nothing else."""

    timeout = PATIENCE

    def do_GET(self) -> None:
        answers = {"/metrics": self._metrics, "/healthz": self._health}
        answer = answers.get(self.path.partition("?")[0])
        try:
            status, kind, body = answer() if answer else (HTTPStatus.NOT_FOUND, TEXT, b"/metrics or /healthz\n")
        except Exception as error:  # noqa: BLE001 - whoever asks is answered, also where the database is away
            logger.warning("beat could not say how it is", path=self.path, error=f"{type(error).__name__}: {error}")
            status, kind, body = HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{type(error).__name__}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def _metrics(self) -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, TEXT, exposition()

    def _health(self) -> tuple[HTTPStatus, str, bytes]:
        found = trouble()
        status = HTTPStatus.SERVICE_UNAVAILABLE if found else HTTPStatus.OK
        said = {"status": "ill", "trouble": found} if found else {"status": "ok"}
        return status, "application/json", json.dumps(said).encode() + b"\n"

    def log_message(self, *_: Any) -> None:
        """A scrape every few seconds is no news."""


class Vitals:
    """Threads of one beat: one answers on PIPELINE_METRICS_PORT, one calls PIPELINE_HEARTBEAT_URL while beat is well.

    `safely` carries out a piece of work and swallows, and tells, whatever goes wrong with it; the threads end soon
    after `stopped` is set.
    """

    def __init__(self, safely: Callable[[Callable[[], object]], object], stopped: threading.Event) -> None:
        self._safely, self._stopped = safely, stopped

    def start(self) -> list[threading.Thread]:
        """The threads that the settings ask for, running."""
        work = {
            "beat-pulse": self._pulse if settings().heartbeat_url else None,
            "beat-listener": self._listen if settings().metrics_port else None,
        }
        threads = [threading.Thread(target=target, name=name, daemon=True) for name, target in work.items() if target]
        for thread in threads:
            thread.start()
        return threads

    def _pulse(self) -> None:
        while True:
            self._safely(pulse)
            if self._stopped.wait(MINUTE):
                return

    def _listen(self) -> None:
        while not self._stopped.is_set():
            self._safely(self._serve)
            self._stopped.wait(MINUTE)  # the port is taken: by a beat that is about to end, perhaps

    def _serve(self) -> None:
        where = (settings().metrics_host, settings().metrics_port or 0)
        try:
            server = ThreadingHTTPServer(where, Handler)
        except OSError as error:
            raise PermanentError(f"PIPELINE_METRICS_PORT: {where[0]}:{where[1]}: {error.strerror or error}") from error
        server.daemon_threads, server.timeout = True, GLANCE
        logger.info("metrics are served", url=f"http://{where[0]}:{server.server_port}/metrics")
        with server:
            while not self._stopped.is_set():
                server.handle_request()


def pulse() -> None:
    """One call. Raises TransientError where the monitor did not take it, and where beat is not well."""
    import httpx

    found = trouble()
    if found:
        raise TransientError(f"the monitor is not called: {found}")
    url = settings().heartbeat_url.replace("{host}", socket.gethostname())
    try:
        response = httpx.get(url, timeout=PATIENCE, follow_redirects=True)
    except httpx.RequestError as error:
        raise TransientError(f"PIPELINE_HEARTBEAT_URL does not answer: {error or type(error).__name__}") from error
    except httpx.InvalidURL as error:
        raise PermanentError(f"PIPELINE_HEARTBEAT_URL cannot be called: {error}") from error
    if response.is_error:
        raise TransientError(f"PIPELINE_HEARTBEAT_URL answered {response.status_code}")
