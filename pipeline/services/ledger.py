"""The ledger: who claimed which delivery, what each server answered, and never the same message twice."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session, load_only

from pipeline import schedule
from pipeline.bulk import in_the_row, is_one_of
from pipeline.db import clock
from pipeline.errors import StaleClaim
from pipeline.models import Attempt, Channel, Delivery, DeliveryAttempt, DeliveryStatus, Phase, Run, new_id
from pipeline.notice import Kind
from pipeline.policies import Uncertain
from pipeline.retry import Retry
from pipeline.services import notices

DIED = "its process died between the final dot and the answer"
DIED_POSTING = "its process died before the answer came"
_SHA256 = "sha256 "
# What a step may claim, or have wait once more.
_WAITING = (DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED)
# What an answer settles, whoever hears it: a delivery that has ended otherwise keeps it as evidence alone.
UNSETTLED = (
    DeliveryStatus.QUEUED,
    DeliveryStatus.SENDING,
    DeliveryStatus.DEFERRED,
    DeliveryStatus.UNCERTAIN,
    DeliveryStatus.EXPIRED,
)


# What is read of a delivery that is claimed: all but how it is doing, which was just written.
_WHAT_IS_SENT = load_only(
    Delivery.run_id, Delivery.document_id, Delivery.channel, Delivery.address, Delivery.key, Delivery.repeat,
    Delivery.repeat_of, Delivery.generation, Delivery.context, Delivery.message_id, Delivery.deferrals,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claimable:
    """A delivery that may be claimed."""

    id: UUID
    channel: str
    address: str


# ---- claiming


def recover(session: Session, run: Run, batch: int, attempt_id: UUID) -> None:
    """Settle what earlier attempts left of the batch: at its final dot it may have gone out, before it certainly not.

    Call it before the first claim of an attempt, with the step's lease renewed in the same transaction.
    """
    left = (Delivery.run_id == run.id, Delivery.batch == batch, Delivery.attempt_id != attempt_id)
    sending = (*left, Delivery.status == DeliveryStatus.SENDING)
    if session.scalar(select(Delivery.id).where(*sending).limit(1)) is None:
        return
    doubt(session, run, left)
    put(session, sending, status=DeliveryStatus.QUEUED)


def claimable(
    session: Session, run_id: UUID, batch: int, now: datetime, *, whatever_the_rates: bool = False
) -> list[Claimable]:
    """The batch's deliveries that may go now, in the order of their keys.

    `whatever_the_rates`: also those that wait for room in one.
    """
    due = or_(Delivery.not_before.is_(None), Delivery.not_before <= now)
    waiting = in_the_row(Delivery.status).in_(_WAITING) & due
    if whatever_the_rates:
        waiting |= in_the_row(Delivery.status) == DeliveryStatus.QUEUED
    mine = (Delivery.run_id == run_id, Delivery.batch == batch, waiting)
    rows = select(Delivery.id, Delivery.channel, Delivery.address).where(*mine)
    return [Claimable(*row) for row in session.execute(rows.order_by(Delivery.key, Delivery.address, Delivery.repeat))]


def claim(session: Session, ids: Sequence[UUID], attempt_id: UUID) -> list[Delivery]:
    """Claim waiting deliveries for one step attempt by stamping its id on them; in the order of `ids`."""
    claimed = {"status": DeliveryStatus.SENDING, "phase": None, "attempt_id": attempt_id, "not_before": None}
    waiting = (is_one_of(session, Delivery.id, ids), Delivery.status.in_(_WAITING))
    statement = update(Delivery).where(*waiting).values(**claimed).returning(Delivery).options(_WHAT_IS_SENT)
    fresh = {"synchronize_session": False, "populate_existing": True}
    found = {row.id: row for row in session.scalars(statement, execution_options=fresh)}
    return [found[one] for one in ids if one in found]


def postpone(session: Session, ids: Collection[UUID], until: datetime) -> None:
    """Deliveries that wait for room in a rate are queued until then, also those that a server had turned away."""
    put(session, (Delivery.id.in_(ids), Delivery.status.in_(_WAITING)), status=DeliveryStatus.QUEUED, not_before=until)


def requeue(session: Session, run_id: UUID, batch: int, attempt_id: UUID) -> None:
    """Give back what this attempt claimed and certainly did not send."""
    mine = (Delivery.run_id == run_id, Delivery.batch == batch, Delivery.attempt_id == attempt_id)
    unsent = (*mine, Delivery.phase.is_(None), Delivery.status == DeliveryStatus.SENDING)
    put(session, unsent, status=DeliveryStatus.QUEUED)


# ---- what happened


def dot(session: Session, delivery_id: UUID, attempt_id: UUID, relay: str, text: str | None = None) -> None:
    """The final dot is about to be written: from now on the server may own the message, whose `digest` is `text`.

    Committed durably before the dot. Raises StaleClaim when the delivery is another attempt's by now.
    """
    _settle(session, delivery_id, attempt_id, phase=Phase.DOT, relay=relay)
    append(session, delivery_id, attempt_id, clock(session), "dot", relay=relay, text=text)


def digest(data: bytes) -> str:
    """What the ledger keeps of a message's bytes: `sha256` and its 64 hexadecimal digits."""
    return f"{_SHA256}{hashlib.sha256(data).hexdigest()}"


def sent_digest(session: Session, delivery_id: UUID) -> str | None:
    """The sha256 of the bytes that were last on their way, if any were."""
    mine = (DeliveryAttempt.delivery_id == delivery_id, DeliveryAttempt.event == "dot")
    newest = select(DeliveryAttempt.text).where(*mine).order_by(DeliveryAttempt.id.desc()).limit(1)
    return (session.scalar(newest) or "").removeprefix(_SHA256) or None


def accepted(
    session: Session, delivery_id: UUID, attempt_id: UUID, *, relay: str, code: int | None, reply: str, at: datetime
) -> None:
    """The other side took it, with its words; evidence that settles any doubt, even from a stale claim."""
    append(session, delivery_id, attempt_id, at, "accepted", relay=relay, code=code, text=reply)
    values = {
        "status": DeliveryStatus.ACCEPTED,
        "phase": None,
        "relay": relay,
        "reply": reply,
        "sent_at": at,
        "reason": None,
        "cause": None,
        "not_before": None,
    }
    put(session, (Delivery.id == delivery_id, Delivery.status.in_(UNSETTLED)), **values)


def settle(
    session: Session,
    delivery_id: UUID,
    attempt_id: UUID,
    status: DeliveryStatus,
    reason: str,
    *,
    relay: str | None = None,
    code: int | None = None,
    cause: str | None = None,
    not_before: datetime | None = None,
) -> None:
    """Anything but accepted or unknown: failed, expired, suppressed, or deferred until `not_before` (UTC).

    Raises StaleClaim, with nothing written, when the delivery is another attempt's by now.
    """
    extra: dict[str, Any] = {"deferrals": Delivery.deferrals + 1} if status == DeliveryStatus.DEFERRED else {}
    _settle(
        session, delivery_id, attempt_id, status=status, reason=reason, reply=reason if code else None, relay=relay,
        cause=cause, not_before=not_before, phase=None, **extra,
    )  # fmt: skip
    append(session, delivery_id, attempt_id, clock(session), status, relay=relay, code=code, text=reason)


def unknown(
    session: Session, run: Run, delivery_id: UUID, attempt_id: UUID, why: str, *, relay: str, code: int | None = None
) -> None:
    """No usable answer came to the final dot: it may have gone out, and the schedule's `on_uncertain` decides.

    Raises StaleClaim, with nothing written, when the delivery is another attempt's by now.
    """
    _settle(session, delivery_id, attempt_id, relay=relay)
    append(session, delivery_id, attempt_id, clock(session), DeliveryStatus.UNCERTAIN, relay=relay, code=code, text=why)
    _leave_open(session, run, session.get_one(Delivery, delivery_id, populate_existing=True), why)


def doubt(session: Session, run: Run, where: Sequence[Any], *, again: bool = True) -> None:
    """What was left at its final dot may have gone out: `on_uncertain` decides, until somebody or something says more.

    Without `again` nothing is sent once more: its run has ended.
    """
    left = (*where, Delivery.status == DeliveryStatus.SENDING, Delivery.phase == Phase.DOT)
    for row in session.scalars(select(Delivery).where(*left).execution_options(populate_existing=True)).all():
        why = DIED_POSTING if row.channel == Channel.WEBHOOK else DIED
        append(session, row.id, row.attempt_id or new_id(), clock(session), DeliveryStatus.UNCERTAIN, text=why)
        _leave_open(session, run, row, why, again=again)


def _leave_open(session: Session, run: Run, row: Delivery, why: str, *, again: bool = True) -> None:
    """What `on_uncertain` makes of a delivery that may or may not have gone out."""
    now, definition = clock(session), schedule.parse(run.definition, f"schedule {run.schedule_key}")
    policy = _on_uncertain(definition, row)
    row.phase, row.reason, row.not_before = None, why, None
    if policy == Uncertain.RESEND and again:
        row.not_before = due_again(session, definition.retry_for("deliver"), row)
    if policy == Uncertain.ASSUME_SENT:
        row.status, row.sent_at, row.reason = DeliveryStatus.ACCEPTED, now, f"assumed to be sent: {why}"
    elif row.not_before is not None:
        row.status, row.deferrals = DeliveryStatus.DEFERRED, row.deferrals + 1
    else:
        row.status = DeliveryStatus.UNCERTAIN
        session.flush()
        facts = {"reason": why, "command": f"pipeline deliveries {run.id} --status uncertain"}
        # Sent again, it may come to this again: that is another matter.
        episode = f"{row.id} {row.attempt_id}"
        notices.tell(session, Kind.UNCERTAIN, notices.about_run(run.id), episode, run=run, facts=facts)
    session.flush()


def _on_uncertain(definition: schedule.Schedule, row: Delivery) -> Uncertain:
    """A webhook has a policy of its own: it is told a repeat by the Idempotency-Key, which no mail server is."""
    webhook = definition.webhooks.get(row.address) if row.channel == Channel.WEBHOOK else None
    return webhook.on_uncertain if webhook else definition.on_uncertain


def due_again(session: Session, retry: Retry, delivery: Delivery, retry_after: float | None = None) -> datetime | None:
    """When what was turned away is tried again, or None where its patience is out; it began with this generation."""
    now = clock(session)
    tried = select(func.min(DeliveryAttempt.at)).where(DeliveryAttempt.delivery_id == delivery.id)
    if delivery.generation > 1:
        tried = tried.join(Attempt, Attempt.id == DeliveryAttempt.attempt_id)
        tried = tried.where(Attempt.generation == delivery.generation)
    first_at = session.scalar(tried) or now
    return retry.due_at(now, delivery.deferrals + 1, str(delivery.id), first_at, retry_after)


def take_back(session: Session, delivery_id: UUID, attempt_id: UUID) -> None:
    """A delivery that was certainly not sent is queued again, also when its dot was announced. Raises as `settle`."""
    _settle(session, delivery_id, attempt_id, status=DeliveryStatus.QUEUED, phase=None)
    append(session, delivery_id, attempt_id, clock(session), "not sent")


# ---- rows


def append(session: Session, delivery_id: UUID, attempt_id: UUID, at: datetime, event: str, **values: Any) -> None:
    """Add a line to a delivery's history; none is ever changed."""
    row = {"id": new_id(), "delivery_id": delivery_id, "attempt_id": attempt_id, "at": at, "event": event, **values}
    session.execute(insert(DeliveryAttempt).values(**row))


def _settle(session: Session, delivery_id: UUID, attempt_id: UUID, **values: Any) -> None:
    mine = (Delivery.id == delivery_id, Delivery.attempt_id == attempt_id, Delivery.status == DeliveryStatus.SENDING)
    if not put(session, mine, **values):
        raise StaleClaim(f"delivery {delivery_id} was taken over by another process")


def put(session: Session, where: Sequence[Any], **values: Any) -> int:
    """Write to the deliveries that fit; how many did."""
    statement = update(Delivery).where(*where).values(**values).execution_options(synchronize_session=False)
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # a cursor result: it has one
