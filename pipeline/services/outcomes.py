"""How a run ends: from its documents and deliveries, counted in SQL; again whenever one of them settles later."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from pipeline import schedule
from pipeline.models import FINAL_STEP, Delivery, DeliveryStatus, DocumentStatus, Run, RunStatus, Step, WaitingFor
from pipeline.policies import Late
from pipeline.services import documents, runs
from pipeline.services.runs import Verdict

LOST = (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.UNCERTAIN)


def verdict(session: Session, run: Run) -> Verdict:
    """How the run stands; it waits for deliveries turned away for now, or is partial until they are made (`late`)."""
    late = schedule.parse(run.definition, f"schedule {run.schedule_key}").late
    return judge(documents.counts(session, run.id), counts(session, run.id), late)


def judge(of_documents: dict[str, int], of_deliveries: dict[str, int], late: Late = Late.WAIT) -> Verdict:
    """How a run ends, from the counts of its documents and deliveries by status."""
    waiting = of_deliveries.get(DeliveryStatus.DEFERRED, 0)
    said = f"{waiting} {'delivery was' if waiting == 1 else 'deliveries were'} turned away for now"
    if waiting and late == Late.WAIT:
        return Verdict(RunStatus.WAITING, said, WaitingFor.DEFERRED)
    lost = {str(kind): of_deliveries[kind] for kind in LOST if of_deliveries.get(kind)}
    if of_documents.get(DocumentStatus.FAILED):
        lost["documents failed"] = of_documents[DocumentStatus.FAILED]
    of_the_lost = "of the deliveries: " + ", ".join(f"{count} {kind}" for kind, count in lost.items())
    if waiting:
        also = f"; {of_the_lost}" if lost else ""
        return Verdict(RunStatus.PARTIAL, f"{said}, and complete it later{also}", WaitingFor.DEFERRED)
    if not lost:
        return Verdict(RunStatus.SUCCEEDED)
    arrived = of_deliveries.get(DeliveryStatus.ACCEPTED, 0)
    return Verdict(RunStatus.PARTIAL if arrived else RunStatus.FAILED, of_the_lost)


def counts(session: Session, run_id: UUID) -> dict[str, int]:
    """How many of the planned deliveries stand where; one that somebody had sent once more stands where that arrived.

    Repeats that are on their way count as deferred.
    """
    of_run = Delivery.run_id == run_id
    planned = select(Delivery.status, func.count()).where(of_run, Delivery.repeat == 0).group_by(Delivery.status)
    found: Counter[str] = Counter(dict(session.execute(planned).all()))
    on_their_way = (of_run, Delivery.repeat > 0, Delivery.status == DeliveryStatus.DEFERRED)
    found[DeliveryStatus.DEFERRED] += session.scalar(select(func.count()).where(*on_their_way)) or 0
    again = aliased(Delivery)
    made_good = (
        select(Delivery.status, func.count(Delivery.id.distinct()))
        .join(again, again.repeat_of == Delivery.id)
        .where(of_run, Delivery.status != DeliveryStatus.ACCEPTED, again.status == DeliveryStatus.ACCEPTED)
        .group_by(Delivery.status)
    )
    for status, count in session.execute(made_good):
        found[status] -= count
        found[DeliveryStatus.ACCEPTED] += count
    return {status: count for status, count in found.items() if count}


def update(session: Session, run: Run) -> None:
    """Say anew how the run, whose row is locked, ends, where nothing of it is at work: somebody settled a delivery."""
    over = (
        run.status in {RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED}
        or run.waiting_for == WaitingFor.DEFERRED
    )
    open_steps = select(Step.id).where(Step.run_id == run.id, Step.status.not_in(FINAL_STEP)).limit(1)
    if over and session.scalar(open_steps) is None:
        runs.apply(session, run, verdict(session, run))
