"""Matters that go on are told late where they were kept back, and again, three times, where they wait for a person."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from pipeline import notice
from pipeline.models import Notice
from pipeline.services.notices.telling import repeat, tell_late

# Matters that one look reminds of at most; the next look is a minute later.
LIMIT = 100
# What was told longer ago has had all its reminders.
OVER = timedelta(days=7)


def remind(session: Session, now: datetime) -> None:
    """Tell again, to the same people, what still waits; and for the first time what goes on beyond the quiet time."""
    newer = aliased(Notice)
    again = exists().where(newer.subject == Notice.subject, newer.kind == Notice.kind, newer.told_at > Notice.told_at)
    waiting = (Notice.closed_at.is_(None), Notice.kind.in_(notice.WANTS_A_PERSON))
    due = select(Notice).where(*waiting, Notice.told_at.between(now - OVER, now - notice.QUIET[0]), ~again)
    for row in session.scalars(due.order_by(Notice.told_at).limit(LIMIT)).all():
        told = row.facts.get("reminder", 0)
        if told < len(notice.QUIET) and row.told_at is not None and now - row.told_at >= notice.QUIET[told]:
            repeat(session, row, now, reminder=told + 1)
    kept_back = (Notice.closed_at.is_(None), Notice.kind.in_(notice.STANDING), Notice.told_at.is_(None))
    for row in session.scalars(select(Notice).where(*kept_back).order_by(Notice.created_at.desc()).limit(LIMIT)).all():
        tell_late(session, row, now)
