"""Reads what a schedule's `when` says, field by field, into the value that the due instants come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.mistakes import nearest
from pipeline.timing.calendars import CalendarError, read_calendar
from pipeline.timing.cron import Cron
from pipeline.timing.on_days import can_fire
from pipeline.timing.specs import EPOCH, At, Every, OnDays, Spec, read_instant

_OF_MONTH = {"first_business_day": 1, "last_business_day": -1}


def spec(fields: Mapping[str, Any], zone: str) -> Spec:
    """Make the value from what a schedule's `when` says.

    That is `cron` (days, gap, overlap, day), `every` (anchor) or `at`; and `only_on`, `except_on`, `on_holiday`.
    Instants without an offset are wall time in `zone`. Raises ValueError for what cannot be meant, CalendarError if the
    mistake is in one of the fields that say on which days.
    """
    base = _base(fields, zone)
    calendar = read_calendar(fields)
    number = None
    if day := fields.get("day"):
        base, number = _on_day(base, day)
    if number is None and not (calendar.only_on or calendar.except_on):
        return base
    found = OnDays(base, calendar, number)
    if not can_fire(found):
        named = [name for name in ("day", "only_on", "except_on") if fields.get(name)]
        raise CalendarError(f"{', '.join(named)}: no day is left on which it could ever fire")
    return found


def _base(fields: Mapping[str, Any], zone: str) -> Cron | Every | At:
    if "cron" in fields:
        return Cron(fields["cron"], **{name: fields[name] for name in ("days", "gap", "overlap") if name in fields})
    if "every" in fields:
        anchor = fields.get("anchor")
        return Every.parse(fields["every"], EPOCH if anchor is None else read_instant("anchor", anchor, zone))
    if "at" in fields:
        return At.parse(fields["at"], zone)
    raise ValueError("when says neither cron nor every nor at")


def _on_day(base: Cron | Every | At, day: str) -> tuple[Cron, int | None]:
    """The expression for one day a month: `last_day`, which cron knows, or the business day of a number."""
    if not isinstance(base, Cron):
        raise CalendarError("day goes with cron, which says at what time of that day")
    *times, of_month, month, weekday = base.expression.split()
    if (of_month, weekday) != ("*", "*"):
        raise CalendarError(f'day: {day} stands in place of the day fields of "{base.expression}": write them as *')
    if day == "last_day":
        return replace(base, expression=" ".join([*times, "L", month, weekday])), None
    if counted := re.fullmatch(r"business_day#(-?[1-9]\d?)", day, re.ASCII):
        return base, int(counted[1])
    if day not in _OF_MONTH:
        known = ", ".join([*_OF_MONTH, "last_day"])
        near = nearest(day, [*_OF_MONTH, "last_day"])
        hint = f"did you mean {near}? It" if near else "it"
        raise CalendarError(f'day "{day}" is not known: {hint} is {known}, or business_day#3 for the third')
    return base, _OF_MONTH[day]
