"""How answers name instants, lengths of time, numbers of things and runs; the same words at every door."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise, takewhile
from operator import eq
from uuid import UUID

from pipeline import timing

# Not strftime's names: a library may set another locale for the whole process.
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
# The digits of a uuid7 that are its time, with the dash between them.
SHORT = 13


def short(run_id: UUID) -> str:
    """The beginning of a run's id that people type: its time, to the millisecond."""
    return str(run_id)[:SHORT]


def shortest(run_ids: Iterable[UUID]) -> dict[UUID, str]:
    """The ids' beginnings; longer ones, as far as they are alike, where several runs were opened in one millisecond."""
    ids = sorted({str(one) for one in run_ids})
    if not ids:
        return {}
    alike = [sum(takewhile(bool, map(eq, *pair))) for pair in pairwise(ids)]
    lengths = (max(SHORT, 1 + max(both)) for both in zip([0, *alike], [*alike, 0], strict=True))
    return {UUID(one): one[:length] for one, length in zip(ids, lengths, strict=True)}


def sentence(said: object) -> str:
    """What is written as the end of a sentence, as one of its own; a name that it begins with stays as it is."""
    text = str(said)
    first = text.partition(" ")[0].rstrip(",:;")
    text = f"{text[:1].upper()}{text[1:]}" if first.isalpha() else text
    return text if text.endswith((".", "?", "!")) else f"{text}."


def time_of(zone: str) -> str:
    """Whose clock it is: `Berlin time` for Europe/Berlin, `UTC` as it stands."""
    place = zone if zone.startswith("Etc/") else zone.rpartition("/")[2].replace("_", " ")
    return "UTC" if place in {"UTC", "Etc/UTC"} else f"{place} time"


def day(at: datetime, zone: str) -> str:
    """`Mon 16 Nov 2026` by the calendar of the zone."""
    local = at.astimezone(timing.find_zone(zone))
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {local.year}"


def clock_time(at: datetime, zone: str) -> str:
    """`07:03:11` by the clock of the zone."""
    return f"{at.astimezone(timing.find_zone(zone)):%H:%M:%S}"


def moment(at: datetime, zone: str) -> str:
    """`Mon 16 Nov 2026 at 07:03:11 Berlin time`."""
    return f"{day(at, zone)} at {clock_time(at, zone)} {time_of(zone)}"


def brief(at: datetime, zone: str) -> str:
    """`16 Nov 07:03` by the clock of the zone, for tables."""
    local = at.astimezone(timing.find_zone(zone))
    return f"{local.day:2} {_MONTHS[local.month - 1]} {local:%H:%M}"


def lasted(seconds: float) -> str:
    """`0.4s`, `12s`, `2m5s`, `3h20m`: as exact as anybody reads it."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    return timing.format_duration(round(seconds) if seconds < 3600 else round(seconds / 60) * 60)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 document`, `4,000 documents`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def counts(found: Mapping[str, int]) -> str:
    """`1 run, 4,000 deliveries not sent`, of what is there; it is called by its plural, which the first word has."""
    ones = {name: re.sub(r"^(\S+?)(?:(ie)?s)\b", lambda one: one[1] + "y" * bool(one[2]), name) for name in found}
    return ", ".join(counted(count, ones[name], name) for name, count in found.items())


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last
