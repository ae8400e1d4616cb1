"""Where PIPELINE_MAIL sends a message: through which relays, and to which address on the envelope."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from pipeline.adapters.relay_address import parse_url
from pipeline.settings import Settings


class Target(NamedTuple):
    """Where a message really goes: the relay's URL and the address on the envelope."""

    relay_url: str
    address: str


def target(settings: Settings, address: str) -> Target:
    """Where a message for `address` goes, by the preferred relay."""
    return Target(next(iter(relays(settings).values())), envelope(settings, address))


def envelope(settings: Settings, address: str) -> str:
    """The address that a message for `address` really goes to."""
    return settings.mail.removeprefix("redirect:") if settings.mail.startswith("redirect:") else address


def is_live(settings: Settings) -> bool:
    """Whether what goes out reaches whom it is meant for."""
    return settings.mail == "live"


def relays(settings: Settings) -> dict[str, str]:
    """The relays to use, their URLs by their names, the preferred one first."""
    urls = [settings.catcher_url] if settings.mail == "catch" else settings.smtp_urls
    return {str(parse_url(url)): url for url in urls}


def fingerprint(url: str) -> str:
    """Eight digits that change with the URL, password and all, and from which nobody can tell it."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]
