"""Matters of one run that are over without anybody having said so: settled, whoever brought that about."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from pipeline.models import Delivery, DeliveryStatus, Notice, Run, WaitingFor
from pipeline.notice import Kind
from pipeline.services.notices.telling import about_run, settle

# Matters that one look settles at most; the next look is seconds later.
LIMIT = 100


def check(session: Session, _now: datetime) -> None:
    """Settle what no longer holds: a block that is lifted, an approval that was given or lapsed, a doubt that ended."""
    uncertain = exists().where(Delivery.run_id == Run.id, Delivery.status == DeliveryStatus.UNCERTAIN)
    _settle(session, Kind.RUN_BLOCKED, Run.waiting_for.is_distinct_from(WaitingFor.BLOCKED), "is no longer blocked")
    _settle(session, Kind.APPROVAL_WANTED, Run.waiting_for.is_distinct_from(WaitingFor.APPROVAL), "waits no longer")
    _settle(session, Kind.UNCERTAIN, ~uncertain, "has no message any more that is uncertain")


def _settle(session: Session, kind: Kind, over: ColumnElement[bool], how: str) -> None:
    still = (Notice.kind == kind, Notice.closed_at.is_(None))
    runs = select(Run).where(Run.id.in_(select(Notice.run_id).where(*still)), over).order_by(Run.id).limit(LIMIT)
    for run in session.scalars(runs).all():
        said = f"{run.schedule_key} for {run.period['label']} {how}; it is {run.status}."
        settle(session, about_run(run.id), kind, how=said, run=str(run.id))
