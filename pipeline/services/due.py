"""When a schedule's definition is due next, and in which zone: the one place that knows the default."""

from __future__ import annotations

from datetime import datetime

from pipeline import schedule, timing
from pipeline.settings import settings


def next_due(definition: schedule.Schedule, after: datetime) -> datetime | None:
    """The next slot (UTC) strictly after `after`, or None for a schedule that is triggered by hand only."""
    if definition.when is None:
        return None
    zone = zone_of(definition)
    return timing.next_after(definition.when.spec(settings().timezone), zone, after)


def zone_of(definition: schedule.Schedule) -> str:
    """The zone that the schedule's times are local to."""
    return (definition.when.timezone if definition.when else None) or settings().timezone
