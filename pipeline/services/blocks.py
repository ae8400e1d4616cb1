"""Runs that cannot go on before a person has mended something, and what lets them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline import replies
from pipeline.db import clock
from pipeline.models import Delivery, DeliveryAttempt, DeliveryStatus, Relay, Run, RunStatus, WaitingFor
from pipeline.notice import Kind
from pipeline.services import notices, relays, steps

# Fewer refusals than these say nothing about a run.
FEWEST = 10
# Answers that are older say nothing about a relay any more.
LATELY = timedelta(minutes=10)


@dataclass(frozen=True)
class Refused:
    """How many of a run's messages were refused for their content, since it was let go on, of those answered at all."""

    refused: int
    new: int
    answered: int

    def is_more_than(self, allowed: float) -> bool:
        return self.new >= FEWEST and self.new > allowed * self.answered


def refused_share(session: Session, run_id: UUID) -> Refused:
    """What servers have said of the content of a run's messages until now."""
    of_run = Delivery.run_id == run_id
    refused = session.scalar(select(func.count()).where(of_run, Delivery.cause == replies.Kind.CONTENT)) or 0
    if refused < FEWEST:
        return Refused(refused, refused, refused)
    before = session.scalar(select(Relay.failures).where(Relay.name == relays.of_run(run_id))) or 0
    accepted = session.scalar(select(func.count()).where(of_run, Delivery.status == DeliveryStatus.ACCEPTED)) or 0
    return Refused(refused, refused - before, refused + accepted)


def refused_alike(session: Session, run_id: UUID, place: str, words: str) -> bool:
    """Whether the last answers at this place to the run's messages, whoever sent them, all refuse in these words."""
    lately = UUID(int=int((clock(session) - LATELY).timestamp() * 1000) << 80)
    told = select(DeliveryAttempt.event, DeliveryAttempt.code, DeliveryAttempt.text).join(
        Delivery, Delivery.id == DeliveryAttempt.delivery_id
    )
    mine = (Delivery.run_id == run_id, DeliveryAttempt.relay == place, DeliveryAttempt.id > lately)
    answers = (DeliveryStatus.ACCEPTED, DeliveryStatus.FAILED, DeliveryStatus.DEFERRED)
    newest = told.where(*mine, DeliveryAttempt.event.in_(answers)).order_by(DeliveryAttempt.id.desc())
    found = session.execute(newest.limit(replies.SAME_REFUSALS)).all()
    return len(found) == replies.SAME_REFUSALS and all(
        event == DeliveryStatus.FAILED and replies.words_of(code, (text or "").removeprefix(f"{code} ")) == words
        for event, code, text in found
    )


def block(session: Session, run: Run, why: str, *, tell: bool) -> None:
    """The run, whose row is locked, waits for somebody who mends what `why` says; its owner is told, once."""
    from pipeline.services import runs

    if run.status not in {RunStatus.RUNNING, RunStatus.WAITING} or run.waiting_for == WaitingFor.BLOCKED:
        return
    run.status, run.waiting_for, run.error = RunStatus.WAITING, WaitingFor.BLOCKED, why
    runs.note(session, run.id, "blocked", why)
    if tell:
        facts = {"reason": why, "heals": "It does not go on by itself.", "command": "pipeline mail start"}
        episode = clock(session).isoformat()
        notices.tell(session, Kind.RUN_BLOCKED, notices.about_run(run.id), episode, run=run, facts=facts)


def unblock(session: Session, run: Run, why: str) -> None:
    """The run, whose row is locked, goes on: what is still wrong blocks it again, before anybody is mailed in vain."""
    from pipeline.services import runs

    runs.go_on(run, clock(session))
    runs.note(session, run.id, "unblocked", why)
    notices.settle(session, notices.about_run(run.id), Kind.RUN_BLOCKED, reason=why)


def look_again(session: Session, now: datetime) -> None:
    """The steps of blocked runs look whether what blocks them is gone: a worker with other settings has started."""
    blocked = (Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.BLOCKED)
    for run_id in session.scalars(select(Run.id).where(*blocked)).all():
        steps.wake(session, "deliver", now, run_id=run_id)


def unblock_all(session: Session, now: datetime, why: str) -> list[Run]:
    """Every blocked run goes on, and so does what waits to be delivered."""
    blocked = (Run.status == RunStatus.WAITING, Run.waiting_for == WaitingFor.BLOCKED)
    found = list(session.scalars(select(Run).where(*blocked).order_by(Run.id).with_for_update(key_share=True)))
    for run in found:
        unblock(session, run, why)
    steps.wake(session, "deliver", now)
    return found
