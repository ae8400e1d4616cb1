"""Handing over a batch of deliveries, share by share, as relays, rates and people allow."""

from __future__ import annotations

import random
import time
from datetime import timedelta

from sqlalchemy.orm import Session

from pipeline.adapters import mail_routes, mailer, webhooks
from pipeline.db import clock, persist, reading, transaction
from pipeline.destinations import Webhook
from pipeline.errors import Blocked, Cancelled, PermanentError, Waiting
from pipeline.handle import RunHandle
from pipeline.models import Delivery, DeliveryStatus, Run, RunStatus
from pipeline.replies import Kind
from pipeline.services import ledger, optouts, outcomes, places, rationing, relays, runs, shares, steps
from pipeline.services.rationing import HORIZON, UNLIMITED
from pipeline.services.shares import ITS_TURN, Pause, Share, Way
from pipeline.settings import settings
from pipeline.workflows.report.composing import Letters
from pipeline.workflows.report.posting import Post
from pipeline.workflows.report.recording import Journal

# Seconds after which a step lets others have its worker: with ten minutes for one last answer below its time limit.
TURN = 200.0
# Seconds after which the rest of a share is claimed anew: opt-outs and relays are asked at least so often.
LONGEST_SHARE = 10.0
# Seconds between two looks at the brake: everywhere nothing more is sent a second after somebody pulls it.
LOOK = 0.5
DEADLY = f"{steps.POISONOUS} processes died while they made or sent it (memory, or a fault in a library)"
# Known answers are committed before a wait of so many seconds: they would be lost with the process.
WAIT = 0.1
# Of this process: the seconds that a message to each relay took in its last share.
_each: dict[str, float] = {}


def send_batch(run: RunHandle, batch: int) -> None:
    """Hand over the batch's open deliveries, one after the other; each ends as a row.

    Raises Waiting while relays are down or rates have no room, Blocked where a person has to act. What was certainly
    not sent is queued again. After a process that died it is said of each message which one comes now, so that one that
    kills whoever makes it is known, and fails alone.
    """
    sender = Sender(run, batch)
    try:
        try:
            sender.work()
        finally:
            sender.give_back()
    except Exception:
        # The run may have ended without this process, and with a doubt that its last answer has settled.
        with reading() as session:
            status = session.get_one(Run, run.id).status
        if status != RunStatus.RUNNING:
            persist(lambda session: outcomes.update(session, runs.lock_to_close(session, run.id)))
        raise


def _server(webhook: Webhook) -> tuple[str, str]:
    """What takes the webhook's requests, as relays are called, and its fingerprint; the outbox unless mail is live."""
    if not mail_routes.is_live(settings()):
        return places.OUTBOX, ""
    return webhooks.server(webhook.webhook), webhooks.fingerprint(webhook)


class Sender:
    """One step's attempt at a batch."""

    def __init__(self, run: RunHandle, batch: int) -> None:
        self.run, self.batch = run, batch
        configured = settings()
        urls = mail_routes.relays(configured)
        self.way = Way(
            {name: mail_routes.fingerprint(url) for name, url in urls.items()},
            configured.rates,
            lambda address: mail_routes.envelope(configured, address),
            {address: _server(one) for address, one in run.definition.webhooks.items()},
            _each,
        )
        self.journal = Journal(run.attempt_id)
        self.letters = Letters(run)
        self.post = Post(run, self.letters, self.journal, urls, self.way.fingerprints)
        self.before = steps.Suspicion()
        self._begun = False
        # Whether it may have claimed what it has not come to, and whether rates limited its last share.
        self._holds, self._limited = False, True
        self._since = self._looked = time.monotonic()
        # The places that this process has of the rates, and since when.
        self._lent, self._lent_at = UNLIMITED, 0.0

    def work(self) -> None:
        """Share after share, until nothing is left that may go now."""
        while share := self._take():
            self._send(share)
            if time.monotonic() - self._since > TURN:
                raise Waiting("lets others have their turn", again_in=0)

    def give_back(self) -> None:
        """Write what is known, and give back places, and what was claimed and certainly not sent."""
        mailer.leave_relays()
        self.journal.close()
        self.journal.flush()
        self._give_back_places()
        if self._holds:
            persist(lambda session: ledger.requeue(session, self.run.id, self.batch, self.run.attempt_id))

    def _give_back_places(self) -> None:
        """In a transaction of its own: those of other rates are locked when places are taken."""
        if self._lent.rates:
            lent, elapsed = self._lent, time.monotonic() - self._lent_at
            persist(lambda session: rationing.take_back(session, lent, self.run.attempt_id, elapsed))
            self._lent = UNLIMITED

    def _take(self) -> Share | None:
        run = self.run
        self._give_back_places()
        held, self._holds = self._holds, True
        with transaction(durable=self.journal.knows) as session:
            steps.renew(session, run.claim)  # a process that slept takes nothing from the one that took over
            self.journal.write(session)
            if not self._begun:
                self.before = steps.suspicion(session, run.claim)
                ledger.recover(session, run.claim.run, self.batch, run.attempt_id)
            elif held:
                ledger.requeue(session, run.id, self.batch, run.attempt_id)
            share = shares.take(session, run.id, self.batch, run.attempt_id, self.way)
            if share.is_none:
                self._leave_room(session)
            if share.deliveries:
                self.post.barred = optouts.barred_deliveries(session, share.deliveries, run.name)
                self.letters.load(session, share.deliveries)
                if self.before.careful:
                    steps.working_on(session, run.attempt_id, str(share.deliveries[0].id))
        self._holds = bool(share.deliveries)
        self._lent, self._lent_at = share.lent, time.monotonic()
        if share.relay:
            self._limited = bool(share.lent.rates)
            mailer.leave_relays(but=self.post.urls.get(share.relay))
        self.journal.forget()
        self._begun = True
        if share.pause:
            raise self._waits(share.pause)
        self.post.ahead.forget()
        return None if share.is_none else share

    def _leave_room(self, session: Session) -> None:
        """The next step need not wait on for the room that is left; where nothing limits us any more, none need."""
        limit = 1 if self._limited else None
        steps.wake(session, "deliver", clock(session), run_id=self.run.id, saying=ITS_TURN, limit=limit)

    def _waits(self, pause: Pause) -> Exception:
        patience = self.run.definition.retry_for("deliver").give_up_after
        if pause.down_since and patience is not None:
            with reading() as session:
                if clock(session) - pause.down_since > timedelta(seconds=patience):
                    return PermanentError(f"{pause.why}; given up after {timedelta(seconds=patience)}")
        # Those that wait for the same relay do not all come in the same moment.
        apart = random.uniform(0, pause.seconds / 10) if pause.down_since else 0  # noqa: S311 - chance, no secret
        if pause.blocked:
            return Blocked(pause.why, again_in=pause.seconds, known=pause.stopped)
        return Waiting(pause.why, again_in=pause.seconds + apart)

    def _send(self, share: Share) -> None:
        """The share's deliveries, each when there is a place for it; something may come up before the last of them.

        A share that is limited by rates is over when others may have its places, any other when it is old.
        """
        spent, longest = 0.0, HORIZON if share.lent.rates else LONGEST_SHARE
        for number, delivery in enumerate(share.deliveries):
            at = share.lent.free_at(delivery.id)
            if number and max(at, time.monotonic() - self._lent_at) > longest:
                return
            # A server may take a minute for each.
            if not self._waited(self._lent_at + at, share.relay) or time.monotonic() - self._since > TURN:
                return
            began = time.monotonic()
            if not self.before.careful:
                self.post.ahead.prepare(share.deliveries, number)
                self.run.alive()  # it passes over an interruption as over any mistake
            try:
                goes_on = self._deliver(delivery, share, self._following(share, number + 1))
            finally:
                ended = time.monotonic()
                share.lent.ended(delivery.id, ended - self._lent_at)
            spent += ended - began
            _each[share.relay] = spent / (number + 1)
            if not goes_on:
                return
        self._holds = False

    def _waited(self, until: float, relay: str) -> bool:
        """Wait until then, by the monotonic clock; False where somebody has pulled a brake. Raises as `_is_halted`."""
        if until - time.monotonic() > WAIT:
            self.journal.flush()
            if self.before.careful:  # whoever is killed now dies over none of them
                with transaction(durable=False) as session:
                    steps.working_on(session, self.run.attempt_id, None)
        while True:
            self.run.alive()
            now = time.monotonic()
            if now - self._looked > LOOK:
                if self._is_halted(relay):
                    return False
                self._looked = now
            if now >= until:
                return True
            time.sleep(min(until - now, LOOK))

    def _following(self, share: Share, number: int) -> Delivery | None:
        """What is sent next without a wait, if nothing comes up."""
        if number >= len(share.deliveries):
            return None
        found = share.deliveries[number]
        return found if share.lent.free_at(found.id) <= time.monotonic() - self._lent_at else None

    def _deliver(self, delivery: Delivery, share: Share, following: Delivery | None) -> bool:
        """One delivery, after a try that died with care; whether the rest of the share may follow."""
        if self.before.careful:
            if str(delivery.id) in self.before.deadly:
                self.journal.settle(delivery, DeliveryStatus.FAILED, DEADLY, cause=Kind.POISON)
                return True
            with transaction(durable=False) as session:
                steps.working_on(session, self.run.attempt_id, str(delivery.id))
        return self.post.deliver(delivery, share, following)

    def _is_halted(self, relay: str) -> bool:
        """Whether somebody has pulled a brake; it holds up no copy of a file. Raises Cancelled where the run ends."""
        with reading() as session:
            if not runs.goes_on(session, self.run.id):
                raise Cancelled(runs.being_cancelled(session, self.run.id) or "the run has ended")
            return bool(relay) and relays.halted(session, relay, self.run.id)
