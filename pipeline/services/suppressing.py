"""Addresses that nothing of any schedule is sent to: put on the list, and taken off it, by a person, on record."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean
from pipeline.models import Suppression
from pipeline.services import audit, deliveries
from pipeline.services.audit import Actor


def suppress(session: Session, actor: Actor, address: str, reason: str, mark: str) -> bool:
    """Send nothing to the address any more; whether that is new, for the first reason stays.

    `mark` stands for the address in the record, which nobody can erase (`fingerprint.of`).
    """
    new = deliveries.suppress(session, address, reason, str(actor))
    if new:
        audit.record(session, actor, "suppress", "address", mark, reason=reason)
    return new


def unsuppress(session: Session, actor: Actor, address: str, marks: list[str], reason: str | None = None) -> None:
    """Let mail go to the address again. Raises NotFound when nothing keeps it from there.

    `marks`: its fingerprints, the first for the record; somebody who was forgotten is on the list by one of them.
    """
    mine = Suppression.address.in_([address, *marks])
    if not session.scalars(delete(Suppression).where(mine).returning(Suppression.address)).all():
        known = session.scalars(select(Suppression.address).where(Suppression.address.contains("@")))
        raise NotFound(f"{address} is not suppressed{did_you_mean(address, known, lead=': ')}")
    audit.record(session, actor, "unsuppress", "address", marks[0], reason=reason)
