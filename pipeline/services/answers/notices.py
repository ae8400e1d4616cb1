"""What people were told, when and how that went; and whom the schedules name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from pipeline import notice
from pipeline.adapters import notices as post
from pipeline.models import Notice, NoticeDelivery, NoticeStatus, Schedule, ScheduleRevision
from pipeline.notice import Target
from pipeline.services.answers import lists
from pipeline.services.notices.context import about, context
from pipeline.settings import settings


@dataclass(frozen=True)
class Told:
    """One target of a notice: `status` is waiting, sent or failed, `answer` what the other side said last."""

    target: str
    status: str
    attempts: int
    answer: str | None
    sent_at: datetime | None
    next_try_at: datetime | None


@dataclass(frozen=True)
class NoticeAnswer:
    """A notice; `open`: what it is about goes on; `kept_back`: the same had just been told, so that nobody hears it."""

    id: UUID
    at: datetime
    kind: str
    subject: str
    episode: str
    schedule: str | None
    run_id: UUID | None
    title: str
    text: str
    command: str
    open: bool
    kept_back: bool
    to: list[Told]
    facts: dict[str, Any]


def notices(
    session: Session,
    schedule: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
    *,
    unsettled: bool = False,
    kept_back: bool = False,
) -> list[NoticeAnswer]:
    """The newest notices first; `unsettled` are those whose matter goes on, or that somebody has still to hear of.

    Raises NotFound for a schedule that there never was.
    """
    statement = select(Notice).order_by(Notice.created_at.desc(), Notice.id.desc()).limit(limit)
    if schedule is not None:
        lists.known(session, schedule)
        statement = statement.where(Notice.schedule_key == schedule)
    if since is not None:
        statement = statement.where(Notice.created_at >= since)
    if not kept_back:
        statement = statement.where(Notice.told_at.is_not(None))
    if unsettled:
        unsent = exists().where(NoticeDelivery.notice_id == Notice.id, NoticeDelivery.status != NoticeStatus.SENT)
        statement = statement.where(or_(Notice.closed_at.is_(None), unsent))
    rows = session.scalars(statement).all()
    told = _told(session, [row.id for row in rows])
    return [_answer(row, told.get(row.id, [])) for row in rows]


def _told(session: Session, ids: Sequence[UUID]) -> Mapping[UUID, list[Told]]:
    found: dict[UUID, list[Told]] = {}
    rows = select(NoticeDelivery).where(NoticeDelivery.notice_id.in_(ids)).order_by(NoticeDelivery.target)
    for row in session.scalars(rows):
        waits = row.status == NoticeStatus.WAITING
        target = str(notice.target(row.target))
        one = Told(target, row.status, row.attempts, row.answer, row.sent_at, row.not_before if waits else None)
        found.setdefault(row.notice_id, []).append(one)
    return found


def _answer(row: Notice, told: list[Told]) -> NoticeAnswer:
    words = post.put(row.kind, context(row), about(row))
    return NoticeAnswer(
        id=row.id,
        at=row.created_at,
        kind=row.kind,
        subject=row.subject,
        episode=row.episode,
        schedule=row.schedule_key,
        run_id=row.run_id,
        title=words.title,
        text=words.text,
        command=words.command,
        open=row.closed_at is None,
        kept_back=row.told_at is None,
        to=told,
        facts=row.facts,
    )


@dataclass(frozen=True)
class Listener:
    """Somebody who is told: by whom named, the setting (`PIPELINE_NOTIFY`) or schedules by their keys."""

    target: Target
    named_by: list[str]


def listeners(session: Session) -> list[Listener]:
    """Everybody whom the settings and the schedules name."""
    named: dict[str, list[str]] = {written: ["PIPELINE_NOTIFY"] for written in settings().notify}
    current = (Schedule.key == ScheduleRevision.schedule_key) & (Schedule.revision == ScheduleRevision.revision)
    rows = select(Schedule.key, ScheduleRevision.definition).join(ScheduleRevision, current)
    for key, definition in session.execute(rows.where(Schedule.retired_at.is_(None)).order_by(Schedule.key)):
        said = definition.get("notify") or []
        for written in [said] if isinstance(said, str) else said:
            named.setdefault(written, []).append(key)
    return [Listener(notice.target(written), by) for written, by in named.items()]
