"""What a person decides: uncertain deliveries, intended repeats, and who gets nothing; each act is on record."""

from __future__ import annotations

import pytest

from pipeline.db import reading, transaction
from pipeline.errors import NotFound, PermanentError, Refused
from pipeline.models import Audit, Delivery, DeliveryDocument, Door, Notice, new_id
from pipeline.services import late, ledger, repeating, settling
from pipeline.services.audit import Actor
from pipeline.services.notices import about_run, tell
from pipeline.services.runs import Verdict
from tests.factories import make_delivery, make_delivery_attempt, make_document, make_run, make_step
from tests.unit.services import acts
from tests.unit.services.sent import events, read

pytestmark = pytest.mark.usefixtures("time")
ANNA = Actor("anna@host", Door.CLI)


@pytest.fixture
def run(time):
    """A run that ended as partial: one of its three messages is uncertain, one was refused."""
    run = make_run(status="partial", error="of the deliveries: 1 failed, 1 uncertain", finished_at=time.now)
    document = make_document(run)
    values = {"document_id": document.id, "relay": None, "reply": None, "sent_at": None}
    make_delivery(run, "anna@acme.example", document_id=document.id)
    doubtful = make_delivery(run, "bob@acme.example", status="uncertain", **values)
    make_delivery(run, "cid@acme.example", status="failed", reason="550 unknown user", **values)
    make_delivery_attempt(doubtful, "dot", time.now)
    make_step(run, "deliver:0", task="report.deliver", args=[0], queue="deliver", tolerated=True)
    make_step(run, "finish", task="report.finish", result={"status": "partial", "error": None})
    acts.carry_out(run, "start", Verdict("partial", "of the deliveries: 1 failed, 1 uncertain"))
    return run


def do(verb, run, *arguments, **values):
    with transaction() as session:
        return verb(session, ANNA, settling.lock(session, run), *arguments, **values)


def delivery(run, name, repeat=0):
    with reading() as session:
        mine = session.query(Delivery).filter_by(run_id=run.id, repeat=repeat)
        return next(one for one in mine if one.address.startswith(name))


def on_record():
    with reading() as session:
        return [(one.action, one.by, one.detail) for one in session.query(Audit).filter_by(by=ANNA.by)]


# ---- resolve


def test_what_somebody_has_seen_in_the_relays_log_was_sent(run, time):
    with transaction() as session:
        tell(session, "uncertain", about_run(run.id), "1", run=run)
    do(settling.resolve, run, [], sent=True)

    bob = delivery(run, "bob")
    assert (bob.status, bob.sent_at, bob.reason) == ("accepted", time.now, "it was sent, says anna@host")
    assert acts.reread(run).error == "of the deliveries: 1 failed"
    assert events(bob)[-1] == ("resolved", "it was sent, says anna@host")
    assert on_record() == [("resolve", "anna@host", {"sent": True, "count": 1, "deliveries": [str(bob.id)]})]
    with reading() as session:
        assert all(one.closed_at for one in session.query(Notice))


def test_what_did_not_go_out_is_sent_again_with_its_message_id(run, time):
    before = delivery(run, "bob").message_id
    do(settling.resolve, run, ["bob@ACME.example"], sent=False)

    assert delivery(run, "bob").status == "deferred"
    assert acts.heal() == {run.id}
    assert acts.statuses(run)["deliver:0/2"] == "queued"
    assert acts.reread(run).status == "partial"
    assert delivery(run, "bob").message_id == before


def test_what_was_sent_again_and_is_uncertain_once_more_is_told_once_more(run):
    def falls_silent():
        with transaction() as session:
            row = session.get_one(Delivery, delivery(run, "bob").id)
            row.status, row.phase, row.attempt_id = "sending", "dot", new_id()
            ledger.doubt(session, run, [Delivery.id == row.id])

    falls_silent()
    do(settling.resolve, run, [], sent=False)
    falls_silent()

    with reading() as session:
        first, end, again = session.query(Notice).order_by(Notice.id)
    assert (first.kind, end.kind, again.kind) == ("uncertain", "recovered", "uncertain")
    assert first.closed_at
    assert again.closed_at is None


def test_what_is_not_uncertain_is_not_touched(run):
    with pytest.raises(Refused, match=r"nothing was changed: of run .* ACME to anna@acme.example is accepted"):
        do(settling.resolve, run, ["bob@acme.example", "anna@acme.example"], sent=True)
    assert delivery(run, "bob").status == "uncertain"
    with pytest.raises(Refused, match=r"nothing is for bop@acme.example: did you mean bob@acme.example\?"):
        do(settling.resolve, run, ["bop@acme.example"], sent=True)
    do(settling.resolve, run, [], sent=True)
    with pytest.raises(Refused, match=r"no delivery of run .* is uncertain"):
        do(settling.resolve, run, [], sent=True)


# ---- resend


def test_a_repeat_is_a_delivery_of_its_own_linked_to_the_first(run, time):
    (made,) = do(repeating.resend, run, ["ACME"], to="anna@acme.example", reason="lost in her spam")

    first = delivery(run, "anna")
    assert (made.repeat, made.repeat_of, made.document_id) == (1, first.id, first.document_id)
    assert made.message_id not in {None, first.message_id}
    assert made.message_id.endswith("@example.com>")
    assert made.reason == "to be sent once more, says anna@host: lost in her spam"
    assert read(first).status == "accepted"
    action, _, detail = on_record()[0]
    assert (action, detail["reason"], detail["deliveries"]) == ("resend", "lost in her spam", [str(made.id)])

    with pytest.raises(
        Refused, match=r"ACME is being sent once more already \(deferred: to be .*\): `pipeline skip` gives"
    ):
        do(repeating.resend, run, ["ACME"], to="anna@acme.example")
    with transaction() as session:
        session.get_one(Delivery, made.id).status = "uncertain"
    with pytest.raises(Refused, match=r"already \(uncertain: .*\): `pipeline resolve` settles it"):
        do(repeating.resend, run, ["ACME"], to="anna@acme.example")
    do(settling.resolve, run, ["anna@acme.example"], sent=True)
    (second,) = do(repeating.resend, run, ["ACME"], to="anna@acme.example")
    assert second.repeat == 2


def test_it_goes_out_although_the_run_has_ended_and_makes_good_what_was_lost(run, time):
    (made,) = do(repeating.resend, run, ["ACME"], to="cid@acme.example")
    assert acts.heal() == {run.id}
    acts.carry_out(run, "deliver:0/2")
    with transaction() as session:
        session.get_one(Delivery, made.id).status = "accepted"
    do(settling.resolve, run, [], sent=True)

    from pipeline.services import outcomes

    with reading() as session:
        verdict = outcomes.verdict(session, run)
    acts.carry_out(run, "finish/2", verdict)
    assert (acts.reread(run).status, acts.reread(run).waiting_for) == ("succeeded", None)


def test_to_somebody_else_it_goes_without_the_first_ones_name(run):
    with transaction() as session:
        session.get_one(Delivery, delivery(run, "anna").id).context = {"name": "Anna", "locale": "de", "zone": None}
    (made,) = do(repeating.resend, run, ["ACME"], to="Boss@Acme.Example")

    assert (made.address, made.context) == ("Boss@acme.example", {"name": None, "locale": "de", "zone": None})


def test_without_an_address_everybody_of_the_key_gets_theirs_again(run):
    do(settling.resolve, run, [], sent=True)
    made = do(repeating.resend, run, ["ACME"])
    assert [one.address for one in made] == ["anna@acme.example", "bob@acme.example", "cid@acme.example"]


def test_who_is_suppressed_or_has_no_address_keeps_nobody_else_from_theirs(run):
    from pipeline.services import deliveries

    do(settling.resolve, run, [], sent=True)
    shown = {"document_id": delivery(run, "anna").document_id, "reason": "row 4: no e-mail address"}
    make_delivery(run, "anna at acme", status="failed", batch=None, **shown)
    with transaction() as session:
        deliveries.suppress(session, "cid@acme.example", "550 unknown", "relay a")
    made = do(repeating.resend, run, ["ACME"])
    assert [one.address for one in made] == ["anna@acme.example", "bob@acme.example"]

    with transaction() as session:
        for name in ("anna", "bob"):
            deliveries.suppress(session, f"{name}@acme.example", "left", "by hand")
    with pytest.raises(Refused, match=r"is sent to anna at acme: row 4: .*; anna@acme.example: suppressed: left"):
        do(repeating.resend, run, ["ACME"])


def test_what_went_to_more_than_can_be_meant_is_repeated_for_who_is_named(run, monkeypatch):
    do(settling.resolve, run, [], sent=True)
    monkeypatch.setattr(repeating, "MOST", 2)
    with pytest.raises(Refused, match=r'more than 2 were to be sent the key "ACME" in run .* Say for whom with --to'):
        do(repeating.resend, run, ["ACME"])

    (made,) = do(repeating.resend, run, ["ACME"], to="cid@acme.example")
    assert made.repeat_of == delivery(run, "cid").id


def test_a_stranger_who_gets_it_makes_nobodys_failure_good(run):
    make_delivery(run, "abe@acme.example", status="failed", document_id=delivery(run, "anna").document_id)
    (made,) = do(repeating.resend, run, ["ACME"], to="new@x.example")
    assert made.repeat_of == delivery(run, "anna").id


def test_a_combined_message_is_repeated_with_all_its_documents(run):
    documents = [make_document(run, key) for key in ("Globex", "Initech")]
    first = make_delivery(run, "dan@globex.example", "*")
    with transaction() as session:
        session.add_all(DeliveryDocument(delivery_id=first.id, document_id=one.id) for one in documents)
    (made,) = do(repeating.resend, run, ["Globex", "Initech"])

    with reading() as session:
        carried = session.query(DeliveryDocument).filter_by(delivery_id=made.id)
        assert {one.document_id for one in carried} == {one.id for one in documents}


def test_two_combined_messages_may_be_on_their_way_to_one_address(run):
    for key, whom in (("Globex", "dan"), ("Initech", "eva")):
        document, first = make_document(run, key), make_delivery(run, f"{whom}@globex.example", "*")
        with transaction() as session:
            session.add(DeliveryDocument(delivery_id=first.id, document_id=document.id))
    for key in ("Globex", "Initech"):
        do(repeating.resend, run, [key], to="boss@globex.example")
    with pytest.raises(Refused, match="is being sent once more already"):
        do(repeating.resend, run, ["Initech"], to="boss@globex.example")


@pytest.mark.parametrize(
    ("keys", "to", "error", "said"),
    [
        (["ACMF"], None, NotFound, 'nobody was to be sent the key "ACMF" in run .*: did you mean ACME'),
        (["ACME"], None, Refused, "ACME to bob@acme.example is uncertain: `pipeline resolve` settles it"),
        (["ACME"], "bob", PermanentError, '"bob" is not an e-mail address'),
        (["LATE"], None, Refused, "LATE to eva@x.example is still queued: it is sent by itself"),
        (["BAD"], None, Refused, "BAD has no document that could be sent: its template is broken"),
        (["ACME"], "gone@x.example", Refused, "nothing is sent to gone@x.example: suppressed: 550 unknown"),
    ],
)
def test_what_cannot_be_repeated_is_told_and_nothing_is_done(run, keys, to, error, said):
    from pipeline.services import deliveries

    make_delivery(run, "eva@x.example", "LATE", status="queued")
    bad = make_document(run, "BAD", status="failed", error="its template is broken")
    make_delivery(run, "eva@x.example", "BAD", status="failed", document_id=bad.id)
    with transaction() as session:
        deliveries.suppress(session, "gone@x.example", "550 unknown", "relay a")
    with pytest.raises(error, match=said):
        do(repeating.resend, run, keys, to=to)
    with reading() as session:
        assert session.query(Delivery).filter(Delivery.repeat > 0).count() == 0


# ---- skip


def test_somebody_who_is_skipped_gets_nothing_more_of_the_run(time):
    run = make_run(status="running")
    made = [make_delivery(run, "eva@x.example", key, status="queued") for key in ("A", "B")]
    other = make_delivery(run, "dan@x.example", "A", status="queued")
    do(settling.skip, run, "eva@x.example", "has left")

    assert [(read(one).status, read(one).reason) for one in made] == [("skipped", "skipped by anna@host: has left")] * 2
    assert read(other).status == "queued"
    assert on_record()[0][2]["reason"] == "has left"


def test_a_run_that_waited_for_the_one_who_is_skipped_is_over(time):
    run = make_run()
    acts.carry_out(run, "start", stages=[[late._deliver(run, 0, ())], [late._finish(run, ())]])
    make_delivery(run, "dan@x.example", "A")
    make_delivery(run, "eva@x.example", "B", status="deferred", not_before=time.now)
    acts.carry_out(run, "deliver:0")
    acts.carry_out(run, "finish", Verdict("waiting", "1 turned away", "deferred"))
    do(settling.skip, run, "eva@x.example")

    assert (acts.reread(run).status, acts.reread(run).waiting_for) == ("succeeded", None)


def test_what_may_be_out_cannot_be_skipped(time):
    run = make_run(status="running")
    make_delivery(run, "eva@x.example", "A", status="sending", phase="dot")
    with pytest.raises(Refused, match=r"only what has not gone out .* A to eva@x\.example is sending"):
        do(settling.skip, run, "eva@x.example")
