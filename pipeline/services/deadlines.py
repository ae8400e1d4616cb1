"""Until when a run has to have started and finished, and who is told when it has not: also of one that never starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from pipeline import schedule
from pipeline.models import WANTS_A_PLACE, Notice, Run, RunStatus, Step, Trigger, WaitingFor
from pipeline.notice import Kind
from pipeline.services import notices
from pipeline.services.answers import wording

# Runs that one look tells of at most; the next look is seconds later.
LIMIT = 200


def of(
    definition: schedule.Schedule, trigger: str, scope: Mapping[str, Any], instant: datetime
) -> tuple[datetime | None, datetime | None]:
    """When a run that counts from `instant` has to have started and finished; never for a trial or a backfill."""
    if definition.deadline is None or trigger == Trigger.BACKFILL or notices.is_trial(scope):
        return None, None
    return definition.deadline.after(instant)


def approved(run: Run, definition: schedule.Schedule, now: datetime) -> None:
    """The run waited for a person until now: its time counts from here."""
    run.finish_by = of(definition, run.trigger, run.scope, now)[1]


@dataclass(frozen=True)
class _Rule:
    """One of the two deadlines: the column that holds it, and the one that says whether it was kept."""

    kind: Kind
    by: InstrumentedAttribute[datetime | None]
    done: InstrumentedAttribute[datetime | None]
    verb: str

    def missed(self, now: datetime) -> tuple[ColumnElement[bool], ...]:
        # A rerun by hand has no deadlines; one that waits for an approval has them from then on.
        asked = Run.waiting_for.is_distinct_from(WaitingFor.APPROVAL)
        return (
            self.by.is_not(None),
            self.done.is_(None),
            Run.finished_at.is_(None),
            self.by <= now,
            Run.generation == 1,
            asked,
        )


_RULES = (
    _Rule(Kind.LATE_START, Run.start_by, Run.started_at, "started"),
    _Rule(Kind.LATE_FINISH, Run.finish_by, Run.finished_at, "was finished"),
)


def check(session: Session, now: datetime) -> None:
    """Tell of every run that has missed a deadline, once, and of the end of it."""
    for rule in _RULES:
        told = exists().where(Notice.run_id == Run.id, Notice.kind == rule.kind)
        late = select(Run).where(*rule.missed(now), ~told).order_by(rule.by).limit(LIMIT)
        for run in session.scalars(late).all():
            _tell(session, rule, run)
        _settle(session, rule, now)


def _tell(session: Session, rule: _Rule, run: Run) -> None:
    by: datetime = getattr(run, rule.by.key)
    facts = {"deadline": by.isoformat(), "reason": _doing(session, run)}
    notices.tell(session, rule.kind, notices.about_schedule(run.schedule_key), str(run.id), run=run, facts=facts)


_WAITS = {
    WaitingFor.DATA: "it waits for its data",
    WaitingFor.SLOT: "it waits for an earlier run of the schedule to end",
    WaitingFor.DEFERRED: "all is done but deliveries that were turned away for now",
    WaitingFor.BLOCKED: "it is blocked",
}


def _doing(session: Session, run: Run) -> str:
    """What a late run is at, as far as its row knows."""
    if run.status == RunStatus.WAITING and run.waiting_for:
        said = _WAITS[WaitingFor(run.waiting_for)]
        return f"{said}: {run.error}" if run.error else said
    if run.status == RunStatus.QUEUED and session.scalar(select(Step.id).where(WANTS_A_PLACE, Step.run_id == run.id)):
        return "it waits for its turn: `pipeline pools` shows for whom"
    return "no worker has taken it up" if run.started_at is None else f"it is {run.status}"


def _settle(session: Session, rule: _Rule, now: datetime) -> None:
    """Tell of the end where no run of a schedule is late any more."""
    of_kind = select(Notice.schedule_key).where(Notice.kind == rule.kind, Notice.closed_at.is_(None)).distinct()
    for key in session.scalars(of_kind.order_by(Notice.schedule_key)).all():
        still = select(Run.id).where(Run.schedule_key == key, *rule.missed(now)).limit(1)
        if key is not None and session.scalar(still) is None:
            run = _first(session, rule, key)
            notices.settle(session, notices.about_schedule(key), rule.kind, how=_how(run, rule) if run else None)


def _first(session: Session, rule: _Rule, key: str) -> Run | None:
    """The run that was told of first."""
    matter = (Notice.schedule_key == key, Notice.kind == rule.kind, Notice.closed_at.is_(None))
    run_id: UUID | None = session.scalar(
        select(Notice.run_id).where(*matter, Notice.told_at.is_not(None)).order_by(Notice.created_at).limit(1)
    )
    return session.get(Run, run_id) if run_id else None


def _how(run: Run, rule: _Rule) -> str:
    about = f"{run.schedule_key} for {run.period['label']}"
    done: datetime | None = getattr(run, rule.done.key)
    by: datetime | None = getattr(run, rule.by.key)
    if done is None or by is None:
        return f"{about} ended as {run.status} without having started."
    late = wording.lasted((done - by).total_seconds())
    ended = f" and ended as {run.status}" if rule.kind == Kind.LATE_FINISH and run.status != RunStatus.SUCCEEDED else ""
    return f"{about} {rule.verb} {late} after its deadline{ended}."
