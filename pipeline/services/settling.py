"""What a person decides about deliveries: what became of a doubtful one, and who gets nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.adapters.messages import as_in_rows
from pipeline.db import clock
from pipeline.errors import Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import OPEN_DELIVERY, Delivery, DeliveryAttempt, DeliveryStatus, Run, WaitingFor, new_id
from pipeline.notice import Kind
from pipeline.services import audit, ledger, notices, outcomes, runs
from pipeline.services.audit import Actor

# ---- what nobody can know


def resolve(session: Session, actor: Actor, run: Run, addresses: Collection[str], *, sent: bool) -> list[Delivery]:
    """Settle uncertain deliveries, all or those to `addresses`, whose run's row and schedule's row are locked.

    `sent`: somebody has seen that they went out; else they are sent again with the same Message-ID. Raises Refused
    where there is none.
    """
    doubtful = (Delivery.run_id == run.id, Delivery.status == DeliveryStatus.UNCERTAIN)
    addresses = [as_in_rows(one) for one in addresses]
    wanted = [Delivery.address.in_(addresses)] if addresses else []
    found = list(session.scalars(select(Delivery).where(*doubtful, *wanted).order_by(Delivery.key, Delivery.address)))
    _refuse_nothing(session, run, addresses, found)
    now = clock(session)
    for row in found:
        said = f"it was sent, says {actor.by}" if sent else f"to be sent again, says {actor.by}"
        note(session, row, "resolved", said)
        row.reason = said
        if sent:
            row.status, row.sent_at = DeliveryStatus.ACCEPTED, _dotted_at(session, row.id) or now
        else:
            row.status, row.not_before = DeliveryStatus.DEFERRED, now
    session.flush()
    ids = [str(row.id) for row in found]
    audit.record(
        session, actor, "resolve", "run", run.id, schedule=run.schedule_key, sent=sent, count=len(ids), deliveries=ids
    )
    if session.scalar(select(Delivery.id).where(*doubtful).limit(1)) is None:
        how = f"{actor.by} has settled what was uncertain."
        notices.settle(session, notices.about_run(run.id), Kind.UNCERTAIN, how=how)
    go_on(session, run, late=not sent)
    return found


def _refuse_nothing(session: Session, run: Run, addresses: Collection[str], found: Sequence[Delivery]) -> None:
    missing = sorted(set(addresses) - {row.address for row in found})
    if missing:
        raise Refused(f"nothing was changed: of run {run.id} {stands(session, run, missing[0])}")
    if not found:
        raise Refused(f"no delivery of run {run.id} is uncertain")


def _dotted_at(session: Session, delivery_id: UUID) -> datetime | None:
    dots = (DeliveryAttempt.delivery_id == delivery_id, DeliveryAttempt.event == "dot")
    return session.scalar(select(func.max(DeliveryAttempt.at)).where(*dots))


# ---- nothing at all


def skip(session: Session, actor: Actor, run: Run, address: str, reason: str | None = None) -> list[Delivery]:
    """Send this address nothing more of the run, whose row and schedule's row are locked.

    Raises Refused where nothing is left to be skipped: what is at its final dot may be out.
    """
    open_ = (Delivery.status.in_(OPEN_DELIVERY), Delivery.phase.is_(None))
    address = as_in_rows(address)
    mine = (Delivery.run_id == run.id, Delivery.address == address, *open_)
    found = list(session.scalars(select(Delivery).where(*mine).order_by(Delivery.key).with_for_update()))
    if not found:
        stood = stands(session, run, address)
        raise Refused(f"only what has not gone out yet can be skipped: of run {run.id} {stood}")
    said = f"skipped by {actor.by}{f': {reason}' if reason else ''}"
    for row in found:
        row.status, row.reason, row.not_before = DeliveryStatus.SKIPPED, said, None
        note(session, row, "skipped", said)
    session.flush()
    ids = [str(row.id) for row in found]
    audit.record(session, actor, "skip", "run", run.id, schedule=run.schedule_key, reason=reason, deliveries=ids)
    go_on(session, run, late=False)
    return found


# ---- for all of them


def lock(session: Session, run: Run) -> Run:
    """The run as all of these want it: its row locked behind its schedule's."""
    return runs.lock_to_close(session, run.id)


def stands(session: Session, run: Run, address: str) -> str:
    """How it stands with an address that nothing can be done for: in words to follow "of run …"."""
    rows = select(Delivery.status, Delivery.key).where(Delivery.run_id == run.id, Delivery.address == address)
    found = session.execute(rows.order_by(Delivery.key).limit(1)).first()
    if found is None:
        known = session.scalars(select(Delivery.address).where(Delivery.run_id == run.id).limit(10_000))
        return f"nothing is for {address}{did_you_mean(address, known, lead=': ')}"
    return f"{found.key} to {address} is {found.status}"


def note(session: Session, row: Delivery, event: str, text: str) -> None:
    """Add what a person did to a delivery's history."""
    ledger.append(session, row.id, row.attempt_id or new_id(), clock(session), event, text=text)


def go_on(session: Session, run: Run, *, late: bool) -> None:
    """Have late deliveries taken up, or the run counted anew where none are to come."""
    if not late:
        outcomes.update(session, run)
    elif runs.is_final(run):
        run.waiting_for = WaitingFor.DEFERRED
