"""What the clocks of a zone make of a cron expression: its slots, across gaps and overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from pipeline.timing.cron import Cron, WallTimes, WallTimesOn
from pipeline.timing.durations import format_duration
from pipeline.timing.slot import Slot, SlotKind, merged
from pipeline.timing.zones import DAY, SECOND, Stretch, find_zone, stretches_from

# A zone that crosses the date line loses hours nobody means to work through at the other side.
LONGEST_SHIFT = timedelta(hours=3)
# Nothing that can fire waits longer: 29 February on a given weekday, across 2100, waits 40 years.
HORIZON_YEARS = 50


def cron_slots(cron: Cron, zone: str, after: datetime, on: date | None = None) -> Iterator[Slot]:
    """Yield the slots strictly later than `after` (UTC), in strict order; with `on`, those of that local day only.

    A time belongs to the day that it is written for, also where the clocks shift it into the next one.
    """
    walls = WallTimes(cron) if on is None else WallTimesOn(cron, on)
    for stretch in stretches_from(zone, after, HORIZON_YEARS):
        entered = stretch.start > after
        lost = _lost_slot(cron, walls, stretch, zone) if entered and cron.fixed_time else None
        for slot in _real_slots(cron, walls, stretch, zone, stretch.start - SECOND if entered else after):
            if lost and lost.due_at == slot.due_at:
                # One row an instant: a time of its own right after the gap takes the lost ones in.
                yield merged(slot, lost)
            else:
                if lost:
                    yield lost
                yield slot
            lost = None
        if lost:
            yield lost
        # Not yet at the day's end: clocks that go back at midnight show its last times once more.
        if on is not None and _wall(stretch.end, stretch).date() - on > 2 * DAY:
            return


def _real_slots(cron: Cron, walls: WallTimes, stretch: Stretch, zone: str, after: datetime) -> Iterator[Slot]:
    """Yield the slots of one stretch later than `after`, at wall times that exist."""
    info, fixed_time = find_zone(zone), cron.fixed_time
    wall, end = _wall(after, stretch), _wall(stretch.end, stretch)
    while (wall := walls.after(wall)) < end:
        due_at = (wall - stretch.offset).replace(tzinfo=UTC)
        slot = _fixed_slot(cron, due_at, info) if fixed_time else Slot(due_at)
        if slot:
            yield slot


def _wall(instant: datetime, stretch: Stretch) -> datetime:
    return instant.replace(tzinfo=None) + stretch.offset


def _fixed_slot(cron: Cron, due_at: datetime, info: ZoneInfo) -> Slot | None:
    """Make the slot of a fixed time that is real at `due_at`; None if the wall time's other copy is the one that fires.

    Whether the clocks show a time twice is read off `fold` (PEP 495).
    """
    local = due_at.astimezone(info)
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return Slot(due_at)
    copy_now = "second" if local.fold else "first"
    if cron.overlap not in (copy_now, "both"):
        return None
    which = f"both times, here the {copy_now}" if cron.overlap == "both" else f"the {copy_now} time"
    note = f"{_clock(local)} comes twice on {local:%Y-%m-%d} in {info.key}: fires {which}"
    return Slot(due_at, note=note)


def _lost_slot(cron: Cron, walls: WallTimes, stretch: Stretch, zone: str) -> Slot | None:
    """Make the one slot for the fixed times in the gap at the start of a stretch; None if there are none."""
    if stretch.gap <= timedelta():
        return None
    reopens = _wall(stretch.start, stretch)
    lost = list(islice(_matches(walls, reopens - stretch.gap, reopens), 4))
    if not lost:
        return None
    missing = _missing(lost, zone)
    if cron.gap == "skip":
        return Slot(stretch.start, SlotKind.DROPPED, f"{missing}: dropped, as gap: skip asks")
    if stretch.gap > LONGEST_SHIFT:
        why = f"the gap of {format_duration(stretch.gap)} is longer than {format_duration(LONGEST_SHIFT)}"
        return Slot(stretch.start, SlotKind.DROPPED, f"{missing}: dropped, since {why}")
    fires = "fires" if len(lost) == 1 else "fires once"
    return Slot(stretch.start, SlotKind.SHIFTED, f"{missing}: {fires} at {_clock(reopens)}")


def _matches(walls: WallTimes, start: datetime, end: datetime) -> Iterator[datetime]:
    wall = start - SECOND
    while (wall := walls.after(wall)) < end:
        yield wall


def _missing(lost: list[datetime], zone: str) -> str:
    """Say which wall times do not exist, the first three of them."""
    day = lost[0].date()
    named = [_clock(wall) if wall.date() == day else f"{wall:%Y-%m-%d} {_clock(wall)}" for wall in lost[:3]]
    more = " and more" if len(lost) > 3 else ""
    return f"{', '.join(named)}{more} {'does' if len(lost) == 1 else 'do'} not exist on {day} in {zone}"


def _clock(wall: datetime) -> str:
    return f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
