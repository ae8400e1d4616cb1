"""What people are told when a run ends: that it failed, for whom, and when it is well again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import Delivery, DeliveryStatus, Notice, Run, RunStatus, Schedule
from pipeline.notice import Kind
from pipeline.services.answers import wording
from pipeline.services.notices.telling import about_run, about_schedule, is_trial, settle, tell

# Addresses that a notice names; of more it has the number.
NAMED = 5
# What ended without reaching anybody.
_LOST = (
    DeliveryStatus.FAILED,
    DeliveryStatus.EXPIRED,
    DeliveryStatus.CANCELLED,
    DeliveryStatus.BOUNCED,
)
_OF_ITS_RESULT = (Kind.RUN_FAILED, Kind.RUN_PARTIAL, Kind.GAVE_UP)


def run_ended(session: Session, run: Run) -> None:
    """Tell of a run that has just ended, in the transaction that ends it. A trial for one key or reader is nobody's."""
    settle(session, about_run(run.id), Kind.RUN_BLOCKED, Kind.APPROVAL_WANTED, how=_how(run), run=str(run.id))
    if is_trial(run.scope):
        return
    subject, episode = _matter(run)
    match run.status:
        case RunStatus.SUCCEEDED:
            facts = {"how": _how(run), "run": str(run.id), "period": run.period["label"]}
            settle(session, subject, *_OF_ITS_RESULT, **facts)
        case RunStatus.FAILED if not _is_told(session, Kind.GAVE_UP, subject, episode):
            tell(session, Kind.RUN_FAILED, subject, episode, run=run, facts=_facts(session, run))
        case RunStatus.PARTIAL:
            tell(session, Kind.RUN_PARTIAL, subject, episode, run=run, facts=_facts(session, run))


def gives_up(session: Session, run: Run, reason: str) -> None:
    """Tell of a run that is about to fail since it has waited in vain; that it failed is then not told as well."""
    if not is_trial(run.scope):
        subject, episode = _matter(run)
        tell(session, Kind.GAVE_UP, subject, episode, run=run, facts={**_facts(session, run), "reason": reason})


def _matter(run: Run) -> tuple[str, str]:
    """The runs of a backfill are a matter of their own: that one went well does not mend this morning's."""
    subject = f"backfill:{run.backfill_id}" if run.backfill_id else about_schedule(run.schedule_key)
    return subject, f"{run.id}/{run.generation}"


def _is_told(session: Session, kind: Kind, subject: str, episode: str) -> bool:
    of = (Notice.subject == subject, Notice.kind == kind, Notice.episode == episode)
    return session.scalar(select(Notice.id).where(*of).limit(1)) is not None


def _how(run: Run) -> str:
    about = f"{run.schedule_key} for {run.period['label']}"
    match run.status:
        case RunStatus.SUCCEEDED:
            return f"{about} has succeeded."
        case _:
            return f"{about} ended as {run.status}{f': {run.error}' if run.error else '.'}"


def _facts(session: Session, run: Run) -> dict[str, Any]:
    due = session.scalar(select(Schedule.next_due_at).where(Schedule.key == run.schedule_key))
    facts = {"reason": run.error or "", "affected": affected(session, run)}
    return {**facts, "next_due_at": due.isoformat()} if due else facts


def affected(session: Session, run: Run) -> str | None:
    """Who has theirs and who has not, in a sentence or two; None where the run had not come to know."""
    statement = select(Delivery.status, func.count()).where(Delivery.run_id == run.id).group_by(Delivery.status)
    counts: dict[str, int] = dict(session.execute(statement).all())
    if not counts:
        return _usual(session, run)
    got, lost = counts.get(DeliveryStatus.ACCEPTED, 0), sum(counts.get(status, 0) for status in _LOST)
    uncertain = counts.get(DeliveryStatus.UNCERTAIN, 0)
    said = [f"Of {wording.counted(sum(counts.values()), 'delivery', 'deliveries')} {got:,} were handed over"]
    if lost:
        said.append(f"{lost:,} did not go out{_named(session, run)}")
    if uncertain:
        said.append(f"of {uncertain:,} nobody can say")
    return wording.listed(said) + "."


def _named(session: Session, run: Run) -> str:
    lost = (Delivery.run_id == run.id, Delivery.status.in_(_LOST))
    found = session.scalars(
        select(Delivery.address).where(*lost).distinct().order_by(Delivery.address).limit(NAMED + 1)
    )
    names = list(found)
    return f" ({', '.join(names[:NAMED])}{' …' if len(names) > NAMED else ''})"


def _usual(session: Session, run: Run) -> str | None:
    """Who waits for it: nobody is known yet, so as many as the last time that it went well."""
    last = (
        select(Run.id)
        .where(Run.schedule_key == run.schedule_key, Run.status == RunStatus.SUCCEEDED)
        .order_by(Run.created_at.desc())
        .limit(1)
    )
    count = session.scalar(
        select(func.count()).where(
            Delivery.run_id == last.scalar_subquery(), Delivery.status == DeliveryStatus.ACCEPTED
        )
    )
    if not count:
        return None
    return f"Nobody got anything of it; the last time {wording.counted(count, 'delivery was', 'deliveries were')} made."
