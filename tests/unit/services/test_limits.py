"""No more than so many at once: of a pool's steps, of a schedule's or report's runs; and whose turn is next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from pipeline.db import clock, reading, transaction
from pipeline.errors import TransientError
from pipeline.models import RunStatus, Step
from pipeline.services import answers, limits
from pipeline.settings import settings
from tests.factories import make_run, make_schedule
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, claim, heal, planned, publish

pytestmark = pytest.mark.usefixtures("time")
OVERLAPPING = {"overlap": "allow", "recipients": None}


@pytest.fixture
def warehouse(time, monkeypatch):
    """A database that bears two queries at once."""
    places(monkeypatch, "warehouse=2")


def places(monkeypatch, text):
    monkeypatch.setenv("PIPELINE_POOLS", text)
    settings.cache_clear()


def fetching(*names, **values):
    """A run whose fetches are queued, each with its message out."""
    run = make_run(**values)
    begin(run, planned(*names, pool="warehouse"), planned("plan"))
    publish(run)
    return run


def waits(run, name):
    row = acts.step(run, name)
    return row.status == "queued" and row.place_wanted_at is not None


def sentence(run, name):
    with reading() as session:
        detail = answers.show(session, acts.reread(run))
    return next(step.waits for step in detail.steps if step.name == name)


def change(run, name, **values):
    with transaction() as session:
        row = session.get_one(Step, acts.step(run, name).id)
        for column, value in values.items():
            setattr(row, column, value)


# ---- pools


@pytest.mark.usefixtures("warehouse")
def test_a_step_without_a_place_waits_in_sql_and_uses_up_no_try():
    run = fetching("fetch:a", "fetch:b", "fetch:c")

    claimed = [claim(run, name) for name in ("fetch:a", "fetch:b", "fetch:c")]

    assert [one is not None for one in claimed] == [True, True, False]
    assert waits(run, "fetch:c")
    assert acts.attempts(run, "fetch:c") == []
    said = sentence(run, "fetch:c")
    assert said.startswith("waits for a place in pool warehouse: 2 of 2 taken, by fetch:a of shipments (")
    assert str(run.id)[:8] in said


@pytest.mark.usefixtures("warehouse")
def test_who_waits_is_called_when_a_place_is_free_and_not_before():
    run = fetching("fetch:a", "fetch:b", "fetch:c", "fetch:d")
    held = [claim(run, name) for name in ("fetch:a", "fetch:b", "fetch:c", "fetch:d")]
    assert heal() == set()

    acts.succeed(held[0])

    assert heal() == {run.id}
    assert publish(run)[0] == ["fetch:c"]
    assert heal() == set()  # the place is taken in a moment: fetch:d is not called for it
    assert claim(run, "fetch:c") is not None
    assert claim(run, "fetch:d") is None


@pytest.mark.usefixtures("warehouse")
def test_a_failed_step_leaves_its_place_too_and_wants_one_again_for_its_next_try(time):
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    held = [claim(run, name) for name in ("fetch:a", "fetch:b", "fetch:c")]

    acts.fail(held[0], TransientError("connection refused"))

    assert heal() == {run.id}
    publish(run)
    assert claim(run, "fetch:c") is not None
    time.passes(seconds=31)
    change(run, "fetch:b", lease_until=time.now + timedelta(seconds=30))
    change(run, "fetch:c", lease_until=time.now + timedelta(seconds=30))
    assert claim(run, "fetch:a") is None
    assert waits(run, "fetch:a")


@pytest.mark.usefixtures("warehouse")
def test_a_place_whose_lease_has_lapsed_is_free_even_if_nobody_heals(time):
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    for name in ("fetch:a", "fetch:b"):
        claim(run, name)

    time.passes(seconds=31)

    assert claim(run, "fetch:c") is not None


@pytest.mark.usefixtures("warehouse")
def test_the_more_urgent_comes_first_and_then_the_older(time):
    busy = fetching("fetch:a", "fetch:b", trigger="manual")
    held = [claim(busy, "fetch:a"), claim(busy, "fetch:b")]
    night = fetching("fetch:1", "fetch:2", trigger="backfill")
    assert claim(night, "fetch:1") is None
    time.passes(seconds=1)
    assert claim(night, "fetch:2") is None
    time.passes(seconds=1)
    person = fetching("fetch:x", trigger="manual")
    assert claim(person, "fetch:x") is None

    acts.succeed(held[0])
    assert heal() == {person.id}
    publish(person)
    acts.succeed(held[1])
    assert heal() == {night.id}
    publish(night)
    assert waits(night, "fetch:2")
    assert claim(night, "fetch:2") is None
    assert claim(person, "fetch:x") is not None
    assert claim(night, "fetch:1") is not None


@pytest.mark.usefixtures("warehouse")
def test_who_comes_later_does_not_jump_the_queue(time):
    first = fetching("fetch:a", "fetch:b", "fetch:c")
    held = [claim(first, name) for name in ("fetch:a", "fetch:b", "fetch:c")]
    acts.succeed(held[0])
    time.passes(seconds=1)
    later = fetching("fetch:z")

    assert claim(later, "fetch:z") is None
    heal()
    assert publish(first)[0] == ["fetch:c"]
    assert claim(first, "fetch:c") is not None


@pytest.mark.usefixtures("warehouse")
def test_who_was_called_and_does_not_come_holds_up_nobody(time):
    run = fetching("fetch:a", "fetch:b", "fetch:c", "fetch:d")
    held = [claim(run, name) for name in ("fetch:a", "fetch:b", "fetch:c", "fetch:d")]
    acts.succeed(held[0])
    heal()
    publish(run)  # fetch:c is called, and its message is lost

    time.passes(seconds=11)

    assert heal() == {run.id}
    assert publish(run)[0] == ["fetch:d"]
    assert claim(run, "fetch:d") is not None


@pytest.mark.usefixtures("warehouse")
def test_a_message_that_comes_although_nobody_was_called_changes_nothing():
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    for name in ("fetch:a", "fetch:b", "fetch:c"):
        claim(run, name)
    before = acts.step(run, "fetch:c")

    assert claim(run, "fetch:c") is None
    assert acts.step(run, "fetch:c").place_wanted_at == before.place_wanted_at


def test_a_pool_that_is_none_any_more_lets_everybody_go(time, monkeypatch):
    places(monkeypatch, "warehouse=1")
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    for name in ("fetch:a", "fetch:b", "fetch:c"):
        claim(run, name)

    places(monkeypatch, "")

    assert heal() == {run.id}
    assert publish(run)[0] == ["fetch:b", "fetch:c"]
    assert claim(run, "fetch:b") is not None
    assert claim(run, "fetch:c") is not None


@pytest.mark.usefixtures("warehouse")
def test_two_claims_in_the_same_moment_do_not_both_get_the_last_place():
    run = fetching(*(f"fetch:{number}" for number in range(8)))
    rows = [acts.step(run, f"fetch:{number}") for number in range(8)]
    together = Barrier(8)

    def try_it(row):
        together.wait(30)
        return claim(run, row.name)

    with ThreadPoolExecutor(8) as workers:
        claimed = list(workers.map(try_it, rows))

    assert sum(one is not None for one in claimed) == 2
    assert sum(waits(run, row.name) for row in rows) == 6


@pytest.mark.usefixtures("warehouse")
def test_a_message_that_comes_late_does_not_park_what_is_at_work(time):
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    for name in ("fetch:a", "fetch:b"):
        claim(run, name)
    stale = acts.step(run, "fetch:c")
    change(run, "fetch:a", status="succeeded")
    assert claim(run, "fetch:c") is not None

    with transaction() as session:
        limits._park(session, stale, time.now, time.now)

    assert acts.step(run, "fetch:c").place_wanted_at is None


@pytest.mark.usefixtures("warehouse")
def test_a_cancelled_run_waits_for_no_place():
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    held = [claim(run, name) for name in ("fetch:a", "fetch:b", "fetch:c")]
    acts.cancel(run)
    for one in held[:2]:
        acts.succeed(one)

    assert heal() == set()
    assert acts.step(run, "fetch:c").status == "cancelled"


@pytest.mark.usefixtures("warehouse")
def test_pools_tell_who_has_a_place_and_who_waits():
    run = fetching("fetch:a", "fetch:b", "fetch:c")
    for name in ("fetch:a", "fetch:b", "fetch:c"):
        claim(run, name)

    with reading() as session:
        (pool,) = answers.pools(session)

    assert (pool.kind, pool.name, pool.places, pool.waiting) == ("pool", "warehouse", 2, 1)
    assert [(one.run_id, one.step) for one in pool.holders] == [(run.id, "fetch:a"), (run.id, "fetch:b")]
    assert [(one.run_id, one.step) for one in pool.next] == [(run.id, "fetch:c")]


# ---- runs of a schedule, and of a report


def open_runs(count, time, **changes):
    make_schedule(**{**OVERLAPPING, **changes})
    found = []
    for _ in range(count):
        found.append(make_run())
        publish(found[-1])
        time.passes(seconds=1)
    return found


def test_only_so_many_runs_of_a_schedule_begin(time):
    first, second, third = open_runs(3, time, concurrency=2)
    claims = [claim(one, "start") for one in (first, second, third)]

    assert [one is not None for one in claims] == [True, True, False]
    assert acts.reread(third).status == RunStatus.QUEUED
    assert "waits for its turn among the runs of schedule shipments: 2 of 2 taken, by run of" in sentence(
        third, "start"
    )
    acts.succeed(claims[0])  # nothing follows: the run has ended
    assert heal() == {third.id}
    publish(third)
    assert claim(third, "start") is not None


def test_a_run_that_waits_for_somebody_has_no_place(time):
    first, second = open_runs(2, time, concurrency=1)
    begin(first, planned("gate"), planned("finish"))
    assert claim(second, "start") is None
    with transaction() as session:
        run = session.get_one(type(first), first.id)
        run.status, run.waiting_for = RunStatus.WAITING, "approval"

    assert heal() == {second.id}
    publish(second)
    assert claim(second, "start") is not None


def test_a_report_is_limited_over_all_its_schedules(time):
    report = {"name": "shipments", "title": "S", "url": "rows.csv", "concurrency": 1}
    make_schedule("north", report=report, **OVERLAPPING)
    make_schedule("south", report=report, **OVERLAPPING)
    north, south = make_run("north"), make_run("south")
    for run in (north, south):
        publish(run)
    held = claim(north, "start")

    assert claim(south, "start") is None
    assert "among the runs of report shipments: 1 of 1 taken, by run of north" in sentence(south, "start")
    acts.succeed(held)
    assert heal() == {south.id}
    publish(south)
    assert claim(south, "start") is not None


def test_a_run_that_waits_for_its_data_takes_no_place_of_those_who_have_theirs(time):
    make_schedule(**OVERLAPPING, concurrency=1, ready_when={"url": "there.csv"})
    first, second = make_run(), make_run()
    assert claim(first, "ready") is not None
    carry_out(second, "ready")

    assert claim(second, "start") is not None


def test_limits_that_nobody_set_cost_no_lock(time):
    run = make_run()
    with reading() as session:
        assert limits.of(acts.step(run, "start"), acts.reread(run)) == []
        assert limits.call(session, clock(session)) == set()
