"""How long an HTTP server asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


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
