"""Webhooks: one document as JSON, posted to an HTTP address, signed, under a key by which a repeat is told."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pipeline import __version__
from pipeline.adapters import outbox
from pipeline.adapters.http_answers import TRANSIENT, beginning, retry_after
from pipeline.adapters.mail_faults import RelayDown
from pipeline.destinations import NAMED_HOOK, VARIABLE, Webhook, fill
from pipeline.errors import DefinitionError, PermanentError, StaleClaim
from pipeline.failpoints import failpoint
from pipeline.replies import Kind, Stage, Verdict
from pipeline.settings import environment, settings

if TYPE_CHECKING:
    import httpx

# Seconds for a connection, for each answer, and for the words after its code.
CONNECT, ANSWER, WORDS = 10.0, 60.0, 5.0
# An answer is kept to its first bytes.
KEPT = 1000
TIMESTAMP, SIGNATURE, IDEMPOTENCY = "X-Webhook-Timestamp", "X-Webhook-Signature", "Idempotency-Key"
# It goes on while the machine is suspended, where the system has such a clock.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Request:
    """What is posted where. `server` is what the whole system calls the other side: its scheme, host and port.

    `head` is how the request begins, with the names of secrets instead of them.
    """

    server: str
    url: str
    body: bytes
    headers: Mapping[str, str]
    head: str


def request(webhook: Webhook, values: Mapping[str, str], ident: str, body: bytes, at: float | None = None) -> Request:
    """The request that posts `body` under the idempotency key `ident`, signed for the instant `at` (default: now).

    `values` are what the words in braces of its URL stand for. Raises DefinitionError for a variable of the environment
    that is not set, and PermanentError for a URL that the values make none of.
    """
    url = _filled(_url(webhook.webhook), values)
    stamp = str(int(time.time() if at is None else at))
    ours = {
        "Content-Type": "application/json",
        "User-Agent": f"report-pipeline/{__version__}",
        IDEMPOTENCY: ident,
        TIMESTAMP: stamp,
    }
    if webhook.secret:
        secrets = [one.strip() for one in _resolved(webhook, webhook.secret).split(",")]
        ours[SIGNATURE] = ", ".join(f"sha256={signature(one, stamp, body)}" for one in secrets)
    theirs = {name: _resolved(webhook, text) for name, text in webhook.headers.items()}
    shown = url if _url(webhook.webhook) == webhook.webhook else webhook.webhook
    lines = [f"POST {shown}", *(f"{name}: {value}" for name, value in {**webhook.headers, **ours}.items())]
    return Request(server(webhook.webhook), url, body, {**theirs, **ours}, "\r\n".join(lines))


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256, in hexadecimal digits, over the timestamp, a dot and the body."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def server(written: str) -> str:
    """The server of a webhook, `https://api.example.com`, without a password; of one that is not set, its name."""
    try:
        parts = urlsplit(_url(written))
    except DefinitionError:
        return written
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def fingerprint(webhook: Webhook) -> str:
    """Eight digits that change with its URL, secret and headers, and from which nobody can tell them."""
    known = environment()
    texts = [webhook.webhook, webhook.secret or "", *webhook.headers.values()]
    named = NAMED_HOOK.fullmatch(webhook.webhook)
    found = [known.get(f"PIPELINE_HOOK_{named[1].upper()}_URL", "")] if named else []
    found += [known.get(one or other, "") for text in texts for one, other in VARIABLE.findall(text)]
    return hashlib.sha256("\n".join([*texts, *found]).encode()).hexdigest()[:8]


def _filled(url: str, values: Mapping[str, str]) -> str:
    try:
        return fill(url, values, lambda value: quote(value, safe=""))
    except ValueError as error:
        raise DefinitionError(str(error)) from None


def _url(written: str) -> str:
    named = NAMED_HOOK.fullmatch(written)
    return settings().hook(named[1]).where if named else written


def _resolved(webhook: Webhook, text: str) -> str:
    known = environment()
    for one, other in VARIABLE.findall(text):
        name = one or other
        if not known.get(name):
            raise DefinitionError(f"webhook {webhook.webhook} needs ${name}: set {name} in the environment or in .env")
    return VARIABLE.sub(lambda found: known[found[1] or found[2]], text)


# ---- posting


def post(wanted: Request, before_last: Callable[[], None]) -> Verdict:
    """Post it; `before_last` is called when all but the last byte is written: until then it cannot have been received.

    What `before_last` raises ends the connection, and nothing was received. Returns the answer as a verdict: UNKNOWN
    where none came, or a gateway heard none. Raises RelayDown where it was certainly not received, PermanentError for
    what cannot be sent at all.
    """
    import httpx

    body = _Body(wanted.body, before_last)
    headers = {**wanted.headers, "Content-Length": str(len(wanted.body)), "Accept-Encoding": "identity"}
    try:
        with _client().stream("POST", wanted.url, content=iter(body), headers=headers) as response:
            return _verdict(response)
    except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError) as error:
        # Not the error itself: it may quote a header.
        kind = type(error).__name__
        raise PermanentError(f"webhook {wanted.server}: its URL or a header cannot be sent ({kind})") from None
    except httpx.TransportError as error:
        reason = "timed out" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        if body.is_whole:
            return Verdict(Kind.UNKNOWN, Stage.DOT, 0, f"no answer: {reason}")
        verdict = Verdict(Kind.RELAY_DOWN, Stage.CONNECT, 0, reason)
        raise RelayDown(f"webhook {wanted.server} cannot be reached: {reason}", verdict) from error


class _Body:
    """The bytes of a request, of which the last one is held back until it is announced."""

    def __init__(self, data: bytes, before_last: Callable[[], None]) -> None:
        self.data, self.before_last, self.is_whole = data, before_last, False

    def __iter__(self) -> Iterator[bytes]:
        yield self.data[:-1]
        failpoint("hook.body")
        began = time.clock_gettime(CLOCK)
        self.before_last()
        failpoint("hook.committed")
        if time.clock_gettime(CLOCK) - began > settings().lease:
            raise StaleClaim("this process slept between announcing a request and sending it")
        self.is_whole = True
        yield self.data[-1:]
        failpoint("hook.sent")


def _verdict(response: httpx.Response) -> Verdict:
    """2xx: taken; 408, 425, 429 and 5xx: later; everything else for good. Redirects lead the document to strangers."""
    code = response.status_code
    said = f"{response.reason_phrase} {beginning(response, KEPT, WORDS)}".strip()
    if 300 <= code < 400:
        said = f"{said} (redirects are not followed: write the address that it names)"
    return Verdict(_kind(code), Stage.DOT, code, said[:KEPT], wait=retry_after(response))


def _kind(code: int) -> Kind:
    if 200 <= code < 300:
        return Kind.ACCEPTED
    if code in {502, 504}:  # a gateway says that it has heard no answer
        return Kind.UNKNOWN
    if code == 429:
        return Kind.THROTTLED
    return Kind.RECIPIENT_TRANSIENT if code in TRANSIENT or code >= 500 else Kind.RECIPIENT_OTHER


@cache
def _client() -> httpx.Client:
    """This process's connections; a forked child begins with none."""
    import httpx

    patience = httpx.Timeout(ANSWER, connect=CONNECT)
    return httpx.Client(timeout=patience, follow_redirects=False, limits=httpx.Limits(keepalive_expiry=5))


os.register_at_fork(after_in_child=_client.cache_clear)


def keep(wanted: Request, ident: str, at: datetime, before_last: Callable[[], None]) -> Verdict:
    """Keep the request in the outbox instead, word by word as it would be sent."""
    before_last()
    name = outbox.keep(f"{wanted.head}\r\n\r\n".encode() + wanted.body, ident, at, wanted.server, "http")
    return Verdict(Kind.ACCEPTED, Stage.DOT, 0, f"kept as {name}")
