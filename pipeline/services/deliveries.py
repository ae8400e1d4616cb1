"""The ledger: who gets which document, what each server answered, and never the same message twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from pipeline.db import clock, insert_new
from pipeline.errors import StaleClaim
from pipeline.models import (
    FINAL_STEP,
    OPEN_DELIVERY,
    Attempt,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    Document,
    DocumentStatus,
    Outcome,
    Phase,
    Run,
    RunStatus,
    Step,
    Suppression,
    WaitingFor,
    new_id,
)
from pipeline.retry import Retry
from pipeline.services import runs, steps

# Deliveries that one pass of the sweep gives a new step.
SWEEP = 5000


def batches(session: Session, run_id: UUID) -> list[int]:
    """The batches that hold a delivery still to be made, in order."""
    open_ones = (Delivery.run_id == run_id, Delivery.status.in_(OPEN_DELIVERY), Delivery.batch.is_not(None))
    numbers = session.scalars(select(Delivery.batch).where(*open_ones).distinct().order_by(Delivery.batch))
    return [number for number in numbers if number is not None]


def release_to_send(session: Session, run_id: UUID) -> None:
    """The gate is open: deliveries of rendered documents are queued, those of failed ones end with the reason."""
    planned = (Delivery.run_id == run_id, Delivery.status == DeliveryStatus.PLANNED)
    unrendered = exists().where(Document.id == Delivery.document_id, Document.status != DocumentStatus.RENDERED)
    _set(session, (*planned, unrendered), status=DeliveryStatus.FAILED, reason="its document could not be rendered")
    _set(session, planned, status=DeliveryStatus.QUEUED)


def claim(session: Session, run_id: UUID, batch: int, attempt_id: UUID) -> Sequence[Delivery]:
    """Claim the batch's open deliveries for one step attempt by stamping its id on them.

    One that an earlier attempt left at its final dot may have gone out: it becomes `uncertain`, and is not sent again.
    """
    now = clock(session)
    mine = (Delivery.run_id == run_id, Delivery.batch == batch)
    _doubt(session, mine, now)
    sendable = or_(
        Delivery.status.in_((DeliveryStatus.QUEUED, DeliveryStatus.SENDING)),
        (Delivery.status == DeliveryStatus.DEFERRED) & (Delivery.not_before <= now),
    )
    _set(session, (*mine, sendable), status=DeliveryStatus.SENDING, phase=None, attempt_id=attempt_id, not_before=None)
    claimed = (Delivery.run_id == run_id, Delivery.attempt_id == attempt_id, Delivery.status == DeliveryStatus.SENDING)
    return session.scalars(select(Delivery).where(*claimed).order_by(Delivery.key, Delivery.address)).all()


def _doubt(session: Session, where: Sequence[Any], now: datetime) -> None:
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
    _set(session, (Delivery.id == delivery_id, taken), **values)


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
    _set(session, (*unsent, Delivery.status == DeliveryStatus.SENDING), status=DeliveryStatus.QUEUED)


def suppress(session: Session, address: str, reason: str, source: str) -> None:
    """Never mail this address again until somebody lifts it; the first reason stays."""
    row = {"address": address, "reason": reason, "source": source, "created_at": clock(session)}
    insert_new(session, Suppression, [row])


def close_open(session: Session, run_id: UUID, status: DeliveryStatus, reason: str, *, deferred: bool = False) -> None:
    """End every delivery of a run that is not on its way and will not be; with `deferred`, those turned away too.

    What a step attempt that has ended left behind is on nobody's way: at its final dot it may have gone out.
    """
    at_work = exists().where(Attempt.id == Delivery.attempt_id, Attempt.outcome == Outcome.RUNNING)
    left = (Delivery.run_id == run_id, Delivery.status == DeliveryStatus.SENDING, ~at_work)
    _doubt(session, left, clock(session))
    _set(session, left, status=status, reason=reason)
    idle = (DeliveryStatus.PLANNED, DeliveryStatus.QUEUED, *([DeliveryStatus.DEFERRED] if deferred else []))
    _set(session, (Delivery.run_id == run_id, Delivery.status.in_(idle)), status=status, reason=reason)


def counts(session: Session, run_id: UUID) -> dict[str, int]:
    """How many deliveries stand where, by status."""
    statement = select(Delivery.status, func.count()).where(Delivery.run_id == run_id).group_by(Delivery.status)
    return dict(session.execute(statement).all())


def sweep(session: Session, now: datetime) -> set[UUID]:
    """Give deferred deliveries that are due a new step, and their run a new `finish`; the runs that got one."""
    due = (Delivery.status == DeliveryStatus.DEFERRED, Delivery.not_before <= now)
    waiting = (Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.DEFERRED)
    pairs = (
        select(Delivery.run_id, Delivery.batch).join(Run, Run.id == Delivery.run_id).where(*due, *waiting).distinct()
    )
    batches_of: dict[UUID, list[int]] = {}
    for run_id, batch in session.execute(pairs.limit(SWEEP)):
        if batch is not None:
            batches_of.setdefault(run_id, []).append(batch)
    return {run_id for run_id, numbers in batches_of.items() if _add_steps(session, run_id, sorted(numbers), now)}


def _add_steps(session: Session, run_id: UUID, numbers: Sequence[int], now: datetime) -> bool:
    run = runs.lock(session, run_id)
    rows = session.scalars(select(Step).where(Step.run_id == run_id).order_by(Step.stage, Step.ordinal)).all()
    if run.status != RunStatus.WAITING or any(row.status not in FINAL_STEP for row in rows):
        return False
    again = max(row.canvas for row in rows)
    patterns = {row.args[0]: row for row in rows if row.task == "report.deliver"}
    finish = next(row for row in reversed(rows) if row.task == "report.finish")
    late = [_copy(patterns[number], f"deliver:{number}/{again}") for number in numbers]
    steps.add_canvas(session, run, [late, [_copy(finish, f"finish/{again}")]], now)
    run.status, run.waiting_for = RunStatus.RUNNING, None
    return True


def _copy(step: Step, name: str) -> steps.Planned:
    return steps.Planned(
        name=name,
        task=step.task,
        args=step.args,
        kwargs=step.kwargs,
        tolerated=step.tolerated,
        queue=step.queue,
        retry=Retry.from_json(step.retry),
    )


def next_due(
    now: datetime, deferrals: int, retry: Retry, *, first_at: datetime, seed: str, retry_after: float | None
) -> datetime | None:
    """When a delivery that was turned away for now is tried again, or None when it has waited long enough."""
    wait = retry.delay(deferrals + 1, seed, retry_after)
    spent = (now - first_at).total_seconds()
    if retry.give_up_after is not None and spent + wait > retry.give_up_after:
        return None
    return now + timedelta(seconds=wait)


def _append(session: Session, delivery_id: UUID, attempt_id: UUID, at: datetime, event: str, **values: Any) -> None:
    row = {"id": new_id(), "delivery_id": delivery_id, "attempt_id": attempt_id, "at": at, "event": event, **values}
    session.execute(insert(DeliveryAttempt).values(**row))


def _settle(session: Session, delivery_id: UUID, attempt_id: UUID, **values: Any) -> None:
    mine = (Delivery.id == delivery_id, Delivery.attempt_id == attempt_id, Delivery.status == DeliveryStatus.SENDING)
    if not _set(session, mine, **values):
        raise StaleClaim(f"delivery {delivery_id} was taken over by another process")


def _set(session: Session, where: Sequence[Any], **values: Any) -> int:
    statement = update(Delivery).where(*where).values(**values).execution_options(synchronize_session=False)
    return int(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # a cursor result: it has one
