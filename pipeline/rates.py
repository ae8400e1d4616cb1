"""How many messages may go out in which time: read from a setting, and counted in windows that slide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(
    r"(?:(?P<name>\S+)\s+)?(?P<count>\d+)\s*/\s*(?P<unit>s(?:ec(?:ond)?)?|m(?:in(?:ute)?)?|h(?:our)?|d(?:ay)?)",
    re.IGNORECASE,
)
# A window remembers what it let through in so many spans at most: the last span leaves it a little late, never early.
_SPANS = 50


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` messages in any `seconds`; `name` is a recipient domain or a relay, "" every relay by itself."""

    name: str
    count: int
    seconds: float

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in _UNITS.items() if seconds == self.seconds), f"{self.seconds:g}s")
        return f"{self.name} {self.count}/{unit}".strip()


def parse(text: str) -> tuple[Rate, ...]:
    """The rates in `20/s, 1000/h, gmail.com 5/s`. Raises ValueError naming the part that is none."""
    return tuple(_read(part.strip()) for part in text.split(",") if part.strip())


def _read(part: str) -> Rate:
    found = _RATE.fullmatch(part)
    if found is None or not int(found["count"]):
        raise ValueError(
            f'"{part}" is not a rate: write 20/s, 600/m, 1000/h or 5000/d, or one of a domain: gmail.com 5/s'
        )
    return Rate((found["name"] or "").lower(), int(found["count"]), _UNITS[found["unit"][0].lower()])


class Window:
    """What one rate let through lately, and when it lets through more: never above the rate in any window.

    Instants are seconds since the epoch. `spans` are [first, last, count] in order, as `spans` gave them before.
    """

    def __init__(self, rate: Rate, spans: Sequence[Sequence[float]] = ()) -> None:
        self.rate = rate
        self.spans = [[first, last, int(count)] for first, last, count in spans]

    def free_at(self, at: float) -> float:
        """The first instant, `at` or later, at which one more may go."""
        if not self.spans:
            return at
        at = max(at, self.spans[-1][1])
        open_ = [span for span in self.spans if span[1] > at - self.rate.seconds]
        count = sum(span[2] for span in open_)
        for _, last, gone in open_:
            if count < self.rate.count:
                break
            at, count = max(at, last + self.rate.seconds), count - gone
        return at

    def take(self, at: float) -> None:
        """One goes at `at`, which `free_at` has given."""
        if self.spans and at - self.spans[-1][0] <= self.rate.seconds / _SPANS:
            self.spans[-1][1:] = [at, self.spans[-1][2] + 1]
        else:
            self.spans.append([at, at, 1])

    def forget(self, now: float) -> None:
        """Leave out what no longer counts."""
        self.spans = [span for span in self.spans if span[1] > now - self.rate.seconds]


def allot(wants: Sequence[Sequence[Window]], now: float, horizon: float, most: int | None = None) -> list[float | None]:
    """When each message may go that wants room in all of its windows; room is taken up to `horizon` seconds ahead.

    What comes later than that has taken nothing: it is the instant to ask again. Once `most` have room the others are
    not looked at: None.
    """
    found: list[float | None] = []
    left = len(wants) if most is None else most
    for windows in wants:
        if not left:
            found.append(None)
            continue
        at = _fits(windows, now)
        if at <= now + horizon:
            left -= 1
            for window in windows:
                window.take(at)
        found.append(at)
    return found


def _fits(windows: Sequence[Window], at: float) -> float:
    while True:
        later = max((window.free_at(at) for window in windows), default=at)
        if later <= at:
            return at
        at = later
