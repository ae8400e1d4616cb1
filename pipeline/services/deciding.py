"""What becomes of each slot since the last look: fired, or why not. No rows here, and time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipeline import schedule, timing
from pipeline.models import Decision
from pipeline.policies import CatchUp, Mode, Overlap
from pipeline.services.due import next_due, slots_after

# Slots of one schedule that one transaction decides; of a longer backlog the rest follows in the next ones.
CHUNK = 500
# Of a backlog longer than this the oldest part is one row: a schedule of every second that was away for a month would
# otherwise write two and a half million of them before it fires again.
BACKLOG = 10_000
# A paused schedule records its slots this often.
PAUSED_LOOK = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of the slot at `due_at` (UTC), and why where that needs saying."""

    due_at: datetime
    decision: Decision
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """All slots up to `mark`, decided, and when the schedule wants to be looked at again."""

    slots: Sequence[Decided]
    mark: datetime
    next_due_at: datetime | None


def decide(definition: schedule.Schedule, mark: datetime, now: datetime, paused: str | None = None) -> Look:
    """Decide the slots after `mark` and up to `now` (UTC); `paused` says why none of them fires.

    Of a long backlog `CHUNK` at most: the look says then that the schedule is due again at once. The caller has the
    last word on those that are to fire.
    """
    # Of a part of them none fires while twice as many follow as could be made up for.
    read = CHUNK + 2 * definition.catch_up.max
    coming = slots_after(definition, mark)
    mark = max(now, mark)
    awake = mark + PAUSED_LOOK if paused else mark
    slots, following = [], None
    for slot in coming:
        if slot.due_at <= now:
            slots.append(slot)
        if len(slots) == read:
            return _part_of_backlog(definition, slots, now, paused)
        if slot.due_at > awake and slot.fires:
            following = slot.due_at
            break
    decided = [_paused(slot, paused) for slot in slots] if paused else _each(definition, slots, now)
    return Look(decided, mark, following)


def _each(definition: schedule.Schedule, slots: Sequence[timing.Slot], now: datetime) -> list[Decided]:
    catch_up = definition.catch_up
    # With `overlap: cancel` each would cancel the one before it at once.
    most = 1 if definition.overlap == Overlap.CANCEL else catch_up.most
    earliest = now - catch_up.lateness
    in_time = [slot.due_at for slot in slots if slot.fires and slot.due_at >= earliest][-most:]
    newest, fired = in_time[-1] if in_time else None, set(in_time)
    return [
        Decided(slot.due_at, Decision.FIRED, slot.note or None)
        if slot.due_at in fired and slot.fires
        else _dropped(slot, now, catch_up, newest)
        for slot in slots
    ]


def _dropped(slot: timing.Slot, now: datetime, catch_up: CatchUp, newest: datetime | None) -> Decided:
    """A slot that does not fire; `newest` is the one that does, or None."""
    if not slot.fires:
        return Decided(slot.due_at, Decision.SKIPPED, slot.note)
    if newest and catch_up.mode == Mode.LATEST:
        return Decided(slot.due_at, Decision.COALESCED, f"missed; {newest:%F %T} UTC stands for it")
    if now - slot.due_at > catch_up.lateness:
        longest = timing.format_duration(catch_up.lateness)
        reason = f"more than {longest} late when beat came to it (catch_up: {catch_up.mode})"
    else:
        newer = f"the newest {catch_up.most} are" if catch_up.most > 1 else "only the newest one is"
        reason = f"missed; {newer} made up for (catch_up: {catch_up.mode})"
    return Decided(slot.due_at, Decision.LATE, reason)


def _paused(slot: timing.Slot, reason: str) -> Decided:
    return Decided(slot.due_at, Decision.PAUSED, reason)


def _part_of_backlog(
    definition: schedule.Schedule, slots: Sequence[timing.Slot], now: datetime, paused: str | None
) -> Look:
    """The oldest of so many slots that none of them fires; what is far more than a backlog is one row."""
    old = [_paused(slot, paused) if paused else _old(slot, now, definition.catch_up) for slot in slots[:CHUNK]]
    following = slots[CHUNK].due_at
    kept_since = now - (old[-1].due_at - old[0].due_at) * (BACKLOG / CHUNK)
    if kept_since <= following:
        return Look(old, old[-1].due_at, following)
    reason = f"{old[0].reason}; this row stands for every slot from here to {kept_since:%F %T} UTC"
    return Look([replace(old[0], reason=reason)], kept_since, next_due(definition, kept_since))


def _old(slot: timing.Slot, now: datetime, catch_up: CatchUp) -> Decided:
    if slot.fires and catch_up.mode == Mode.LATEST:
        return Decided(slot.due_at, Decision.COALESCED, "missed; only the latest missed slot is made up for")
    return _dropped(slot, now, catch_up, None)
