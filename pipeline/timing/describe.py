"""When a schedule is due, in plain English."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.timing.cron import Cron
from pipeline.timing.durations import format_duration
from pipeline.timing.specs import EPOCH, At, Every, Spec
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


def _cron(cron: Cron) -> str:
    from cronsim.explain import Expression  # only who describes needs it

    expression = Expression(cron.expression.upper().split())
    expression.day_and = expression.day_and or cron.days == "both"
    return expression.explain()


def _moment(instant: datetime, zone: str | None) -> str:
    local = instant.astimezone(find_zone(zone) if zone else UTC)
    return f"{local:%Y-%m-%d %H:%M} {zone or 'UTC'}"
