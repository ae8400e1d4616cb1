"""Around every answer: headers that keep browsers careful, a limit to what is sent, and a sentence where a bug is."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline import log
from pipeline.api.problems import problem

logger = log.get(__name__)
# Bytes that one request may send.
LARGEST_BODY = 1_000_000
# What an answer has that does not say otherwise: pages have a Content-Security-Policy of their own.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Whoever came over TLS, here or at a proxy in front, comes so for the next half year.
TLS_ONLY = "max-age=15552000"


class Shield:
    """The outermost part of the application, for the API and for pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", TLS_ONLY)
            await send(message)

        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # No name, address or mark has one, and PostgreSQL takes none.
            await problem(400, "the address has a NUL in it")(scope, receive, answer)
            return
        if int(_length(scope)) > LARGEST_BODY:
            await problem(413, _too_large())(scope, receive, answer)
            return
        try:
            await self._app(scope, _bounded(receive), answer)
        except Exception:
            # Not the path as it was asked for: in links it is a secret.
            logger.exception("a request failed", path=getattr(scope.get("route"), "path", None))
            if begun:
                raise
            sentence = "something went wrong here that is no mistake of yours: the log of the web process says what"
            await problem(500, sentence)(scope, receive, answer)


def _length(scope: Scope) -> str:
    said = Headers(scope=scope).get("Content-Length", "0")
    return said if said.isascii() and said.isdigit() else "0"


def _bounded(receive: Receive) -> Receive:
    """For a body that comes in pieces and does not say how long it is."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY:
            raise HTTPException(413, _too_large())
        return message

    return bounded


def _too_large() -> str:
    return f"the request's body is too large: it may have {LARGEST_BODY:,} bytes"
