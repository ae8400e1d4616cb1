"""A cron expression as a value: checked when it is made, matched against wall time without a zone."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, get_args

from cronsim import CronSim, CronSimError

from pipeline.timing.cron_fields import check_fields, why_never

Days = Literal["either", "both"]
Gap = Literal["shift", "skip"]
Overlap = Literal["first", "second", "both"]

# Wall time has no zone: the datetimes of this module are naive.
NEVER = datetime.max  # noqa: DTZ901
_EVE_OF_A_COMMON_YEAR = datetime(2000, 12, 31, 23, 59, 59)  # noqa: DTZ001


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields, or six with seconds first; what its fields match is wall time.

    `days`: with day-of-month and day-of-week both given, a day that matches `either` is due (cron's old rule), or only
    one that matches `both`. `gap` and `overlap` say what happens to a fixed time that the clocks jump over, or show
    twice. Raises ValueError, with the field and what is allowed, for an expression that is wrong or can never fire.
    """

    expression: str
    days: Days = "either"
    gap: Gap = "shift"
    overlap: Overlap = "first"

    def __post_init__(self) -> None:
        for name, allowed in {"days": Days, "gap": Gap, "overlap": Overlap}.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(get_args(allowed))}")
        compiled(self.expression, self.days)

    @property
    def month(self) -> str:
        """The month field."""
        return self.expression.split()[-2]

    @property
    def daily(self) -> Cron:
        """The same times on every day."""
        return replace(self, expression=" ".join([*self.expression.split()[:-3], "* * *"]))

    @property
    def fixed_time(self) -> bool:
        """Whether neither the minute nor the hour field starts with `*`: only then do `gap` and `overlap` matter."""
        minute, hour = self.expression.split()[-5:-3]
        return not minute.startswith("*") and not hour.startswith("*")


class WallTimes:
    """The wall times (naive) that a cron expression matches, asked for one after another.

    Remembers the last answer: a rare expression is asked again for every stretch of a zone on the way.
    """

    def __init__(self, cron: Cron) -> None:
        self._cron = cron
        self._asked = self._found = NEVER

    def after(self, wall: datetime) -> datetime:
        """Give the first match strictly later than the naive `wall`, or NEVER."""
        if not self._asked <= wall < self._found:
            # A fraction of a second can be cut off: matches are whole seconds.
            self._found = _match_after(self._cron.expression, self._cron.days, wall.replace(microsecond=0))
            self._asked = wall
        return self._found


class WallTimesOn(WallTimes):
    """The wall times that a cron expression matches on one day."""

    def __init__(self, cron: Cron, day: date) -> None:
        super().__init__(cron)
        self._eve = datetime.combine(day, time.min) - timedelta(seconds=1)
        self._end = datetime.combine(day, time.max)

    def after(self, wall: datetime) -> datetime:
        """Give the first match of the day strictly later than the naive `wall`, or NEVER."""
        found = super().after(max(wall, self._eve))
        return found if found <= self._end else NEVER


# Many schedules have one expression, and are looked at in one instant.
@lru_cache(maxsize=4096)
def _match_after(expression: str, days: Days, wall: datetime) -> datetime:
    matcher = copy.copy(compiled(expression, days))
    matcher.dt = wall
    try:
        return next(matcher, NEVER)
    except OverflowError:  # past the year 9999
        return NEVER


@lru_cache(maxsize=4096)
def compiled(expression: str, days: Days) -> CronSim:
    """Parse an expression into cronsim's matcher for naive times, which callers copy and never change.

    cronsim is given no zone, since with one it can return an instant in the past during an overlap, shift across a
    gap of any length, and ignore the changes of the clocks in six fields.
    """
    check_fields(expression)
    try:
        matcher = CronSim(expression, _EVE_OF_A_COMMON_YEAR)
    except CronSimError:
        # The fields are right, one by one: it refuses days that none of the months has.
        raise ValueError(why_never(expression)) from None
    matcher.day_and = matcher.day_and or days == "both"
    # It looks 50 years ahead; 28 of them hold every kind of year (leap or not, by the weekday of 1 January).
    if next(copy.copy(matcher), NEVER) == NEVER:
        raise ValueError(why_never(expression))
    return matcher
