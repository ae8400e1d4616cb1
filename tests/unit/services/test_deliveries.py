"""The ledger: what is claimed, what a server may own, what is known, and what is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import StaleClaim
from pipeline.models import Delivery, DeliveryAttempt, DeliveryStatus, Phase, RunStatus, Suppression, WaitingFor, new_id
from pipeline.retry import Retry
from pipeline.services import deliveries, documents
from pipeline.services.documents import Addressee, Freeze
from pipeline.services.runs import Verdict
from pipeline.services.steps import Planned
from tests.factories import MONDAY, make_delivery, make_document, make_run
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, heal, planned, statuses

pytestmark = pytest.mark.usefixtures("time")
RELAY = "relay.example:25"


@pytest.fixture
def run(time):
    return make_run()


@pytest.fixture
def attempt():
    return new_id()


def queued(run, address="anna@acme.example", **values):
    return make_delivery(run, address, status="queued", **values)


def claim(run, attempt, batch=0):
    with transaction() as session:
        return [one.id for one in deliveries.claim(session, run.id, batch, attempt)]


def write(verb, *arguments, **values):
    with transaction() as session:
        return verb(session, *arguments, **values)


def read(delivery):
    with reading() as session:
        return session.get_one(Delivery, delivery.id)


def events(delivery):
    with reading() as session:
        mine = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery.id).order_by(DeliveryAttempt.id)
        return [(one.event, one.text) for one in session.scalars(mine)]


# ---- claiming


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
    write(deliveries.dot, delivery.id, first, RELAY)

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
    write(deliveries.dot, delivery.id, attempt, RELAY)
    assert (read(delivery).phase, read(delivery).relay) == (Phase.DOT, RELAY)

    reply = "250 2.0.0 queued as 4F2A"
    write(deliveries.accepted, delivery.id, attempt, relay=RELAY, code=250, reply=reply, at=time.now)

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
        write(deliveries.dot, delivery.id, slept, RELAY)
    assert events(delivery) == []
    write(deliveries.dot, delivery.id, other, RELAY)


def test_a_late_answer_settles_what_was_uncertain(run, time):
    delivery = queued(run)
    slept = new_id()
    claim(run, slept)
    write(deliveries.dot, delivery.id, slept, RELAY)
    claim(run, new_id())
    assert read(delivery).status == "uncertain"

    write(deliveries.accepted, delivery.id, slept, relay=RELAY, code=250, reply="250 OK", at=time.now)
    assert (read(delivery).status, read(delivery).reason) == ("accepted", None)


def test_nobody_sends_what_a_late_answer_has_settled(run, time):
    delivery = queued(run)
    slept, other = new_id(), new_id()
    claim(run, slept)
    claim(run, other)
    write(deliveries.accepted, delivery.id, slept, relay=RELAY, code=250, reply="250 OK", at=time.now)

    with pytest.raises(StaleClaim):
        write(deliveries.dot, delivery.id, other, RELAY)


def test_an_answer_to_what_has_ended_is_kept_as_evidence_alone(run, attempt, time):
    delivery = make_delivery(run, status="cancelled")
    write(deliveries.accepted, delivery.id, attempt, relay=RELAY, code=250, reply="250 OK", at=time.now)

    assert read(delivery).status == "cancelled"
    assert events(delivery) == [("accepted", "250 OK")]


@pytest.mark.parametrize("status", [DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN, DeliveryStatus.SUPPRESSED])
def test_anything_but_accepted_keeps_its_reason(run, attempt, status):
    delivery = queued(run)
    claim(run, attempt)
    write(deliveries.settle, delivery.id, attempt, status, "550 5.1.1 unknown user", relay=RELAY, code=550)

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
        write(deliveries.settle, delivery.id, slept, DeliveryStatus.FAILED, "550 no")
    assert (read(delivery).status, events(delivery)) == ("sending", [])


def test_a_deferral_is_counted_and_waits(run, attempt, time):
    delivery = queued(run)
    claim(run, attempt)
    due = time.now + timedelta(minutes=1)
    write(deliveries.settle, delivery.id, attempt, DeliveryStatus.DEFERRED, "451 later", code=451, not_before=due)

    assert (read(delivery).status, read(delivery).deferrals, read(delivery).not_before) == ("deferred", 1, due)


def test_what_was_certainly_not_sent_is_given_back(run, attempt):
    begun, untouched, done = queued(run), queued(run, "b@b.example"), queued(run, "c@c.example")
    claim(run, attempt)
    write(deliveries.dot, begun.id, attempt, RELAY)
    write(deliveries.settle, done.id, attempt, DeliveryStatus.FAILED, "550 no")
    write(deliveries.requeue, run.id, attempt)

    assert [read(one).status for one in (begun, untouched, done)] == ["sending", "queued", "failed"]


def test_a_dot_that_was_announced_and_not_written_can_be_taken_back(run, attempt):
    delivery = queued(run)
    claim(run, attempt)
    write(deliveries.dot, delivery.id, attempt, RELAY)
    write(deliveries.take_back, delivery.id, attempt)

    assert (read(delivery).status, read(delivery).phase) == ("queued", None)
    assert claim(run, new_id()) == [delivery.id]


# ---- the gate


def test_the_gate_lets_out_what_was_rendered_and_ends_the_rest(run):
    good, bad = make_document(run, "ACME"), make_document(run, "Globex", status="failed")
    anna = make_delivery(run, "anna@acme.example", "ACME", status="planned", document_id=good.id)
    bob = make_delivery(run, "bob@globex.example", "Globex", status="planned", document_id=bad.id, batch=1)
    carl = make_delivery(run, "carl@x.example", "X", status="suppressed", batch=None)
    write(deliveries.release_to_send, run.id)

    assert (read(anna).status, read(bob).status) == ("queued", "failed")
    assert read(bob).reason == "its document could not be rendered"
    assert read(carl).status == "suppressed"
    assert write(deliveries.batches, run.id) == [0]
    assert write(deliveries.counts, run.id) == {"queued": 1, "failed": 1, "suppressed": 1}


def test_the_gate_may_open_twice(run):
    document = make_document(run)
    delivery = make_delivery(run, status="planned", document_id=document.id)
    write(deliveries.release_to_send, run.id)
    claim(run, new_id())
    write(deliveries.release_to_send, run.id)

    assert read(delivery).status == "sending"


def test_what_nobody_will_send_is_closed(run):
    made = {status: make_delivery(run, f"{status}@x.example", status=status, reason="-") for status in DeliveryStatus}
    write(deliveries.close_open, run.id, DeliveryStatus.EXPIRED, "its step gave up")

    changed = {status for status, delivery in made.items() if read(delivery).reason != "-"}
    assert changed == {"planned", "queued", "sending"}
    assert {read(made[status]).status for status in changed} == {"expired"}


def test_a_step_that_died_three_times_leaves_nothing_in_the_air(run, time):
    begin(run, planned("deliver:0", tolerated=True), planned("finish"))
    sent, unsent = queued(run), queued(run, "b@b.example")
    for _ in range(3):
        attempt = acts.claim(run, "deliver:0").attempt_id
        claim(run, attempt)
        time.passes(seconds=31)
        if not events(sent):
            write(deliveries.dot, sent.id, attempt, RELAY)
        heal()
    acts.claim(run, "finish")
    write(deliveries.close_open, run.id, DeliveryStatus.EXPIRED, "its step gave up before it could be sent")

    assert (read(sent).status, read(unsent).status) == ("uncertain", "expired")


# ---- what was turned away for now


@pytest.fixture
def waiting(run, time):
    """A run that waits for two deliveries turned away, of batches 1 and 3; it has delivered 0, 1 and 3 in vain."""
    retry = Retry(attempts=8, first=60)
    steps = [
        Planned(f"deliver:{n}", "report.deliver", args=[n], queue="deliver", tolerated=True, retry=retry)
        for n in (0, 1, 3)
    ]
    begin(run, steps, [Planned("finish", "report.finish", retry=retry)])
    for name in ("deliver:0", "deliver:1", "deliver:3"):
        carry_out(run, name)
    for batch, minutes in ((1, 1), (3, 2)):
        due = time.now + timedelta(minutes=minutes)
        make_delivery(run, f"b{batch}@x.example", status="deferred", batch=batch, not_before=due, deferrals=1)
    carry_out(run, "finish", Verdict(RunStatus.WAITING, "2 were turned away", WaitingFor.DEFERRED))
    return run


def test_what_is_not_due_yet_waits(waiting, time):
    time.passes(seconds=59)

    assert heal() == set()
    assert acts.reread(waiting).status == "waiting"


def test_what_is_due_gets_a_new_step_and_its_run_a_new_finish(waiting, time):
    time.passes(minutes=1)

    assert heal() == {waiting.id}

    assert (acts.reread(waiting).status, acts.reread(waiting).waiting_for) == ("running", None)
    new = {name: status for name, status in statuses(waiting).items() if "/" in name}
    assert new == {"deliver:1/2": "queued", "finish/2": "pending"}
    late = acts.step(waiting, "deliver:1/2")
    assert (late.task, late.args, late.queue, late.tolerated, late.kind) == (
        "report.deliver", [1], "deliver", True, "deliver",
    )  # fmt: skip
    assert acts.publishable(waiting) == [["deliver:1/2"], ["finish/2"]]
    assert heal() == set()


def test_late_deliveries_go_on_until_none_is_left(waiting, time):
    time.passes(minutes=1)
    heal()
    attempt = acts.claim(waiting, "deliver:1/2")
    (late,) = claim(waiting, attempt.attempt_id, batch=1)
    write(deliveries.accepted, late, attempt.attempt_id, relay=RELAY, code=250, reply="250 OK", at=time.now)
    acts.succeed(attempt)
    carry_out(waiting, "finish/2", Verdict(RunStatus.WAITING, "1 was turned away", WaitingFor.DEFERRED))
    time.passes(minutes=1)
    heal()
    carry_out(waiting, "deliver:3/3")
    carry_out(waiting, "finish/3", Verdict(RunStatus.SUCCEEDED))

    assert acts.reread(waiting).status == "succeeded"


def test_a_run_whose_finish_is_still_at_work_gets_no_second_one(waiting, time):
    time.passes(minutes=2)
    write(
        lambda session: setattr(
            session.get_one(type(acts.step(waiting, "finish")), acts.step(waiting, "finish").id), "status", "running"
        )
    )

    with transaction() as session:
        assert deliveries.sweep(session, time.now) == set()


def test_the_wait_grows_with_every_refusal_and_has_an_end():
    retry = Retry(attempts=8, first=60, factor=2, ceiling=3600, jitter=0, give_up_after=3600)

    def due(deferrals, spent, asked=None):
        now = MONDAY + timedelta(seconds=spent)
        return deliveries.next_due(now, deferrals, retry, first_at=MONDAY, seed="seed", retry_after=asked)

    assert due(0, 0) == MONDAY + timedelta(seconds=60)
    assert due(2, 100) == MONDAY + timedelta(seconds=340)
    assert due(0, 0, asked=600) == MONDAY + timedelta(seconds=600)
    assert due(5, 1800) is None


# ---- suppression


def test_the_first_reason_for_silence_stays(run, time):
    write(deliveries.suppress, "gone@x.example", "550 5.1.1 unknown user", "relay a, run 1")
    write(deliveries.suppress, "gone@x.example", "complained", "relay b, run 2")

    with reading() as session:
        (row,) = session.scalars(select(Suppression))
    assert (row.reason, row.source, row.created_at) == ("550 5.1.1 unknown user", "relay a, run 1", time.now)


def test_a_suppressed_address_gets_nothing(run):
    document = make_document(run)
    write(deliveries.suppress, "gone@x.example", "550 5.1.1 unknown user", "relay a")
    known = write(documents.suppressions, ["gone@x.example", "anna@acme.example"])
    people = [Addressee("gone@x.example", "ACME"), Addressee("anna@acme.example", "ACME")]
    rows = list(documents.planned_deliveries(Freeze({"ACME": 3}, people, suppressed=known), {"ACME": document.id}))
    write(documents.insert, Delivery, run.id, rows)
    write(deliveries.release_to_send, run.id)

    with reading() as session:
        stands = {one.address: (one.status, one.reason) for one in session.scalars(select(Delivery))}
    assert stands == {
        "anna@acme.example": ("queued", None),
        "gone@x.example": ("suppressed", "suppressed: 550 5.1.1 unknown user"),
    }
