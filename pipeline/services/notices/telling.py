"""Makes a notice a row, once, with a row for everybody who is to hear of it; beat sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from pipeline import notice
from pipeline.bulk import insert_new
from pipeline.db import clock, one_at_a_time
from pipeline.models import Notice, NoticeDelivery, NoticeStatus, Run, Schedule, ScheduleRevision, new_id
from pipeline.notice import Kind
from pipeline.settings import settings


def about_schedule(key: str) -> str:
    """The subject of what concerns a schedule: whether its runs succeed and come in time."""
    return f"schedule:{key}"


def about_run(run_id: UUID) -> str:
    """The subject of what concerns one run alone: that it is blocked, wants an approval, or holds messages."""
    return f"run:{run_id}"


def about_file(file: str) -> str:
    """The subject of what concerns a schedule file, by its name in the home."""
    return f"file:{file}"


def about_relay(name: str) -> str:
    """The subject of what concerns a mail relay, by its host and port."""
    return f"relay:{name}"


def is_trial(scope: Mapping[str, Any]) -> bool:
    """Whether somebody tries it out: for a few keys, to another address, or without sending anything."""
    return bool(scope.get("keys") or scope.get("to") or not scope.get("send", True))


def tell(
    session: Session,
    kind: Kind,
    subject: str,
    episode: str,
    *,
    run: Run | None = None,
    schedule_key: str | None = None,
    facts: Mapping[str, Any] | None = None,
    targets: Sequence[str] | None = None,
) -> bool:
    """Have somebody told of something; the same subject, kind and episode are one notice, however often it is called.

    It goes to the `notify` of the run's or the schedule's definition, by default to PIPELINE_NOTIFY, or to `targets`.
    `facts` (JSON) is what its words need beyond the run: `reason`, `affected`, `heals`, `command`, all sentences. Where
    the same has been told of the subject a while ago, the row is kept without being told (`notice.level_after`).
    Returns whether somebody will hear of it. Call it in the transaction that makes it true.
    """
    lasting, sparing = kind in notice.LASTING, kind in notice.SPARING
    if sparing:
        one_at_a_time(session, subject)
    now = clock(session)
    key = run.schedule_key if run else schedule_key
    level = _level(session, kind, subject, now) if sparing else 0
    row = _row(
        kind=kind,
        subject=subject,
        episode=episode,
        schedule_key=key,
        run_id=run.id if run else None,
        facts={
            **(_of_run(run) if run else {}),
            **(_so_far(session, kind, subject) if lasting and level is not None else {}),
            **(facts or {}),
        },
        created_at=now,
        told_at=None if level is None else now,
        level=level or 0,
        closed_at=None if lasting else now,
    )
    if not insert_new(session, Notice, [row]) or level is None:
        return False
    return _address(session, row, targets if targets is not None else _targets(session, run, key))


def goes_on(session: Session, kind: Kind, subject: str, facts: Mapping[str, Any]) -> bool:
    """Tell of a matter without an episode of its own, such as that nobody works: once until it is settled."""
    if session.scalar(select(Notice.id).where(*_open(subject, [kind])).limit(1)) is not None:
        return False
    return tell(session, kind, subject, clock(session).isoformat(), facts=facts)


def tell_late(session: Session, row: Notice, now: datetime) -> None:
    """Tell of an open matter that was kept back, if the quiet time after the same one is over."""
    level = _level(session, Kind(row.kind), row.subject, now)
    if level is None:
        return
    row.told_at, row.level = now, level
    session.flush()
    run = session.get(Run, row.run_id) if row.run_id else None
    _address(session, {"id": row.id, "created_at": now}, _targets(session, run, row.schedule_key))


def repeat(session: Session, row: Notice, now: datetime, **facts: Any) -> None:
    """Tell the same people of an open matter once more, with these facts besides."""
    targets = session.scalars(select(NoticeDelivery.target).where(NoticeDelivery.notice_id == row.id)).all()
    again = _row(
        kind=row.kind,
        subject=row.subject,
        episode=f"{row.episode.partition('#')[0]}#{facts['reminder']}",
        schedule_key=row.schedule_key,
        run_id=row.run_id,
        facts={**row.facts, "since": row.facts.get("since") or row.created_at.isoformat(), **facts},
        created_at=now,
        told_at=now,
        level=row.level,
        closed_at=None,
    )
    if insert_new(session, Notice, [again]):
        _address(session, again, targets)


def settle(session: Session, subject: str, *kinds: Kind, silently: bool = False, **facts: Any) -> bool:
    """The matters of these kinds (all where none is named) have ended: whoever was told of one hears of its end.

    `facts` say how it ended; `silently` nobody hears. Returns whether somebody will hear of it. Does nothing where
    nothing was open: call it whenever all is well.
    """
    open_ones = _open(subject, kinds or tuple(notice.LASTING))
    if session.scalar(select(Notice.id).where(*open_ones).limit(1)) is None:
        return False
    one_at_a_time(session, subject)
    now = clock(session)
    told = (*open_ones, Notice.told_at.is_not(None))
    first = session.scalar(select(Notice).where(*told).order_by(Notice.created_at).limit(1))
    of = sorted(session.scalars(select(Notice.kind).where(*told).distinct()))
    targets = sorted(session.scalars(select(NoticeDelivery.target).join(Notice).where(*told).distinct()))
    closing = update(Notice).where(*open_ones).values(closed_at=now).execution_options(synchronize_session=False)
    times = session.connection().execute(closing).rowcount
    if first is None or silently:
        return False
    said = {"of": of, "since": first.created_at.isoformat(), "times": times, "first": first.facts}
    row = _row(
        kind=Kind.RECOVERED,
        subject=subject,
        # The kind, too: a run may be late to start and late to finish.
        episode=f"{first.kind} {first.episode}",
        schedule_key=first.schedule_key,
        run_id=first.run_id,
        facts={**said, **facts},
        created_at=now,
        told_at=now,
        level=0,
        closed_at=now,
    )
    return bool(insert_new(session, Notice, [row])) and _address(session, row, targets)


def _row(**values: Any) -> dict[str, Any]:
    return {"id": new_id(), **values}


def _open(subject: str, kinds: Sequence[Kind]) -> list[ColumnElement[bool]]:
    return [Notice.subject == subject, Notice.kind.in_(kinds), Notice.closed_at.is_(None)]


def _level(session: Session, kind: Kind, subject: str, now: datetime) -> int | None:
    """How much has been said about it lately: None where nothing more is."""
    told = (Notice.subject == subject, Notice.kind == kind, Notice.told_at.is_not(None))
    last = session.execute(select(Notice.told_at, Notice.level).where(*told).order_by(Notice.told_at.desc())).first()
    return 0 if last is None else notice.level_after(last.level, now - last.told_at)


def _so_far(session: Session, kind: Kind, subject: str) -> dict[str, Any]:
    """Since when the same has been so, and how often with this time; nothing where it begins."""
    same = (Notice.subject == subject, Notice.kind == kind, Notice.closed_at.is_(None))
    since, times = session.execute(select(func.min(Notice.created_at), func.count()).where(*same)).one()
    return {"since": since.isoformat(), "times": times + 1} if times else {}


def _of_run(run: Run) -> dict[str, Any]:
    return {
        "run": str(run.id),
        "schedule": run.schedule_key,
        "period": run.period["label"],
        "due_at": run.due_at.isoformat(),
        "zone": run.zone,
        "trigger": run.trigger,
    }


def _targets(session: Session, run: Run | None, key: str | None) -> Sequence[str]:
    definition = run.definition if run else _definition(session, key) if key else {}
    said = definition.get("notify")
    if said is None:
        return settings().notify
    return [said] if isinstance(said, str) else said


def _definition(session: Session, key: str) -> Mapping[str, Any]:
    of_key = select(ScheduleRevision.definition).join(
        Schedule, (Schedule.key == ScheduleRevision.schedule_key) & (Schedule.revision == ScheduleRevision.revision)
    )
    return session.scalar(of_key.where(Schedule.key == key)) or {}


def _address(session: Session, row: Mapping[str, Any], targets: Sequence[str]) -> bool:
    rows = [
        {
            "id": new_id(),
            "notice_id": row["id"],
            "target": target,
            "status": NoticeStatus.WAITING,
            "attempts": 0,
            "not_before": row["created_at"],
        }
        for target in dict.fromkeys(targets)
    ]
    if rows:
        insert_new(session, NoticeDelivery, rows)
    return bool(rows)
