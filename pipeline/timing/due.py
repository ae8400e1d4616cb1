"""The slots of a schedule: at which instants it is due, and what the clocks of its zone did to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count, islice, takewhile
from zoneinfo import ZoneInfo

from pipeline.timing.cron import Cron, WallTimes
from pipeline.timing.durations import format_duration
from pipeline.timing.specs import At, Every, Spec
from pipeline.timing.zones import SECOND, Stretch, find_zone, stretches_from, to_utc

# A zone that crosses the date line loses hours nobody means to work through at the other side.
LONGEST_SHIFT = timedelta(hours=3)
# Nothing that can fire waits longer: 29 February on a given weekday, across 2100, waits 40 years.
HORIZON_YEARS = 50


class SlotKind(StrEnum):
    """Whether a slot fires at its own time, fires later since that time does not exist, or does not fire."""

    ON_TIME = "on_time"
    SHIFTED = "shifted"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Slot:
    """One due instant (UTC). `note` says in a sentence what the clocks did to it, or is empty.

    A dropped slot carries the instant at which the clocks jumped; wall times lost in one jump share one slot.
    """

    due_at: datetime
    kind: SlotKind = SlotKind.ON_TIME
    note: str = ""

    @property
    def fires(self) -> bool:
        """Whether a run is due, or only a row that says why there is none."""
        return self.kind is not SlotKind.DROPPED


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
    `overlap` says. Any other expression, and each interval, fires at every real occurrence.
    """
    after = to_utc(after)
    find_zone(zone)
    match spec:
        case Cron():
            return _cron_slots(spec, zone, after)
        case Every(seconds, anchor):
            step = timedelta(seconds=seconds)
            first = (after - anchor) // step + 1
            return (Slot(anchor + number * step) for number in count(first))
        case At(instants):
            return (Slot(instant) for instant in instants if instant > after)


def slots_between(spec: Spec, zone: str, start: datetime, end: datetime) -> Iterator[Slot]:
    """Yield the slots from `start` to `end` (aware, half-open as a period is), dropped ones included."""
    last = to_utc(end)
    slots = slots_after(spec, zone, to_utc(start) - timedelta(microseconds=1))
    return takewhile(lambda slot: slot.due_at < last, slots)


def _cron_slots(cron: Cron, zone: str, after: datetime) -> Iterator[Slot]:
    walls = WallTimes(cron)
    for stretch in stretches_from(zone, after, HORIZON_YEARS):
        entered = stretch.start > after
        lost = _lost_slot(cron, walls, stretch, zone) if entered and cron.fixed_time else None
        for slot in _real_slots(cron, walls, stretch, zone, stretch.start - SECOND if entered else after):
            if lost and lost.due_at == slot.due_at:
                # One row an instant: a time of its own right after the gap takes the lost ones in.
                yield replace(slot, note=lost.note)
            else:
                if lost:
                    yield lost
                yield slot
            lost = None
        if lost:
            yield lost


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
