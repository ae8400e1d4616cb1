"""Cancelling a run: at once where nothing is at work, within moments where something is; what went out stays."""

from collections import Counter

import pytest
from sqlalchemy import select

from pipeline import healing
from pipeline.db import reading, transaction
from pipeline.errors import Cancelled, Refused
from pipeline.models import Attempt, Audit, Delivery, Document, Run, RunEvent, WaitingFor
from pipeline.services import cancelling, deliveries, documents
from pipeline.services.audit import Actor
from tests.factories import finished_run, make_delivery, make_document, make_run
from tests.unit.services import acts

ANNA = Actor("anna@host", "cli")


class DiedError(Exception):
    """In place of a process that is killed."""


def died(_name):
    raise DiedError


def cancel(run, reason=None):
    with transaction() as session:
        return cancelling.cancel(session, run.id, ANNA, reason)[0]


def now(table, id_):
    with reading() as session:
        return session.get_one(table, id_)


def test_a_run_that_has_not_begun_ends_at_once(time):
    run = make_run()
    cancel(run, "wrong week")
    run = now(Run, run.id)
    assert (run.status, run.error) == ("cancelled", "cancelled by cli:anna@host: wrong week")
    assert acts.step(run, "start").status == "cancelled"
    assert acts.claim(run, "start") is None
    with reading() as session:
        assert session.scalar(select(Audit).where(Audit.action == "cancel")).detail == {"reason": "wrong week"}
        assert session.scalar(select(RunEvent.kind).where(RunEvent.run_id == run.id)) == "cancelled"


def test_what_is_at_work_stops_and_then_the_run_ends(time):
    run = make_run()
    claim = acts.claim(run, "start")
    assert cancel(run).status == "cancelling"
    assert cancel(run).status == "cancelling"
    acts.fail(claim, Cancelled("cancelled by cli:anna@host"))
    assert now(Run, run.id).status == cancel(run).status == "cancelled"
    assert acts.step(run, "start").status == "cancelled"
    assert now(Attempt, claim.attempt_id).outcome == "cancelled"


def test_a_step_that_ends_well_meanwhile_ends_well_and_nothing_follows(time):
    run = make_run()
    claim = acts.claim(run, "start")
    cancel(run)
    acts.succeed(claim, stages=[acts.planned("next")])
    assert now(Run, run.id).status == "cancelled"
    assert acts.step(run, "start").status == "succeeded"


def test_what_was_sent_stays_sent_and_the_rest_is_not(time):
    run = make_run(status="waiting", waiting_for="deferred")
    sent = make_delivery(run, "anna@acme.example", "ACME")
    late = make_delivery(run, "bob@globex.example", "Globex", status="deferred", not_before=time.now)
    cancel(run)
    assert now(Delivery, sent.id).status == "accepted"
    assert (now(Delivery, late.id).status, now(Run, run.id).status) == ("cancelled", "cancelled")


def stands(run):
    with reading() as session:
        return Counter(session.scalars(select(Delivery.status).where(Delivery.run_id == run.id)))


def test_very_many_deliveries_are_taken_back_some_at_a_time_also_after_a_beat_that_died(time, monkeypatch):
    monkeypatch.setattr(deliveries, "MANY", 3)
    for module in (deliveries, documents):
        monkeypatch.setattr(module, "PORTION", 2)
    run = make_run(status="running")
    sent = make_delivery(run, "first@acme.example")
    for number in range(5):
        document = make_document(run, f"K{number}", status="planned")
        make_delivery(run, f"p{number}@x.example", document.key, document_id=document.id, status="queued")
    assert cancel(run, "wrong week").status == "cancelling"
    assert stands(run) == {"accepted": 1, "queued": 5}
    with monkeypatch.context() as dying:
        dying.setattr(healing, "failpoint", died)
        with pytest.raises(DiedError):
            acts.heal()
    assert (stands(run), now(Run, run.id).status) == ({"accepted": 1, "queued": 3, "cancelled": 2}, "cancelling")

    acts.heal()
    assert (now(Run, run.id).status, now(Run, run.id).error) == (
        "cancelled", "cancelled by cli:anna@host: wrong week",
    )  # fmt: skip
    assert (stands(run), now(Delivery, sent.id).status) == ({"accepted": 1, "cancelled": 5}, "accepted")
    with reading() as session:
        assert {*session.scalars(select(Delivery.reason))} == {None, "not sent: cancelled by cli:anna@host: wrong week"}
        assert {*session.scalars(select(Document.status))} == {"skipped"}
        assert [*session.scalars(select(RunEvent.kind).where(RunEvent.run_id == run.id))] == ["cancelled"]


def test_a_run_that_is_over_but_for_late_deliveries_gives_those_up(time):
    run = finished_run(status="partial", waiting_for="deferred")
    late = make_delivery(run, status="deferred", not_before=time.now)
    cancel(run)
    assert (now(Run, run.id).status, now(Run, run.id).waiting_for) == ("partial", None)
    assert now(Delivery, late.id).status == "cancelled"


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_run_that_is_over_has_nothing_to_cancel(time, status):
    run = finished_run(status=status)
    with pytest.raises(Refused, match=f"has ended as {status}: there is nothing left to cancel"):
        cancel(run)


def test_a_run_that_waits_for_its_turn_never_gets_it(time):
    run = make_run(status="waiting", waiting_for=WaitingFor.SLOT)
    cancel(run)
    assert now(Run, run.id).status == "cancelled"
