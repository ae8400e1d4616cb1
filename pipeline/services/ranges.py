"""A range of a schedule's slots that somebody wants run: which slots it holds, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import schedule as definitions
from pipeline import timing
from pipeline.bulk import CHUNK
from pipeline.errors import Refused
from pipeline.models import FINAL_RUN, Decision, Order, Run, RunStatus, Schedule, Slot
from pipeline.services import runs, schedules
from pipeline.services.due import INSTANT, slots_between, zone_of

# How far ahead a range is looked into for what has not been decided yet.
YEAR = timedelta(days=366)
# Slots that one backfill takes at most.
MOST = 10_000


class Known(StrEnum):
    """What is known of a slot; only what is open is run without being asked to run again."""

    OPEN = "open"  # no run of it has succeeded
    SUCCEEDED = "succeeded"
    IN_PROGRESS = "in progress"
    PURGED = "purged"  # it was run, and nobody knows any more how that went


@dataclass(frozen=True)
class Wish:
    """The slots of a schedule from `since` up to `until` (UTC, half-open), and how they are to be run."""

    schedule_key: str
    since: datetime
    until: datetime
    first: Order = Order.OLDEST
    concurrency: int = 1
    # Also slots that have been run with success.
    again: bool = False


@dataclass(frozen=True)
class RangeSlot:
    """One slot of the range: `local` is `due_at` (UTC) in the schedule's zone, `run_id` the run that is known of it."""

    due_at: datetime
    local: str
    period: timing.Period
    known: Known
    run_id: UUID | None
    to_run: bool


@dataclass(frozen=True)
class Preview:
    """What a backfill would do, in its order."""

    schedule: str
    zone: str
    slots: list[RangeSlot]

    @property
    def to_run(self) -> list[RangeSlot]:
        return [slot for slot in self.slots if slot.to_run]


def preview(session: Session, wish: Wish) -> Preview:
    """Look, and open nothing. Raises NotFound, and Refused for a range without a slot or with too many."""
    row, stored = schedules.current(session, wish.schedule_key)
    definition = definitions.parse(stored, f"schedule {row.key}")
    dues = ordered(instants(row, definition, wish), wish.first)
    known = look(session, row.key, dues)
    zone = zone_of(definition)
    info = timing.find_zone(zone)
    return Preview(
        row.key,
        zone,
        [
            RangeSlot(
                due_at=due_at,
                local=due_at.astimezone(info).isoformat(),
                period=runs.period_of(definition.period_spec, due_at, zone),
                known=known[due_at][0],
                run_id=known[due_at][1],
                to_run=is_to_run(known[due_at][0], again=wish.again),
            )
            for due_at in dues
        ],
    )


def instants(row: Schedule, definition: definitions.Schedule, wish: Wish) -> list[datetime]:
    """The slots of the range, oldest first: those that the schedule itself has decided, or was not there for.

    What is due after its mark is its own to fire. Raises Refused for none, or more than `MOST`.
    """
    if definition.when is None:
        raise Refused(f"{row.key} has no `when`, so it has no slots: `pipeline trigger {row.key} --period PERIOD`")
    if wish.since >= wish.until:
        raise Refused(f"the range ends ({_said(wish.until)}) before it begins ({_said(wish.since)})", field="to")
    slots = slots_between(definition, wish.since, min(wish.until, row.high_water_mark + INSTANT))
    found = list(islice((slot.due_at for slot in slots if slot.fires), MOST + 1))
    if len(found) > MOST:
        raise Refused(
            f"there are more than {MOST:,} slots in that range: take a smaller one, several times", field="to"
        )
    if not found:
        raise Refused(_none_due(row, definition, wish))
    return found


def _none_due(row: Schedule, definition: definitions.Schedule, wish: Wish) -> str:
    mark = row.high_water_mark
    if any(slot.fires for slot in slots_between(definition, max(wish.since, mark), min(wish.until, mark + YEAR))):
        own = f"what is due after {_said(mark)} is {row.key}'s own to fire"
        return f"{own}: `pipeline slots {row.key}` says whether it has"
    return f"no slot of {row.key} was due from {_said(wish.since)} to {_said(wish.until)}"


def _said(at: datetime) -> str:
    return f"{at:%F %H:%M} UTC"


def ordered(dues: Sequence[datetime], first: str) -> list[datetime]:
    """The slots, of which the oldest come first, in the order that is wanted."""
    return list(dues) if first == Order.OLDEST else list(reversed(dues))


def is_to_run(known: Known, *, again: bool) -> bool:
    """Whether a slot of which so much is known is run."""
    return known == Known.OPEN or (again and known != Known.IN_PROGRESS)


def look(session: Session, key: str, dues: Sequence[datetime]) -> dict[datetime, tuple[Known, UUID | None]]:
    """What is known of each slot from all that was decided about it, by the schedule or a backfill; and its run."""
    found: dict[datetime, tuple[Known, UUID | None]] = dict.fromkeys(dues, (Known.OPEN, None))
    for at in range(0, len(dues), CHUNK):
        columns = select(Slot.due_at, Slot.decision, Run.id, Run.status).outerjoin(Run, Run.id == Slot.run_id)
        mine = columns.where(Slot.schedule_key == key, Slot.due_at.in_(dues[at : at + CHUNK]))
        for due_at, decision, run_id, status in session.execute(mine.order_by(Slot.decided_at, Slot.id)):
            found[due_at] = max(found[due_at], _known(decision, run_id, status), key=lambda one: _WEIGHT[one[0]])
    return found


# What is told where several are known of one slot.
_WEIGHT = {one: weight for weight, one in enumerate((Known.OPEN, Known.PURGED, Known.SUCCEEDED, Known.IN_PROGRESS))}


def _known(decision: str, run_id: UUID | None, status: str | None) -> tuple[Known, UUID | None]:
    if status is None:
        return (Known.PURGED if decision == Decision.FIRED else Known.OPEN), None
    if status not in FINAL_RUN:
        return Known.IN_PROGRESS, run_id
    return (Known.SUCCEEDED if status == RunStatus.SUCCEEDED else Known.OPEN), run_id
