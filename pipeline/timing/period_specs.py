"""How people name a period: `last_week`, `last_7_days`, `2026-Q3`, `2026-07-01..2026-10-01`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from pipeline.mistakes import did_you_mean
from pipeline.timing.periods import Period, day_start
from pipeline.timing.zones import DAY, find_zone, instant_of, to_utc

# A unit of the calendar around a day: its first day, the day after its last, its label.
_Span = tuple[date, date, str]
_HOUR = "%Y-%m-%dT%H%MZ"


# Many schedules are due in one instant, and most of them for the same period.
@lru_cache(maxsize=1024)
def period(spec: str, at: datetime, zone: str) -> Period:
    """Give the period that `spec` names, seen from the instant `at` (aware), in the local days of `zone`.

    Words: today, yesterday, this_ and last_ with week (Monday to Sunday), month, quarter or year; last_N_days up to the
    start of today; last_N_hours up to the last full hour. Otherwise the period written out, or any period's label.
    A midnight that does not exist is the first instant after it; one that comes twice is the first. Raises ValueError,
    with all that is allowed, for an unknown spec, and for an unknown zone.
    """
    written = spec.strip()
    local = to_utc(at).astimezone(find_zone(zone))
    if found := re.fullmatch(r"last_([1-9]\d{0,3})_(day|hour)s?", written, re.ASCII):
        look_back = _last_days if found[2] == "day" else _last_hours
        return look_back(int(found[1]), local, zone)
    if written in _WORDS:
        unit, before = _WORDS[written]
        span = unit(local.date())
        return _of_days(unit(_day_before(span[0], zone)) if before else span, zone)
    try:
        return _written_out(written.upper(), zone)
    except KeyError:
        raise ValueError(_unknown(written)) from None
    except OverflowError:
        raise ValueError(f'period "{written}" is outside of the calendar') from None


def validate_period_spec(spec: str) -> None:
    """Raise ValueError, with what is allowed, unless `period` understands `spec`."""
    period(spec, datetime(2026, 1, 15, tzinfo=UTC), "UTC")


def _day(day: date) -> _Span:
    return day, day + DAY, day.isoformat()


def _week(day: date) -> _Span:
    year, week, weekday = day.isocalendar()
    monday = day - DAY * (weekday - 1)
    return monday, monday + DAY * 7, f"{year}-W{week:02}"


def _month(day: date) -> _Span:
    first = day.replace(day=1)
    return first, (first + DAY * 31).replace(day=1), f"{day:%Y-%m}"


def _quarter(day: date) -> _Span:
    number = (day.month + 2) // 3
    first = date(day.year, number * 3 - 2, 1)
    return first, (first + DAY * 95).replace(day=1), f"{day:%Y}-Q{number}"


def _year(day: date) -> _Span:
    first = date(day.year, 1, 1)
    return first, (first + DAY * 366).replace(day=1), f"{day:%Y}"


# Whether a word means the unit that holds today, or the one before.
_WORDS: dict[str, tuple[Callable[[date], _Span], bool]] = {
    "today": (_day, False),
    "yesterday": (_day, True),
    "this_week": (_week, False),
    "last_week": (_week, True),
    "this_month": (_month, False),
    "last_month": (_month, True),
    "this_quarter": (_quarter, False),
    "last_quarter": (_quarter, True),
    "this_year": (_year, False),
    "last_year": (_year, True),
}
_FORMS: dict[str, Callable[..., _Span]] = {
    r"(\d{4})": lambda year: _year(date(year, 1, 1)),
    r"(\d{4})-Q([1-4])": lambda year, quarter: _quarter(date(year, quarter * 3, 1)),
    r"(\d{4})-(\d\d)": lambda year, month: _month(date(year, month, 1)),
    r"(\d{4})-W(\d\d)": lambda year, week: _week(date.fromisocalendar(year, week, 1)),
    r"(\d{4})-(\d\d)-(\d\d)": lambda year, month, day: _day(date(year, month, day)),
}
_EXAMPLES = (
    "last_N_days, last_N_hours, 2026, 2026-Q3, 2026-11, 2026-W47, 2026-11-16, "
    "2026-07-01..2026-10-01 (the last day is not included)"
)


def _written_out(written: str, zone: str) -> Period:
    """Read an absolute spec in upper case; raises KeyError for an unknown form, ValueError for an impossible date."""
    first, dots, last = written.partition("..")
    if dots and "T" in written:
        return Period(_hour(first), _hour(last), zone, written)
    if dots:
        start, end = _span(first), _span(last)
        if len(first) != len(last) or len(first) != len("2026-07-01"):
            raise KeyError(written)
        return _of_days((start[0], end[0], written), zone)
    return _of_days(_span(written), zone)


def _span(written: str) -> _Span:
    for form, read in _FORMS.items():
        if found := re.fullmatch(form, written, re.ASCII):
            try:
                return read(*map(int, found.groups()))
            except ValueError as error:
                raise ValueError(f'period "{written}" does not exist: {error}') from None
    raise KeyError(written)


def _hour(written: str) -> datetime:
    try:
        return datetime.strptime(written, _HOUR).replace(tzinfo=UTC)
    except ValueError:
        raise KeyError(written) from None


def _of_days(span: _Span, zone: str) -> Period:
    first, after, label = span
    return Period(day_start(first, zone), day_start(after, zone), zone, label)


def _day_before(day: date, zone: str) -> date:
    """Give the local date that ended when `day` began: not always the one before, across the date line."""
    return (day_start(day, zone) - timedelta(microseconds=1)).astimezone(find_zone(zone)).date()


def _last_days(count: int, local: datetime, zone: str) -> Period:
    today = first = local.date()
    for _ in range(count):
        first = _day_before(first, zone)
    return _of_days((first, today, f"{first}..{today}"), zone)


def _last_hours(count: int, local: datetime, zone: str) -> Period:
    end = instant_of(local.replace(minute=0, second=0, microsecond=0, tzinfo=None), zone)
    start = end - timedelta(hours=count)
    # In UTC, since an hour that the clocks show twice would otherwise share its name, and its folder.
    return Period(start, end, zone, f"{start:{_HOUR}}..{end:{_HOUR}}")


def _unknown(written: str) -> str:
    hint = did_you_mean(written, [*_WORDS, "last_7_days", "last_24_hours"], lead=" ")
    return f'period "{written}" is not known:{hint} Allowed: {", ".join(_WORDS)}, {_EXAMPLES}'
