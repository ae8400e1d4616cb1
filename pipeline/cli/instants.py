"""Instants as people type them: so long ago or ahead, a day, or a day and a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline import timing
from pipeline.errors import Refused


def read(option: str, text: str, zone: str, *, ahead: bool = False, end: bool = False) -> datetime:
    """The instant (UTC) that `text` means: `30d` from now, back or `ahead`; a day's beginning, or its `end`; a time.

    What has no offset is local to `zone`. Raises Refused, naming the option, for what is none of these.
    """
    try:
        length = timing.parse_duration(text)
        return datetime.now(UTC) + (length if ahead else -length)
    except (ValueError, OverflowError):
        pass
    try:
        written = datetime.fromisoformat(text)
        if end and len(text) == len("2026-11-01"):
            written += timedelta(days=1)
        return timing.written_instant(written, zone)
    except (ValueError, OverflowError):
        raise Refused(
            f'{option} "{text}": write a length of time such as 30d or 12h, a day such as 2026-11-01, '
            "or a day and time such as 2026-11-01T18:00"
        ) from None
