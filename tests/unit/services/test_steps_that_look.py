"""A step that waits for what takes its time looks again and again, holds no worker, and can be called."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.db import transaction
from pipeline.errors import TransientError, Waiting
from pipeline.services import steps
from tests.factories import make_run
from tests.unit.services.acts import (
    attempts,
    begin,
    cancel,
    claim,
    fail,
    heal,
    planned,
    publish,
    reread,
    statuses,
    step,
    succeed,
)


def called(run):
    with transaction(durable=False) as session:
        return steps.call(session, step(run, "ready").id, heard="done")


def look(run, again_in=300, **memory):
    """The step `ready` looks in vain."""
    fail(claim(run, "ready"), Waiting("no data yet", again_in=again_in, memory=memory, for_data=True))


@pytest.fixture
def waiting(time):
    run = make_run()
    begin(run, planned("ready"), planned("load"))
    return run


def test_a_run_that_looks_for_its_data_waits_and_says_for_what(time, waiting):
    look(waiting)

    run = reread(waiting)
    assert (run.status, run.waiting_for, run.error) == ("waiting", "data", "no data yet")
    assert (step(run, "ready").status, step(run, "ready").not_before) == ("queued", time.now + timedelta(seconds=300))
    assert (claim(run, "ready"), heal()) == (None, set())

    time.passes(seconds=300)
    assert heal() == {run.id}
    succeed(claim(run, "ready"))
    assert (reread(run).status, reread(run).waiting_for, reread(run).error) == ("running", None, None)
    assert statuses(run)["load"] == "queued"


def test_many_looks_in_vain_are_one_attempt_and_use_up_no_try(time, waiting):
    began = time.now
    for number in range(20):
        look(waiting, looks=number)
        time.passes(seconds=300)
    fail(claim(waiting, "ready"), TransientError("the warehouse is away"))

    parked, failed = attempts(waiting, "ready")
    assert (parked.outcome, parked.error, parked.started_at) == ("parked", "no data yet", began)
    assert parked.finished_at == began + timedelta(seconds=19 * 300)
    assert (failed.outcome, failed.fence, parked.fence) == ("retry", 21, 20)


def test_a_look_knows_what_the_last_one_has_left_and_a_new_try_begins_anew(time, waiting):
    look(waiting, sent="at seven")
    time.passes(seconds=300)
    looking = claim(waiting, "ready")
    assert looking.memory == {"sent": "at seven"}
    fail(looking, TransientError("away"))

    time.passes(seconds=300)
    assert claim(waiting, "ready").memory == {}


def test_who_is_called_looks_at_once(time, waiting):
    look(waiting, sent="at seven")
    time.passes(seconds=10)
    assert called(waiting) == waiting.id

    assert publish(waiting) == [["ready"], ["load"]]
    assert claim(waiting, "ready").memory == {"sent": "at seven", "heard": "done"}


def test_a_call_while_it_looks_makes_it_look_once_more(time, waiting):
    looking = claim(waiting, "ready")
    assert called(waiting) is None
    fail(looking, Waiting("not done yet", again_in=300, memory={"sent": "at seven"}))

    assert step(waiting, "ready").not_before == time.now
    assert claim(waiting, "ready").memory == {"sent": "at seven", "heard": "done"}


def test_a_step_that_is_over_hears_no_call(time, waiting):
    succeed(claim(waiting, "ready"))
    assert called(waiting) is None


def test_a_cancelled_run_waits_no_longer(time, waiting):
    looking = claim(waiting, "ready")
    cancel(waiting)
    fail(looking, Waiting("no data yet", again_in=300, for_data=True))

    assert (reread(waiting).status, statuses(waiting)["ready"]) == ("cancelled", "failed")
