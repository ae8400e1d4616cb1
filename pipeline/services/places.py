"""What the ledger calls where a message went: nobody takes a catcher, or another address, for the recipient."""

from __future__ import annotations

import re

CATCHER, REDIRECTED = "mail catcher ", ", redirected to "
# Where requests to webhooks are kept unless mail is live.
OUTBOX = "outbox"
# How our own catcher answers: proof, whatever the place is called.
KEPT = re.compile(r"250 2\.0\.0 kept as (\S+\.eml)")


def name(relay: str, *, catcher: bool, meant: str, address: str) -> str:
    """The name for `relay` where a message that was meant for one address went to `address`."""
    place = f"{CATCHER}{relay}" if catcher else relay
    return place if address == meant else f"{place}{REDIRECTED}{address}"


def instead(place: str | None) -> str | None:
    """The address that the message went to instead of its recipient's, if it did."""
    return (place or "").partition(REDIRECTED)[2] or None


def relay(place: str | None) -> str:
    """The relay alone."""
    return (place or "").partition(REDIRECTED)[0].removeprefix(CATCHER)


def is_caught(place: str | None, reply: str | None) -> bool:
    """Whether the message went to a mail catcher, or a request to the outbox, and so nowhere."""
    return place == OUTBOX or (place or "").startswith(CATCHER) or bool(KEPT.match(reply or ""))
