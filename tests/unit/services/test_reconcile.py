"""What was lost is found again by comparing rows: dead owners, lost messages, lost joins, and retries that are due."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pipeline import healing
from pipeline.adapters import owners
from pipeline.db import reading, transaction
from pipeline.errors import TransientError
from pipeline.healing import Healer
from pipeline.models import Run, RunEvent, RunStatus, Step
from pipeline.services import brokers, reconcile, steps
from pipeline.settings import settings
from tests.factories import make_run
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, claim, fail, heal, planned, publish, publishable, statuses

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def run(time):
    return make_run()


def change(step, **values):
    with transaction() as session:
        row = session.get_one(Step, step.id)
        for name, value in values.items():
            setattr(row, name, value)


def broken(*_args):
    raise OperationalError("select 1", {}, OSError("connection refused"))


def story_of(run):
    with reading() as session:
        return list(session.scalars(select(RunEvent.text).where(RunEvent.run_id == run.id).order_by(RunEvent.id)))


def test_a_healthy_run_is_left_alone(run, time):
    publish(run)
    claim(run, "start")
    time.passes(seconds=29)

    assert heal() == set()


# ---- leases


def test_a_lapsed_lease_frees_the_step_under_a_new_task_id(run, time):
    publish(run)
    before = acts.step(run, "start").task_id
    claim(run, "start")
    time.passes(seconds=31)

    assert heal() == {run.id}

    freed = acts.step(run, "start")
    assert (freed.status, freed.lease_owner, freed.published_at) == ("queued", None, None)
    assert freed.task_id != before
    assert [one.outcome for one in acts.attempts(run, "start")] == ["abandoned"]
    assert story_of(run) == [f"start: {owners.owner()} let its lease lapse; queued again"]
    assert publishable(run) == [["start"]]


def test_who_could_not_renew_while_the_database_was_away_is_given_the_time_to(run, time, monkeypatch):
    publish(run)
    claimed = claim(run, "start")
    healer = Healer()
    assert healer.heal() == set()
    with monkeypatch.context() as away:
        away.setattr(healing, "reading", broken)
        time.passes(minutes=5)
        with pytest.raises(OperationalError):
            healer.heal()
    assert healer.heal() == set()
    time.passes(seconds=2)
    assert healer.heal() == set()

    with transaction() as session:
        steps.record(session, claimed, None)
    assert [one.outcome for one in acts.attempts(run, "start")] == ["succeeded"]


def test_who_does_not_come_back_with_the_database_loses_his_step_one_lease_later(run, time):
    publish(run)
    claim(run, "start")
    healer = Healer()
    healer.heal()
    time.passes(minutes=5)
    assert healer.heal() == set()
    for _ in range(3):
        time.passes(seconds=9)
        assert healer.heal() == set()
    time.passes(seconds=4)

    assert healer.heal() == {run.id}


def test_a_lease_that_is_shorter_than_beats_passes_lapses_all_the_same(run, time, monkeypatch):
    monkeypatch.setenv("PIPELINE_LEASE", "2")
    settings.cache_clear()
    publish(run)
    claim(run, "start")
    healer = Healer()
    healer.heal()
    time.passes(seconds=3)

    assert healer.heal() == {run.id}


def test_who_is_dead_loses_his_step_also_when_the_database_is_just_back(run, time):
    publish(run)
    claim(run, "start")
    host, boot, _, _ = owners.owner().split("/")
    change(acts.step(run, "start"), lease_owner=f"{host}/{boot}/{os.getpid()}/1")
    healer = Healer()
    healer._last = 0.0
    time.passes(minutes=5)

    assert healer.heal() == {run.id}


def test_a_dead_process_of_this_host_loses_its_step_before_its_lease_lapses(run, time):
    publish(run)
    claim(run, "start")
    host, boot, _, _ = owners.owner().split("/")
    change(acts.step(run, "start"), lease_owner=f"{host}/{boot}/{os.getpid()}/1")

    assert heal() == {run.id}
    assert acts.step(run, "start").status == "queued"
    assert story_of(run) == [f"start: process {host}/{boot}/{os.getpid()}/1 is gone; queued again"]


def test_what_died_is_no_failed_attempt_and_waits_for_nothing(run, time):
    claim(run, "start")
    time.passes(seconds=31)
    heal()
    fail(claim(run, "start"), TransientError("no answer"))

    assert (acts.step(run, "start").not_before - time.now).total_seconds() == 30


def test_a_step_that_kills_three_processes_is_poisonous(run, time):
    for _ in range(3):
        assert claim(run, "start") is not None
        time.passes(seconds=31)
        heal()

    assert claim(run, "start") is None
    error = acts.reread(run).error
    assert acts.reread(run).status == RunStatus.FAILED
    assert error == (
        "start: abandoned: 3 processes died or fell silent while carrying it out, "
        f"the last one: {owners.owner()} let its lease lapse"
    )
    assert [one.outcome for one in acts.attempts(run, "start")] == ["abandoned"] * 3
    assert story_of(run)[-1].endswith("given up")


def test_a_tolerated_step_that_is_poisonous_lets_its_run_go_on(run, time):
    begin(run, planned("render:0", tolerated=True), planned("gate"))
    for _ in range(3):
        claim(run, "render:0")
        time.passes(seconds=31)
        heal()

    assert statuses(run) == {"start": "succeeded", "render:0": "failed", "gate": "queued"}
    assert publishable(run) == [["gate"]]


def test_a_step_whose_run_has_ended_is_not_queued_again(run, time):
    claim(run, "start")
    acts.cancel(run)
    time.passes(seconds=31)
    heal()

    assert statuses(run) == {"start": "failed"}
    assert acts.step(run, "start").error.startswith("abandoned: 1 process died")
    assert story_of(run)[-1] == f"start: {owners.owner()} let its lease lapse; given up"


def test_a_step_that_died_while_its_run_is_cancelled_is_told_as_cancelled(run, time):
    claim(run, "start")
    with transaction() as session:
        session.get_one(Run, run.id).status = "cancelling"
    time.passes(seconds=31)
    heal()

    assert (acts.reread(run).status, statuses(run)) == ("cancelled", {"start": "cancelled"})
    assert story_of(run) == [f"start: {owners.owner()} let its lease lapse; cancelled"]


def test_who_renews_in_the_last_moment_keeps_its_step(run, time):
    held = claim(run, "start")
    time.passes(seconds=31)
    with transaction() as session:
        seen = session.get_one(Step, held.step.id)
        # Renewed after reconcile looked, before it locked the run.
        session.execute(Step.__table__.update().values(lease_until=time.now.replace(minute=1)))
        steps.release(session, seen, time.now)

    assert statuses(run) == {"start": "running"}


def test_the_most_overdue_are_freed_first(run, time, monkeypatch):
    monkeypatch.setattr(reconcile, "LIMIT", 1)
    begin(run, planned("fetch:a", "fetch:b"))
    claim(run, "fetch:a")
    time.passes(seconds=20)
    claim(run, "fetch:b")
    change(acts.step(run, "fetch:a"), lease_until=time.now.replace(minute=59))
    time.passes(seconds=31)

    heal()
    assert statuses(run) == {"start": "succeeded", "fetch:a": "running", "fetch:b": "queued"}


# ---- messages


def test_what_was_never_published_is_published_after_a_moment(run, time):
    time.passes(seconds=5)
    assert heal() == set()

    time.passes(seconds=1)
    assert heal() == {run.id}
    assert publishable(run) == [["start"]]


def test_a_lost_message_is_published_again_under_the_same_task_id(run, time):
    publish(run)
    task = acts.step(run, "start").task_id
    time.passes(seconds=60)
    assert heal() == set()

    time.passes(seconds=1)
    assert heal() == {run.id}
    assert publish(run) == [["start"]]
    assert acts.step(run, "start").task_id == task


def test_the_grace_doubles_with_every_message(run, time):
    publish(run)
    waited = []
    for _ in range(4):
        published = time.now
        while heal() == set():
            time.passes(seconds=30)
        waited.append((time.now - published).total_seconds())
        publish(run)

    assert waited == [90, 150, 270, 510]


def test_the_grace_of_a_body_begins_when_its_header_is_done(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    publish(run)
    carry_out(run, "fetch:a", carried=True)
    time.passes(seconds=20)
    working = claim(run, "fetch:b")
    for _ in range(10):
        time.passes(seconds=10)
        with transaction() as session:
            steps.renew(session, working)
    acts.succeed(working, carried=True)

    assert heal() == set()
    time.passes(seconds=61)
    assert heal() == {run.id}


def test_a_retry_that_is_due_is_published(run, time):
    fail(claim(run, "start"), TransientError("no answer"))
    assert heal() == set()

    time.passes(seconds=30)
    assert heal() == {run.id}


def test_what_belongs_to_an_ended_run_is_not_published(run, time):
    begin(run, planned("fetch"))
    acts.cancel(run)
    time.passes(hours=1)

    assert heal() == set()


# ---- joins


def test_a_join_that_was_lost_is_made_up_for(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    publish(run)
    # As if both had been recorded by a version that forgot to look for what comes next.
    for name in ("fetch:a", "fetch:b"):
        change(acts.step(run, name), status="succeeded")

    assert heal() == {run.id}
    assert acts.step(run, "plan").status == "queued"
    assert publishable(run) == [["plan"]]


def test_a_run_with_nothing_left_to_do_is_closed(run, time):
    begin(run, planned("fetch"))
    change(acts.step(run, "fetch"), status="succeeded")
    heal()

    assert acts.reread(run).status == RunStatus.SUCCEEDED


def test_it_is_harmless_any_number_of_times(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    publish(run)
    claim(run, "fetch:a")
    time.passes(seconds=61)
    assert heal() == {run.id}
    before = statuses(run)
    for _ in range(3):
        heal()

    assert before == {"start": "succeeded", "fetch:a": "queued", "fetch:b": "queued", "plan": "pending"}
    assert statuses(run) == before
    assert len(acts.attempts(run, "fetch:a")) == 1


# ---- told, and by itself


def test_each_thing_that_was_healed_is_a_line_of_the_runs_history(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    publish(run)
    time.passes(seconds=61)
    heal()
    assert story_of(run) == ["fetch:a, fetch:b: nobody took the message; it is sent again"]
    for name in ("fetch:a", "fetch:b"):
        change(acts.step(run, name), status="succeeded")
    heal()
    assert story_of(run)[-1] == "a stage was finished, and the next had not begun: it does"
    change(acts.step(run, "plan"), status="succeeded")
    heal()
    assert story_of(run)[-1] == "all was done: it is closed"


def test_a_run_that_nothing_could_move_any_more_has_failed_as_abandoned(run, time):
    begin(run, planned("fetch"))
    change(acts.step(run, "fetch"), status="failed")
    heal()
    found = acts.reread(run)
    assert (found.status, found.error) == (
        "failed", "abandoned: fetch had ended, and nothing was left to go on with",
    )  # fmt: skip
    empty = make_run(due_at=run.due_at + timedelta(days=7))
    with transaction() as session:
        session.delete(session.get_one(Step, acts.step(empty, "start").id))
    heal()
    assert acts.reread(empty).error == "abandoned: it has no steps"


def test_what_was_being_cancelled_is_closed(run, time):
    begin(run, planned("fetch"))
    with transaction() as session:
        session.get_one(Run, run.id).status = "cancelling"
    change(acts.step(run, "fetch"), status="cancelled")
    heal()
    assert acts.reread(run).status == "cancelled"


def test_a_run_that_cannot_be_healed_keeps_no_other_waiting(run, time, monkeypatch):
    other = make_run(due_at=run.due_at + timedelta(days=7))
    claim(run, "start")
    claim(other, "start")
    time.passes(seconds=31)
    mend = reconcile.mend

    def fail_at_first(session, run_id, **named):
        if run_id == run.id:
            raise OperationalError("UPDATE", {}, Exception("deadlock detected"))
        mend(session, run_id, **named)

    monkeypatch.setattr(reconcile, "mend", fail_at_first)
    assert heal() == {run.id, other.id}
    assert (statuses(run), statuses(other)) == ({"start": "running"}, {"start": "queued"})


# ---- a broker that was emptied


def emptied(known="old", found="new"):
    """A beat has seen that the broker's mark is another one; which runs it publishes."""
    with transaction() as session:
        return brokers.forget_messages(session, "redis", known, found)


@pytest.fixture
def marked(time):
    with transaction() as session:
        brokers.remember(session, "redis", "old")
    time.passes(minutes=1)


@pytest.mark.usefixtures("marked")
def test_an_emptied_broker_gets_everything_from_one_beat_and_from_another_if_that_one_dies(run, time):
    publish(run)
    assert [emptied(), emptied()] == [{run.id}, set()]
    assert heal() == set()
    time.passes(seconds=6)
    assert heal() == {run.id}


@pytest.mark.usefixtures("marked")
def test_a_clock_that_was_set_back_since_a_broker_was_emptied_stops_no_publishing(run, time):
    emptied()
    change(acts.step(run, "start"), not_before=time.now - timedelta(hours=2))
    time.passes(hours=-1)
    assert heal() == {run.id}


@pytest.mark.usefixtures("marked")
def test_what_an_emptied_broker_was_to_hand_out_is_published_again_at_once(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    publish(run)
    carry_out(run, "fetch:a", carried=True)
    working = claim(run, "fetch:b")
    assert emptied() == {run.id}
    # The chord's body, which nobody would bring any more.
    assert story_of(run) == ["the broker was emptied: 1 message published again"]
    acts.succeed(working, carried=True)
    assert publishable(run) == [["plan"]]
