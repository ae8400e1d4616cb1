"""One delivery: its message to the relay, and what the answer means for it, for its relay and for its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from pipeline import log, replies
from pipeline.adapters import mail_routes, mailer, messages
from pipeline.db import clock, persist, reading, transaction
from pipeline.errors import Blocked, PermanentError, StaleClaim
from pipeline.failpoints import failpoint
from pipeline.handle import RunHandle
from pipeline.models import Channel, Delivery, DeliveryStatus
from pipeline.replies import HangUps, Kind, Stage, Verdict
from pipeline.services import blocks, ledger, places, relays, steps
from pipeline.services.shares import FOR_A_PERSON, Share
from pipeline.settings import settings
from pipeline.workflows.report import requests
from pipeline.workflows.report.ahead import Ahead
from pipeline.workflows.report.composing import Letters
from pipeline.workflows.report.recording import Journal

logger = log.get(__name__)
# Seconds: a relay's answers are a sign of life for all workers, told so often by each.
SIGN_OF_LIFE = 5.0
NO_LINKS = "with PIPELINE_PUBLIC_URL set, its files would be links"
# Of this process, by relay: connections in a row that ended too soon, and when it last told that the relay lives.
_hang_ups: dict[str, HangUps] = {}
_told: dict[str, float] = {}


class Post:
    """Sends one delivery after the other, and says in the journal what became of each."""

    def __init__(
        self, run: RunHandle, letters: Letters, journal: Journal, urls: Mapping[str, str], prints: Mapping[str, str]
    ) -> None:
        """`urls` are those of the relays, `prints` the fingerprints of all that takes something, by their names."""
        self.run, self.letters, self.journal, self.urls, self.prints = run, letters, journal, urls, prints
        self.ahead = Ahead(letters.message)
        self.barred: Mapping[UUID, str] = {}
        # The envelope's sender is the address alone.
        self.return_path = messages.split_address(letters.sender)[1]
        self._began, self._sent, self._refused = time.monotonic(), 0, 0
        # Whether the delivery at hand tries if its relay is back.
        self._probe = False

    def deliver(self, delivery: Delivery, share: Share, following: Delivery | None = None) -> bool:
        """One delivery; a message or file that cannot be made fails alone, naming what is wrong.

        `following` is what comes next, if nothing comes up. Returns whether the rest of the share may follow; else the
        relay, or the claim, is asked for anew.
        """
        self._probe = share.probe
        if why := self.barred.get(delivery.id):
            self.journal.settle(delivery, DeliveryStatus.SUPPRESSED, why)
            return True
        try:
            if delivery.channel == Channel.FILE:
                place, where = self.letters.copies(delivery)
                self.journal.accepted(delivery, place, None, where)
                return True
            if delivery.channel == Channel.WEBHOOK:
                return self._post(delivery, share.relay)
            return self._mail(delivery, share.relay, following)
        except PermanentError as error:
            self.run.alive()  # who is interrupted amid a template hears of it as the template's mistake
            logger.warning("delivery failed", delivery=str(delivery.id), error=str(error))
            self.journal.settle(delivery, DeliveryStatus.FAILED, str(error), cause=Kind.POISON)
            return True

    def _mail(
        self, delivery: Delivery, relay_name: str, following: Delivery | None = None, *, linked: bool = False
    ) -> bool:
        data = self.letters.message(delivery, linked=True) if linked else self.ahead.take(delivery)
        relay = mailer.relay_for(self.urls[relay_name])
        address = mail_routes.envelope(settings(), delivery.address)
        place = places.name(relay_name, catcher=relay.catcher, meant=delivery.address, address=address)
        failpoint("mail.claimed")

        def send() -> Verdict:
            dot = partial(self._dot, delivery, place, data)
            return relay.send(self.return_path, address, data, dot, self._announced(following))

        verdict = self._handed_over(delivery, relay_name, send)
        if isinstance(verdict, bool):
            return verdict
        if verdict.kind is Kind.MESSAGE_TOO_LARGE and self.letters.can_link and not linked:
            # It was certainly not sent: this relay gets the same message with links to its files.
            return self._mail(delivery, relay_name, linked=True)
        failpoint("mail.answered")
        self._settle(delivery, place, verdict)
        return self._after(verdict, relay_name, place)

    def _announced(self, following: Delivery | None) -> tuple[str, bytes] | None:
        """The address and the message of what comes next, if it is made, and nobody has opted out of it."""
        if following is None or following.id in self.barred or not (data := self.ahead.made(following)):
            return None
        return mail_routes.envelope(settings(), following.address), data

    def _post(self, delivery: Delivery, server: str) -> bool:
        wanted = requests.request(self.letters, delivery)
        place = requests.place(wanted)
        failpoint("hook.claimed")

        def send() -> Verdict:
            return requests.hand_over(wanted, delivery, lambda: self._dot(delivery, place, wanted.body))

        verdict = self._handed_over(delivery, server, send)
        if isinstance(verdict, bool):
            return verdict
        failpoint("hook.answered")
        self._settle(delivery, place, verdict)
        if verdict.kind is Kind.THROTTLED:
            self._slow_down(server)
        elif verdict.code < 500:
            return self._after(verdict, server, place)
        # Once it may be this document, or chance: time and again its server is down.
        self._is_down(server, f"{verdict.code} {verdict.text}", verdict.wait, at_once=False)
        return False

    def _handed_over(self, delivery: Delivery, relay_name: str, send: Callable[[], Verdict]) -> Verdict | bool:
        """The answer to what `send` hands over or, where nothing was, whether the rest of the share may follow."""
        try:
            return send()
        except (mailer.RelayDown, mailer.ConfigurationFault) as fault:
            self.journal.not_sent(delivery)
            self._relay_fails(relay_name, fault)
            return False
        except mailer.NotAccepted as error:
            return error.verdict
        except StaleClaim:
            # A person may have skipped just this one, or this process slept: its dot was not written. If the whole step
            # is somebody else's, this raises.
            self.journal.not_sent(delivery)
            with transaction(durable=False) as session:
                steps.renew(session, self.run.claim)
            return True
        finally:
            self.run.is_waiting_for_an_answer = False

    def _dot(self, delivery: Delivery, place: str, data: bytes) -> None:
        try:
            self.journal.dot(delivery, place, data)
        except StaleClaim:
            raise  # `_handed_over` says so, as where it comes from the relay
        except Exception:  # the database's, or an interruption: it may have been committed, and was not written
            self.journal.not_sent(delivery)
            raise
        self.run.is_waiting_for_an_answer = True

    def _of_relay(self, write: Callable[[Session, datetime], object]) -> None:
        """Tell all workers how the relay is doing; what is known of deliveries is written first."""
        self.journal.flush()
        persist(lambda session: write(session, clock(session)))

    # ---- what an answer means for the delivery

    def _settle(self, delivery: Delivery, place: str, verdict: Verdict) -> None:
        reply = f"{verdict.code or ''} {verdict.text}".strip()
        told = {"relay": place, "code": verdict.code or None}
        match verdict.kind:
            case Kind.ACCEPTED:
                self._sent += 1
                self.journal.accepted(delivery, place, verdict.code, reply)
            case Kind.UNKNOWN:
                self.journal.unknown(self.run.claim.run, delivery, reply, **told)
            case Kind.THROTTLED | Kind.RECIPIENT_TRANSIENT:
                due = self._due_again(delivery, verdict)
                status = DeliveryStatus.DEFERRED if due else DeliveryStatus.EXPIRED
                self.journal.settle(delivery, status, reply, **told, cause=verdict.kind, not_before=due)
            case _:
                if verdict.kind is Kind.MESSAGE_TOO_LARGE and not self.letters.can_link:
                    reply = f"{reply} ({NO_LINKS})"
                self.journal.settle(delivery, DeliveryStatus.FAILED, reply, **told, cause=verdict.kind)
                if verdict.suppresses and places.instead(place) is None:
                    self.journal.suppress(delivery.address, reply, f"relay {place}, run {self.run.id}")

    def _due_again(self, delivery: Delivery, verdict: Verdict) -> datetime | None:
        with reading() as session:
            return ledger.due_again(session, self.run.definition.retry_for("deliver"), delivery, verdict.wait)

    # ---- and for the relay and the run

    def _relay_fails(self, relay: str, fault: mailer.NotAccepted) -> None:
        if isinstance(fault, mailer.ConfigurationFault):
            self._refuses_us(relay, str(fault), fault.verdict.stage)
        else:
            self._is_down(relay, str(fault), fault.verdict.wait)

    def _is_down(self, relay: str, words: str, wait: float | None = None, *, at_once: bool = True) -> None:
        _told.pop(relay, None)
        failed = partial(relays.failed, wait=wait, at_once=at_once, probe=self._probe)
        self._of_relay(lambda s, now: failed(s, relay, words, now))

    def _judged(self, verdict: Verdict, relay: str, place: str) -> Verdict:
        """What the answer means after those before it, which other processes may have heard."""
        if not (words := replies.common_words(verdict)):
            return _hang_ups.setdefault(relay, HangUps()).judged(verdict)
        self.journal.flush()
        with reading() as session:
            alike = blocks.refused_alike(session, self.run.id, place, words)
        return replies.in_a_row(verdict, replies.SAME_REFUSALS, Kind.CONFIGURATION) if alike else verdict

    def _after(self, verdict: Verdict, relay: str, place: str) -> bool:
        judged = self._judged(verdict, relay, place)
        if judged.kind in {Kind.RELAY_DOWN, Kind.UNKNOWN}:
            # Once it may be chance that it fell silent after a message: time and again it is down.
            self._is_down(relay, judged.text, judged.wait, at_once=judged.kind is Kind.RELAY_DOWN)
            return False
        self._lives(relay)
        if verdict.kind is Kind.CONTENT:
            self._refused += 1
            return self._content(judged)
        if judged.kind is Kind.CONFIGURATION:
            self._refuses_us(relay, f"{judged.code} {judged.text}", Stage.CONNECT)
            return False
        if verdict.kind is Kind.THROTTLED:
            self._slow_down(relay)
            return False
        return True

    def _lives(self, relay: str) -> None:
        if not self._probe and time.monotonic() - _told.get(relay, -SIGN_OF_LIFE) < SIGN_OF_LIFE:
            return
        _told[relay] = time.monotonic()

        def tell(session: Session, now: datetime) -> None:
            if relays.answered(session, relay, now):
                steps.wake(session, "deliver", now)

        self._of_relay(tell)

    def _refuses_us(self, relay: str, words: str, stage: Stage) -> None:
        """Nobody else is tried: by this relay where it does not let us in, else of this run: it refuses its sender."""
        if stage in {Stage.CONNECT, Stage.STARTTLS, Stage.AUTH}:
            fingerprint = self.prints.get(relay, "")
            self._of_relay(lambda s, now: relays.block(s, relay, words, now, fingerprint=fingerprint))
            return
        self._block_run(words)

    def _block_run(self, words: str, refused: int = 0) -> None:
        name = relays.of_run(self.run.id)
        self._of_relay(lambda s, now: relays.block(s, name, words, now, count=refused))
        raise Blocked(words, again_in=FOR_A_PERSON)

    def _content(self, judged: Verdict) -> bool:
        """Stop the run where too many are refused for what is in them: the next would be, too."""
        words = f"messages are refused for their content, the last one with {judged.code} {judged.text}"
        self.journal.flush()
        with reading() as session:
            share = blocks.refused_share(session, self.run.id)
        if judged.kind is Kind.CONFIGURATION:
            self._block_run(words, share.refused)
        if share.is_more_than(self.run.definition.allow_refused):
            self._block_run(f"{share.refused} of {share.answered} {words}", share.refused)
        return True

    def _slow_down(self, relay: str) -> None:
        speed = self._sent / max(time.monotonic() - self._began, 1.0)
        self._of_relay(lambda s, now: relays.throttled(s, relay, speed * max(1, steps.at_work(s, "deliver")), now))
