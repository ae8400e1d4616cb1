"""The ledger: who claimed which delivery, what each server answered, and never the same message twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from pipeline.db import clock
from pipeline.errors import StaleClaim
from pipeline.models import Delivery, DeliveryAttempt, DeliveryStatus, Phase, new_id


def claim(session: Session, run_id: UUID, batch: int, attempt_id: UUID) -> Sequence[Delivery]:
    """Claim the batch's open deliveries for one step attempt by stamping its id on them.

    One that an earlier attempt left at its final dot may have gone out: it becomes `uncertain`, and is not sent again.
    """
    now = clock(session)
    mine = (Delivery.run_id == run_id, Delivery.batch == batch)
    doubt(session, mine, now)
    sendable = or_(
        Delivery.status.in_((DeliveryStatus.QUEUED, DeliveryStatus.SENDING)),
        (Delivery.status == DeliveryStatus.DEFERRED) & (Delivery.not_before <= now),
    )
    put(session, (*mine, sendable), status=DeliveryStatus.SENDING, phase=None, attempt_id=attempt_id, not_before=None)
    claimed = (Delivery.run_id == run_id, Delivery.attempt_id == attempt_id, Delivery.status == DeliveryStatus.SENDING)
    return session.scalars(select(Delivery).where(*claimed).order_by(Delivery.key, Delivery.address)).all()


def doubt(session: Session, where: Sequence[Any], now: datetime) -> None:
    """What was left at its final dot may have gone out: `uncertain` until somebody or something says more."""
    left = (*where, Delivery.status == DeliveryStatus.SENDING, Delivery.phase == Phase.DOT)
    for row in session.scalars(select(Delivery).where(*left)).all():
        row.status, row.reason = DeliveryStatus.UNCERTAIN, "its process died between the final dot and the answer"
        _append(session, row.id, row.attempt_id or new_id(), now, "uncertain", text=row.reason)
    session.flush()


def dot(session: Session, delivery_id: UUID, attempt_id: UUID, relay: str) -> None:
    """The final dot is about to be written: from now on the server may own the message.

    Committed durably before the dot. Raises StaleClaim when the delivery is another attempt's by now.
    """
    _settle(session, delivery_id, attempt_id, phase=Phase.DOT, relay=relay)
    _append(session, delivery_id, attempt_id, clock(session), "dot", relay=relay)


def accepted(
    session: Session, delivery_id: UUID, attempt_id: UUID, *, relay: str, code: int | None, reply: str, at: datetime
) -> None:
    """The other side took it, with its words; evidence that settles `uncertain` even for a stale claim."""
    _append(session, delivery_id, attempt_id, at, "accepted", relay=relay, code=code, text=reply)
    taken = Delivery.status.in_((DeliveryStatus.SENDING, DeliveryStatus.UNCERTAIN))
    values = {
        "status": DeliveryStatus.ACCEPTED,
        "phase": None,
        "relay": relay,
        "reply": reply,
        "sent_at": at,
        "reason": None,
    }
    put(session, (Delivery.id == delivery_id, taken), **values)


def settle(
    session: Session,
    delivery_id: UUID,
    attempt_id: UUID,
    status: DeliveryStatus,
    reason: str,
    *,
    relay: str | None = None,
    code: int | None = None,
    not_before: datetime | None = None,
) -> None:
    """Anything but accepted: failed, uncertain, suppressed, or deferred until `not_before` (UTC).

    Raises StaleClaim, with nothing written, when the delivery is another attempt's by now.
    """
    extra: dict[str, Any] = {"deferrals": Delivery.deferrals + 1} if status == DeliveryStatus.DEFERRED else {}
    _settle(
        session, delivery_id, attempt_id, status=status, reason=reason, reply=reason if code else None, relay=relay,
        not_before=not_before, phase=None, **extra,
    )  # fmt: skip
    _append(session, delivery_id, attempt_id, clock(session), status, relay=relay, code=code, text=reason)


def take_back(session: Session, delivery_id: UUID, attempt_id: UUID) -> None:
    """A delivery that was certainly not sent is queued again, also when its dot was announced. Raises as `settle`."""
    _settle(session, delivery_id, attempt_id, status=DeliveryStatus.QUEUED, phase=None)
    _append(session, delivery_id, attempt_id, clock(session), "not sent")


def requeue(session: Session, run_id: UUID, attempt_id: UUID) -> None:
    """Give back what this attempt claimed and certainly did not send."""
    unsent = (Delivery.run_id == run_id, Delivery.attempt_id == attempt_id, Delivery.phase.is_(None))
    put(session, (*unsent, Delivery.status == DeliveryStatus.SENDING), status=DeliveryStatus.QUEUED)


def _append(session: Session, delivery_id: UUID, attempt_id: UUID, at: datetime, event: str, **values: Any) -> None:
    row = {"id": new_id(), "delivery_id": delivery_id, "attempt_id": attempt_id, "at": at, "event": event, **values}
    session.execute(insert(DeliveryAttempt).values(**row))


def _settle(session: Session, delivery_id: UUID, attempt_id: UUID, **values: Any) -> None:
    mine = (Delivery.id == delivery_id, Delivery.attempt_id == attempt_id, Delivery.status == DeliveryStatus.SENDING)
    if not put(session, mine, **values):
        raise StaleClaim(f"delivery {delivery_id} was taken over by another process")


def put(session: Session, where: Sequence[Any], **values: Any) -> int:
    statement = update(Delivery).where(*where).values(**values).execution_options(synchronize_session=False)
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # a cursor result: it has one
