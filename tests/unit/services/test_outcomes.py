"""How a run ends: what its documents and deliveries say, also when one of them settles later."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.db import reading, transaction
from pipeline.models import Delivery, RunStatus, WaitingFor
from pipeline.policies import Late
from pipeline.services import late, outcomes, runs
from pipeline.services.runs import Verdict
from tests.factories import make_delivery, make_document, make_run, make_schedule, make_step
from tests.unit.services import acts
from tests.unit.services.sent import write

pytestmark = pytest.mark.usefixtures("time")


def judge(documents=None, late=Late.WAIT, **deliveries):
    found = outcomes.judge(documents or {"rendered": 3}, deliveries, late)
    return found.status, found.error, found.waiting_for


def test_all_handed_over_is_success():
    assert judge(accepted=3, suppressed=1, skipped=2) == ("succeeded", None, None)


def test_something_missing_is_partial_and_nothing_at_all_is_failed():
    assert judge(accepted=1, failed=2) == ("partial", "of the deliveries: 2 failed", None)
    assert judge(failed=2, uncertain=1) == ("failed", "of the deliveries: 2 failed, 1 uncertain", None)
    assert judge({"failed": 1}, accepted=1)[:2] == ("partial", "of the deliveries: 1 documents failed")


def test_what_was_turned_away_for_now_is_waited_for_or_completes_the_run_later():
    assert judge(accepted=1, deferred=2) == ("waiting", "2 deliveries were turned away for now", "deferred")
    assert judge(accepted=1, deferred=1)[1] == "1 delivery was turned away for now"
    said = "2 deliveries were turned away for now, and complete it later"
    assert judge(accepted=1, deferred=2, late=Late.CLOSE) == ("partial", said, "deferred")
    assert judge(deferred=2, failed=1, late=Late.CLOSE)[1] == f"{said}; of the deliveries: 1 failed"


def counted(run):
    with reading() as session:
        return outcomes.counts(session, run.id)


def test_a_repeat_makes_good_what_was_lost_and_counts_for_nothing_else(time):
    run = make_run()
    lost = make_delivery(run, "a@x.example", "A", status="failed")
    kept = make_delivery(run, "b@x.example", "B", status="failed")
    fine = make_delivery(run, "c@x.example", "C")
    make_delivery(run, "a@x.example", "A", repeat=1, repeat_of=lost.id)
    make_delivery(run, "a@x.example", "A", repeat=2, repeat_of=lost.id)
    make_delivery(run, "b@x.example", "B", status="failed", repeat=1, repeat_of=kept.id)
    make_delivery(run, "c@x.example", "C", status="deferred", repeat=1, repeat_of=fine.id)

    assert counted(run) == {"accepted": 2, "failed": 1, "deferred": 1}


# ---- late: close


@pytest.fixture
def closed(time):
    """A run that closed as partial while one delivery had been turned away for a minute."""
    make_schedule(late="close")
    run = make_run(status="running")
    make_document(run)
    make_delivery(run, "a@x.example", "A")
    due = time.now + timedelta(minutes=1)
    make_delivery(run, "b@x.example", "B", status="deferred", not_before=due, relay=None, reply=None)
    make_step(run, "deliver:0", task="report.deliver", args=[0], queue="deliver", tolerated=True)
    make_step(run, "finish", task="report.finish", status="queued", published_at=None)
    acts.carry_out(run, "start")
    with reading() as session:
        verdict = outcomes.verdict(session, run)
    acts.carry_out(run, "finish", verdict)
    return run


def delivery(run, key):
    with reading() as session:
        return session.query(Delivery).filter_by(run_id=run.id, key=key).one()


def test_it_is_over_and_yet_something_is_to_come(closed):
    run = acts.reread(closed)
    assert (run.status, run.waiting_for) == ("partial", "deferred")
    assert run.finished_at is not None
    assert delivery(closed, "B").status == "deferred"


def test_the_last_delivery_completes_it_and_when_it_ended_stays(closed, time):
    ended = acts.reread(closed).finished_at
    time.passes(minutes=1)
    assert acts.heal() == {closed.id}
    assert acts.statuses(closed)["deliver:0/2"] == "queued"
    assert acts.reread(closed).status == "partial"

    acts.carry_out(closed, "deliver:0/2")
    write(lambda session: setattr(session.get_one(Delivery, delivery(closed, "B").id), "status", "accepted"))
    with reading() as session:
        verdict = outcomes.verdict(session, closed)
    acts.carry_out(closed, "finish/2", verdict)

    run = acts.reread(closed)
    assert (run.status, run.error, run.waiting_for, run.finished_at) == ("succeeded", None, None, ended)


def test_one_that_is_turned_away_again_waits_on(closed, time):
    time.passes(minutes=1)
    acts.heal()
    acts.carry_out(closed, "deliver:0/2")
    acts.carry_out(closed, "finish/2", Verdict(RunStatus.PARTIAL, "1 delivery …", WaitingFor.DEFERRED))

    assert (acts.reread(closed).status, acts.reread(closed).waiting_for) == ("partial", "deferred")
    assert delivery(closed, "B").status == "deferred"
    assert acts.heal() == {closed.id}


def test_late_deliveries_do_not_raise_a_cancelled_run_from_the_dead(time):
    run = make_run(status="cancelled", error="cancelled by anna", waiting_for="deferred")
    make_step(run, "finish", task="report.finish", status="cancelled")
    with transaction() as session:
        runs.apply(session, session.get_one(type(run), run.id), Verdict(RunStatus.SUCCEEDED))

    assert (acts.reread(run).status, acts.reread(run).error, acts.reread(run).waiting_for) == (
        "cancelled", "cancelled by anna", None,
    )  # fmt: skip


# ---- while the run is running


def test_one_that_is_due_again_joins_those_on_their_way_and_finish_waits_for_it(time):
    run = make_run(status="running")
    acts.carry_out(run, "start", stages=[[late._deliver(run, n, ()) for n in (0, 1)], [late._finish(run, ())]])
    acts.carry_out(run, "deliver:0")
    make_delivery(run, "b@x.example", "B", status="deferred", batch=0, not_before=time.now)
    assert acts.heal() == {run.id}
    assert acts.statuses(run) == {
        "start": "succeeded", "deliver:0": "succeeded", "deliver:1": "queued", "deliver:0/2": "queued",
        "finish": "pending",
    }  # fmt: skip

    assert acts.heal() == set()
    acts.carry_out(run, "deliver:1")
    assert acts.statuses(run)["finish"] == "pending"
    acts.carry_out(run, "deliver:0/2")
    assert acts.statuses(run)["finish"] == "queued"
    assert acts.publishable(run) == [["finish"]]
