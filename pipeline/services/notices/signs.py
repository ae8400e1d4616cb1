"""Signs of life: what people are told when beats or relays fall silent, nothing fires, or nobody works."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import ACTIVE_STEP, Heartbeat, Notice, Relay, Run, Schedule, Step, StepStatus
from pipeline.notice import Kind
from pipeline.services.answers import wording
from pipeline.services.notices.telling import about_relay, goes_on, settle, tell
from pipeline.services.relays import called, said

# A beat shows itself every ten seconds.
SILENCE = timedelta(minutes=1)
# A beat that has been gone for so long is forgotten: its host may be, too.
FORGOTTEN = timedelta(days=1)
# What is due longer than this is overdue: beat decides within a second, and a free worker begins at once.
OVERDUE, WAITING = timedelta(minutes=2), timedelta(minutes=5)
# Rows that are counted at most: more is as bad.
MANY = 1000

_FIRING, _WORKING = "firing", "workers"


def check(session: Session, now: datetime) -> None:
    """Tell of what has fallen silent, once, and of its end."""
    _beats(session, now)
    _firing_goes_on(session, now)
    _somebody_works(session, now)
    _relays(session, now)


def _beats(session: Session, now: datetime) -> None:
    """A beat that fell silent without saying goodbye; one that runs on the same host has taken its place."""
    rows = session.scalars(select(Heartbeat).where(Heartbeat.name.startswith("beat@")).order_by(Heartbeat.at)).all()
    alive = [row for row in rows if row.at > now - SILENCE]
    hosts = {_host(row) for row in alive}
    for row in rows:
        if row.at > now - SILENCE:
            continue
        if _host(row) in hosts or row.at < now - FORGOTTEN:
            session.delete(row)
            settle(session, row.name, silently=_host(row) not in hosts, how=f"Beat runs on {_host(row)} again.")
            continue
        others = wording.counted(len(alive), "other beat goes", "other beats go") if alive else None
        facts = {"name": row.name, "since": row.at.isoformat(), "others": others}
        tell(session, Kind.BEAT_SILENT, row.name, row.at.isoformat(), facts=facts)


def _host(row: Heartbeat) -> str:
    return row.name.removeprefix("beat@").rpartition(":")[0]


def _firing_goes_on(session: Session, now: datetime) -> None:
    """Slots that have been due for minutes, although a beat (ours) is there to decide them."""
    overdue = select(Schedule.key, Schedule.next_due_at).where(Schedule.next_due_at < now - OVERDUE)
    found = session.execute(overdue.order_by(Schedule.next_due_at).limit(MANY)).all()
    if not found or found[0].next_due_at is None:
        settle(session, _FIRING, how="Slots are decided again as they are due.")
        return
    count = wording.counted(len(found), "schedule is", "schedules are")
    facts = {"count": count, "due_at": found[0].next_due_at.isoformat(), "name": found[0].key}
    goes_on(session, Kind.NOT_FIRED, _FIRING, facts)


def _somebody_works(session: Session, now: datetime) -> None:
    """Steps that have been due for minutes while no step at all is at work."""
    if session.scalar(
        select(Step.id).where(ACTIVE_STEP, Step.status == StepStatus.RUNNING, Step.lease_until > now).limit(1)
    ):
        settle(session, _WORKING, how="Steps are carried out again.")
        return
    since = func.coalesce(Step.not_before, Step.queued_at, type_=Step.queued_at.type)
    due = (ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.queued_at < now - WAITING, since < now - WAITING)
    found = session.execute(select(since, Step.run_id).where(*due).order_by(since).limit(MANY)).all()
    if not found:
        settle(session, _WORKING, how="No step waits for a worker any more.")
        return
    first, run_id = found[0]
    count = wording.counted(len(found), "step is", "steps are")
    name = session.scalar(select(Run.schedule_key).where(Run.id == run_id))
    goes_on(session, Kind.NOBODY_WORKS, _WORKING, {"count": count, "since": first.isoformat(), "name": name})


def _relays(session: Session, now: datetime) -> None:
    """Mail relays that have not answered for minutes; one that stutters is nobody's business but the breaker's."""
    for row in session.scalars(select(Relay).where(Relay.down_since.is_not(None)).order_by(Relay.name)):
        if row.down_since is not None and row.open_until is not None and row.down_since < now - OVERDUE:
            since = row.down_since.isoformat()
            facts = {"name": called(row.name), "since": since, "reason": said(row.name, row.last_error)}
            tell(session, Kind.RELAY_DOWN, about_relay(row.name), since, facts=facts)
    down = select(Relay.name).where(Relay.down_since.is_not(None))
    told = select(Notice.subject).where(Notice.kind == Kind.RELAY_DOWN, Notice.closed_at.is_(None)).distinct()
    still = {about_relay(name) for name in session.scalars(down)}
    for subject in sorted(set(session.scalars(told)) - still):
        settle(session, subject, Kind.RELAY_DOWN, how=f"The {called(subject.partition(':')[2])} answers again.")
