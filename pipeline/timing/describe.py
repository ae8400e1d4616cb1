"""When a schedule is due, in plain English."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.timing.calendars import Calendar
from pipeline.timing.cron import Cron
from pipeline.timing.day_sets import DaySet
from pipeline.timing.durations import format_duration
from pipeline.timing.specs import EPOCH, At, Every, OnDays, Spec
from pipeline.timing.zones import find_zone


def describe(spec: Spec, zone: str | None = None) -> str:
    """Say when something is due: `At 07:00 on Monday`. With a `zone`, say whose wall time that is."""
    match spec:
        case Cron():
            return _cron(spec) + (f", {zone} time" if zone else "")
        case Every(seconds, anchor):
            counted = "" if anchor == EPOCH else f", counted from {_moment(anchor, zone)}"
            return f"Every {format_duration(seconds)}{counted}"
        case At(instants):
            first = _moment(instants[0], zone)
            if len(instants) == 1:
                return f"Once, on {first}"
            return f"{len(instants)} times, from {first} to {_moment(instants[-1], zone)}"
        case OnDays(Cron() as cron, calendar, int(number)):
            return _of_month(cron, number, zone) + _only_on(calendar)
        case OnDays(base, calendar):
            return describe(base, zone) + _only_on(calendar)


def _cron(cron: Cron) -> str:
    from cronsim.explain import Expression  # only who describes needs it

    expression = Expression(cron.expression.upper().split())
    expression.day_and = expression.day_and or cron.days == "both"
    # It says 21th.
    return re.sub(r"\b(\d+)th\b", lambda found: _ordinal(int(found[1])), expression.explain())


def _of_month(cron: Cron, number: int, zone: str | None) -> str:
    """Say of a business day what is said of the last day of a month, for which there are words."""
    times = cron.expression.split()[:-3]
    said = describe(replace(cron, expression=" ".join([*times, "L", cron.month, "*"])), zone)
    which = {1: "first", -1: "last"}.get(number, _ordinal(abs(number)) + (" last" if number < 0 else ""))
    return said.replace("the last day", f"the {which} business day")


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 != 1 else 0, "th")
    return f"{number}{ending}"


def _only_on(calendar: Calendar) -> str:
    said = [f"only on {_listed(calendar.only_on)}"] if calendar.only_on else []
    said += [f"except on {_listed(calendar.except_on)}"] if calendar.except_on else []
    if said and calendar.on_holiday != "skip":
        near = "next allowed day" if calendar.on_holiday == "after" else "last allowed day before"
        said.append(f"otherwise on the {near}")
    return "".join(f", {part}" for part in said)


def _listed(sets: Iterable[DaySet]) -> str:
    return " and ".join(days.label for days in sets)


def _moment(instant: datetime, zone: str | None) -> str:
    local = instant.astimezone(find_zone(zone) if zone else UTC)
    return f"{local:%Y-%m-%d %H:%M} {zone or 'UTC'}"
