"""The ledger under everything that can happen to senders, servers and people, in any order Hypothesis thinks of."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import delete, select, update

from pipeline.db import clock, reading, transaction
from pipeline.errors import StaleClaim
from pipeline.models import Base, Delivery, DeliveryAttempt, DeliveryStatus, Door, Run, new_id
from pipeline.services import ledger, settling
from pipeline.services.audit import Actor
from tests.factories import make_delivery, make_run, make_schedule

ANNA = Actor("anna", Door.CLI)
RELAY = "relay.example:25"


@dataclass
class Sender:
    """A process at work on the batch: what it claimed, what it does right now, what it knows and has not written."""

    attempt: Any
    claimed: list[Any]
    at: str = "idle"
    answer: str = ""
    heard: list[Any] = field(default_factory=list)
    # Somebody took its place since it announced its dot.
    overtaken: bool = False


class Ledger(RuleBasedStateMachine):
    """Three deliveries of one batch; the truth is what the server has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: Counter[Any] = Counter()
        self.senders: list[Sender] = []
        self.doubts = 0
        self.history: list[Any] = []

    @initialize()
    def begin(self) -> None:
        with transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
        make_schedule()
        self.run = make_run(status="running")
        nothing = {"relay": None, "reply": None, "sent_at": None}
        self.ids = [make_delivery(self.run, f"{n}@x.example", n, status="queued", **nothing).id for n in "abc"]

    def rows(self) -> list[Delivery]:
        with reading() as session:
            return list(session.scalars(select(Delivery).order_by(Delivery.key)))

    # ---- senders

    @rule()
    @precondition(lambda self: len(self.senders) < 3)
    def a_sender_takes_over(self) -> None:
        """The one before died, or slept past its lease."""
        attempt = new_id()
        before = {row.id for row in self.rows() if row.status == DeliveryStatus.UNCERTAIN}
        with transaction() as session:
            ledger.recover(session, session.get_one(Run, self.run.id), 0, attempt)
            ids = [one.id for one in ledger.claimable(session, self.run.id, 0, clock(session))]
            claimed = [row.id for row in ledger.claim(session, ids, attempt)]
        self.doubts += len({row.id for row in self.rows() if row.status == DeliveryStatus.UNCERTAIN} - before)
        for sender in self.senders:
            sender.overtaken = True
        self.senders.append(Sender(attempt, claimed))

    def those(self, *states: str) -> list[Sender]:
        return [sender for sender in self.senders if sender.at in states and (sender.claimed or sender.heard)]

    def one(self, data: Any, *states: str) -> Sender:
        return data.draw(st.sampled_from(self.those(*states)))  # type: ignore[no-any-return]

    @rule(data=st.data())
    @precondition(lambda self: self.those("idle"))
    def it_announces_the_dot(self, data: Any) -> None:
        sender = self.one(data, "idle")
        if not sender.claimed:
            return
        try:
            with transaction() as session:
                self.write(session, sender)
                ledger.dot(session, sender.claimed[0], sender.attempt, RELAY)
        except StaleClaim:
            sender.claimed.pop(0)
        else:
            sender.heard.clear()
            sender.at, sender.overtaken = "announced", False

    @rule(data=st.data(), answer=st.sampled_from(["250", "250", "250", "451", "550", "lost after", "lost before"]))
    @precondition(lambda self: self.those("announced"))
    def it_writes_the_dot(self, data: Any, answer: str) -> None:
        """Unless it slept meanwhile: it looks at the clock first."""
        sender = self.one(data, "announced")
        if sender.overtaken:
            sender.heard.append(("not sent", sender.claimed.pop(0)))
            sender.at = "idle"
            return
        if answer in {"250", "lost after"}:
            self.taken[sender.claimed[0]] += 1
        sender.at, sender.answer = "written", answer

    @rule(data=st.data())
    @precondition(lambda self: self.those("written"))
    def it_hears_the_answer(self, data: Any) -> None:
        sender = self.one(data, "written")
        sender.heard.append((sender.answer, sender.claimed.pop(0)))
        sender.at = "idle"

    @rule(data=st.data())
    @precondition(lambda self: self.those("idle"))
    def it_writes_what_it_knows(self, data: Any) -> None:
        sender = self.one(data, "idle")
        with transaction() as session:
            self.write(session, sender)
        sender.heard.clear()

    def write(self, session: Any, sender: Sender) -> None:
        for answer, one in sender.heard:
            try:
                self.write_one(session, sender.attempt, answer, one)
            except StaleClaim:
                continue

    def write_one(self, session: Any, attempt: Any, answer: str, one: Any) -> None:
        run = session.get_one(Run, self.run.id)
        match answer:
            case "250":
                ledger.accepted(session, one, attempt, relay=RELAY, code=250, reply="250 OK", at=clock(session))
                assert session.get_one(Delivery, one, populate_existing=True).status == DeliveryStatus.ACCEPTED
            case "451":
                ledger.settle(
                    session, one, attempt, DeliveryStatus.DEFERRED, "451", code=451, not_before=clock(session)
                )
            case "550":
                ledger.settle(session, one, attempt, DeliveryStatus.FAILED, "550", code=550)
            case "not sent":
                ledger.take_back(session, one, attempt)
            case _:
                ledger.unknown(session, run, one, attempt, "lost", relay=RELAY)
                self.doubts += 1

    @rule(data=st.data())
    @precondition(lambda self: self.those("idle"))
    def it_gives_back_the_rest(self, data: Any) -> None:
        sender = self.one(data, "idle")
        with transaction() as session:
            self.write(session, sender)
            ledger.requeue(session, self.run.id, 0, sender.attempt)
        self.senders.remove(sender)

    @rule(data=st.data())
    @precondition(lambda self: self.those("idle", "announced", "written"))
    def it_is_killed(self, data: Any) -> None:
        self.senders.remove(self.one(data, "idle", "announced", "written"))

    # ---- people, who look before they say something

    @rule()
    @precondition(lambda self: any(row.status == DeliveryStatus.UNCERTAIN for row in self.rows()))
    def somebody_looks_into_the_relays_log(self) -> None:
        row = next(row for row in self.rows() if row.status == DeliveryStatus.UNCERTAIN)
        if self.is_in_flight(row.id):
            return
        with transaction() as session:
            run = settling.lock(session, self.run)
            settling.resolve(session, ANNA, run, [row.address], sent=self.taken[row.id] > 0)

    def is_in_flight(self, one: Any) -> bool:
        """Whether a process that lives may still hand it over: nobody would settle it then."""
        return any(one in sender.claimed[:1] and sender.at != "idle" for sender in self.senders)

    @rule(letter=st.sampled_from("abc"))
    def somebody_skips_an_address(self, letter: str) -> None:
        row = next(row for row in self.rows() if row.key == letter)
        if row.status in {DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED} or (
            row.status == "sending" and not row.phase
        ):
            with transaction() as session:
                settling.skip(session, ANNA, settling.lock(session, self.run), row.address)

    # ---- what holds at any moment

    @invariant()
    def nobody_is_mailed_twice(self) -> None:
        assert not [one for one, count in self.taken.items() if count > 1]

    @invariant()
    def accepted_means_that_the_server_has_it(self) -> None:
        for row in self.rows() if hasattr(self, "run") else ():
            assert row.status != DeliveryStatus.ACCEPTED or self.taken[row.id] == 1, row.reason

    @invariant()
    def what_the_server_has_is_never_waiting_to_be_sent(self) -> None:
        for row in self.rows() if hasattr(self, "run") else ():
            if row.status in {DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED, DeliveryStatus.SKIPPED}:
                assert not self.taken[row.id]

    @invariant()
    def history_only_grows(self) -> None:
        with reading() as session:
            rows = select(DeliveryAttempt.id, DeliveryAttempt.event, DeliveryAttempt.text).order_by(DeliveryAttempt.id)
            found = [tuple(row) for row in session.execute(rows)]
        assert set(self.history) <= set(found)
        self.history = found

    def teardown(self) -> None:
        """Whatever it came to, in the end everything is settled by itself."""
        if not hasattr(self, "run"):
            return
        self.senders.clear()
        with transaction() as session:
            session.execute(update(Delivery).where(Delivery.not_before.is_not(None)).values(not_before=clock(session)))
        self.a_sender_takes_over()
        (last,) = self.senders[-1:]
        for one in list(last.claimed):
            with transaction() as session:
                ledger.dot(session, one, last.attempt, RELAY)
                self.taken[one] += 1
                self.write_one(session, last.attempt, "250", one)
        self.nobody_is_mailed_twice()
        self.accepted_means_that_the_server_has_it()
        assert {row.status for row in self.rows()} <= {"accepted", "failed", "uncertain", "skipped"}
        assert sum(row.status == DeliveryStatus.UNCERTAIN for row in self.rows()) <= self.doubts


def test_no_order_of_events_doubles_or_loses_a_message(sqlite_database: Any) -> None:
    thorough = int(os.environ.get("LEDGER_EXAMPLES", "25"))
    few = settings(
        max_examples=thorough, stateful_step_count=40, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Ledger, settings=few)
