"""The deliveries of a run as a whole: let out at the gate, closed at its end, suppressed."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline.db import reading
from pipeline.models import Delivery, DeliveryStatus, Suppression, new_id
from pipeline.services import deliveries, documents, ledger
from pipeline.services.freezing import Addressee, planned_deliveries
from tests.factories import make_delivery, make_document, make_run
from tests.unit.services import acts
from tests.unit.services.acts import begin, heal, plan_of, planned
from tests.unit.services.sent import RELAY, claim, events, queued, read, write

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def run(time):
    return make_run()


@pytest.fixture
def attempt():
    return new_id()


# ---- the gate


def test_the_gate_lets_out_what_was_rendered_and_ends_the_rest(run):
    good, bad = make_document(run, "ACME"), make_document(run, "Globex", status="failed")
    anna = make_delivery(run, "anna@acme.example", "ACME", status="planned", document_id=good.id)
    bob = make_delivery(run, "bob@globex.example", "Globex", status="planned", document_id=bad.id, batch=1)
    carl = make_delivery(run, "carl@x.example", "X", status="suppressed", batch=None)
    write(deliveries.release_to_send, run.id, [0, 1])

    assert (read(anna).status, read(bob).status) == ("queued", "failed")
    assert read(bob).reason == "its document could not be rendered"
    assert read(carl).status == "suppressed"
    assert write(deliveries.batches, run.id) == [0]
    assert write(deliveries.counts, run.id) == {"queued": 1, "failed": 1, "suppressed": 1}


def test_the_gate_may_open_twice(run):
    document = make_document(run)
    delivery = make_delivery(run, status="planned", document_id=document.id)
    write(deliveries.release_to_send, run.id, [0, 1])
    claim(run, new_id())
    write(deliveries.release_to_send, run.id, [0, 1])

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
            write(ledger.dot, sent.id, attempt, RELAY)
        heal()
    acts.claim(run, "finish")
    write(deliveries.close_open, run.id, DeliveryStatus.EXPIRED, "its step gave up before it could be sent")

    assert (read(sent).status, read(unsent).status) == ("uncertain", "expired")


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
    people = [Addressee(one, "ACME", barred=known.get(one)) for one in ("gone@x.example", "anna@acme.example")]
    rows = list(planned_deliveries(plan_of({"ACME": 3}, people, {"ACME": document.id})))
    write(documents.insert, Delivery, run.id, rows)
    write(deliveries.release_to_send, run.id, [0, 1])

    with reading() as session:
        stands = {one.address: (one.status, one.reason) for one in session.scalars(select(Delivery))}
    assert stands == {
        "anna@acme.example": ("queued", None),
        "gone@x.example": ("suppressed", "suppressed: 550 5.1.1 unknown user"),
    }


# ---- combined messages


def test_a_combined_message_goes_out_with_what_is_there_and_a_resume_makes_no_second_one(run):
    files = {"ACME": make_document(run, "ACME"), "Globex": make_document(run, "Globex", status="failed")}
    ids = {key: document.id for key, document in files.items()}
    people = [Addressee("anna@acme.example", key) for key in ids] + [Addressee("bob@globex.example", "Globex")]
    plan = plan_of({"ACME": 3, "Globex": 1}, people, ids, combine=True)
    for _ in range(2):
        write(documents.insert, Delivery, run.id, list(planned_deliveries(plan)))
        write(documents.insert_carried, run.id, list(plan.draft.carried()))
    write(deliveries.release_to_send, run.id, [0, 1])

    with reading() as session:
        rows = session.scalars(select(Delivery).order_by(Delivery.address)).all()
        carried = documents.carried(session, rows)
        assert {row.address: set(carried[row.id]) for row in rows} == {
            "anna@acme.example": set(ids.values()),
            "bob@globex.example": {ids["Globex"]},
        }
        assert documents.combined_keys(session, rows)[rows[0].id] == "ACME, Globex"
    assert [(row.status, row.reason) for row in rows] == [
        ("queued", None),
        ("failed", "none of its documents could be rendered"),
    ]
