"""Lengths of time as people write them: `30s`, `15m`, `1h30m`."""

from __future__ import annotations

import math
import re
from datetime import timedelta

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WRITTEN = re.compile(r"(?:(\d{1,12})d)?\s*(?:(\d{1,12})h)?\s*(?:(\d{1,12})m)?\s*(?:(\d{1,12})s)?", re.ASCII)
# Nobody plans further ahead; and an instant so much earlier or later is one that a date can say.
LONGEST = timedelta(days=36_525)
_ALLOWED = "write it like 30s, 15m, 3h, 2d or 1h30m, or as a number of seconds"


def parse_duration(value: str | float | timedelta) -> timedelta:
    """Turn `1h30m`, or a number of seconds (also as digits in a string), into a timedelta: up to a hundred years.

    Units are d, h, m and s, largest first, each at most once. Raises ValueError for anything else.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        seconds = _seconds(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value
    else:
        # Not TypeError: pydantic makes a message of a ValueError only.
        raise ValueError(f"duration {value!r} is not understood: {_ALLOWED}")  # noqa: TRY004
    try:
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"duration {value!r} is not a length of time: it has to be zero or more")
        length = timedelta(seconds=seconds)
    except OverflowError:
        length = timedelta.max
    if length > LONGEST:
        raise ValueError("a duration of so many digits is longer than a hundred years")
    return length


def format_duration(duration: timedelta | float) -> str:
    """Write a length of time, or a number of seconds, so that `parse_duration` reads it back: `1h30m`, `0s`.

    Fractions stay with the seconds (`0.25s`); a negative length gets a minus sign.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    rest, parts = round(abs(seconds), 6), []
    for unit, length in _SECONDS.items():
        count, rest = divmod(rest, length) if unit != "s" else (round(rest, 6), 0.0)
        if count:
            parts.append(f"{count:g}{unit}" if count % 1 else f"{count:.0f}{unit}")
    return ("-" if seconds < 0 else "") + ("".join(parts) or "0s")


def _seconds(text: str) -> float:
    text = text.strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,12})?s?", text, re.ASCII):
        return float(text.removesuffix("s"))
    found = _WRITTEN.fullmatch(text)
    if not text or found is None:
        raise ValueError(f'duration "{text}" is not understood: {_ALLOWED}')
    return sum(int(count or 0) * length for count, length in zip(found.groups(), _SECONDS.values(), strict=True))
