"""A run that has ended is reopened: what went wrong is done again, and nobody gets anything twice."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import PermanentError, Refused
from pipeline.models import Audit, Delivery, Document, Run, RunEvent, RunStatus, Step
from pipeline.services import deliveries, documents, freezing, repeating, rerunning, runs, thawing
from pipeline.services.audit import Actor
from pipeline.services.canvases import Planned
from pipeline.services.freezing import Addressee
from pipeline.services.rerunning import Wish
from pipeline.services.runs import Verdict
from tests import factories
from tests.factories import make_delivery, make_delivery_attempt, make_document, make_run, make_schedule
from tests.unit.services import acts
from tests.unit.services.acts import RETRY, carry_out, claim, fail, heal, statuses, succeed

ANNA = Actor("anna@host", "cli")
pytestmark = pytest.mark.usefixtures("time")


def rerun(run, **wish):
    with transaction() as session:
        return rerunning.rerun(session, run.id, ANNA, Wish(**wish))


def now(row):
    with reading() as session:
        return session.get_one(type(row), row.id)


def of_report(*names, **values):
    return [
        Planned(
            name, f"report.{name.partition(':')[0]}", args=[int(n) for n in name.split(":")[1:]], retry=RETRY, **values
        )
        for name in names
    ]


def rendering():
    return [of_report("render:0", "render:1", tolerated=True, queue="render"), of_report("gate")]


def delivering():
    return [of_report("deliver:0", "deliver:1", tolerated=True, queue="deliver"), of_report("finish")]


@pytest.fixture
def planned():
    """A run that is planned: `start` and `plan` are done, two batches are about to be rendered."""
    run = make_run()
    succeed(claim(run, "start"), stages=[of_report("plan")])
    succeed(claim(run, "plan"), stages=rendering())
    return run


@pytest.fixture
def delivered(planned):
    """A run whose second batch could not be delivered to Bob: everything else went well."""
    make_document(planned, "ACME", batch=0)
    make_document(planned, "Globex", batch=1)
    for name in ("render:0", "render:1"):
        carry_out(planned, name)
    succeed(claim(planned, "gate"), stages=delivering())
    acme, globex = (documents_of(planned)[key] for key in ("ACME", "Globex"))
    make_delivery(planned, document_id=acme.id)
    bob = make_delivery(planned, "bob@globex.example", "Globex", status="failed", document_id=globex.id, batch=1)
    make_delivery_attempt(bob, "failed", text="550 full")
    for name in ("deliver:0", "deliver:1"):
        carry_out(planned, name)
    carry_out(planned, "finish", Verdict(RunStatus.PARTIAL, "of the deliveries: 1 failed"))
    return planned


def documents_of(run):
    with reading() as session:
        return {one.key: one for one in session.scalars(select(Document).where(Document.run_id == run.id))}


def deliveries_of(run):
    with reading() as session:
        mine = select(Delivery).where(Delivery.run_id == run.id).order_by(Delivery.key, Delivery.repeat)
        return [(one.key, one.status, one.repeat) for one in session.scalars(mine)]


# ---- steps


def test_what_failed_is_done_again_as_the_next_generation_and_what_went_well_is_kept():
    run = make_run()
    acts.begin(run, acts.planned("fetch:a", "fetch:b"), acts.planned("load"), acts.planned("check"))
    carry_out(run, "fetch:a", {"rows": 3})
    carry_out(run, "fetch:b", {"rows": 4})
    fail(claim(run, "load"), PermanentError("the disk is full"))
    before = acts.step(run, "load")

    again, new = rerun(run, reason="made room")

    assert (again.status, again.generation, again.error, new) == ("queued", 2, None, True)
    assert statuses(run) == {
        "start": "succeeded", "fetch:a": "succeeded", "fetch:b": "succeeded", "load": "queued", "check": "pending",
    }  # fmt: skip
    load = acts.step(run, "load")
    assert (load.id, load.generation, load.fence, load.error) == (before.id, 2, before.fence, None)
    assert load.task_id != before.task_id
    assert acts.publish(run) == [["load"], ["check"]]
    assert claim(run, "load", before.task_id) is None  # the message of the first generation, come late
    carry_out(run, "load")
    carry_out(run, "check")
    assert acts.reread(run).status == "succeeded"
    assert [(one.generation, one.outcome) for one in acts.attempts(run, "load")] == [(1, "failed"), (2, "succeeded")]
    with reading() as session:
        assert session.scalar(select(Audit).where(Audit.action == "rerun")).detail["generation"] == 2
        said = session.scalar(select(RunEvent.text).where(RunEvent.kind == "rerun"))
    assert said == (
        "it had ended as failed; generation 2 does again: load, and what follows, asks cli:anna@host: made room"
    )


def test_steps_that_were_cancelled_beside_the_one_that_failed_come_with_it():
    run = make_run()
    acts.begin(run, acts.planned("fetch:a", "fetch:b", "fetch:c"), acts.planned("load"))
    carry_out(run, "fetch:a")
    fail(claim(run, "fetch:b"), PermanentError("gone"))
    assert statuses(run)["fetch:c"] == "cancelled"
    rerun(run, begin="fetch:b")
    assert [statuses(run)[f"fetch:{one}"] for one in "abc"] == ["succeeded", "queued", "queued"]


def test_a_canvas_that_comes_again_takes_up_its_rows_and_what_is_not_made_again_is_history(delivered):
    before = acts.step(delivered, "deliver:0").id
    rerun(delivered, begin="gate")
    assert statuses(delivered) | {"gate": "queued"} == statuses(delivered)
    succeed(claim(delivered, "gate"), stages=[of_report("deliver:0", tolerated=True), of_report("finish")])
    after = acts.step(delivered, "deliver:0")
    assert (after.id, after.generation, after.status) == (before, 2, "queued")
    assert (acts.step(delivered, "deliver:1").generation, statuses(delivered)["finish"]) == (1, "pending")
    carry_out(delivered, "deliver:0")
    carry_out(delivered, "finish", Verdict(RunStatus.SUCCEEDED))
    assert acts.reread(delivered).status == "succeeded"
    with pytest.raises(Refused, match=r'has no step "deliver:1": did you mean deliver:0'):
        rerun(delivered, begin="deliver:1")


def test_all_begins_with_its_first_step():
    run = make_run()
    succeed(claim(run, "start"), stages=[acts.planned("a")])
    carry_out(run, "a")
    rerun(run, everything=True)
    succeed(claim(run, "start"), stages=[acts.planned("a")])
    assert claim(run, "a") is not None


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({}, r"nothing of run .* has failed \(succeeded\): --from STEP or --all does again what went well"),
        ({"begin": "lode"}, r'has no step "lode": did you mean load'),
        ({"begin": "a", "everything": True}, "exclude each other"),
        ({"generation": 3}, "is at generation 1, not 3"),
        ({"failed_deliveries": True}, "has not come to deliver anything"),
        ({"force": ["anna@acme.example"]}, "--force is for who had theirs: of run .* nothing is for anna@acme.example"),
    ],
)
def test_what_cannot_be_says_why(wish, sentence):
    run = make_run()
    succeed(claim(run, "start"), stages=[acts.planned("load")])
    carry_out(run, "load")
    with pytest.raises(Refused, match=sentence):
        rerun(run, **wish)
    assert acts.reread(run).generation == 1


def test_a_step_cannot_be_done_again_before_what_it_needs():
    run = make_run()
    acts.begin(run, acts.planned("fetch:a"), acts.planned("load"))
    fail(claim(run, "fetch:a"), PermanentError("gone"))
    with pytest.raises(Refused, match='"load" comes after fetch:a, which is failed: --from fetch, or --failed'):
        rerun(run, begin="load")


def test_an_active_run_is_not_rerun_and_the_same_wish_twice_is_one():
    run = make_run()
    with pytest.raises(Refused, match="is queued: wait for its end, or `pipeline cancel"):
        rerun(run)
    fail(claim(run, "start"), PermanentError("no"))
    assert rerun(run, generation=1)[1]
    again, new = rerun(run, generation=1)
    assert (again.generation, new) == (2, False)


def test_a_run_does_not_come_back_beside_one_of_its_schedule_that_is_active():
    run = make_run()
    fail(claim(run, "start"), PermanentError("no"))
    other = make_run(due_at=factories.MONDAY + factories.SECOND)
    with pytest.raises(Refused, match=f"run {other.id} of shipments is queued"):
        rerun(run)
    carry_out(other, "start")
    assert rerun(run)[1]


def test_a_run_that_is_purged_is_gone():
    run = make_run(status="succeeded")
    with transaction() as session:
        session.delete(session.scalars(select(Step).where(Step.run_id == run.id)).one())
    with pytest.raises(Refused, match="its steps are purged"):
        rerun(run)


# ---- documents and deliveries


def test_documents_that_failed_are_rendered_again_and_only_their_readers_are_mailed(planned):
    good = make_document(planned, "ACME", batch=0)
    bad = make_document(planned, "Globex", batch=1, status="failed", error="no logo")
    for name in ("render:0", "render:1"):
        carry_out(planned, name)
    succeed(claim(planned, "gate"), stages=delivering())
    sent = make_delivery(planned, document_id=good.id, batch=0)
    unsent = make_delivery(
        planned, "bob@globex.example", "Globex", status="failed", batch=1, document_id=bad.id,
        reason="its document could not be rendered",
    )  # fmt: skip
    for name in ("deliver:0", "deliver:1"):
        carry_out(planned, name)
    carry_out(planned, "finish", Verdict(RunStatus.PARTIAL, "1 failed"))

    rerun(planned)

    assert [statuses(planned)[name] for name in ("render:0", "render:1", "gate")] == ["succeeded", "queued", "pending"]
    assert (now(good).status, now(bad).status, now(bad).error) == ("rendered", "planned", None)
    assert (now(sent).status, now(unsent).status, now(unsent).generation) == ("accepted", "planned", 2)
    with transaction() as session:
        documents.mark(session, bad.id, status="rendered")
    carry_out(planned, "render:1")
    with transaction() as session:
        deliveries.release_to_send(session, planned.id, [1])
        assert deliveries.batches(session, planned.id) == [1]


def test_what_send_if_did_not_want_is_asked_again_and_not_what_a_person_skipped(planned):
    document = make_document(planned, "ACME", batch=0, status="skipped", error="send_if rows > 50: rows is 42")
    other = make_document(planned, "Globex", batch=1)
    make_delivery(planned, document_id=document.id, status="planned")
    make_delivery(planned, "bob@globex.example", "Globex", status="skipped", document_id=other.id, batch=1)
    for name in ("render:0", "render:1"):
        carry_out(planned, name)
    with transaction() as session:
        deliveries.withhold(session, planned.id, [0], "not sent: send_if rows > 50 does not hold")
    carry_out(planned, "gate", Verdict(RunStatus.SKIPPED, "send_if rows > 50: rows is 42"))
    assert deliveries_of(planned) == [("ACME", "skipped", 0), ("Globex", "skipped", 0)]

    rerun(planned, begin="render")
    assert documents_of(planned)["ACME"].status == "planned"
    assert deliveries_of(planned) == [("ACME", "planned", 0), ("Globex", "skipped", 0)]


def test_a_run_that_was_cancelled_while_it_sent_sends_the_rest(delivered):
    run = make_run(due_at=factories.MONDAY + factories.SECOND)
    succeed(claim(run, "start"), stages=delivering())
    sent = make_delivery(run, batch=0)
    unsent = make_delivery(run, "bob@globex.example", "Globex", status="queued", batch=1)
    with transaction() as session:
        runs.cancel(session, runs.lock_to_close(session, run.id), "cli:anna", "")
    assert now(unsent).status == "cancelled"

    rerun(run)

    assert (now(sent).status, now(unsent).status, now(unsent).reason) == ("accepted", "queued", None)
    assert statuses(run)["deliver:1"] == "queued"


def test_failed_deliveries_are_tried_again_as_late_ones_and_the_run_ends_anew(delivered, time):
    with pytest.raises(Refused, match="1 of its deliveries could not be made: --failed-deliveries tries them again"):
        rerun(delivered)

    again, _ = rerun(delivered, failed_deliveries=True)

    assert (again.status, again.waiting_for, again.generation) == ("waiting", "deferred", 2)
    assert deliveries_of(delivered) == [("ACME", "accepted", 0), ("Globex", "deferred", 0)]
    assert delivered.id in heal()
    assert (statuses(delivered)["deliver:1/2"], statuses(delivered)["finish/2"]) == ("queued", "pending")
    carry_out(delivered, "deliver:1/2")
    carry_out(delivered, "finish/2", Verdict(RunStatus.SUCCEEDED))
    assert acts.reread(delivered).status == "succeeded"


def resent(run, *statuses, to=None):
    """Globex's message, which had failed, was sent once more by hand, time and again: what became of each."""
    for status in statuses:
        with transaction() as session:
            (made,) = repeating.resend(session, ANNA, runs.lock_to_close(session, run.id), ["Globex"], to=to)
            made.status = status
            session.get_one(Run, run.id).waiting_for = None


def test_what_was_made_good_by_hand_is_not_sent_again(delivered):
    resent(delivered, "accepted")
    with pytest.raises(Refused):
        rerun(delivered, failed_deliveries=True)
    rerun(delivered, everything=True)
    assert deliveries_of(delivered) == [("ACME", "accepted", 0), ("Globex", "failed", 0), ("Globex", "accepted", 1)]


def test_a_copy_for_somebody_else_makes_nothing_good(delivered):
    resent(delivered, "accepted", to="colleague@example.org")
    rerun(delivered, failed_deliveries=True)
    assert deliveries_of(delivered) == [("ACME", "accepted", 0), ("Globex", "deferred", 0), ("Globex", "accepted", 1)]


def test_of_what_failed_by_hand_as_well_one_is_tried_again(delivered):
    resent(delivered, "failed", "expired", "skipped")
    rerun(delivered, failed_deliveries=True)
    assert deliveries_of(delivered) == [
        ("ACME", "accepted", 0), ("Globex", "failed", 0), ("Globex", "failed", 1),
        ("Globex", "deferred", 2), ("Globex", "skipped", 3),
    ]  # fmt: skip


def test_who_had_theirs_gets_it_again_only_by_force(delivered):
    rerun(delivered, begin="gate", force=["anna@acme.example"])
    assert deliveries_of(delivered) == [("ACME", "accepted", 0), ("ACME", "deferred", 1), ("Globex", "failed", 0)]


def test_an_address_is_forced_without_anything_else_being_done_again(delivered):
    again, _ = rerun(delivered, force=["anna@acme.example"])
    assert (again.status, again.waiting_for) == ("waiting", "deferred")
    heal()
    assert statuses(delivered)["deliver:0/2"] == "queued"


def test_another_plan_leaves_alone_what_went_out_and_says_what_is_no_longer_planned(delivered, time):
    ids = {key: one.id for key, one in documents_of(delivered).items()}
    rerun(delivered, begin="plan")
    run = acts.reread(delivered)
    people = [Addressee("anna@acme.example", "ACME"), Addressee("cleo@initech.example", "Initech")]
    freeze = acts.plan_of({"ACME": 9, "Initech": 2}, people)
    with transaction() as session:
        plan = list(freezing.planned_documents(freeze))
        documents.insert(session, Document, run.id, plan)
        freeze.draft.know(documents.wanted(session, run.id))
        documents.insert(session, Delivery, run.id, list(freezing.planned_deliveries(freeze)))
        thawing.leave_out(session, run)

    found = documents_of(run)
    assert (found["ACME"].id, found["ACME"].status, found["ACME"].rows) == (ids["ACME"], "rendered", 42)
    assert (found["Globex"].id, found["Globex"].status) == (ids["Globex"], "skipped")
    assert found["Globex"].error == "no longer planned in generation 2"
    assert found["Initech"].status == "planned"
    assert deliveries_of(run) == [("ACME", "accepted", 0), ("Globex", "skipped", 0), ("Initech", "planned", 0)]


def test_another_plan_that_still_has_them_takes_up_rows_that_were_not_sent(delivered):
    before = documents_of(delivered)["Globex"]
    rerun(delivered, everything=True)
    freeze = acts.plan_of({"Globex": 7}, [Addressee("bob@globex.example", "Globex", name="Bob")])
    with transaction() as session:
        plan = list(freezing.planned_documents(freeze))
        documents.insert(session, Document, delivered.id, plan)
        freeze.draft.know(documents.wanted(session, delivered.id))
        planned = list(freezing.planned_deliveries(freeze))
        documents.insert(session, Delivery, delivered.id, planned)
    found = documents_of(delivered)["Globex"]
    assert (found.id, found.rows, found.status, found.batch) == (before.id, 7, "planned", 0)
    assert deliveries_of(delivered) == [("ACME", "accepted", 0), ("Globex", "planned", 0)]


# ---- the newest definition


@pytest.mark.parametrize(
    ("changes", "queued"),
    [
        ({"message": {"subject": "Your week"}}, "plan"),
        ({"report": {**factories.SHIPMENTS["report"], "sql": "select 1"}}, "start"),
        ({"recipients": {"database": "warehouse", "query": "select 1"}}, "start"),
    ],
)
def test_with_the_newest_definition_data_is_kept_if_it_is_the_same(delivered, changes, queued):
    make_schedule(**changes)
    again, _ = rerun(delivered, newest=True)
    assert again.revision == make_schedule(**changes).revision
    assert [name for name, status in statuses(delivered).items() if status == "queued"] == [queued]


def test_what_its_trigger_said_of_parameters_stays_and_the_rest_is_as_it_says_today(delivered):
    report = {**factories.SHIPMENTS["report"], "params": {"region": "us", "limit": 20, "new": 1}}
    with transaction() as session:
        session.get_one(Run, delivered.id).params = {"region": "apac", "limit": 10}
    make_schedule(report=report)
    assert rerun(delivered, newest=True)[0].params == {"region": "apac", "limit": 20, "new": 1}


def test_the_newest_definition_is_read_before_it_is_rendered(delivered):
    with pytest.raises(Refused, match='the newest definition is read before "gate"'):
        rerun(delivered, newest=True, begin="gate")
