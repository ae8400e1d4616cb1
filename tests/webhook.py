"""A webhook's other side: a real HTTP server on loopback that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is a test's intention."""


class Webhook:
    """`answers` are taken in turn, each a code, a body and headers; afterwards everything is `200 ok`.

    A code of 0 hangs up without a word. What does not come whole is no request.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[tuple[int, str, dict[str, str]]] = []
        # Seconds that each answer takes.
        self.slow = 0.0
        self._server = Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, code: int, body: str = "", **headers: str) -> None:
        self.answers.append((code, body, {name.replace("_", "-"): value for name, value in headers.items()}))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(webhook) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    return
                webhook.requests.append(Request(self.command, self.path, dict(self.headers), body))
                code, text, headers = webhook.answers.pop(0) if webhook.answers else (200, "ok", {})
                time.sleep(webhook.slow)
                if not code:
                    self.close_connection = True
                    return
                self.send_response(code)
                for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.stop()
