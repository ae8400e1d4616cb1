"""A run has its time: over it, it is stopped and has failed; what it waits for people and others does not count."""

from __future__ import annotations

import pytest
from celery.app.task import Context

from pipeline import celery
from pipeline.db import transaction
from pipeline.errors import ApprovalWanted, Cancelled, TransientError, Waiting
from pipeline.models import RunStatus, Step
from pipeline.services import approvals, cancelling, rerunning, steps
from pipeline.services.audit import Actor
from tests.factories import make_delivery, make_run, make_schedule
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, claim, fail, heal, planned, statuses

pytestmark = pytest.mark.usefixtures("time")
ANNA = Actor("anna@host", "cli")
SAID = "took longer than its time limit of 1h allows and was stopped"


@pytest.fixture
def run(time):
    make_schedule(time_limit="1h")
    return make_run()


def ended(run):
    found = acts.reread(run)
    return found.status, found.error


def test_a_run_within_its_time_is_left_alone(run, time):
    begin(run, planned("fetch"))
    time.passes(minutes=59, seconds=59)
    assert heal() == {run.id}  # its message is to be published, no more
    assert acts.reread(run).status == RunStatus.RUNNING


def test_time_that_it_waits_in_the_queue_does_not_count(run, time):
    time.passes(hours=3)
    begin(run, planned("fetch"))
    heal()
    assert acts.reread(run).status == RunStatus.RUNNING


def test_over_it_the_run_has_failed_and_what_was_sent_stays_sent(run, time):
    begin(run, planned("deliver"), planned("finish"))
    sent, open_ = make_delivery(run, "a@x.example", "A"), make_delivery(run, "b@x.example", "B", status="planned")
    time.passes(hours=1)

    heal()

    assert ended(run) == ("failed", SAID)
    assert statuses(run) == {"start": "succeeded", "deliver": "cancelled", "finish": "cancelled"}
    with transaction() as session:
        assert session.get_one(type(sent), sent.id).status == "accepted"
        assert session.get_one(type(open_), open_.id).status == "cancelled"


def test_what_is_at_work_stops_first_as_in_a_cancellation(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    working = claim(run, "fetch:a")
    time.passes(hours=1)
    with transaction() as session:
        steps.renew(session, working)

    heal()

    assert acts.reread(run).status == RunStatus.CANCELLING
    assert statuses(run)["fetch:b"] == "cancelled"
    fail(working, Cancelled(SAID))
    assert ended(run) == ("failed", SAID)
    assert acts.attempts(run, "fetch:a")[0].outcome == "cancelled"


def test_who_is_cancelled_by_a_person_has_not_failed(run, time):
    begin(run, planned("fetch"))
    working = claim(run, "fetch")
    with transaction() as session:
        cancelling.cancel(session, run.id, ANNA)
    time.passes(hours=2)
    heal()
    assert acts.reread(run).status == RunStatus.CANCELLED
    assert acts.step(run, "fetch").fence > working.fence


def test_waiting_for_data_does_not_count(time):
    make_schedule(time_limit="1h", ready_when={"url": "there.csv"})
    run = make_run()
    fail(claim(run, "ready"), Waiting("not there yet", again_in=60, for_data=True))
    time.passes(hours=5)
    heal()
    assert acts.reread(run).status == RunStatus.WAITING

    carry_out(run, "ready")
    time.passes(minutes=59)
    heal()
    assert acts.reread(run).status == RunStatus.RUNNING

    time.passes(minutes=1)
    heal()
    assert ended(run) == ("failed", SAID)


def test_waiting_for_a_person_does_not_count_and_the_whole_time_is_there_again(run, time):
    begin(run, planned("gate"))
    fail(claim(run, "gate"), ApprovalWanted("somebody has to look", again_in=900, facts={}))
    time.passes(hours=5)
    heal()
    assert acts.reread(run).status == RunStatus.WAITING
    with transaction() as session:
        approvals.approve(session, ANNA, run.id)

    time.passes(minutes=59)
    heal()
    assert acts.reread(run).status == RunStatus.RUNNING


def test_a_rerun_goes_on_where_it_was_stopped_with_its_whole_time(run, time):
    begin(run, planned("fetch"), planned("plan"))
    time.passes(hours=1)
    heal()
    with transaction() as session:
        rerunning.rerun(session, run.id, ANNA, rerunning.Wish())
    assert statuses(run) == {"start": "succeeded", "fetch": "queued", "plan": "pending"}

    time.passes(hours=2)
    claim(run, "fetch")
    heal()
    assert acts.reread(run).status == RunStatus.RUNNING


def test_without_a_limit_a_run_may_take_for_ever(time):
    run = make_run()
    begin(run, planned("fetch"))
    time.passes(days=30)
    heal()
    assert acts.reread(run).status == RunStatus.RUNNING


# ---- what kills whoever makes it


def dies(run, name, *, making=None, minutes=1):
    """One try whose process dies while it makes a document, or before it made any."""
    claimed = claim(run, name)
    with transaction() as session:
        found = steps.suspicion(session, claimed)
        if making is not None and found.careful:
            steps.working_on(session, claimed.attempt_id, making)
        steps.release(session, session.get_one(Step, claimed.step.id), claimed.at)
    return found


def test_a_document_that_costs_three_careful_processes_is_known_by_then(time):
    run = make_run()
    begin(run, planned("render:1", tolerated=True), planned("gate"))

    found = [dies(run, "render:1", making="BETA") for _ in range(5)]

    assert [one.careful for one in found] == [False, True, True, True, True]
    assert [sorted(one.deadly) for one in found] == [[], [], [], [], ["BETA"]]
    assert acts.step(run, "render:1").status == "queued"


def test_two_that_die_at_different_documents_suspect_neither(time):
    run = make_run()
    begin(run, planned("render:1", tolerated=True))
    dies(run, "render:1")
    dies(run, "render:1", making="ACME")
    assert dies(run, "render:1", making="BETA").deadly == frozenset()


def test_a_step_that_dies_before_it_makes_anything_is_poison_all_the_same(time):
    run = make_run()
    begin(run, planned("render:1"))
    for _ in range(3):
        dies(run, "render:1")
    assert acts.step(run, "render:1").status == "failed"


def test_a_try_that_failed_makes_the_next_one_careful(time):
    run = make_run()
    begin(run, planned("render:1"))
    fail(claim(run, "render:1"), TransientError("ran out of memory"))
    time.passes(seconds=31)
    assert dies(run, "render:1").careful


# ---- tasks that no worker knows


def test_a_task_that_no_worker_knows_is_given_up_after_four_messages(time):
    run = make_run()
    begin(run, planned("gone"))
    for number in range(4):
        assert acts.reread(run).status == RunStatus.RUNNING
        acts.publish(run)
        with transaction() as session:
            steps.not_known(session, acts.step(run, "gone").task_id, "trouble.gone", "celery@one")
        said = acts.step(run, "gone").error
        assert 'worker celery@one does not know the task "trouble.gone": put its file into the workflows/' in said
        time.passes(minutes=1 + 2**number)
        heal()

    status, error = ended(run)
    assert status == "failed"
    assert error.startswith('gone: given up after 4 messages: worker celery@one does not know the task "trouble.gone"')


def test_a_worker_that_is_given_what_it_does_not_know_says_so_in_the_rows(time):
    run = make_run()
    begin(run, planned("gone"))
    acts.publish(run)

    worker = type("Consumer", (), {"hostname": "celery@two"})()
    celery.signals.task_unknown.send(sender=worker, name="trouble.gone", id=str(acts.step(run, "gone").task_id))

    assert acts.step(run, "gone").error.startswith('worker celery@two does not know the task "trouble.gone"')


def test_a_message_of_an_earlier_try_says_nothing_about_this_one(time):
    run = make_run()
    begin(run, planned("gone"))
    before = acts.step(run, "gone").task_id
    fail(claim(run, "gone"), TransientError("again"))
    with transaction() as session:
        steps.not_known(session, before, "trouble.gone", "celery@one")
    assert acts.step(run, "gone").error == "again"


@pytest.mark.parametrize(("terminated", "status"), [(False, "failed"), (True, "running")])
def test_a_step_that_is_revoked_with_celery_has_failed_and_one_that_is_terminated_comes_again(time, terminated, status):
    """`celery control revoke` has workers throw its message away for hours, however often it is sent."""
    run = make_run()
    begin(run, planned("fetch"))
    acts.publish(run)
    request = Context(id=str(acts.step(run, "fetch").task_id), task="report.fetch", hostname="celery@one")

    celery.signals.task_revoked.send(sender=None, request=request, terminated=terminated, signum=None, expired=False)

    assert acts.reread(run).status == status
    if not terminated:
        assert acts.step(run, "fetch").error == "revoked with Celery, and thrown away by worker celery@one"
