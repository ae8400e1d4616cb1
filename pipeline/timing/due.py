"""The slots of a schedule: at which instants it is due, and what clocks and calendars did to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import takewhile

from pipeline.timing.clocks import cron_slots
from pipeline.timing.cron import Cron
from pipeline.timing.on_days import slots_on_days
from pipeline.timing.slot import Slot
from pipeline.timing.specs import At, Every, OnDays, Spec
from pipeline.timing.zones import find_zone, to_utc


def next_after(spec: Spec, zone: str, after: datetime) -> datetime | None:
    """Give the first instant (UTC) strictly later than `after` (aware) at which `spec` fires; None if there is none.

    The answer is the same for each `after` between two fires. Cron fields are read as the wall time of `zone`, by the
    rules of `slots_after`. Raises ValueError for an unknown zone or an `after` without a zone.
    """
    return next((slot.due_at for slot in slots_after(spec, zone, after) if slot.fires), None)


def slots_after(spec: Spec, zone: str, after: datetime) -> Iterator[Slot]:
    """Yield the slots strictly later than `after` (aware), in strict order; of a cron expression, those of 50 years.

    A cron expression with a fixed time (see `Cron`) that the clocks jump over is shifted to the first instant after
    the gap, or dropped under `gap: skip` and in gaps of more than 3 hours; one that the clocks show twice fires as
    `overlap` says. Any other expression, and each interval, fires at every real occurrence. What falls on a day that a
    calendar excludes (see `OnDays`) is dropped or moved, by the local date in `zone`.
    """
    after = to_utc(after)
    find_zone(zone)
    match spec:
        case Cron():
            return cron_slots(spec, zone, after)
        case Every() | At():
            return map(Slot, spec.after(after))
        case OnDays():
            return slots_on_days(spec, zone, after)


def slots_between(spec: Spec, zone: str, start: datetime, end: datetime) -> Iterator[Slot]:
    """Yield the slots from `start` to `end` (aware, half-open as a period is), dropped ones included."""
    last = to_utc(end)
    slots = slots_after(spec, zone, to_utc(start) - timedelta(microseconds=1))
    return takewhile(lambda slot: slot.due_at < last, slots)
