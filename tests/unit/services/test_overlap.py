"""A slot that is due while a run of its schedule is active: skipped, queued, fired in its place, or beside it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.models import Run, RunEvent
from pipeline.services import firing, runs
from tests.factories import MONDAY, make_run, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import fire, slots, sync

pytestmark = pytest.mark.usefixtures("time")
HOUR = timedelta(hours=1)


def hourly(overlap=None, **fields):
    said = {} if overlap is None else {"overlap": overlap}
    sync(schedule_file(when={"every": "1h"}, **said, **fields))


def due(time):
    """An hour passes, and a beat looks: the run that it opened, if it did."""
    time.passes(hours=1)
    with transaction() as session:
        fired = firing.fire_due(session).fired
    return by_id(fired[0].run_id) if fired else None


def by_id(run_id):
    with reading() as session:
        return session.get_one(Run, run_id)


def status(run):
    found = acts.reread(run)
    return (found.status, found.waiting_for) if found.waiting_for else found.status


def decisions():
    return [(decision, reason) for _, decision, reason in slots()]


def set_status(run, status, waiting_for=None):
    with transaction() as session:
        found = session.get_one(Run, run.id)
        found.status, found.waiting_for = status, waiting_for


# ---- skip


def test_unless_told_otherwise_a_slot_is_skipped_and_names_the_run_in_the_way(time):
    hourly()
    first = due(time)
    acts.claim(first, "start")

    assert due(time) is None
    assert decisions() == [("fired", None), ("skipped", f"run {first.id} was running (overlap: skip)")]
    assert slots()[1][0] == MONDAY + 2 * HOUR


def test_when_the_run_has_ended_the_next_slot_fires(time):
    hourly()
    acts.carry_out(due(time), "start")

    assert due(time) is not None


@pytest.mark.parametrize("active", ["queued", "running", "cancelling", ("waiting", "data")])
def test_a_run_is_active_while_it_works_or_waits_for_its_data(time, active):
    hourly()
    first = due(time)
    set_status(first, *([active] if isinstance(active, str) else active))

    assert due(time) is None


@pytest.mark.parametrize("waiting_for", ["approval", "deferred", "blocked"])
def test_what_waits_for_people_or_mailboxes_is_in_nobodys_way(time, waiting_for):
    hourly()
    set_status(due(time), "waiting", waiting_for)

    assert due(time) is not None


def test_a_backfill_is_in_nobodys_way_and_a_trigger_by_hand_is(time):
    hourly()
    make_run(trigger="backfill")
    first = due(time)
    acts.carry_out(first, "start")
    by_hand, _ = trigger()

    assert due(time) is None
    assert decisions()[-1] == ("skipped", f"run {by_hand.id} was queued (overlap: skip)")


def test_of_all_missed_slots_each_meets_the_one_before_it(time):
    hourly("skip", catch_up="all")
    time.passes(hours=2)
    due(time)

    assert [decision for decision, _ in decisions()] == ["fired", "skipped", "skipped"]


# ---- allow


def test_runs_may_overlap_where_that_is_allowed(time):
    hourly("allow", catch_up="all")
    time.passes(hours=2)
    time.passes(minutes=1)

    assert fire() == [MONDAY + HOUR, MONDAY + 2 * HOUR]


# ---- queue


def test_one_run_waits_until_the_active_one_ends(time):
    hourly("queue")
    first, second = due(time), due(time)
    acts.publish(first)

    assert status(second) == ("waiting", "slot")
    assert acts.statuses(second) == {"start": "pending"}
    assert decisions()[1] == ("fired", f"waits until run {first.id} ends (overlap: queue)")
    assert acts.heal() == set()

    acts.carry_out(first, "start")
    assert (status(first), status(second)) == ("succeeded", "queued")
    assert acts.heal() == {second.id}
    acts.carry_out(second, "start")
    assert status(second) == "succeeded"


def test_a_second_one_does_not_queue_behind_it(time):
    hourly("queue")
    due(time)
    second, third = due(time), due(time)

    assert third is None
    assert decisions()[2] == ("skipped", f"run {second.id} was waiting for its turn (overlap: queue)")


def test_a_run_whose_turn_nobody_announced_is_begun_by_reconcile(time):
    """The first ended while the second was being opened: each saw the other as it was before."""
    hourly("queue")
    first, second = due(time), due(time)
    with transaction() as session:
        gone = session.get_one(Run, first.id)
        gone.status, gone.finished_at = "succeeded", time.now

    assert second.id in acts.heal()
    assert status(second) == "queued"


def test_a_queued_run_begins_when_the_active_one_fails_or_is_cancelled(time):
    hourly("queue")
    first, second = due(time), due(time)
    acts.fail(acts.claim(first, "start"), ValueError("no"), retry=acts.RETRY.overridden({"attempts": 1}))
    assert status(second) == "queued"

    third = due(time)
    cancel(second)
    assert status(third) == "queued"


def test_of_all_missed_slots_one_runs_and_one_waits(time):
    hourly("queue", catch_up="all")
    time.passes(hours=3)
    time.passes(minutes=1)

    assert fire() == [MONDAY + HOUR, MONDAY + 2 * HOUR]
    assert [decision for decision, _ in decisions()] == ["fired", "fired", "skipped"]


# ---- cancel


def cancel(run):
    with transaction() as session:
        runs.cancel(session, runs.lock_to_close(session, run.id), "anna", "wrong data")


def test_a_run_that_has_not_begun_is_cancelled_and_the_new_one_starts_at_once(time):
    hourly("cancel")
    first, second = due(time), due(time)

    assert (status(first), status(second)) == ("cancelled", "queued")
    assert acts.reread(first).error == "cancelled by beat: the next slot is due (overlap: cancel)"
    assert decisions()[1] == ("fired", f"run {first.id} is cancelled for it (overlap: cancel)")


def test_what_is_at_work_is_waited_for(time):
    hourly("cancel")
    first = due(time)
    at_work = acts.claim(first, "start")
    second = due(time)
    assert (status(first), status(second)) == ("cancelling", ("waiting", "slot"))

    acts.succeed(at_work, stages=[acts.planned("fetch")])
    assert (status(first), status(second)) == ("cancelled", "queued")
    assert acts.statuses(first) == {"start": "succeeded"}


def test_the_newest_is_the_one_that_waits(time):
    hourly("cancel")
    first = due(time)
    at_work = acts.claim(first, "start")
    second, third = due(time), due(time)
    assert [status(run) for run in (first, second, third)] == ["cancelling", "cancelled", ("waiting", "slot")]

    acts.fail(at_work, ConnectionError("gone"))
    assert [status(run) for run in (first, third)] == ["cancelled", "queued"]


def test_a_cancelled_run_says_who_and_why_and_starts_nothing_more(time):
    hourly()
    run = due(time)
    acts.begin(run, acts.planned("fetch:a", "fetch:b"), acts.planned("plan"))
    one, other = acts.claim(run, "fetch:a"), acts.claim(run, "fetch:b")
    cancel(run)
    cancel(run)
    assert acts.statuses(run) == {"start": "succeeded", "fetch:a": "running", "fetch:b": "running", "plan": "cancelled"}

    acts.succeed(one)
    assert status(run) == "cancelling"
    acts.succeed(other)
    assert status(run) == "cancelled"
    assert acts.reread(run).error == "cancelled by anna: wrong data"
    with reading() as session:
        assert session.scalars(select(RunEvent.kind).where(RunEvent.run_id == run.id)).all() == ["cancelled"]
    cancel(run)  # an ended run stays as it is
    assert status(run) == "cancelled"


def test_a_cancelled_run_whose_process_died_ends_when_that_is_noticed(time):
    hourly()
    run = due(time)
    acts.claim(run, "start")
    cancel(run)
    time.passes(minutes=5)
    acts.heal()

    assert status(run) == "cancelled"


# ---- by hand


def trigger(key="shipments", **wish):
    with transaction() as session:
        return runs.open_run(session, runs.Request(schedule_key=key, **wish))


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel"])
def test_a_trigger_by_hand_is_refused_while_a_run_is_active(time, overlap):
    hourly(overlap)
    first = due(time)

    with pytest.raises(Refused) as refused:
        trigger()
    assert str(refused.value) == (
        f"run {first.id} of shipments is queued, and its runs do not overlap (overlap: {overlap}): "
        f"`pipeline show {first.id}` shows how far it is, `pipeline cancel {first.id}` ends it"
    )


def test_a_trigger_by_hand_runs_beside_it_where_that_is_allowed(time):
    hourly("allow")
    due(time)

    assert trigger()[1]


def test_the_same_wish_again_is_the_same_run_and_no_second_one(time):
    hourly()
    first, _ = trigger(idempotency_key="task-1")

    again, new = trigger(idempotency_key="task-1")
    assert (again.id, new) == (first.id, False)


# ---- jitter


def test_a_run_with_jitter_waits_in_sql(time):
    sync(schedule_file(when={"every": "1h", "jitter": "2m"}))
    run = due(time)
    start = acts.step(run, "start")

    assert run.not_before == start.not_before
    assert MONDAY + HOUR < run.not_before < MONDAY + HOUR + timedelta(minutes=2)
    assert run.due_at == slots()[0][0] == MONDAY + HOUR
    assert (acts.publishable(run), acts.heal()) == ([], set())
    time.move_to(run.not_before)
    assert acts.heal() == {run.id}
