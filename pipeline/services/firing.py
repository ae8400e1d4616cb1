"""Every due slot is decided once, in one transaction with all that follows from it, however many beats there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from pipeline import log
from pipeline.adapters import home
from pipeline.db import clock
from pipeline.errors import PipelineError
from pipeline.failpoints import failpoint
from pipeline.models import Decision, Run, RunStatus, Schedule, Trigger, WaitingFor
from pipeline.policies import Overlap
from pipeline.services import plans, runs, turns
from pipeline.services.deciding import Decided, Look, decide
from pipeline.services.due import next_due, not_before
from pipeline.services.plans import Plan
from pipeline.services.recording import Fired, Outcome, record
from pipeline.services.turns import InTheWay
from pipeline.settings import settings

logger = log.get(__name__)
# Due schedules that one transaction takes, and slots after which it takes no more of them.
BATCH, SLOTS = 200, 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction decided, and whether more is due already."""

    fired: Sequence[Fired]
    more: bool


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
    fired = record(session, outcomes, now)
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
        record(session, [outcome], now)
        session.refresh(row, ["high_water_mark", "next_due_at"])


def soonest(session: Session) -> datetime | None:
    """When a schedule wants to be looked at next (UTC)."""
    due = select(Schedule.next_due_at).where(Schedule.next_due_at.is_not(None))
    return session.scalar(due.order_by(Schedule.next_due_at).limit(1))


def _is_due(at: datetime | None, now: datetime) -> bool:
    return at is not None and at <= now


# ---- deciding


def _outcomes(session: Session, rows: Sequence[_Known], now: datetime) -> Iterable[Outcome]:
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


def _outcome(row: _Known, plan: Plan, busy: list[InTheWay], now: datetime, version: str) -> Outcome:
    paused = None if not row.paused else f"paused: {row.note}" if row.note else "the schedule was paused"
    look = decide(plan.definition, row.high_water_mark, now, paused)
    outcome = Outcome(row.key, look, plan.definition)
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


def _given_up(row: _Known, plan: Plan | Exception, now: datetime, error: Exception) -> Outcome:
    """A slot that cannot be fired says why in its row; a definition that cannot be read waits for a good one."""
    bug = None if isinstance(error, PipelineError) else error
    logger.warning("schedule could not be fired", schedule=row.key, error=str(error), exc_info=bug)
    mark = max(now, row.high_water_mark)
    slots = [Decided(row.next_due_at, Decision.SKIPPED, f"could not be fired: {error}")] if row.next_due_at else []
    try:
        following = next_due(plan.definition, mark) if isinstance(plan, Plan) else None
    except Exception:  # noqa: BLE001 - it is what is wrong with it
        following = None
    return Outcome(row.key, Look(slots, mark, following))
