"""Between the wall time of a zone and real time: the stretches in which a zone keeps one UTC offset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from pipeline.mistakes import did_you_mean

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Real time from `start` to `end` (UTC, half-open) with one `offset`; `offset_before` held until `start`.

    Years are cut apart as well, so the two offsets may be equal.
    """

    start: datetime
    end: datetime
    offset: timedelta
    offset_before: timedelta

    @property
    def gap(self) -> timedelta:
        """How much wall time was jumped over at `start`; not positive if none was."""
        return self.offset - self.offset_before


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo:
    """Look up an IANA zone such as `Europe/Berlin`; raises ValueError, with the nearest name, if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        hint = did_you_mean(name, available_timezones(), "write an IANA name such as Europe/Berlin or UTC")
        raise ValueError(f'time zone "{name}" is not known: {hint}') from None


def to_utc(moment: datetime) -> datetime:
    """Convert an aware datetime to UTC; raises ValueError for one without a zone.

    A plain datetime comes out whatever subclass went in: those that freeze time in tests forget `fold` on their way
    into a zone, and would stay in the caches here.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: a moment has to be an aware datetime")
    utc = moment.astimezone(UTC)
    return utc if type(utc) is datetime else datetime.combine(utc.date(), utc.time(), UTC)


def written_instant(written: str | datetime, zone: str) -> datetime:
    """Give the instant (UTC) of an ISO text; without an offset it is wall time in `zone`.

    Raises ValueError for what is not a date, or lies at an end of the calendar, where not every zone has one.
    """
    moment = written if isinstance(written, datetime) else datetime.fromisoformat(written.strip())
    if not MINYEAR < moment.year < MAXYEAR:
        raise ValueError(f"the year {moment.year} is at an end of the calendar")
    return to_utc(moment) if moment.tzinfo else instant_of(moment, zone)


def day_instant(day: date, zone: str, *, end: bool = False) -> datetime:
    """The instant (UTC) at which a day begins by the clocks of `zone`, or at which it is over."""
    return written_instant(datetime.combine(day + timedelta(days=end), time()), zone)


def instant_of(wall: datetime, zone: str) -> datetime:
    """Give the instant (UTC) at which the clocks of `zone` show the naive `wall` time.

    A time that comes twice means its first occurrence, or the second if `wall.fold` is 1; one that does not exist
    means the first instant after the gap.
    """
    info = find_zone(zone)
    instant = wall.replace(tzinfo=info).astimezone(UTC)
    if instant.astimezone(info).replace(tzinfo=None) == wall:
        return instant
    # PEP 495: in a gap the two folds give instants on either side of the transition.
    late, early = (wall.replace(tzinfo=info, fold=fold, microsecond=0).astimezone(UTC) for fold in (0, 1))
    return _first_change(info, early, late)


def stretches_from(zone: str, instant: datetime, years: int) -> Iterator[Stretch]:
    """Walk the stretches of `zone` in order, from the one that holds `instant` (UTC), for at least `years` years."""
    for year in range(instant.year, min(instant.year + years + 1, MAXYEAR)):
        for stretch in _stretches(zone, year):
            if stretch.end > instant:
                yield stretch


@lru_cache(maxsize=8192)
def _stretches(zone: str, year: int) -> tuple[Stretch, ...]:
    info = find_zone(zone)
    start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    edges = [start, *_changes(info, start, end), end]
    return tuple(Stretch(a, b, _offset(info, a), _offset(info, a - SECOND)) for a, b in pairwise(edges))


def _changes(info: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the instants between `start` and `end` at which the offset of a zone changes.

    A look a day is enough: since 1970 no zone has changed its offset twice within six days.
    """
    day = start
    while day < end:
        if _offset(info, day) != _offset(info, day + DAY):
            change = _first_change(info, day, day + DAY)
            if change < end:
                yield change
        day += DAY


def _first_change(info: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Halve the way from `before` to `after` (UTC, different offsets) down to the second of the change."""
    offset, steps = _offset(info, before), (after - before) // SECOND
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(info, before + middle * SECOND) == offset else (low, middle)
    return before + high * SECOND


def _offset(info: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(info).utcoffset() or timedelta()
