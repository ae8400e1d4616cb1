"""Addresses that nothing of any schedule is sent to: put on the list, and taken off it, by a person, on record."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK, insert_new
from pipeline.db import clock
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


def suppress_all(session: Session, actor: Actor, reasons: Mapping[str, str], file: str) -> int:
    """Send nothing to any of these addresses, which `file` lists, with why; how many are new. One act on record."""
    now, source = clock(session), f"{file}, imported by {actor}"
    rows = [{"address": one, "reason": why, "source": source, "created_at": now} for one, why in reasons.items()]
    new = sum(insert_new(session, Suppression, rows[at : at + CHUNK]) for at in range(0, len(rows), CHUNK))
    if new:
        audit.record(session, actor, "suppress", "file", file, count=new)
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
