"""The interval a run reports on: whole local days, or hours, named in words or written out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from pipeline.timing.zones import DAY, find_zone, instant_of, to_utc

# Not strftime's: a library may set another locale for the whole process.
_MONTHS = "January February March April May June July August September October November December"
_DASH = "\N{EN DASH}"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """The half-open interval from `start` to `end` (aware; kept in UTC), cut along the local days of `zone`.

    `label` names it, is safe as a file's name, and is a spec that `period` reads back: `2026-W46`, `2026-11`, `2026`,
    `2026-Q3`, `2026-11-16`, `2026-07-01..2026-10-01`, and in UTC for hours `2026-11-15T0600Z..2026-11-16T0600Z`.
    Raises ValueError for an unknown zone, an empty interval, or instants without a zone.
    """

    start: datetime
    end: datetime
    zone: str
    label: str

    def __post_init__(self) -> None:
        find_zone(self.zone)
        object.__setattr__(self, "start", to_utc(self.start))
        object.__setattr__(self, "end", to_utc(self.end))
        if self.start >= self.end:
            raise ValueError(f'period "{self.label}" is empty in {self.zone}: it has to end after it starts')

    @property
    def local_start(self) -> datetime:
        return self.start.astimezone(find_zone(self.zone))

    @property
    def local_end(self) -> datetime:
        """The first moment after the period, aware in its zone."""
        return self.end.astimezone(find_zone(self.zone))

    @property
    def first_day(self) -> date:
        return self.local_start.date()

    @property
    def last_day(self) -> date:
        """The last local date of which any moment belongs to the period."""
        return (self.end - _MICROSECOND).astimezone(find_zone(self.zone)).date()

    def days(self) -> Iterator[date]:
        """Yield the local dates from the first to the last day, without one that the zone has left out."""
        day, last = self.first_day, self.last_day
        while day <= last:
            if day_start(day, self.zone) < day_start(day + DAY, self.zone):
                yield day
            day += DAY

    @property
    def title(self) -> str:
        """A short name in English for people: `16-22 Nov 2026` (with an en dash), `November 2026`, `Q3 2026`."""
        if re.fullmatch(r"\d{4}", self.label):
            return self.label
        if found := re.fullmatch(r"(\d{4})-(Q\d)", self.label):
            return f"{found[2]} {found[1]}"
        if re.fullmatch(r"\d{4}-\d\d", self.label):
            return f"{_month(self.first_day)} {self.first_day.year}"
        if "T" in self.label:
            start, end = self.local_start, self.local_end
            return f"{_written(start)} {start.year} {start:%H:%M} {_DASH} {_written(end)} {end.year} {end:%H:%M}"
        return _title_of_days(self.first_day, self.last_day)

    def to_json(self) -> dict[str, str]:
        """Give what `from_json` reads; instants in ISO form, UTC."""
        return {"start": self.start.isoformat(), "end": self.end.isoformat(), "zone": self.zone, "label": self.label}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        start, end = datetime.fromisoformat(stored["start"]), datetime.fromisoformat(stored["end"])
        return cls(start.astimezone(UTC), end.astimezone(UTC), stored["zone"], stored["label"])


def day_start(day: date, zone: str) -> datetime:
    """Give the instant (UTC) at which a local day starts; after the gap where midnight, or the day, does not exist."""
    return instant_of(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - wall time has no zone


def _title_of_days(first: date, last: date) -> str:
    if first == last:
        return f"{_written(first)} {first.year}"
    if first.year != last.year:
        return f"{_written(first)} {first.year} {_DASH} {_written(last)} {last.year}"
    if first.month != last.month:
        return f"{_written(first)} {_DASH} {_written(last)} {last.year}"
    return f"{first.day}{_DASH}{_written(last)} {last.year}"


def _written(day: date) -> str:
    return f"{day.day} {_month(day)[:3]}"


def _month(day: date) -> str:
    return _MONTHS.split()[day.month - 1]
