"""On which days a schedule may fire, and what becomes of a slot on another: `only_on`, `except_on`, `on_holiday`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from pipeline.mistakes import nearest
from pipeline.timing.day_sets import WEEKDAYS, BusinessDays, Dates, DaySet, Weekdays
from pipeline.timing.public_holidays import Holidays
from pipeline.timing.zones import DAY

OnHoliday = Literal["skip", "before", "after"]
# How far an allowed day is looked for, before or after an excluded one.
REACH = 31 * DAY
BUSINESS_DAYS = "business_days"
KINDS_OF_DAYS = (
    "business_days, holidays:DE-BY, a weekday such as sat, a date such as 2026-12-24, or a file such as closed.txt"
)


class CalendarError(ValueError):
    """What is wrong with a calendar; the sentence begins with the name of its field."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Allows the days that are among `only_on`, if anything is, and not among `except_on`.

    A slot on another day is dropped (`skip`), or moves to the nearest allowed day `before` or `after` it.
    """

    only_on: tuple[DaySet, ...] = ()
    except_on: tuple[DaySet, ...] = ()
    on_holiday: OnHoliday = "skip"

    @property
    def end(self) -> date | None:
        """The last day that can have to do with an allowed one, if those are dates of a list."""
        dates = [days for days in self.only_on if isinstance(days, Dates)]
        if not dates or len(dates) < len(self.only_on):
            return None
        last = max((day for days in dates for day in days.names), default=date.min)
        return last + REACH if self.on_holiday == "before" and last > date.min else last

    def why_not(self, day: date) -> str | None:
        """What an excluded day is, to be read after "is": `a Sunday`; None for an allowed one."""
        for days in self.except_on:
            if name := days.name(day):
                return name
        if not self.only_on or any(days.name(day) for days in self.only_on):
            return None
        return f"not among the {' or the '.join(days.label for days in self.only_on)}"

    def target(self, day: date) -> date:
        """The day on which what is due on `day` fires: another one if it is excluded and an allowed one is in reach."""
        if self.on_holiday == "skip":
            return day
        step, near = DAY if self.on_holiday == "after" else -DAY, day
        while self.why_not(near):
            near += step
            if abs(near - day) > REACH:
                return day
        return near

    def nth_business_day(self, number: int, month: date) -> date | None:
        """The business day of that number in the month of a date, counted from its end if negative; None for none.

        A business day is none that is excluded by `except_on`.
        """
        business = BusinessDays(self.except_on)
        days = (month.replace(day=1) + DAY * count for count in range(31))
        found = [day for day in days if day.month == month.month and business.name(day)]
        place = number - 1 if number > 0 else number
        return found[place] if -len(found) <= place < len(found) else None


def read_calendar(fields: Mapping[str, Any]) -> Calendar:
    """Read `only_on`, `except_on` and `on_holiday` of a schedule's `when`. Raises CalendarError."""
    only_on, except_on = fields.get("only_on") or (), fields.get("except_on") or ()
    on_holiday = fields.get("on_holiday", "skip")
    if on_holiday not in get_args(OnHoliday):
        raise CalendarError(f"on_holiday {on_holiday!r} is not one of {', '.join(get_args(OnHoliday))}")
    if on_holiday != "skip" and not (only_on or except_on):
        raise CalendarError(f"on_holiday: {on_holiday} goes with only_on or except_on, which exclude days")
    excepted = _day_sets("except_on", except_on)
    business = BusinessDays(excepted)
    return Calendar(
        _day_sets("only_on", only_on) + (business,) * (BUSINESS_DAYS in only_on),
        excepted + (business,) * (BUSINESS_DAYS in except_on),
        on_holiday,
    )


def _day_sets(field: str, items: Sequence[Any]) -> tuple[DaySet, ...]:
    """All but the business days, which depend on the others; dates written one by one are one set."""
    dates = [item for item in items if isinstance(item, str) and re.fullmatch(r"\d[\d./-]*", item)]
    others = [item for item in items if item not in dates and item != BUSINESS_DAYS]
    try:
        found: list[DaySet] = [Dates("\n".join(dates))] if dates else []
        return (*found, *map(_day_set, others))
    except ValueError as error:
        raise CalendarError(f"{field} {error}") from None


def _day_set(item: str | Mapping[str, str]) -> DaySet:
    """Read one kind of days. Raises ValueError."""
    if not isinstance(item, str):
        return Dates(item["dates"], item["file"])
    kind, colon, region = item.partition(":")
    if kind.strip() == "holidays" and colon:
        return Holidays(region)
    if weekdays := Weekdays.parse(item):
        return weekdays
    if "." in item:
        raise ValueError(f'"{item}" is not there: a file of dates lies beside the schedule file that names it')
    near = nearest(item, (BUSINESS_DAYS, "holidays:DE", *WEEKDAYS)) if len(item) > 3 else None
    hint = f"did you mean {near}? It" if near else "it"
    raise ValueError(f'"{item}" is no kind of days: {hint} is one of {KINDS_OF_DAYS}')
