"""A relay's URL, read: where it listens, and how it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.errors import DefinitionError
from pipeline.settings import masked


@dataclass(frozen=True)
class Address:
    """Where a relay listens, and how it is spoken to. `starttls`: required, optional or never."""

    host: str
    port: int
    tls: bool
    starttls: str
    user: str | None
    password: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_url(url: str) -> Address:
    """`smtp://user:password@host:port?starttls=required|optional|never` or `smtps://…`; credentials percent-encoded.

    Without a port: 465 for smtps, 587 with a user, else 25. Without starttls: with a user required, unless the host
    is this machine; else optional, which is: used where offered. Certificates are verified. Raises DefinitionError.
    """
    parts, place = urlsplit(url), f'relay "{masked(url)}"'
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise DefinitionError("must look like smtp://user:password@host:port or smtps://host", place=place)
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    starttls = options.pop("starttls", "required" if parts.username and not local else "optional")
    if options or starttls not in {"required", "optional", "never"}:
        raise DefinitionError("knows one option: starttls=required, optional or never", place=place)
    try:
        port = parts.port or (465 if parts.scheme == "smtps" else 587 if parts.username else 25)
    except ValueError:
        raise DefinitionError("needs a port between 1 and 65535", place=place) from None
    user = unquote(parts.username) if parts.username else None
    return Address(parts.hostname, port, parts.scheme == "smtps", starttls, user, unquote(parts.password or ""))
