"""Backfills: the slots of a range as runs, some at a time, each once.

All of them become rows, a chunk at a time, before or while the first ones run; whoever asked does that, and if he is
killed reconcile goes on. Lock the schedule's row first, as whoever opens or ends one of its runs does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline import log
from pipeline import schedule as definitions
from pipeline.adapters import home
from pipeline.bulk import CHUNK, insert_all
from pipeline.db import clock
from pipeline.errors import NotFound, PipelineError, Refused
from pipeline.failpoints import failpoint
from pipeline.models import Backfill, Decision, Run, RunStatus, Schedule, Slot, Trigger, WaitingFor, new_id
from pipeline.services import audit, plans, ranges, runs, schedules, turns
from pipeline.services.audit import Actor
from pipeline.services.due import INSTANT
from pipeline.services.plans import Plan
from pipeline.services.ranges import Known, Wish
from pipeline.settings import settings

logger = log.get(__name__)
# Runs of one backfill at a time, at most.
CONCURRENCY = 100
# Backfills that one look of reconcile goes on with.
LIMIT = 200
REASONS = {
    Known.SUCCEEDED: "run {} has succeeded for it",
    Known.IN_PROGRESS: "run {} is at work on it",
    Known.PURGED: "it was run, and that run has been purged",
}


def open_backfill(session: Session, wish: Wish, actor: Actor) -> Backfill:
    """A backfill of the range, without a slot yet: `fill` follows, in transactions of its own.

    Raises NotFound, and Refused for a range that cannot be or that another backfill is at work on.
    """
    row, stored = schedules.current(session, wish.schedule_key)
    turns.lock(session, row.key)
    session.refresh(row)
    if not 1 <= wish.concurrency <= CONCURRENCY:
        raise Refused(f"--concurrency {wish.concurrency}: must be between 1 and {CONCURRENCY}", field="concurrency")
    dues = ranges.instants(row, definitions.parse(stored, f"schedule {row.key}"), wish)
    _refuse_a_second(session, wish)
    backfill = Backfill(
        id=new_id(),
        schedule_key=row.key,
        revision=row.revision,
        since=wish.since,
        until=dues[-1] + INSTANT,
        first=wish.first,
        concurrency=wish.concurrency,
        again=wish.again,
        triggered_by=str(actor),
        created_at=clock(session),
    )
    session.add(backfill)
    audit.record(
        session,
        actor,
        "backfill",
        "backfill",
        backfill.id,
        schedule=row.key,
        since=wish.since.isoformat(),
        until=wish.until.isoformat(),
        slots=len(dues),
        again=wish.again or None,
    )
    return backfill


def _refuse_a_second(session: Session, wish: Wish) -> None:
    """Two at once would each find open what the other is about to run."""
    mine = select(Backfill).where(Backfill.schedule_key == wish.schedule_key, Backfill.finished_at.is_(None))
    other = session.scalar(mine.where(Backfill.since < wish.until, Backfill.until > wish.since).limit(1))
    if other is not None:
        raise Refused(
            f"backfill {other.id} of {other.schedule_key}, by {other.triggered_by}, is at work on slots of this range: "
            f"wait for its end, or `pipeline backfill --cancel {other.id}`"
        )


@dataclass(frozen=True)
class Filled:
    """Runs that may start now and want publishing, and whether slots of the range have no row yet."""

    begun: list[UUID]
    more: bool


def fill(session: Session, backfill_id: UUID) -> Filled:
    """Give the next chunk of slots their rows and runs, and let as many runs start as may. Harmless at any time."""
    failpoint("backfills.chunk")
    backfill = _locked(session, backfill_id)
    if backfill.filled_at is None:
        _add_chunk(session, backfill)
    return Filled(turns.begin_next_of(session, backfill), more=backfill.filled_at is None)


def _locked(session: Session, backfill_id: UUID) -> Backfill:
    backfill = session.get_one(Backfill, backfill_id)
    turns.lock(session, backfill.schedule_key)
    session.refresh(backfill)
    return backfill


def _add_chunk(session: Session, backfill: Backfill) -> None:
    plan = plans.read(session, [(backfill.schedule_key, backfill.revision)])[backfill.schedule_key]
    if isinstance(plan, Exception):
        raise plan
    row, origin = session.get_one(Schedule, backfill.schedule_key), str(backfill.id)
    wish = Wish(row.key, backfill.since, backfill.until)
    mine = select(Slot.due_at).where(Slot.schedule_key == row.key, Slot.origin == origin)
    there = set(session.scalars(mine))
    missing = [due_at for due_at in ranges.instants(row, plan.definition, wish) if due_at not in there]
    chunk = ranges.ordered(missing, backfill.first)[:CHUNK]
    now, version = clock(session), home.code_version(settings().home)
    drafts: dict[datetime, Run] = {}
    slots = []
    for due_at, (known, run_id) in ranges.look(session, row.key, chunk).items():
        if ranges.is_to_run(known, again=backfill.again):
            drafts[due_at] = _draft(backfill, plan, due_at, now, version)
        slots.append(_slot(backfill, due_at, now, drafts.get(due_at), REASONS.get(known, "").format(run_id)))
    runs.add_all(session, list(drafts.values()))
    failpoint("backfills.runs")
    insert_all(session, Slot, slots)
    if len(chunk) == len(missing):
        backfill.filled_at = now


def _draft(backfill: Backfill, plan: Plan, due_at: datetime, now: datetime, version: str) -> Run:
    request = runs.Request(schedule_key=plan.key, trigger=Trigger.BACKFILL)
    run = runs.draft(request, plan.definition, plan.stored, plan.revision, due_at=due_at, now=now, code_version=version)
    run.backfill_id, run.triggered_by = backfill.id, backfill.triggered_by
    run.status, run.waiting_for = RunStatus.WAITING, WaitingFor.SLOT
    return run


def _slot(backfill: Backfill, due_at: datetime, now: datetime, run: Run | None, reason: str) -> dict[str, Any]:
    return {
        "id": new_id(),
        "schedule_key": backfill.schedule_key,
        "due_at": due_at,
        "origin": str(backfill.id),
        "decision": Decision.FIRED if run else Decision.SKIPPED,
        "reason": None if run else reason,
        "run_id": run.id if run else None,
        "decided_at": now,
    }


def tend(session: Session) -> set[UUID]:
    """Go on with backfills whose maker was killed, start runs whose turn it is, end those that are over.

    Returns the runs that want publishing.
    """
    begun: set[UUID] = set()
    unfinished = select(Backfill).where(Backfill.finished_at.is_(None)).order_by(Backfill.created_at).limit(LIMIT)
    for backfill in session.scalars(unfinished).all():
        if not turns.lock(session, backfill.schedule_key, wait=False):
            continue  # somebody is at it, and this transaction may hold other schedules already
        try:
            with session.begin_nested():
                begun |= set(fill(session, backfill.id).begun)
                _finish(session, backfill)
        except PipelineError as error:  # a definition of another version, say: no matter of the others
            logger.warning("backfill cannot go on", backfill=str(backfill.id), error=str(error))
    return begun


def _finish(session: Session, backfill: Backfill) -> None:
    open_run = select(Run.id).where(Run.backfill_id == backfill.id, Run.finished_at.is_(None)).limit(1)
    if backfill.filled_at is not None and session.scalar(open_run) is None:
        backfill.finished_at = clock(session)


@dataclass(frozen=True)
class Cancelled:
    """How many runs of a backfill never start, and how many were stopped at work."""

    backfill_id: UUID
    schedule: str
    waiting: int
    at_work: int


def cancel(session: Session, backfill_id: UUID, actor: Actor, reason: str | None = None) -> Cancelled:
    """End a backfill: what has not begun never will, what is at work is cancelled; what has ended stays as it is.

    Raises Refused for one that has ended.
    """
    backfill = _locked(session, backfill_id)
    if backfill.finished_at is not None:
        by = f": it was cancelled by {backfill.cancelled_by}" if backfill.cancelled_by else ""
        raise Refused(f"backfill {backfill.id} has ended already{by}")
    if backfill.cancelled_by is not None:
        raise Refused(f"backfill {backfill.id} is being cancelled already, by {backfill.cancelled_by}")
    now = clock(session)
    said = f"the backfill was cancelled{f': {reason}' if reason else ''}"
    waiting = turns.end_waiting(session, backfill, f"cancelled by {actor}: {said}")
    at_work = select(Run.id).where(Run.backfill_id == backfill.id, Run.finished_at.is_(None)).order_by(Run.id)
    stopped = session.scalars(at_work).all()
    for run_id in stopped:
        runs.cancel(session, runs.lock(session, run_id), str(actor), said)
    backfill.filled_at, backfill.cancelled_by = backfill.filled_at or now, str(actor)
    session.flush()
    _finish(session, backfill)
    key, ended = backfill.schedule_key, waiting + len(stopped)
    audit.record(session, actor, "cancel", "backfill", backfill.id, schedule=key, at=now, reason=reason, runs=ended)
    return Cancelled(backfill.id, key, waiting, len(stopped))


def find(session: Session, text: str) -> Backfill:
    """The backfill whose id begins with `text`. Raises NotFound, or Refused when several do."""
    newest = session.scalars(select(Backfill).order_by(Backfill.id.desc())).all()
    found = [backfill for backfill in newest if str(backfill.id).startswith(text.lower())]
    if not found:
        raise NotFound(f'there is no backfill "{text}": `pipeline backfill --list` shows them')
    if len(found) > 1:
        raise Refused(f'"{text}" is the beginning of several backfills, such as {found[0].id}: type more of it')
    return found[0]
