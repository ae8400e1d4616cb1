"""When is it due next? The fires to come of a `when`, and what clocks and calendars do to them; no table is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pipeline import timing
from pipeline.when import When


@dataclass(frozen=True)
class Dropped:
    """A slot that does not fire, and why: at `due_at` (UTC), `local` in the zone."""

    due_at: datetime
    local: str
    note: str


@dataclass(frozen=True)
class Fire:
    """A slot that fires at `due_at` (UTC), `local` in the zone; `note` if it was moved, or is one of two.

    `dropped` are those that do not fire, between the fire before and this one.
    """

    due_at: datetime
    local: str
    zone: str
    note: str | None
    dropped: list[Dropped]


@dataclass(frozen=True)
class Upcoming:
    """The next fires; `when` is English. If there are fewer than asked for, `dropped` are those after the last."""

    when: str
    zone: str
    fires: list[Fire]
    dropped: list[Dropped]


def upcoming(when: When, default_zone: str, after: datetime, count: int) -> Upcoming:
    """The first `count` fires strictly later than `after` (aware); fewer if there are no more within 50 years."""
    zone = when.timezone or default_zone
    spec, local = when.spec(zone), timing.find_zone(zone)
    fires: list[Fire] = []
    dropped: list[Dropped] = []
    for slot in _slots(spec, zone, after):
        at = slot.due_at.astimezone(local).isoformat()
        if not slot.fires:
            dropped.append(Dropped(slot.due_at, at, slot.note))
            continue
        fires.append(Fire(slot.due_at, at, zone, slot.note or None, dropped))
        dropped = []
        if len(fires) == count:
            break
    return Upcoming(timing.describe(spec, zone), zone, fires, dropped)


def _slots(spec: timing.Spec, zone: str, after: datetime) -> Iterator[timing.Slot]:
    """The slots as long as 50 years hold one that fires: a walk of its own ends after so many."""
    fired = True
    while fired:
        fired = False
        for slot in timing.slots_after(spec, zone, after):
            yield slot
            after, fired = slot.due_at, fired or slot.fires
