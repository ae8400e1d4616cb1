"""What an HTTP server says besides its code: how long it asks to be left alone, and its first words."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

# Too early, too many, or too late: the server's trouble, as 5xx is.
TRANSIENT = frozenset({408, 425, 429})


def retry_after(response: httpx.Response) -> float | None:
    """Give the seconds that Retry-After asks for, which is a number or a date (RFC 9110, 10.2.3)."""
    asked = response.headers.get("retry-after", "").strip()
    if asked.isdigit():
        return float(asked)
    try:
        now = parsedate_to_datetime(response.headers["date"]) if "date" in response.headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(asked) - now).total_seconds())
    except (TypeError, ValueError):
        return None


def beginning(response: httpx.Response, most: int, patience: float) -> str:
    """The first words of an answer, of `most` bytes; its code has been heard: one that never ends is no matter."""
    import httpx

    read, began = b"", time.monotonic()
    with suppress(httpx.RequestError):
        for piece in response.iter_bytes():
            read += piece
            if len(read) >= most or time.monotonic() - began > patience:
                break
    return " ".join(read[:most].decode(errors="replace").split())
