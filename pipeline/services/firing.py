"""Every due slot is decided once, in one transaction with all that follows from it, however many beats there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pipeline import log
from pipeline.adapters import home
from pipeline.db import clock, insert_all, insert_new, is_away
from pipeline.errors import PipelineError
from pipeline.failpoints import failpoint
from pipeline.models import Decision, Run, RunStatus, Schedule, Slot, Trigger, WaitingFor, new_id
from pipeline.policies import Overlap
from pipeline.schedule import Schedule as Definition
from pipeline.services import notices, plans, runs, turns
from pipeline.services.deciding import Decided, Look, decide
from pipeline.services.due import next_due, not_before, zone_of
from pipeline.services.notices.dropped import Dropped, slots_dropped
from pipeline.services.plans import Plan
from pipeline.services.turns import InTheWay
from pipeline.settings import settings

logger = log.get(__name__)
# Due schedules that one transaction takes (scheduling.md, rule 2), and slots after which it takes no more of them.
BATCH, SLOTS = 200, 1000


@dataclass(frozen=True, slots=True)
class Fired:
    """A run that was opened for a slot; `waits` for its turn or its jitter: reconcile publishes it then."""

    run_id: UUID
    schedule_key: str
    due_at: datetime
    waits: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction decided, and whether more is due already."""

    fired: Sequence[Fired]
    more: bool


@dataclass(slots=True)
class _Outcome:
    """What becomes of one schedule: its slots, the runs that some of them open, and those that they cancel."""

    key: str
    look: Look
    definition: Definition | None = None
    drafts: dict[datetime, Run] = field(default_factory=dict)
    cancels: Sequence[InTheWay] = ()


_Known = Schedule | Row[str, str, bool, str | None, datetime, datetime | None]
# What is looked at of a schedule, as columns: a batch of objects of the ORM takes as long as to decide about it.
_KNOWN = (
    Schedule.key,
    Schedule.revision,
    Schedule.paused,
    Schedule.note,
    Schedule.high_water_mark,
    Schedule.next_due_at,
)


def fire_due(session: Session) -> Batch:
    """Decide slots that are due, in this one transaction: slots, runs with their step `start`, next slots.

    Several beats may do this at once: PostgreSQL's rows are skipped while another beat holds them, SQLite has one
    writer. The caller publishes the runs after commit, and comes again at once when there is more.
    """
    now = clock(session)
    # A pause that is over is ended by reconcile first: it knows which slots belong to it.
    ready = or_(Schedule.paused_until.is_(None), Schedule.paused_until > now)
    due = select(*_KNOWN).where(Schedule.next_due_at <= now, ready).order_by(Schedule.next_due_at).limit(BATCH)
    # NO KEY UPDATE: a plain FOR UPDATE collides with the foreign-key checks of other transactions and skips due rows.
    rows = session.execute(due.with_for_update(skip_locked=True, key_share=True)).all()
    if not rows:
        return Batch([], more=False)
    failpoint("firing.locked")
    outcomes, slots = [], 0
    for outcome in _outcomes(session, rows, now):
        outcomes.append(outcome)
        slots += len(outcome.look.slots)
        if slots >= SLOTS:
            break
    failpoint("firing.decided")
    fired = _written(session, outcomes, now)
    failpoint("firing.written")
    unfinished = len(outcomes) < len(rows) or any(_is_due(one.look.next_due_at, now) for one in outcomes)
    return Batch(fired, more=unfinished or len(rows) == BATCH)


def settle(session: Session, row: Schedule, now: datetime) -> None:
    """Decide what a schedule, whose row is locked, is due for: before it is changed, paused or resumed.

    Its runs are published by reconcile. Paused is what the row says now, and so are revision and note.
    """
    if row.paused and row.next_due_at is not None:
        row.next_due_at = min(row.next_due_at, now)  # it is looked at less often than it is due
    while _is_due(row.next_due_at, now):
        (outcome,) = _outcomes(session, [row], now)
        session.flush()
        _written(session, [outcome], now)
        session.refresh(row, ["high_water_mark", "next_due_at"])


def soonest(session: Session) -> datetime | None:
    """When a schedule wants to be looked at next (UTC)."""
    due = select(Schedule.next_due_at).where(Schedule.next_due_at.is_not(None))
    return session.scalar(due.order_by(Schedule.next_due_at).limit(1))


def _is_due(at: datetime | None, now: datetime) -> bool:
    return at is not None and at <= now


# ---- deciding


def _outcomes(session: Session, rows: Sequence[_Known], now: datetime) -> Iterable[_Outcome]:
    """What becomes of each schedule; one for which that cannot be told harms no other."""
    known = plans.read(session, [(row.key, row.revision) for row in rows])
    busy = turns.in_the_way(session, [row.key for row in rows if _may_be_busy(known[row.key])])
    version = home.code_version(settings().home)
    for row in rows:
        plan = known[row.key]
        try:
            if isinstance(plan, Exception):
                raise plan
            yield _outcome(row, plan, busy.get(row.key, []), now, version)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            yield _given_up(row, plan, now, error)


def _may_be_busy(plan: Plan | Exception) -> bool:
    return isinstance(plan, Plan) and plan.definition.overlap != Overlap.ALLOW


def _outcome(row: _Known, plan: Plan, busy: list[InTheWay], now: datetime, version: str) -> _Outcome:
    paused = None if not row.paused else f"paused: {row.note}" if row.note else "the schedule was paused"
    look = decide(plan.definition, row.high_water_mark, now, paused)
    outcome = _Outcome(row.key, look, plan.definition)
    if not any(slot.decision == Decision.FIRED for slot in look.slots):
        return outcome
    slots = []
    for slot in look.slots:
        decided, cancels = _in_turn(slot, plan.definition.overlap, busy)
        slots.append(decided)
        if decided.decision == Decision.FIRED:
            run = _draft(plan, slot.due_at, now, version)
            if busy:
                run.status, run.waiting_for = RunStatus.WAITING, WaitingFor.SLOT
            outcome.drafts[slot.due_at], outcome.cancels = run, cancels
            if plan.definition.overlap != Overlap.ALLOW:
                busy = [*busy, InTheWay(run.id, run.status, run.waiting_for)]
    outcome.look = replace(look, slots=slots)
    return outcome


def _in_turn(slot: Decided, overlap: Overlap, busy: Sequence[InTheWay]) -> tuple[Decided, Sequence[InTheWay]]:
    """The slot as the runs in its way leave it, and which of them are cancelled for it."""
    if slot.decision != Decision.FIRED or not busy:
        return slot, ()
    first = busy[0]
    match overlap:
        case Overlap.QUEUE if not any(run.waits_for_its_turn for run in busy):
            return replace(slot, reason=_said(slot, f"waits until run {first.run_id} ends (overlap: queue)")), ()
        case Overlap.CANCEL:
            return replace(slot, reason=_said(slot, f"run {first.run_id} is cancelled for it (overlap: cancel)")), busy
    # Under `queue` one waits, and no more: it is named, being the last that was opened.
    named = busy[-1] if overlap == Overlap.QUEUE else first
    reason = _said(slot, f"run {named.run_id} was {named.doing} (overlap: {overlap})")
    return Decided(slot.due_at, Decision.SKIPPED, reason), ()


def _said(slot: Decided, more: str) -> str:
    return f"{slot.reason}; {more}" if slot.reason else more


def _draft(plan: Plan, due_at: datetime, now: datetime, version: str) -> Run:
    request = runs.Request(schedule_key=plan.key, trigger=Trigger.SCHEDULE)
    return runs.draft(
        request, plan.definition, plan.stored, plan.revision, due_at=due_at, now=now, code_version=version,
        not_before=not_before(plan.definition, plan.key, due_at),
    )  # fmt: skip


def _given_up(row: _Known, plan: Plan | Exception, now: datetime, error: Exception) -> _Outcome:
    """A slot that cannot be fired says why in its row; a definition that cannot be read waits for a good one."""
    bug = None if isinstance(error, PipelineError) else error
    logger.warning("schedule could not be fired", schedule=row.key, error=str(error), exc_info=bug)
    mark = max(now, row.high_water_mark)
    slots = [Decided(row.next_due_at, Decision.SKIPPED, f"could not be fired: {error}")] if row.next_due_at else []
    try:
        following = next_due(plan.definition, mark) if isinstance(plan, Plan) else None
    except Exception:  # noqa: BLE001 - it is what is wrong with it
        following = None
    return _Outcome(row.key, Look(slots, mark, following))


# ---- writing

_ADVANCE = (
    update(Schedule.__table__)  # type: ignore[arg-type]  # a table: not the ORM's update by primary key
    .where(Schedule.key == bindparam("of"))
    .values(high_water_mark=bindparam("mark"), next_due_at=bindparam("following"))
)


def _written(session: Session, outcomes: Sequence[_Outcome], now: datetime) -> list[Fired]:
    """Write all outcomes at once, or each for itself where the database refuses the whole."""
    try:
        with session.begin_nested():
            return _write(session, outcomes, now)
    except Exception as error:  # whatever it is that one of them has
        if isinstance(error, DBAPIError) and is_away(error):
            raise
    return [fired for outcome in outcomes for fired in _written_alone(session, outcome, now)]


def _write(session: Session, outcomes: Sequence[_Outcome], now: datetime) -> list[Fired]:
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


def _dropped(outcome: _Outcome) -> Dropped | None:
    """What was too late of it, for those who are to know."""
    late = [slot.due_at for slot in outcome.look.slots if slot.decision == Decision.LATE]
    if not late or outcome.definition is None:
        return None
    of = outcome.definition
    return Dropped(outcome.key, zone_of(of), late, outcome.look.next_due_at, of.notify)


def _written_alone(session: Session, outcome: _Outcome, now: datetime) -> list[Fired]:
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
    outcome = _Outcome(outcome.key, replace(outcome.look, slots=slots))
    # One that is there already was decided before: its row stays.
    insert_new(session, Slot, [_slot(outcome, slot, now) for slot in slots])
    session.connection().execute(_ADVANCE, [_advance(outcome)])
    return []


def _make_way(session: Session, outcome: _Outcome) -> None:
    """Cancel what is in the way of the outcome's run, which is queued at once if nothing is left of it."""
    for one in sorted(outcome.cancels, key=lambda one: not one.waits_for_its_turn):
        runs.cancel(session, runs.lock(session, one.run_id), "beat", "the next slot is due (overlap: cancel)")
    session.flush()
    left = turns.in_the_way(session, [outcome.key])
    for run in outcome.drafts.values():
        run.status, run.waiting_for = (RunStatus.WAITING, WaitingFor.SLOT) if left else (RunStatus.QUEUED, None)


def _slot(outcome: _Outcome, slot: Decided, now: datetime) -> dict[str, Any]:
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


def _advance(outcome: _Outcome) -> dict[str, Any]:
    return {"of": outcome.key, "mark": outcome.look.mark, "following": outcome.look.next_due_at}


def _waits(run: Run, now: datetime) -> bool:
    return run.status != RunStatus.QUEUED or (run.not_before is not None and run.not_before > now)
