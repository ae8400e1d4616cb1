"""The ledger: what is claimed, what a server may own, and what is known."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import event

from pipeline.db import reading
from pipeline.errors import StaleClaim
from pipeline.models import Delivery, DeliveryStatus, Phase, new_id
from pipeline.services import documents, ledger, shares, steps
from pipeline.workflows.report.recording import Journal
from tests.factories import MONDAY, make_delivery, make_document, make_run
from tests.unit.services import acts
from tests.unit.services.sent import RELAY, claim, events, queued, read, write

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def run(time):
    return make_run()


@pytest.fixture
def attempt():
    return new_id()


# ---- claiming


def test_a_batch_is_never_looked_for_among_all_that_wait(run):
    """As PostgreSQL does that has only ever seen what is done: it takes what waits for next to nothing."""
    for batch in range(10):
        document = make_document(run, f"ACME{batch}", batch=batch)
        make_delivery(run, f"{batch}@acme.example", batch=batch, document_id=document.id)
    with reading() as session:
        asked = []
        event.listen(session.connection(), "before_cursor_execute", lambda *seen: asked.append(seen[2:4]))
        ledger.claimable(session, run.id, 0, MONDAY)
        documents.to_render(session, run.id, 0)
        shares._queued(session, run.id, 0)
        on_postgresql = session.get_bind().dialect.name == "postgresql"
        if on_postgresql:
            session.connection().exec_driver_sql("SET LOCAL enable_seqscan TO off")
            session.connection().exec_driver_sql("ANALYZE deliveries, documents")
            session.connection().exec_driver_sql(
                "UPDATE pg_class SET reltuples = 1000000 WHERE oid IN ('deliveries'::regclass, 'documents'::regclass)"
            )
        explain = "EXPLAIN" if on_postgresql else "EXPLAIN QUERY PLAN"
        plans = [session.connection().exec_driver_sql(f"{explain} {said}", values).all() for said, values in asked[:3]]
    assert [("run_id_batch" in str(plan), "run_id_status" in str(plan)) for plan in plans] == [(True, False)] * 3


def test_a_claim_stamps_the_open_deliveries_of_its_batch(run, attempt):
    mine, other_batch, done = queued(run), queued(run, "bob@b.example", batch=1), make_delivery(run, "c@c.example")

    assert claim(run, attempt) == [mine.id]
    assert (read(mine).status, read(mine).attempt_id) == ("sending", attempt)
    assert read(other_batch).status == "queued"
    assert read(done).status == "accepted"


def test_they_come_in_the_order_of_their_keys(run, attempt):
    made = {key: queued(run, f"{key}@x.example", key=key) for key in ("b", "c", "a")}

    assert claim(run, attempt) == [made[key].id for key in ("a", "b", "c")]


def test_what_was_claimed_by_a_dead_step_and_not_begun_is_claimed_again(run):
    delivery = queued(run)
    first, second = new_id(), new_id()
    claim(run, first)

    assert claim(run, second) == [delivery.id]
    assert read(delivery).attempt_id == second


def test_what_died_at_its_final_dot_is_uncertain_and_not_sent_again(run):
    delivery, other = queued(run), queued(run, "bob@b.example")
    first = new_id()
    claim(run, first)
    write(ledger.dot, delivery.id, first, RELAY)

    assert claim(run, new_id()) == [other.id]
    assert read(delivery).status == "uncertain"
    why = "its process died between the final dot and the answer"
    assert events(delivery) == [("dot", None), ("uncertain", why)]


def test_what_was_turned_away_is_claimed_when_it_is_due(run, attempt, time):
    delivery = queued(run, not_before=time.now + timedelta(minutes=5))
    write(lambda session: setattr(session.get_one(Delivery, delivery.id), "status", "deferred"))
    assert claim(run, attempt) == []

    time.passes(minutes=5)
    assert claim(run, attempt) == [delivery.id]
    assert read(delivery).not_before is None


# ---- sending


def test_an_accepted_delivery_keeps_the_servers_words(run, attempt, time):
    delivery = queued(run)
    claim(run, attempt)
    write(ledger.dot, delivery.id, attempt, RELAY)
    assert (read(delivery).phase, read(delivery).relay) == (Phase.DOT, RELAY)

    reply = "250 2.0.0 queued as 4F2A"
    write(ledger.accepted, delivery.id, attempt, relay=RELAY, code=250, reply=reply, at=time.now)

    sent = read(delivery)
    assert (sent.status, sent.phase, sent.reply, sent.sent_at) == (
        "accepted", None, "250 2.0.0 queued as 4F2A", MONDAY,
    )  # fmt: skip
    assert events(delivery) == [("dot", None), ("accepted", "250 2.0.0 queued as 4F2A")]


def test_no_dot_for_what_another_attempt_has_taken_over(run):
    delivery = queued(run)
    slept, other = new_id(), new_id()
    claim(run, slept)
    claim(run, other)

    with pytest.raises(StaleClaim, match=f"delivery {delivery.id} was taken over by another process"):
        write(ledger.dot, delivery.id, slept, RELAY)
    assert events(delivery) == []
    write(ledger.dot, delivery.id, other, RELAY)


def test_a_late_answer_settles_what_was_uncertain(run, time):
    delivery = queued(run)
    slept = new_id()
    claim(run, slept)
    write(ledger.dot, delivery.id, slept, RELAY)
    claim(run, new_id())
    assert read(delivery).status == "uncertain"

    write(ledger.accepted, delivery.id, slept, relay=RELAY, code=250, reply="250 OK", at=time.now)
    assert (read(delivery).status, read(delivery).reason) == ("accepted", None)


def test_nobody_sends_what_a_late_answer_has_settled(run, time):
    delivery = queued(run)
    slept, other = new_id(), new_id()
    claim(run, slept)
    claim(run, other)
    write(ledger.accepted, delivery.id, slept, relay=RELAY, code=250, reply="250 OK", at=time.now)

    with pytest.raises(StaleClaim):
        write(ledger.dot, delivery.id, other, RELAY)


def test_an_answer_to_what_has_ended_is_kept_as_evidence_alone(run, attempt, time):
    delivery = make_delivery(run, status="cancelled")
    write(ledger.accepted, delivery.id, attempt, relay=RELAY, code=250, reply="250 OK", at=time.now)

    assert read(delivery).status == "cancelled"
    assert events(delivery) == [("accepted", "250 OK")]


@pytest.mark.parametrize("status", [DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN, DeliveryStatus.SUPPRESSED])
def test_anything_but_accepted_keeps_its_reason(run, attempt, status):
    delivery = queued(run)
    claim(run, attempt)
    write(ledger.settle, delivery.id, attempt, status, "550 5.1.1 unknown user", relay=RELAY, code=550)

    ended = read(delivery)
    assert (ended.status, ended.reason, ended.reply, ended.deferrals) == (
        status, "550 5.1.1 unknown user", "550 5.1.1 unknown user", 0,
    )  # fmt: skip
    assert events(delivery) == [(status, "550 5.1.1 unknown user")]


def test_only_its_claimer_settles_a_delivery(run):
    delivery = queued(run)
    slept, other = new_id(), new_id()
    claim(run, slept)
    claim(run, other)

    with pytest.raises(StaleClaim):
        write(ledger.settle, delivery.id, slept, DeliveryStatus.FAILED, "550 no")
    assert (read(delivery).status, events(delivery)) == ("sending", [])


def test_a_deferral_is_counted_and_waits(run, attempt, time):
    delivery = queued(run)
    claim(run, attempt)
    due = time.now + timedelta(minutes=1)
    write(ledger.settle, delivery.id, attempt, DeliveryStatus.DEFERRED, "451 later", code=451, not_before=due)

    assert (read(delivery).status, read(delivery).deferrals, read(delivery).not_before) == ("deferred", 1, due)


def test_what_was_certainly_not_sent_is_given_back(run, attempt):
    begun, untouched, done = queued(run), queued(run, "b@b.example"), queued(run, "c@c.example")
    claim(run, attempt)
    write(ledger.dot, begun.id, attempt, RELAY)
    write(ledger.settle, done.id, attempt, DeliveryStatus.FAILED, "550 no")
    write(ledger.requeue, run.id, 0, attempt)

    assert [read(one).status for one in (begun, untouched, done)] == ["sending", "queued", "failed"]


def test_a_dot_that_was_announced_and_not_written_can_be_taken_back(run, attempt):
    delivery = queued(run)
    claim(run, attempt)
    write(ledger.dot, delivery.id, attempt, RELAY)
    write(ledger.take_back, delivery.id, attempt)

    assert (read(delivery).status, read(delivery).phase) == ("queued", None)
    assert claim(run, new_id()) == [delivery.id]


# ---- who is killed in the midst of work


def test_a_step_that_sends_something_before_each_kill_is_never_given_up(run, time):
    acts.begin(run, acts.planned("deliver:0"), acts.planned("finish"))
    for _ in range(5):
        write(steps.progressed, acts.claim(run, "deliver:0").attempt_id)
        time.passes(seconds=31)
        acts.heal()
    assert acts.statuses(run)["deliver:0"] == "queued"

    for _ in range(3):
        acts.claim(run, "deliver:0")
        time.passes(seconds=31)
        acts.heal()
    assert acts.statuses(run)["deliver:0"] == "failed"


def test_a_batch_whose_processes_die_at_their_first_dot_each_time_gets_on_and_is_never_given_up(run, time):
    acts.begin(run, acts.planned("deliver:0"), acts.planned("finish"))
    made = [queued(run, f"{number}@a.example") for number in range(4)]
    for one in made:
        attempt = acts.claim(run, "deliver:0").attempt_id
        claim(run, attempt)
        with closing(Journal(attempt)) as journal:
            journal.dot(one, RELAY, b"Subject: x\r\n\r\n")
        time.passes(seconds=31)
        acts.heal()

    assert acts.statuses(run)["deliver:0"] == "queued"
    claim(run, new_id())
    assert [read(one).status for one in made] == ["uncertain"] * 4
