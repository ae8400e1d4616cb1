"""A person is forgotten: no row or file names the address any more, counts stay, and nothing is sent to it again."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from pipeline import fingerprint
from pipeline.adapters.secret_keys import secret_keys
from pipeline.db import engine, reading, transaction
from pipeline.errors import Refused
from pipeline.models import Artifact, Base, Delivery, Document, Relay, Run, RunArtifact, Suppression
from pipeline.schedule import Person
from pipeline.services import audit, documents, forgetting, optouts, subscribing
from pipeline.services.audit import Actor
from pipeline.settings import settings
from tests.factories import (
    finished_run,
    make_delivery,
    make_delivery_attempt,
    make_document,
    make_event,
    make_file,
    make_run,
    make_schedule,
)

ANNA, BOB = "anna@acme.example", "bob@acme.example"
DESK = Actor("desk", "cli", "host")


def forget(address=ANNA, *, keep=False):
    with transaction() as session:
        done = forgetting.forget(session, DESK, address, fingerprint.of(secret_keys(settings()), address))
        if keep:
            session.rollback()
        return done


def rows(table):
    with reading() as session:
        return list(session.scalars(select(table)))


def everything():
    with engine().connect() as connection:
        return {
            name: json.dumps([list(row) for row in connection.execute(table.select())], default=str)
            for name, table in Base.metadata.tables.items()
        }


@pytest.fixture
def story(database):
    """A run in which Anna got two documents, one of them with Bob; she is in texts, lists and a subscription."""
    make_schedule("shipments", recipients="subscriptions")
    run = finished_run(error=f"of 2: {ANNA} refused")
    hers, both = make_document(run, "HERS", context={"title": "Hers"}), make_document(run, "BOTH")
    for document in (hers, both):
        make_file(run, document, f"documents/{document.key}.pdf", sha256=document.key * 16)
    said = f"550 5.1.1 <{ANNA.upper()}> unknown"
    first = make_delivery(run, ANNA, "HERS", document_id=hers.id, context={"name": "Anna"}, reply=said)
    make_delivery_attempt(first, "failed", text=said)
    make_delivery(run, ANNA, "BOTH", document_id=both.id)
    make_delivery(run, BOB, "BOTH", document_id=both.id)
    make_event(run.id, "skipped", f"{ANNA} was skipped")
    with transaction() as session:
        listed = Artifact(sha256="a" * 64, kind="dataset", media_type="x", size=1, uri="d/a", created_at=run.created_at)
        session.add(listed)
        session.flush()
        session.add(RunArtifact(run_id=run.id, name="dataset:recipients", artifact_id=listed.id))
        plan = subscribing.plan_of(session, "shipments")
        subscribing.subscribe(session, DESK, plan, [Person(email=ANNA, key="HERS", name="Anna")], "by hand")
        optouts.opt_out(session, ANNA, "shipments", "a link")
    return run


def test_no_row_names_the_address_and_the_counts_stay(story):
    done = forget()

    assert not [name for name, text in everything().items() if "anna" in text.lower()]
    assert len(rows(Delivery)) == 3
    assert (done.counts["deliveries"], done.counts["documents"], done.counts["subscriptions"]) == (2, 1, 1)
    assert {one.key for one in rows(Document) if one.context is None} == {"HERS", "BOTH"}
    left = {one.name for one in rows(RunArtifact)}
    assert left == {"document:BOTH.pdf"}
    with reading() as session:
        assert {one.uri for one in forgetting.unused(session, done)} == {"documents/HERS.pdf", "d/a"}


def test_what_somebody_or_an_application_called_after_the_person_is_renamed_and_what_cannot_be_is_said(story):
    make_run(
        due_at=story.due_at.replace(day=23), triggered_by=f"cli:{ANNA}", idempotency_key=f"http:shop/order of {ANNA}"
    )
    with transaction() as session:
        session.add(Relay(name="smtp.example", last_error=f"550 <{ANNA}> unknown"))
        audit.record(session, Actor(ANNA, "cli"), "trigger", "run", story.id, params={"for": ANNA})
    done = forget()
    assert {name for name, text in everything().items() if "anna" in text.lower()} == {"audit"}
    assert [one for one in done.stays if one.startswith("1 act in the record names the address")]


def test_whoever_is_forgotten_is_not_mailed_again_however_the_address_is_written(story):
    forget()
    with reading() as session:
        found = documents.suppressions(session, [ANNA, "Anna@acme.example", BOB])
    assert found == dict.fromkeys([ANNA, "Anna@acme.example"], "suppressed: forgotten on demand")
    assert forget().counts["deliveries"] == 0
    assert len(rows(Suppression)) == 1


def test_a_look_at_what_would_go_changes_nothing(story):
    before = everything()
    assert forget(keep=True).counts["deliveries"] == 2
    assert everything() == before


def test_what_was_to_be_sent_is_not_and_what_is_on_its_way_is_waited_for(story):
    run = make_run(status="running", due_at=story.due_at.replace(day=23))
    sending = make_delivery(run, ANNA, status="sending")
    with pytest.raises(Refused, match="just on its way"):
        forget()
    with transaction() as session:
        session.get_one(Delivery, sending.id).status = "queued"
    done = forget()
    assert done.counts["deliveries not sent any more"] == 1
    assert any(one.startswith("1 run is under way") for one in done.stays)
    with reading() as session:
        assert session.get_one(Delivery, sending.id).status == "skipped"


def test_a_schedule_file_that_names_the_address_is_told_and_ended_runs_forget_it(database):
    run = finished_run()
    assert "the schedule file of shipments names the address: take it out, and do it again" in forget().stays
    make_schedule("shipments", recipients="subscriptions")
    assert not [one for one in forget().stays if "schedule file" in one]
    with reading() as session:
        assert session.get_one(Run, run.id).definition["recipients"][0]["email"] == "(forgotten)"
    assert not [name for name, text in everything().items() if "anna@" in text.lower()]
