"""The morning digest: what ran since the last one, what went wrong, what is open, and what is due today."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline import notice, timing
from pipeline.models import BadFile, Delivery, DeliveryStatus, Notice, Run, RunStatus, Schedule
from pipeline.notice import DigestPlan, Kind
from pipeline.services.notices.telling import tell
from pipeline.settings import settings

SUBJECT = "digest"
DAY = timedelta(days=1)
# After a longer pause of all beats, the digest does not reach further back.
LONGEST = timedelta(days=7)
# Lines of one list; of more there is the number.
LINES = 20
# Characters that are quoted of an error: the command says the rest.
ERROR = 300
_WRONG = (RunStatus.FAILED, RunStatus.PARTIAL)


def send_if_due(session: Session, now: datetime) -> None:
    """Have the digest told once a day, from its hour on: by whichever beat is there first."""
    if not settings().digest:
        return
    plan = notice.digest_plan(settings().digest)
    until = latest(plan, now)
    episode = until.astimezone(timing.find_zone(settings().timezone)).date().isoformat()
    told = (Notice.subject == SUBJECT, Notice.kind == Kind.DIGEST)
    if session.scalar(select(Notice.id).where(*told, Notice.episode == episode)) is not None:
        return
    facts = digest(session, since(session, until), until)
    tell(session, Kind.DIGEST, SUBJECT, episode, facts=facts, targets=plan.targets or settings().notify)


def latest(plan: DigestPlan, now: datetime) -> datetime:
    """The last instant (UTC), up to `now`, at which the digest was due; a time that the clocks skip comes after it."""
    spec = timing.spec({"cron": f"{plan.at.minute} {plan.at.hour} * * *"}, settings().timezone)
    slots = timing.slots_between(spec, settings().timezone, now - 3 * DAY, now + timedelta(microseconds=1))
    return [slot.due_at for slot in slots if slot.fires][-1]


def since(session: Session, until: datetime) -> datetime:
    """Where the digest begins: where the one before it ended, else a day before."""
    last = select(Notice.facts).where(Notice.subject == SUBJECT, Notice.kind == Kind.DIGEST)
    facts = session.scalar(last.order_by(Notice.created_at.desc()).limit(1))
    ended = datetime.fromisoformat(facts["until"]) if facts else until - DAY
    return max(min(ended, until - timedelta(hours=1)), until - LONGEST)


def digest(session: Session, since: datetime, until: datetime) -> dict[str, Any]:
    """What happened from `since` to `until` (UTC), what is open now, and what is due in the day after, as JSON."""
    span = (Run.created_at >= since, Run.created_at < until)
    runs = _by(session, select(Run.status, func.count()).where(*span).group_by(Run.status))
    sent = select(Delivery.status, func.count()).join(Run, Run.id == Delivery.run_id).where(*span)
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "zone": settings().timezone,
        "runs": runs,
        "deliveries": _by(session, sent.group_by(Delivery.status)),
        **_wrong(session, since, until),
        "waiting": _waiting(session),
        "late": _late(session, since, until),
        "dropped": _dropped(session, since, until),
        "files": [
            {"file": row.file, "error": " ".join(row.error.split())[:ERROR]}
            for row in session.scalars(select(BadFile).order_by(BadFile.file).limit(LINES))
        ],
        "uncertain": _uncertain(session),
        "schedules": _schedules(session, span),
        **_due(session, until),
    }


def _by(session: Session, statement: Any) -> dict[str, int]:
    return dict(sorted(session.execute(statement).all()))


def _wrong(session: Session, since: datetime, until: datetime) -> dict[str, Any]:
    """Runs that failed, wholly or partly, and have not been mended since; the worst first."""
    # Hardly anything runs for longer than a day; `created_at` has the index.
    ended = (Run.status.in_(_WRONG), Run.created_at >= since - DAY, Run.finished_at >= since, Run.finished_at < until)
    counts = _by(session, select(Run.status, func.count()).where(*ended).group_by(Run.status))
    found = session.scalars(select(Run).where(*ended).order_by(Run.status, Run.finished_at).limit(LINES))
    return {"wrong_counts": counts, "wrong": [_run(run) for run in found]}


def _waiting(session: Session) -> list[dict[str, Any]]:
    """Runs that wait: for a person, their data, their turn or a mailbox."""
    waits = select(Run).where(Run.status == RunStatus.WAITING, Run.finished_at.is_(None))
    return [_run(run) for run in session.scalars(waits.order_by(Run.created_at).limit(LINES))]


def _run(run: Run) -> dict[str, Any]:
    return {
        "run": str(run.id),
        "schedule": run.schedule_key,
        "period": run.period["label"],
        "status": run.status,
        "waiting_for": run.waiting_for,
        "error": " ".join(run.error.split())[:ERROR] if run.error else None,
    }


def _late(session: Session, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Runs that missed a deadline, whether somebody was told or not."""
    found = session.scalars(_notices([Kind.LATE_START, Kind.LATE_FINISH], since, until)).all()
    return [{name: row.facts.get(name) for name in ("run", "schedule", "period", "deadline")} for row in found]


def _dropped(session: Session, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Slots that were too late to be made up for: of one schedule, or of many in one downtime."""
    found = session.scalars(_notices([Kind.SLOT_DROPPED], since, until)).all()
    return [{"schedule": row.schedule_key, "schedules": row.facts.get("count", 1)} for row in found]


def _notices(kinds: Sequence[Kind], since: datetime, until: datetime) -> Any:
    span = (Notice.created_at >= since, Notice.created_at < until, Notice.kind.in_(kinds))
    return select(Notice).where(*span).order_by(Notice.created_at).limit(LINES)


def _uncertain(session: Session) -> int:
    """Messages that are held, since nobody can say whether they went out."""
    runs = select(Notice.run_id).where(Notice.kind == Kind.UNCERTAIN, Notice.closed_at.is_(None))
    held = (Delivery.run_id.in_(runs), Delivery.status == DeliveryStatus.UNCERTAIN)
    return session.scalar(select(func.count()).where(*held)) or 0


def _schedules(session: Session, span: Sequence[Any]) -> list[dict[str, Any]]:
    """What ran, by schedule: how often, and how much of it went well; first of all where not all did."""
    well = func.count().filter(Run.status == RunStatus.SUCCEEDED)
    rows = select(Run.schedule_key, func.count(), well).where(*span).group_by(Run.schedule_key)
    ordered = rows.order_by((func.count() - well).desc(), Run.schedule_key).limit(LINES)
    return [{"schedule": key, "runs": count, "succeeded": good} for key, count, good in session.execute(ordered)]


def _due(session: Session, until: datetime) -> dict[str, Any]:
    """What is due within a day: each schedule's next slot."""
    today = (Schedule.next_due_at >= until, Schedule.next_due_at < until + DAY, Schedule.paused.is_(False))
    count = session.scalar(select(func.count()).where(*today)) or 0
    rows = session.execute(
        select(Schedule.key, Schedule.next_due_at)
        .where(*today)
        .order_by(Schedule.next_due_at, Schedule.key)
        .limit(LINES)
    )
    return {"due_count": count, "due": [{"schedule": key, "at": at.isoformat()} for key, at in rows if at]}
