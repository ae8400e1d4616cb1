"""What a calendar makes of a schedule's slots: those of excluded days are dropped, or move to allowed ones.

It works on local dates: the days on which something is due, in order, each with the day on which that fires.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count, groupby, takewhile

from pipeline.timing.calendars import REACH
from pipeline.timing.clocks import HORIZON_YEARS, cron_slots
from pipeline.timing.cron import NEVER, Cron, WallTimes
from pipeline.timing.day_sets import WEEKDAYS, Dates
from pipeline.timing.periods import day_start
from pipeline.timing.slot import Slot, SlotKind, merged
from pipeline.timing.specs import At, Every, OnDays
from pipeline.timing.zones import DAY, SECOND, find_zone, instant_of

_MICROSECOND = timedelta(microseconds=1)
# 28 years hold every kind of year: leap or not, by the weekday of 1 January.
_EVE, _KINDS_OF_YEARS = datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC), 28
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
# Excluded days that a note names; more are counted.
_NAMED = 3


def slots_on_days(spec: OnDays, zone: str, after: datetime) -> Iterator[Slot]:
    """Yield the slots strictly later than `after` (UTC), in strict order, of some 50 years.

    All that is dropped on one day is one slot. What moves keeps its wall time, by the rules for gaps and overlaps on
    its new day; where another slot is due at that instant, the two are one.
    """
    return (slot for slot in _in_order(_Walk(spec, zone, after).days(), zone) if slot.due_at > after)


@lru_cache(maxsize=4096)
def can_fire(spec: OnDays) -> bool:
    """Whether any day is left on which it could fire. Dates that are written down are believed: all may be past."""
    calendar = spec.calendar
    if isinstance(spec.base, At) or any(isinstance(days, Dates) for days in calendar.only_on):
        return True
    due = _Walk(spec, "UTC", _EVE).due_days(_KINDS_OF_YEARS)
    return any(calendar.why_not(calendar.target(day)) is None for day in due)


def _in_order(days: Iterable[tuple[date, list[Iterator[Slot]]]], zone: str) -> Iterator[Slot]:
    """Merge the slots of days that come in order: clocks that go back at midnight mix those of two days."""
    heads: list[tuple[datetime, int, Slot, Iterator[Slot]]] = []
    numbers = count()
    for day, streams in days:
        for stream in streams:
            _push(heads, next(numbers), stream)
        end = day_start(day + DAY, zone)
        while heads and heads[0][0] < end:
            yield _pop(heads)
    while heads:
        yield _pop(heads)


def _push(heads: list[tuple[datetime, int, Slot, Iterator[Slot]]], number: int, stream: Iterator[Slot]) -> None:
    if slot := next(stream, None):
        heapq.heappush(heads, (slot.due_at, number, slot, stream))


def _pop(heads: list[tuple[datetime, int, Slot, Iterator[Slot]]]) -> Slot:
    """Take all that is due first, as one slot."""
    due_at, same = heads[0][0], []
    while heads and heads[0][0] == due_at:
        _, number, slot, stream = heapq.heappop(heads)
        same.append(slot)
        _push(heads, number, stream)
    return merged(*same) if len(same) > 1 else same[0]


@dataclass(frozen=True)
class _Walk:
    """The days of a schedule from an instant on."""

    spec: OnDays
    zone: str
    after: datetime

    def days(self) -> Iterator[tuple[date, list[Iterator[Slot]]]]:
        """Yield each day on which something fires or is dropped, with its slots in one or more ordered streams."""
        calendar, due = self.spec.calendar, self.due_days(HORIZON_YEARS)
        # Grouping looks a day ahead, for which nothing is to be paid where nothing moves.
        moving = calendar.on_holiday != "skip"
        groups = groupby(due, calendar.target) if moving else ((day, iter([day])) for day in due)
        for day, sources in groups:
            why = calendar.why_not(day)
            yield day, [self._dropped(day, why)] if why else self._firing(day, list(sources))

    def _first(self) -> date:
        """The first day whose slots may lie after `after`, or move there."""
        calendar = self.spec.calendar
        earliest = self.after.astimezone(find_zone(self.zone)).date() - DAY
        first = earliest
        if calendar.on_holiday == "after":
            while calendar.why_not(first - DAY) and earliest - first < REACH:
                first -= DAY
        return first

    def due_days(self, years: int) -> Iterator[date]:
        """Yield the local dates of so many years on which something is due, whether the calendar allows them or not."""
        first, base, number = self._first(), self.spec.base, self.spec.business_day
        last = min(date(min(first.year + years, MAXYEAR - 1), 12, 31), self.spec.calendar.end or date.max)
        if not isinstance(base, Cron):
            days = self._days_of(base, first)
        elif number is None:
            days = _dates(base, first)
        else:
            months = takewhile(lambda day: day <= last, _dates(Cron(f"0 0 1 {base.month} *"), first.replace(day=1)))
            found = (self.spec.calendar.nth_business_day(number, month) for month in months)
            days = (day for day in found if day and day >= first)
        return takewhile(lambda day: day <= last, days)

    def _days_of(self, base: Every | At, first: date) -> Iterator[date]:
        moment = day_start(first, self.zone) - _MICROSECOND
        while instant := next(base.after(moment), None):
            day = instant.astimezone(find_zone(self.zone)).date()
            if day_start(day + DAY, self.zone) <= instant:  # its last hour once more, after midnight
                day += DAY
            yield day
            moment = day_start(day + DAY, self.zone) - _MICROSECOND

    def _times(self, source: date, day: date, after: datetime) -> Iterator[Slot]:
        """Yield what is due on `source` as slots of `day`; those up to `after` may be left out."""
        base, zone = self.spec.base, self.zone
        after = max(after, day_start(day, zone) - _MICROSECOND)
        if isinstance(base, Cron):
            return cron_slots(base.daily, zone, after, on=day)
        end = day_start(source + DAY, zone)
        if source == day:
            return map(Slot, takewhile(lambda instant: instant < end, base.after(after)))
        instants = takewhile(lambda instant: instant < end, base.after(day_start(source, zone) - _MICROSECOND))
        walls = (datetime.combine(day, instant.astimezone(find_zone(zone)).time()) for instant in instants)
        return map(Slot, sorted({instant_of(wall, zone) for wall in walls}))

    def _dropped(self, day: date, why: str) -> Iterator[Slot]:
        times = self._times(day, day, _LONG_AGO)
        if first := next(times, None):
            what = "all its times are dropped" if next(times, None) else "dropped"
            yield Slot(first.due_at, SlotKind.DROPPED, f"{_written(day)} is {why}: {what}")

    def _firing(self, day: date, sources: list[date]) -> list[Iterator[Slot]]:
        """The slots of `day`: its own, if it is among its sources, and what moves there."""
        note = self._note(day, [source for source in sources if source != day])
        if isinstance(self.spec.base, Cron):  # a day's times are the same wherever they come from
            own = day in sources
            note += ", which is due itself" if note and own else ""
            return [self._noted(self._times(day, day, self.after), note, moved=not own)]
        return [
            self._noted(self._times(source, day, self.after), "" if source == day else note, moved=source != day)
            for source in sources
        ]

    def _noted(self, slots: Iterator[Slot], note: str, *, moved: bool) -> Iterator[Slot]:
        if not note:
            return slots
        kind = SlotKind.SHIFTED if moved else SlotKind.ON_TIME
        return (Slot(slot.due_at, kind if slot.fires else slot.kind, _joined(note, slot.note)) for slot in slots)

    def _note(self, day: date, moved: list[date]) -> str:
        if not moved:
            return ""
        reasons = [f"{_written(one)} is {self.spec.calendar.why_not(one)}" for one in moved[:_NAMED]]
        more = f" and {len(moved) - _NAMED} more days" if len(moved) > _NAMED else ""
        return f"{', '.join(reasons)}{more}: moved to {_written(day)}"


def _dates(cron: Cron, first: date) -> Iterator[date]:
    """Yield the dates from `first` on that a cron expression matches."""
    walls, wall = WallTimes(cron), datetime.combine(first, time.min) - SECOND
    while (wall := walls.after(wall)) != NEVER:
        yield wall.date()
        wall = datetime.combine(wall.date(), time.max)


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _written(day: date) -> str:
    return f"{WEEKDAYS[day.weekday()][:3]} {day}"
