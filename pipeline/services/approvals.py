"""Runs that send nothing before a person has approved it: asked once, answered once, or lapsed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from pipeline import schedule, timing
from pipeline.bulk import insert_new
from pipeline.db import clock
from pipeline.errors import Refused
from pipeline.failpoints import failpoint
from pipeline.models import FINAL_STEP, Answer, Approval, Run, RunStatus, Step, Trigger, WaitingFor, new_id
from pipeline.notice import Kind
from pipeline.services import audit, deadlines, notices, runs, steps
from pipeline.services.answers import wording
from pipeline.services.audit import BEAT, Actor

GATE_TASK = "report.gate"
_ACTIONS = {Answer.APPROVED: "approve", Answer.REJECTED: "reject", Answer.LAPSED: "lapse"}
# How long an approval is waited for where no slot of the schedule ends it.
PATIENCE = timedelta(days=7)
# Questions that one pass of reconcile looks at.
LIMIT = 200


# ---- asking


def ask(session: Session, run: Run, reason: str, facts: Mapping[str, Any]) -> None:
    """The run, whose row is locked, waits for an approval; whoever may give it is told, once.

    `facts` (JSON) are what they need for it: counts, samples. Asked again it changes nothing.
    """
    now = clock(session)
    definition = schedule.parse(run.definition, f"schedule {run.schedule_key}")
    row = {
        "id": new_id(),
        "run_id": run.id,
        "generation": run.generation,
        "asked_at": now,
        "reason": reason,
        "lapses_at": _lapses_at(run, definition, now),
    }
    if not insert_new(session, Approval, [row]) or run.status not in {RunStatus.RUNNING, RunStatus.WAITING}:
        return
    run.status, run.waiting_for, run.error = RunStatus.WAITING, WaitingFor.APPROVAL, reason
    runs.note(session, run.id, "asked", f"waits for an approval: {reason}")
    told = {**facts, "reason": reason, "affected": _affected(session, run, facts), "heals": _heals(run, row)}
    episode = f"{run.id}/{run.generation}"
    notices.aside(
        session,
        lambda: notices.tell(
            session,
            Kind.APPROVAL_WANTED,
            notices.about_run(run.id),
            episode,
            run=run,
            facts=told,
            targets=definition.approvers,
        ),
    )


def _lapses_at(run: Run, definition: schedule.Schedule, now: datetime) -> datetime | None:
    """None where the schedule's next fire ends it: whenever that is, it may be paused or changed until then."""
    if definition.lapse_after:
        return now + timing.parse_duration(definition.lapse_after)
    by_a_slot = definition.when is not None and run.trigger != Trigger.BACKFILL
    return None if by_a_slot else now + PATIENCE


def _affected(session: Session, run: Run, facts: Mapping[str, Any]) -> str:
    said = f"{facts['counts']} wait for it; nothing is sent before." if facts.get("counts") else ""
    also = waiting(session, run)
    return f"{said} So does {wording.listed(also)}.".strip() if also else said


def _heals(run: Run, row: Mapping[str, Any]) -> str:
    if row["lapses_at"] is not None:
        return f"Without an answer it is rejected on {wording.moment(row['lapses_at'], run.zone)}."
    return f"Without an answer it is rejected as soon as {run.schedule_key} is due the next time."


def waiting(session: Session, run: Run) -> list[str]:
    """The other runs of its schedule that wait for an approval, as people name them, oldest first."""
    mine = (Run.schedule_key == run.schedule_key, Run.finished_at.is_(None), Run.waiting_for == WaitingFor.APPROVAL)
    found = session.scalars(select(Run).where(*mine, Run.id != run.id).order_by(Run.id))
    return [f"run {wording.short(one.id)} for {one.period['label']}" for one in found]


# ---- answering


def approve(session: Session, actor: Actor, run_id: UUID, note: str | None = None) -> tuple[Run, UUID | None]:
    """Let the run send what it has made; the run, and its id again where it wants to be published.

    Its deadline counts from here. Raises Refused for a run that waits for no approval, or was answered before.
    """
    run, row = _asked(session, run_id)
    now = clock(session)
    _answer(session, row, actor, Answer.APPROVED, note)
    runs.go_on(run, now)
    deadlines.approved(run, schedule.parse(run.definition, f"schedule {run.schedule_key}"), now)
    how = f"{actor.by} has approved {run.schedule_key} for {run.period['label']}{_with(note)}."
    notices.aside(
        session,
        lambda: notices.settle(
            session, notices.about_run(run.id), Kind.APPROVAL_WANTED, how=how, heals="It is being sent."
        ),
    )
    asking = (Step.run_id == run.id, Step.task == GATE_TASK, Step.status.not_in(FINAL_STEP))
    called = None
    for step_id in session.scalars(select(Step.id).where(*asking)).all():
        called = steps.call(session, step_id, approved=str(row.id)) or called
    failpoint("approval.answered")
    return run, called


def reject(session: Session, actor: Actor, run_id: UUID, note: str | None = None) -> Run:
    """End the run without sending anything of it. Raises Refused as `approve` does."""
    run, row = _asked(session, run_id)
    _answer(session, row, actor, Answer.REJECTED, note)
    runs.close(session, run, RunStatus.REJECTED, f"rejected by {actor.by}{_with(note)}")
    return run


def is_approved(session: Session, run: Run) -> bool:
    """Whether somebody has approved this generation of the run."""
    row = _row(session, run)
    return row is not None and row.answer == Answer.APPROVED


def lapse(session: Session, now: datetime) -> None:
    """Reject the runs that nobody has answered in time, or whose schedule has fired again since."""
    following = aliased(Run)
    fired = exists().where(
        following.schedule_key == Run.schedule_key,
        following.trigger == Trigger.SCHEDULE,
        following.created_at > Approval.asked_at,
    )
    elsewhere = Run.waiting_for.is_distinct_from(WaitingFor.APPROVAL)
    over = or_(elsewhere, Approval.lapses_at <= now, and_(Approval.lapses_at.is_(None), fired))
    found = select(Approval.run_id).join(Run, Run.id == Approval.run_id).where(Approval.answer.is_(None), over)
    for run_id in session.scalars(found.order_by(Approval.asked_at).limit(LIMIT)).all():
        _lapse(session, run_id)


# ---- in detail


def _asked(session: Session, run_id: UUID) -> tuple[Run, Approval]:
    """The run, locked, and its open question. Raises Refused where there is none."""
    run = runs.lock_to_close(session, run_id)
    row = _row(session, run)
    if row is not None and row.answer is None and run.waiting_for == WaitingFor.APPROVAL:
        return run, row
    name = f"run {wording.short(run.id)} of {run.schedule_key}"
    if row is None or row.answer is None or row.answered_at is None:
        stands = f"waits for {run.waiting_for}" if run.status == RunStatus.WAITING else f"is {run.status}"
        raise Refused(f"{name} waits for no approval: it {stands}{_others(session, run)}")
    when = wording.moment(row.answered_at, run.zone)
    by = f" by {row.answered_by}" if row.answer != Answer.LAPSED else ""
    raise Refused(f"{name} is answered already: {row.answer}{by} on {when}{_with(row.note)}; nothing was changed")


def _others(session: Session, run: Run) -> str:
    also = waiting(session, run)
    return f"; {wording.listed(also)} {'does' if len(also) == 1 else 'do'}" if also else ""


def _row(session: Session, run: Run) -> Approval | None:
    mine = select(Approval).where(Approval.run_id == run.id, Approval.generation == run.generation)
    return session.scalar(mine.execution_options(populate_existing=True))


def _answer(session: Session, row: Approval, actor: Actor, answer: Answer, note: str | None) -> None:
    now, run = clock(session), session.get_one(Run, row.run_id)
    row.answer, row.answered_at, row.answered_by, row.note = answer, now, str(actor), note
    runs.note(session, run.id, answer, f"{answer} by {actor}{_with(note)}")
    audit.record(
        session, actor, _ACTIONS[answer], "run", run.id, schedule=run.schedule_key, at=now, note=note, asked=row.reason
    )


def _with(note: str | None) -> str:
    return f": {note}" if note else ""


def _lapse(session: Session, run_id: UUID) -> None:
    run = runs.lock_to_close(session, run_id)
    row = session.scalar(select(Approval).where(Approval.run_id == run_id, Approval.answer.is_(None)))
    if row is None:  # somebody was faster
        return
    why = _why_over(session, row, run)
    _answer(session, row, BEAT, Answer.LAPSED, why)
    if run.waiting_for == WaitingFor.APPROVAL and row.generation == run.generation:
        runs.close(session, run, RunStatus.REJECTED, f"its approval lapsed: {why}")


def _why_over(session: Session, row: Approval, run: Run) -> str:
    if run.waiting_for != WaitingFor.APPROVAL:
        return f"the run is {run.status}"
    if row.lapses_at is not None:
        return f"nobody approved it by {wording.moment(row.lapses_at, run.zone)}"
    later = (Run.schedule_key == run.schedule_key, Run.trigger == Trigger.SCHEDULE, Run.created_at > row.asked_at)
    following = session.scalars(select(Run).where(*later).order_by(Run.created_at).limit(1)).one()
    about = f"run {wording.short(following.id)} for {following.period['label']}"
    return f"nobody approved it before the next slot was due ({about})"
