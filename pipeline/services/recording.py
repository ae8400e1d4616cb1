"""Writes what was decided about due schedules: all of it at once, or each for itself if that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pipeline import log
from pipeline.bulk import insert_all, insert_new
from pipeline.db import is_away
from pipeline.failpoints import failpoint
from pipeline.models import Decision, Run, RunStatus, Schedule, Slot, WaitingFor, new_id
from pipeline.schedule import Schedule as Definition
from pipeline.services import notices, runs, turns
from pipeline.services.deciding import Decided, Look
from pipeline.services.due import zone_of
from pipeline.services.notices.dropped import Dropped, slots_dropped
from pipeline.services.turns import InTheWay

logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Fired:
    """A run that was opened for a slot; `waits` for its turn or its jitter: reconcile publishes it then."""

    run_id: UUID
    schedule_key: str
    due_at: datetime
    waits: bool


@dataclass(slots=True)
class Outcome:
    """What becomes of one schedule: its slots, the runs that some of them open, and those that they cancel."""

    key: str
    look: Look
    definition: Definition | None = None
    drafts: dict[datetime, Run] = field(default_factory=dict)
    cancels: Sequence[InTheWay] = ()


_ADVANCE = (
    update(Schedule.__table__)  # type: ignore[arg-type]  # a table: not the ORM's update by primary key
    .where(Schedule.key == bindparam("of"))
    .values(high_water_mark=bindparam("mark"), next_due_at=bindparam("following"))
)


def record(session: Session, outcomes: Sequence[Outcome], now: datetime) -> list[Fired]:
    """Write all outcomes at once, or each for itself where the database refuses the whole."""
    try:
        with session.begin_nested():
            return _write(session, outcomes, now)
    except Exception as error:  # whatever it is that one of them has
        if isinstance(error, DBAPIError) and is_away(error):
            raise
    return [fired for outcome in outcomes for fired in _record_alone(session, outcome, now)]


def _write(session: Session, outcomes: Sequence[Outcome], now: datetime) -> list[Fired]:
    for outcome in outcomes:
        if outcome.cancels:
            _make_way(session, outcome)
    drafts = [run for outcome in outcomes for run in outcome.drafts.values()]
    runs.add_all(session, drafts)
    failpoint("firing.runs")
    slots = [_slot(outcome, slot, now) for outcome in outcomes for slot in outcome.look.slots]
    insert_all(session, Slot, slots)
    failpoint("firing.slots")
    session.connection().execute(_ADVANCE, [_advance(outcome) for outcome in outcomes])
    dropped = [dropped for outcome in outcomes if (dropped := _dropped(outcome))]
    if dropped:
        notices.aside(session, lambda: slots_dropped(session, dropped))
    return [Fired(run.id, run.schedule_key, run.due_at, _waits(run, now)) for run in drafts]


def _dropped(outcome: Outcome) -> Dropped | None:
    """What was too late of it, for those who are to know."""
    late = [slot.due_at for slot in outcome.look.slots if slot.decision == Decision.LATE]
    if not late or outcome.definition is None:
        return None
    of = outcome.definition
    return Dropped(outcome.key, zone_of(of), late, outcome.look.next_due_at, of.notify)


def _record_alone(session: Session, outcome: Outcome, now: datetime) -> list[Fired]:
    try:
        with session.begin_nested():
            return _write(session, [outcome], now)
    except Exception as error:
        if isinstance(error, DBAPIError) and is_away(error):
            raise
        refused = error.orig if isinstance(error, DBAPIError) else None
        reason = f"could not be fired: {refused or error}"
        logger.warning(
            "schedule could not be fired", schedule=outcome.key, error=reason, exc_info=None if refused else error
        )
    slots = [
        replace(slot, decision=Decision.SKIPPED, reason=reason) if slot.decision == Decision.FIRED else slot
        for slot in outcome.look.slots
    ]
    outcome = Outcome(outcome.key, replace(outcome.look, slots=slots))
    # One that is there already was decided before: its row stays.
    insert_new(session, Slot, [_slot(outcome, slot, now) for slot in slots])
    session.connection().execute(_ADVANCE, [_advance(outcome)])
    return []


def _make_way(session: Session, outcome: Outcome) -> None:
    """Cancel what is in the way of the outcome's run, which is queued at once if nothing is left of it."""
    for one in sorted(outcome.cancels, key=lambda one: not one.waits_for_its_turn):
        runs.cancel(session, runs.lock(session, one.run_id), "beat", "the next slot is due (overlap: cancel)")
    session.flush()
    left = turns.in_the_way(session, [outcome.key])
    for run in outcome.drafts.values():
        run.status, run.waiting_for = (RunStatus.WAITING, WaitingFor.SLOT) if left else (RunStatus.QUEUED, None)


def _slot(outcome: Outcome, slot: Decided, now: datetime) -> dict[str, Any]:
    run = outcome.drafts.get(slot.due_at)
    return {
        "id": new_id(),
        "schedule_key": outcome.key,
        "due_at": slot.due_at,
        "origin": "schedule",
        "decision": slot.decision,
        "reason": slot.reason,
        "run_id": run.id if run else None,
        "decided_at": now,
    }


def _advance(outcome: Outcome) -> dict[str, Any]:
    return {"of": outcome.key, "mark": outcome.look.mark, "following": outcome.look.next_due_at}


def _waits(run: Run, now: datetime) -> bool:
    return run.status != RunStatus.QUEUED or (run.not_before is not None and run.not_before > now)
