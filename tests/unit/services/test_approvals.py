"""A run that asks before it sends: whoever answers first decides, and nobody's silence sends anything."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import clock, reading, transaction
from pipeline.errors import ApprovalWanted, Refused
from pipeline.models import Approval, Audit, Delivery, Door, Notice, NoticeDelivery, Run
from pipeline.services import approvals, runs, turns
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from pipeline.services.notices.context import context
from pipeline.settings import settings
from tests.factories import make_delivery, make_document, make_run, make_schedule, make_step, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import fire, sync

ANNA, BOB = Actor("anna@host", Door.CLI), Actor("Bob", Door.HTTP)
FACTS = {"counts": "30 rows, 2 documents, 3 recipients", "samples": []}
WHY = "every run of it is approved first"


@pytest.fixture(autouse=True)
def _notify(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.com")
    settings.cache_clear()


def asking(**definition):
    """A run whose gate has just asked."""
    make_schedule(**definition)
    return asked(make_run(status="running"))


def asked(run):
    make_step(run, "gate", status="queued", published_at=None)
    acts.carry_out(run, "start")
    make_delivery(run, document_id=make_document(run).id, status="planned", relay=None, reply=None, sent_at=None)
    ask(run)
    return acts.reread(run)


def ask(run):
    acts.fail(acts.claim(run, "gate"), ApprovalWanted(WHY, again_in=86400, facts=FACTS))


def approve(run, actor=ANNA, note=None):
    with transaction() as session:
        return approvals.approve(session, actor, run.id, note)[1]


def reject(run, actor=ANNA, note=None):
    with transaction() as session:
        approvals.reject(session, actor, run.id, note)


def lapse():
    with transaction() as session:
        approvals.lapse(session, clock(session))


def rows(table, *where):
    with reading() as session:
        return list(session.scalars(select(table).where(*where).order_by(table.id)))


def told(kind="approval_wanted"):
    return rows(Notice, Notice.kind == kind)


# ---- asking


def test_it_waits_holds_no_worker_and_tells_its_approvers_what_they_need(monkeypatch):
    monkeypatch.setenv("PIPELINE_PUBLIC_URL", "https://reports.example.com")
    settings.cache_clear()
    run = asking(approval="required", approvers=["chief@example.com"])

    assert (run.status, run.waiting_for, run.error) == ("waiting", "approval", WHY)
    gate = acts.step(run, "gate")
    assert (gate.status, gate.lease_owner) == ("queued", None)
    (notice,) = told()
    said = context(notice)
    assert said["reason"] == WHY
    assert said["affected"] == "30 rows, 2 documents, 3 recipients wait for it; nothing is sent before."
    assert said["heals"] == "Without an answer it is rejected as soon as shipments is due the next time."
    assert said["page"] == f"https://reports.example.com/runs/{run.id}"
    assert [one.target for one in rows(NoticeDelivery)] == ["chief@example.com"]
    with reading() as session:
        assert turns.in_the_way(session, ["shipments"]) == {}


def test_asked_again_it_is_the_same_question(time):
    run = asking(approval="required")
    time.passes(days=1)
    ask(run)

    assert len(rows(Approval)) == len(told()) == 1
    assert [one.target for one in rows(NoticeDelivery)] == ["ops@example.com"]
    assert acts.reread(run).waiting_for == "approval"


def test_the_next_generation_asks_anew():
    run = asking(approval="required")
    approve(run)
    with transaction() as session:
        session.get_one(Run, run.id).generation = 2
    assert not is_approved(run)
    ask(run)
    assert [(one.generation, one.answer) for one in rows(Approval)] == [(1, "approved"), (2, None)]


def is_approved(run):
    with reading() as session:
        return approvals.is_approved(session, session.get_one(Run, run.id))


# ---- answering


def test_approved_it_goes_on_at_once_and_its_deadline_counts_from_there(time):
    run = asking(approval="required", deadline={"finish_within": "1h"})
    time.passes(days=2)

    assert approve(run, note="looked at it") == run.id
    run = acts.reread(run)
    assert (run.status, run.waiting_for, run.error) == ("running", None, None)
    assert run.finish_by == time.now + timedelta(hours=1)
    assert acts.publishable(run) == [["gate"]]
    assert is_approved(run)
    (entry,) = rows(Audit, Audit.subject == str(run.id))
    assert (entry.action, entry.by, entry.detail) == ("approve", "anna@host", {"note": "looked at it", "asked": WHY})
    assert told()[0].closed_at == time.now
    (answered,) = told("recovered")
    assert answered.facts["how"] == "anna@host has approved shipments for 2026-W46: looked at it."


def test_rejected_nothing_of_it_is_sent():
    run = asking(approval="required")
    reject(run, note="wrong week")

    run = acts.reread(run)
    assert (run.status, run.error) == ("rejected", "rejected by anna@host: wrong week")
    assert acts.statuses(run)["gate"] == "cancelled"
    (delivery,) = rows(Delivery)
    assert (delivery.status, delivery.reason) == ("cancelled", "not sent: rejected by anna@host: wrong week")


@pytest.mark.parametrize(("first", "said"), [(approve, "approved"), (reject, "rejected")])
@pytest.mark.parametrize("second", [approve, reject])
def test_who_comes_second_is_told_and_changes_nothing(first, said, second):
    run = asking(approval="required")
    first(run, BOB, "mine")
    before = acts.reread(run).status

    with pytest.raises(Refused, match=rf"is answered already: {said} by http:Bob on .*: mine; nothing was changed"):
        second(run, ANNA)
    assert acts.reread(run).status == before
    assert [one.answer for one in rows(Approval)] == [said]


def test_a_run_that_asks_nothing_cannot_be_approved():
    run = make_run(status="running")
    with pytest.raises(Refused, match=r"of shipments waits for no approval: it is running"):
        approve(run)


# ---- nobody answers


def test_it_lapses_when_its_schedule_fires_the_next_time_which_it_does_not_hold_up(time):
    sync(schedule_file(approval="required"))
    run = asked(make_run(status="running"))
    lapse()
    assert acts.reread(run).status == "waiting"
    time.passes(days=7)
    assert fire() == [time.now]
    lapse()

    run = acts.reread(run)
    following = rows(Run)[-1]
    assert run.status == "rejected"
    assert run.error == (
        "its approval lapsed: nobody approved it before the next slot was due "
        f"(run {wording.short(following.id)} for 2026-W47)"
    )
    assert following.status == "queued"
    assert run.error in told("recovered")[0].facts["how"]
    with pytest.raises(Refused, match="is answered already: lapsed on Mon 23 Nov"):
        approve(run)


def test_with_a_time_of_its_own_it_outlives_the_next_slot_and_both_are_named(time):
    sync(schedule_file(approval="required", lapse_after="10d"))
    run = asked(make_run(status="running"))
    time.passes(days=7)
    fire()
    lapse()
    assert acts.reread(run).status == "waiting"
    second = rows(Run)[-1]
    with transaction() as session:
        session.get_one(Run, second.id).status = "running"
    asked(second)
    assert f"So does run {wording.short(run.id)} for 2026-W46." in told()[-1].facts["affected"]

    time.passes(days=3, seconds=1)
    lapse()
    assert "nobody approved it by Thu 26 Nov 2026 at 07:00:00 Berlin time" in acts.reread(run).error
    assert acts.reread(second).status == "waiting"
    assert context(told("recovered")[-1])["heals"] is None


def test_without_slots_it_lapses_after_a_week(time):
    run = asking(approval="required", when=None)
    time.passes(days=7, seconds=-1)
    lapse()
    assert acts.reread(run).status == "waiting"
    time.passes(seconds=1)
    lapse()
    assert acts.reread(run).status == "rejected"


def test_the_question_of_a_cancelled_run_is_closed():
    run = asking(approval="required")
    with transaction() as session:
        runs.cancel(session, runs.lock_to_close(session, run.id), "anna", "not needed")
    lapse()
    assert acts.reread(run).status == "cancelled"
    assert [(one.answer, one.note) for one in rows(Approval)] == [("lapsed", "the run is cancelled")]
    assert all(one.closed_at for one in told())
