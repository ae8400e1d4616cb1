"""A sender's next share of a batch: as much as relays, rates and people allow, claimed in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.bulk import in_the_row
from pipeline.db import clock
from pipeline.models import ACTIVE_STEP, Channel, Delivery, DeliveryStatus, Run, RunStatus, Step, StepStatus, WaitingFor
from pipeline.rates import Rate
from pipeline.services import blocks, ledger, rationing, relays, steps
from pipeline.services.ledger import Claimable
from pipeline.services.rationing import UNLIMITED, Lent, Rates

# Deliveries claimed at once; a sender gives back within seconds what it has not come to.
MOST = 500
# Why a step waits that finds no room in a rate: nobody has to do anything.
ITS_TURN = "waits for its turn"
# Seconds: the longest wait for those that are before us in a rate, and the wait for a person, who wakes us when done.
LONGEST_WAIT, FOR_A_PERSON = 900.0, 900.0


@dataclass(frozen=True)
class Way:
    """How this process sends: its relays' fingerprints by name, in order; the rates; the address really written to.

    `each`: how many seconds a message to one of them has taken lately.
    """

    relays: Mapping[str, str]
    rates: Sequence[Rate]
    envelope: Callable[[str], str]
    # The servers of webhooks, as relays are named, with their fingerprints; by the address of their deliveries.
    webhooks: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    each: Mapping[str, float] = field(default_factory=dict)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of whatever takes something, by its name."""
        return {**self.relays, **dict(self.webhooks.values())}

    def of_webhook(self, address: str) -> Way:
        """The way to one webhook: its server alone, by the rates that name it, which is not a relay of ours."""
        name, fingerprint = self.webhooks.get(address, (address, ""))
        host = urlsplit(name).hostname or name
        rates = [rate for rate in self.rates if rate.name == host]
        return Way({name: fingerprint}, rates, lambda _: f"@{host}", each=self.each)


@dataclass(frozen=True)
class Pause:
    """Why nothing can be sent now, and for how long; `blocked`: until a person acts; `stopped`: one did."""

    why: str
    seconds: float
    blocked: bool = False
    stopped: bool = False
    down_since: datetime | None = None


@dataclass(frozen=True)
class Share:
    """What was claimed, in the order in which it may go; with nothing, the batch is done or waits.

    `relay` takes the messages, by the places that were `lent` where rates limit it; `probe` says that this one message
    tries whether it is back.
    """

    deliveries: Sequence[Delivery] = ()
    relay: str = ""
    lent: Lent = UNLIMITED
    probe: bool = False
    pause: Pause | None = None

    @property
    def is_none(self) -> bool:
        """Whether nothing is left that may go now; a relay alone says that those it chose have just been skipped."""
        return not (self.deliveries or self.relay or self.pause)


def take(session: Session, run_id: UUID, batch: int, attempt_id: UUID, way: Way) -> Share:
    """Claim the next share of the batch; the caller has renewed its step's lease in the same transaction."""
    now = clock(session)
    claimable = ledger.claimable(session, run_id, batch, now)
    copies = [one.id for one in claimable if one.channel == Channel.FILE][:MOST]
    if copies:
        return Share(ledger.claim(session, copies, attempt_id))
    # Before it waits: there may be room by now, or at another relay than the one that had none.
    claimable = claimable or ledger.claimable(session, run_id, batch, now, whatever_the_rates=True)
    if not claimable:
        return Share()
    # A plan that is made anew may cut its batches otherwise: mail, and what is posted, may have one together. Mail goes
    # first: a server that is down holds none up.
    webhook = min(_webhook(one) for one in claimable)
    claimable = [one for one in claimable if _webhook(one) == webhook]
    if webhook:
        way = way.of_webhook(webhook)
    choice = relays.choose(session, way.relays, now, run_id)
    if choice.name is None:
        return Share(pause=_pause(choice))
    _go_on(session, run_id)
    rates = rationing.rates_of(session, choice.name, way.rates, now, way.each.get(choice.name))
    granted, lent = _granted(session, claimable, rates, way, attempt_id, most=1 if choice.probe else MOST)
    if not granted:
        pause = _until_there_is_room(session, run_id, batch, rates, now)
        return Share(pause=replace(pause, seconds=min(pause.seconds, choice.better_in)))
    return Share(ledger.claim(session, granted, attempt_id), choice.name, lent, choice.probe)


def look_again(session: Session, now: datetime) -> None:
    """Whatever waits for its turn asks for it anew: a worker has started, with other rates or relays perhaps."""
    steps.wake(session, "deliver", now, saying=ITS_TURN)


def _webhook(one: Claimable) -> str:
    """The webhook that it is posted to; nothing: it is mail."""
    return one.address if one.channel == Channel.WEBHOOK else ""


def _granted(
    session: Session, claimable: Sequence[Claimable], rates: Rates, way: Way, attempt_id: UUID, *, most: int
) -> tuple[Sequence[UUID], Lent]:
    """Whom the rates let go, `most` at most, by which places; the others stay queued until there is room."""
    if not rates:
        return [one.id for one in claimable[:most]], UNLIMITED
    wanting = [(one.id, way.envelope(one.address)) for one in claimable]
    granted, late, lent = rationing.ration(session, rates, wanting, attempt_id, most)
    for until, ids in late.items():
        ledger.postpone(session, ids, until)
    return granted, lent


def _pause(choice: relays.Choice) -> Pause:
    if choice.wait is None:
        return Pause(choice.why, FOR_A_PERSON, blocked=True, stopped=choice.stopped)
    return Pause(choice.why, choice.wait, down_since=choice.down_since)


def _go_on(session: Session, run_id: UUID) -> None:
    run = session.get_one(Run, run_id, populate_existing=True)
    if run.status == RunStatus.WAITING and run.waiting_for == WaitingFor.BLOCKED:
        blocks.unblock(session, run, "what had blocked it is gone")


def _until_there_is_room(session: Session, run_id: UUID, batch: int, rates: Rates, now: datetime) -> Pause:
    """How long what is left of the batch waits for room in its rate.

    Steps that wait are spread: each comes when there is room for what those before it hold, and not all at once.
    """
    soonest, count = _queued(session, run_id, batch)
    ahead = (ACTIVE_STEP, Step.status == StepStatus.QUEUED, Step.queue == "deliver", Step.not_before > now)
    place = session.scalar(select(func.count()).where(*ahead)) or 0
    wait, each = max(0.0, ((soonest or now) - now).total_seconds()), count * rates.seconds_each
    if wait <= rationing.HORIZON:  # what others have for a moment is no measure of what they leave
        each = min(each, rationing.HORIZON)
    return Pause(f"{ITS_TURN}: {rates}", wait + min(place * each, LONGEST_WAIT))


def _queued(session: Session, run_id: UUID, batch: int) -> tuple[datetime | None, int]:
    """When the first of the batch that waits for its turn may go, and how many do."""
    queued = in_the_row(Delivery.status) == DeliveryStatus.QUEUED
    mine = (Delivery.run_id == run_id, Delivery.batch == batch, queued)
    soonest, count = session.execute(select(func.min(Delivery.not_before), func.count()).where(*mine)).one()
    return soonest, count
