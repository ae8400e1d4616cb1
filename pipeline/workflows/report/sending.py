"""Handing over a batch of deliveries: the ledger is written before and after every final dot."""

from __future__ import annotations

from pipeline import log
from pipeline.adapters import mailer, messages
from pipeline.db import clock, persist, reading, transaction
from pipeline.errors import Parked, PermanentError
from pipeline.handle import RunHandle
from pipeline.models import Channel, Delivery, DeliveryStatus
from pipeline.replies import Kind, Streak, Verdict
from pipeline.services import late, ledger, optouts, places, steps
from pipeline.settings import settings
from pipeline.workflows.report.composing import Letters
from pipeline.workflows.report.recording import Journal

logger = log.get(__name__)


def send_batch(run: RunHandle, batch: int) -> None:
    """Hand over the batch's open deliveries, one after the other; each ends as a row.

    Raises Parked when the relay is down or refuses us: what was certainly not sent is queued again.
    """
    with transaction(durable=False) as session:
        steps.renew(session, run.claim)  # a process that slept takes nothing from the one that took over
        claimed = ledger.claim(session, run.id, batch, run.attempt_id)
        suppressed = optouts.barred(session, [delivery.address for delivery in claimed], run.name)
    if not claimed:
        return
    journal = Journal(run.attempt_id)
    letters = Letters(run)
    letters.load(claimed)
    post = Post(run, letters, journal, suppressed)
    try:
        for delivery in claimed:
            run.alive()
            post.deliver(delivery)
    finally:
        journal.flush()
        persist(lambda session: ledger.requeue(session, run.id, run.attempt_id))


class Post:
    """Sends one delivery after the other, and says in the journal what became of each."""

    def __init__(self, run: RunHandle, letters: Letters, journal: Journal, suppressed: dict[str, str]) -> None:
        self.run, self.letters, self.journal, self.suppressed = run, letters, journal, suppressed
        # The envelope's sender is the address alone.
        self.return_path = messages.split_address(letters.sender)[1]
        self.streak = Streak()

    def deliver(self, delivery: Delivery) -> None:
        """One delivery; a message or file that cannot be made fails alone, naming what is wrong."""
        if delivery.address in self.suppressed:
            self.journal.settle(delivery, DeliveryStatus.SUPPRESSED, self.suppressed[delivery.address])
            return
        try:
            self._copy(delivery) if delivery.channel == Channel.FILE else self._mail(delivery)
        except PermanentError as error:
            logger.warning("delivery failed", delivery=str(delivery.id), error=str(error))
            self.journal.settle(delivery, DeliveryStatus.FAILED, str(error))

    def _copy(self, delivery: Delivery) -> None:
        self.journal.accepted(delivery, "file", None, ", ".join(self.letters.copies(delivery)))

    def _mail(self, delivery: Delivery) -> None:
        data = self.letters.message(delivery)
        try:
            relay_url, address = mailer.target(settings(), delivery.address)
            relay = mailer.relay_for(relay_url)
            place = places.name(str(relay), catcher=relay.catcher, meant=delivery.address, address=address)
            verdict = relay.send(self.return_path, address, data, lambda: self.journal.dot(delivery, place))
        except (mailer.RelayDown, mailer.ConfigurationFault) as error:
            self.journal.not_sent(delivery)
            raise Parked(str(error), retry_after=error.verdict.wait) from error
        except mailer.NotAccepted as error:
            verdict = error.verdict
        judged = self.streak.judged(verdict)
        self._settle(delivery, place, verdict)
        if judged.stops_everyone:
            raise Parked(f"relay {relay}: {judged.code} {judged.text}")

    def _settle(self, delivery: Delivery, relay: str, verdict: Verdict) -> None:
        reply = f"{verdict.code} {verdict.text}".strip()
        match verdict.kind:
            case Kind.ACCEPTED:
                self.journal.accepted(delivery, relay, verdict.code, reply)
            case Kind.UNKNOWN:
                self.journal.settle(delivery, DeliveryStatus.UNCERTAIN, reply, relay=relay, code=verdict.code)
            case Kind.THROTTLED | Kind.RECIPIENT_TRANSIENT:
                self._defer(delivery, relay, verdict, reply)
            case _:
                self.journal.settle(delivery, DeliveryStatus.FAILED, reply, relay=relay, code=verdict.code)
                if verdict.suppresses and places.instead(relay) is None:
                    self.journal.suppress(delivery.address, reply, f"relay {relay}, run {self.run.id}")

    def _defer(self, delivery: Delivery, relay: str, verdict: Verdict, reply: str) -> None:
        retry = self.run.definition.retry_for("deliver")
        with reading() as session:
            now = clock(session)
        due = late.next_due(
            now,
            delivery.deferrals,
            retry,
            first_at=self.run.claim.run.created_at,
            seed=str(delivery.id),
            retry_after=verdict.wait,
        )
        status = DeliveryStatus.DEFERRED if due else DeliveryStatus.EXPIRED
        self.journal.settle(delivery, status, reply, relay=relay, code=verdict.code, not_before=due)
