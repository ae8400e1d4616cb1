"""When a schedule is due, as values: a cron expression, an interval, or instants, perhaps on some days only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import TypeAlias

from pipeline.timing.calendars import Calendar
from pipeline.timing.cron import Cron
from pipeline.timing.durations import parse_duration
from pipeline.timing.zones import to_utc, written_instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# As cron expressions do: in the last year not every zone has a date for each instant.
_END = datetime(MAXYEAR, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Every:
    """Due each `seconds` of elapsed time, counted from `anchor` (aware; both ways, so an anchor is no start).

    A day of 24 hours is no local day: across a change of the clocks a daily interval moves by an hour on the wall.
    """

    seconds: int
    anchor: datetime = EPOCH

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int) or self.seconds < 1:
            raise ValueError(f"every {self.seconds!r} is not a whole number of seconds, 1 or more")
        object.__setattr__(self, "anchor", to_utc(self.anchor))

    @classmethod
    def parse(cls, interval: str | float | timedelta, anchor: datetime = EPOCH) -> Every:
        """Read the interval as `parse_duration` does; raises ValueError unless it is whole seconds, 1 or more."""
        try:
            length = parse_duration(interval)
        except ValueError as error:
            raise ValueError(f"every: {error}") from None
        if length < timedelta(seconds=1) or length.microseconds:
            raise ValueError(f"every {interval} is not a whole number of seconds, 1 or more")
        return cls(length // timedelta(seconds=1), anchor)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the instants strictly later than `moment` (UTC), as long as the calendar lasts."""
        step = timedelta(seconds=self.seconds)
        first = (moment - self.anchor) // step + 1
        last = (_END - self.anchor) // step
        return (self.anchor + number * step for number in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class At:
    """Due at these instants (aware; kept in UTC, in order, each once)."""

    instants: tuple[datetime, ...]

    def __post_init__(self) -> None:
        if not self.instants:
            raise ValueError("at names no instant: give one, such as 2026-11-16T07:00, or a list")
        object.__setattr__(self, "instants", tuple(sorted({to_utc(instant) for instant in self.instants})))

    @classmethod
    def parse(cls, written: str | datetime | Iterable[str | datetime], zone: str) -> At:
        """Read one instant or several, in ISO form; without an offset it is wall time in `zone`.

        A wall time that comes twice means the first, one that does not exist the first instant after the gap.
        Raises ValueError for what is not a date with a time.
        """
        several = [written] if isinstance(written, (str, datetime)) else list(written)
        return cls(tuple(read_instant("at", one, zone) for one in several))

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the instants strictly later than `moment` (UTC)."""
        return (instant for instant in self.instants if instant > moment)


@dataclass(frozen=True, slots=True)
class OnDays:
    """Due as `base` says, but on days that the calendar allows: what falls on another is dropped or moved.

    With a `business_day` the days of a cron expression are that business day of each of its months: 1 is the first, -1
    the last.
    """

    base: Cron | Every | At
    calendar: Calendar
    business_day: int | None = None


Spec: TypeAlias = Cron | Every | At | OnDays


def read_instant(name: str, written: str | datetime, zone: str) -> datetime:
    """Give the instant (UTC) of an ISO text; without an offset it is wall time in `zone`.

    Raises ValueError that begins with `name`, the field or option it stands in.
    """
    try:
        return written_instant(written, zone)
    except ValueError:
        raise ValueError(f'{name} "{written}" is not a date with a time: write it like 2026-11-16T07:00') from None
