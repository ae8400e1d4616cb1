"""When a schedule's definition is due, in which zone, and how long its run waits after that: with the defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile

from pipeline import schedule, timing
from pipeline.settings import settings

INSTANT = timedelta(microseconds=1)


def next_due(definition: schedule.Schedule, after: datetime) -> datetime | None:
    """The next slot (UTC) strictly after `after`, or None for a schedule that is triggered by hand only."""
    if definition.when is None:
        return None
    return timing.next_after(definition.when.spec(settings().timezone), zone_of(definition), after)


def slots_after(definition: schedule.Schedule, mark: datetime) -> Iterator[timing.Slot]:
    """The slots strictly after `mark`, oldest first; those that do not fire are among them."""
    if definition.when is None:
        return iter(())
    return timing.slots_after(definition.when.spec(settings().timezone), zone_of(definition), mark)


def slots_between(definition: schedule.Schedule, start: datetime, end: datetime) -> Iterator[timing.Slot]:
    """The slots from `start` up to `end` (UTC, half-open), oldest first; those that do not fire are among them."""
    return takewhile(lambda slot: slot.due_at < end, slots_after(definition, start - INSTANT))


def zone_of(definition: schedule.Schedule) -> str:
    """The zone that the schedule's times are local to."""
    return (definition.when.timezone if definition.when else None) or settings().timezone


def not_before(definition: schedule.Schedule, key: str, due_at: datetime) -> datetime | None:
    """When the run of the slot `due_at` may start, or None for at once: drawn from the slot, the same on every node.

    Later than the slot by less than `when.jitter`, and than the time to the next slot.
    """
    if definition.when is None or definition.when.jitter is None:
        return None
    longest = timing.parse_duration(definition.when.jitter)
    following = next_due(definition, due_at)
    if following is not None:
        longest = min(longest, following - due_at)
    drawn = int.from_bytes(hashlib.sha256(f"{key} {due_at.isoformat()}".encode()).digest())
    return due_at + drawn % (longest // INSTANT) * INSTANT
