"""How many messages may go out in which time: read from a setting, and kept by places that are free again in time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from math import inf

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(
    r"(?:(?P<name>\S+)\s+)?(?P<count>\d+)\s*/\s*(?P<unit>s(?:ec(?:ond)?)?|m(?:in(?:ute)?)?|h(?:our)?|d(?:ay)?)",
    re.IGNORECASE,
)
# Ends that are so near, as a share of the window, are kept as one: a place is free a little late, never early.
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
    """The places of one rate: each lets one message through, and is free again `seconds` after that one has ended.

    So no window of that length ever sees more than the rate, whenever while it is handed over a message counts.
    Instants are seconds since the epoch. `spans` are [first, last, count] in order: how many messages ended when; as
    many places as are `lent` are with senders.
    """

    def __init__(self, rate: Rate, spans: Sequence[Sequence[float]] = (), lent: int = 0) -> None:
        self.rate, self.lent = rate, lent
        self.spans = [[first, last, int(count)] for first, last, count in spans]

    @property
    def _unused(self) -> int:
        return max(0, self.rate.count - self.lent - sum(int(span[2]) for span in self.spans))

    def free(self, now: float, most: int) -> list[float]:
        """When the places that are here may be used: the first `most` of them, in order."""
        most = min(most, self.rate.count - self.lent)
        found = [now] * min(most, self._unused)
        for _, last, count in self.spans:
            found += [max(now, last + self.rate.seconds)] * min(int(count), most - len(found))
        return found

    def lend(self, count: int) -> None:
        """The first `count` places go to a sender."""
        used = count - self._unused
        self.lent += count
        while used > 0:
            span = self.spans[0]
            span[2] -= (gone := min(used, span[2]))
            used -= int(gone)
            if not span[2]:
                del self.spans[0]

    def take_back(self, ends: Iterable[float]) -> None:
        """Places come back, each with the instant at which the last message that it let through had ended."""
        back = [[end, end, 1] for end in ends]
        self.lent -= len(back)
        self.spans, ended = [], sorted([*self.spans, *back], key=lambda span: span[1])
        for first, last, count in ended:
            before = self.spans[-1] if self.spans else None
            if before and last - min(first, before[0]) <= self.rate.seconds / _SPANS:
                before[:] = [min(first, before[0]), last, before[2] + count]
            else:
                self.spans.append([first, last, count])

    def forget(self, now: float) -> None:
        """Leave out what no longer counts; what ended later than now did so by a clock that was wrong."""
        ended = [[min(first, now), min(last, now), count] for first, last, count in self.spans]
        self.spans = [span for span in ended if span[1] > now - self.rate.seconds]


class Pace:
    """The places that one sender has, by the name of their rate; times are seconds since they were lent to it."""

    def __init__(self, seconds: Mapping[str, float], free: Mapping[str, Iterable[float]]) -> None:
        """How long each rate's windows are, and when each of its places may be used."""
        self._seconds = seconds
        self._free = {name: sorted(times) for name, times in free.items()}  # a sorted list is a heap

    def free_at(self, names: Iterable[str]) -> float:
        """When a message may begin that takes a place of each of these rates; infinite where none was lent."""
        return max((self._free[name][0] if self._free[name] else inf for name in names), default=0.0)

    def ended(self, names: Iterable[str], at: float) -> None:
        """The message that began when `free_at` allowed it has ended."""
        for name in names:
            heapreplace(self._free[name], at + self._seconds[name])

    def ends(self) -> dict[str, list[float]]:
        """When the last message of each place ended."""
        return {name: [at - self._seconds[name] for at in times] for name, times in self._free.items()}


def allot(wants: Iterable[Sequence[str]], pace: Pace, horizon: float, most: int) -> list[float | None]:
    """When each message may go that takes a place of all these rates, if none took any time.

    What comes later than `horizon` has taken nothing: it is the time to ask again. Once `most` may go the others are
    not looked at: None.
    """
    found: list[float | None] = []
    for names in wants:
        if not most:
            found.append(None)
            continue
        at = pace.free_at(names)
        if at <= horizon:
            most -= 1
            pace.ended(names, at)
        found.append(at)
    return found
