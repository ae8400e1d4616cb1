"""A run that waits for its data or for another schedule: it looks, says for what, goes on by itself, or gives up."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline import healing, tasks
from pipeline.celery import load_workflows
from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.models import Attempt, Notice, Run, RunEvent, Step
from pipeline.services import runs, waiting
from pipeline.services.audit import Actor
from pipeline.services.runs import Request
from pipeline.settings import settings
from pipeline.tasks import step, workflow
from pipeline.workflows.waiting import is_true
from tests.broker import broker, worker
from tests.factories import MONDAY, finished_run, make_run, make_schedule

__all__ = ["broker", "worker"]
LOADED = {"database": "warehouse", "query": "select max(day) >= :end_date from load_log", "every": "5m"}
ANNA = Actor("anna@desk", "cli")


class Story:
    """The schedule `load`, a workflow of one step, and what it waits for; a warehouse that tests write to."""

    def __init__(self, home, worker, frozen):
        self.home, self.worker, self.frozen = home, worker, frozen
        self.schedule("nightly")

    def schedule(self, key="load", **fields):
        usual = {"report": None, "recipients": None, "workflow": "story_load", "period": "yesterday"}
        make_schedule(key, **{**usual, **fields})

    def warehouse(self, script):
        with sqlite3.connect(self.home / "warehouse.db") as connection:
            connection.executescript(script)

    def trigger(self, key="load", **wish):
        run_id, _ = tasks.trigger(Request(key, **wish))
        self.worker.work()
        return self.read(run_id)

    def passes(self, **time):
        """Time passes, and beat looks: what is due is published and carried out. A `start` that comes early is not."""
        self.frozen.tick(timedelta(**time))
        for run_id in healing.heal():
            tasks.publish(run_id)
        return [name for name in self.worker.work() if name != "start"]

    def read(self, run):
        with reading() as session:
            return session.get_one(Run, getattr(run, "id", run))

    def attempts(self, run):
        with reading() as session:
            mine = select(Attempt).join(Step, Step.id == Attempt.step_id)
            return list(
                session.scalars(mine.where(Step.run_id == run.id, Step.name == "ready").order_by(Attempt.fence))
            )

    def stands(self, run):
        run = self.read(run)
        return run.status, run.waiting_for, run.error


@pytest.fixture
def story(database, worker, frozen, monkeypatch):
    monkeypatch.setenv("PIPELINE_SOURCE_WAREHOUSE_URL", f"sqlite:///{database / 'warehouse.db'}")
    settings.cache_clear()
    load_workflows()

    @step
    def load_all(run):
        return run.period.label

    @workflow
    def story_load(run):
        return load_all.si()

    frozen.move_to(MONDAY)
    made = Story(database, worker, frozen)
    made.warehouse("create table load_log (day text)")
    yield made
    del tasks.WORKFLOWS["story_load"], tasks.STEPS["test_waiting.load_all"]


UNTIL = "gives up on Mon 16 Nov 2026 at 10:00:00 Berlin time"


# ---- data


def test_a_run_waits_until_its_query_says_yes(story):
    story.schedule(ready_when={**LOADED, "give_up_after": "3h"})
    run = story.trigger()
    waits = f'waits for its data: its query of "warehouse" gave no value; {UNTIL}'
    assert story.stands(run) == ("waiting", "data", waits)

    story.warehouse("insert into load_log values ('2026-11-15')")
    assert story.passes(minutes=4) == []
    assert story.passes(minutes=1) == ["ready"]
    assert story.stands(run) == ("waiting", "data", waits.replace("gave no value", "says 0"))

    story.warehouse("insert into load_log values ('2026-11-16')")
    assert story.passes(minutes=5) == ["ready", "load_all"]
    assert story.stands(run) == ("succeeded", None, None)
    assert [(one.outcome, one.error) for one in story.attempts(run)] == [
        ("parked", waits.replace("gave no value", "says 0")), ("succeeded", None),
    ]  # fmt: skip


def test_what_was_there_already_is_not_waited_for(story):
    story.warehouse("insert into load_log values ('2026-11-16')")
    story.schedule(ready_when=LOADED)
    assert story.stands(story.trigger()) == ("succeeded", None, None)


@pytest.mark.parametrize(("otherwise", "status"), [("fail", "failed"), ("skip", "skipped")])
def test_whoever_has_waited_long_enough_looks_once_more_and_gives_up(story, otherwise, status):
    story.schedule(ready_when={**LOADED, "every": "2h", "give_up_after": "3h", "otherwise": otherwise})
    run = story.trigger()
    assert story.passes(hours=2) == ["ready"]
    assert story.passes(minutes=59) == []
    assert story.passes(minutes=1) == ["ready"]
    said = 'gave up after 3h: it waits for its data: its query of "warehouse" gave no value'
    assert story.stands(run) == (status, None, f"ready: {said}" if status == "failed" else said)
    assert story.attempts(run)[-1].traceback is None


def test_people_are_told_once_that_it_has_waited_in_vain_and_when_the_next_one_succeeds(story, monkeypatch):
    monkeypatch.setenv("PIPELINE_NOTIFY", "ops@example.com")
    settings.cache_clear()
    story.schedule(ready_when={**LOADED, "give_up_after": "1m"})
    story.trigger()
    story.passes(minutes=1)
    with reading() as session:
        (told,) = session.scalars(select(Notice))
    assert (told.kind, told.subject) == ("gave_up", "schedule:load")
    assert told.facts["reason"].startswith("gave up after 1m: it waits for its data: ")

    story.warehouse("insert into load_log values ('2026-11-16')")
    story.trigger()
    with reading() as session:
        assert [one.kind for one in session.scalars(select(Notice).order_by(Notice.id))] == ["gave_up", "recovered"]


def test_a_database_that_is_away_is_waited_for_too(story, monkeypatch):
    story.schedule(ready_when=LOADED)
    monkeypatch.setenv("PIPELINE_SOURCE_WAREHOUSE_URL", "postgresql://127.0.0.1:1/none")
    run = story.trigger()
    assert story.read(run).status == "waiting"
    assert "refused" in story.read(run).error

    monkeypatch.setenv("PIPELINE_SOURCE_WAREHOUSE_URL", f"sqlite:///{story.home / 'warehouse.db'}")
    story.warehouse("insert into load_log values ('2026-11-16')")
    story.passes(minutes=5)
    assert story.stands(run) == ("succeeded", None, None)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select day from no_log", "no such table: no_log"),
        ("select 1, 2", "the query gives 2 columns: one value is asked for"),
        ("select 1 union select 2", "the query gives several rows: one value is asked for, as of count(*)"),
        ("insert into load_log values (1)", "attempt to write a readonly database"),
    ],
)
def test_a_query_that_cannot_be_asked_fails_at_once(story, query, said):
    story.schedule(ready_when={**LOADED, "query": query})
    run = story.read(story.trigger())
    assert run.status == "failed"
    assert said in run.error


def test_a_file_may_be_waited_for(story):
    story.schedule(ready_when={"url": "incoming/sales-{start_date}*.csv", "every": "1m"})
    run = story.trigger()
    assert story.read(run).error.startswith("waits for its data: incoming/sales-2026-11-15*.csv is not there; gives")
    (story.home / "incoming").mkdir()
    (story.home / "incoming" / "sales-2026-11-15-b.csv").touch()
    story.passes(minutes=1)
    assert story.stands(run) == ("succeeded", None, None)


def test_the_instant_it_was_due_at_may_be_asked_for(story):
    query = "select :due = '2026-11-16 07:00:00' and :due_date = '2026-11-16'"
    story.schedule(ready_when={**LOADED, "query": query, "time": "naive_local"})
    assert story.stands(story.trigger()) == ("succeeded", None, None)


@pytest.mark.parametrize("yes", [1, 0.5, True, "t", "yes", "2026-11-16", MONDAY, b"\x01"])
def test_answers_that_say_yes(yes):
    assert is_true(yes)


@pytest.mark.parametrize("no", [None, 0, 0.0, False, "", " f ", "False", "no", "0", b"\x00", b""])
def test_answers_that_say_no(no):
    assert not is_true(no)


# ---- other schedules


def test_a_run_goes_on_within_seconds_of_the_success_it_waits_for(story):
    other = make_run("nightly", status="running")
    story.schedule(after="nightly")
    run = story.trigger()
    waits = f"waits for nightly, whose run for 15 Nov 2026 is running (run {str(other.id)[:13]}); gives up on "
    assert story.read(run).error.startswith(waits)
    assert story.passes(seconds=2) == []

    close(other, "succeeded")
    assert story.passes(seconds=2) == ["ready", "load_all"]
    assert story.stands(run) == ("succeeded", None, None)


def test_only_a_run_for_the_same_period_counts(story):
    finished_run("nightly", due_at=MONDAY - timedelta(days=1))
    story.schedule(after="nightly")
    run = story.trigger()
    assert story.read(run).error.startswith(
        "waits for nightly, which has no run for 15 Nov 2026 yet; its newest is about 2026-11-14; gives up on "
    )
    finished_run("nightly", scope={"keys": ["ACME"], "to": [], "send": True})
    story.passes(minutes=5)
    assert story.read(run).status == "waiting"

    close(make_run("nightly", status="running"), "succeeded")
    story.passes(seconds=2)
    assert story.stands(run) == ("succeeded", None, None)


@pytest.mark.parametrize(
    ("ended", "otherwise", "status"),
    [
        ("failed", "fail", "failed"),
        ("failed", "skip", "skipped"),
        ("partial", "fail", "failed"),
        ("skipped", "fail", "skipped"),
    ],
)
def test_what_cannot_come_any_more_is_not_waited_for(story, ended, otherwise, status):
    other = make_run("nightly", status="running")
    story.schedule(after={"schedules": "nightly", "otherwise": otherwise})
    run = story.trigger()
    close(other, ended, "no route to host")
    story.passes(seconds=2)
    said = f"nightly's run for 15 Nov 2026 ended as {ended} (run {str(other.id)[:13]}): no route to host"
    assert story.stands(run) == (status, None, f"ready: {said}" if status == "failed" else said)


def test_a_failed_run_that_somebody_repeats_is_waited_for(story):
    finished_run("nightly", status="failed")
    again = make_run("nightly", status="running")
    story.schedule(after="nightly")
    run = story.trigger()
    assert story.read(run).status == "waiting"
    close(again, "succeeded")
    story.passes(seconds=2)
    assert story.stands(run) == ("succeeded", None, None)


def test_all_of_several_have_to_succeed_and_then_the_data_is_looked_at(story):
    story.schedule("hourly")
    first, second = make_run("nightly", status="running"), make_run("hourly", status="running")
    story.schedule(after=["nightly", "hourly"], ready_when=LOADED)
    run = story.trigger()
    close(first, "succeeded")
    assert story.passes(seconds=2) == ["ready"]
    assert story.read(run).error.startswith("waits for hourly, whose run for 15 Nov 2026 is running")
    close(second, "succeeded")
    assert story.passes(seconds=2) == ["ready"]
    assert story.read(run).error.startswith("waits for its data: ")
    # The ends are told once: from here on it looks by itself.
    assert story.passes(seconds=2) == []
    story.warehouse("insert into load_log values ('2026-11-16')")
    story.passes(minutes=5)
    assert story.stands(run) == ("succeeded", None, None)


def close(run, status, error=None):
    with transaction() as session:
        runs.close(session, runs.lock(session, run.id), status, error)


# ---- without waiting


def test_a_trigger_may_say_now(story):
    story.schedule(ready_when=LOADED, after="nightly")
    run = story.trigger(at_once=True)
    assert story.stands(run) == ("succeeded", None, None)
    assert story.attempts(run) == []


def test_a_run_that_waits_may_be_sent_on(story):
    story.schedule(ready_when=LOADED)
    run = story.trigger()
    with transaction() as session:
        assert waiting.release(session, run, ANNA) == run.id
    said = "does not wait any more: cli:anna@desk has it go on without waiting, since Mon 16 Nov"
    with transaction() as session, pytest.raises(Refused, match=said):
        waiting.release(session, run, ANNA)
    tasks.publish(run.id)
    story.worker.work()
    assert story.stands(run) == ("succeeded", None, None)
    with reading() as session:
        (event,) = session.scalars(select(RunEvent).where(RunEvent.run_id == run.id, RunEvent.kind == "released"))
    assert event.text == "cli:anna@desk has it go on without waiting"


def test_only_a_run_that_waits_can_be_sent_on(story):
    run = finished_run("nightly")
    with transaction() as session, pytest.raises(Refused, match=r"run .* of nightly is succeeded, not for its data"):
        waiting.release(session, run, ANNA)


def test_what_it_waits_for_was_frozen_when_it_was_opened(story):
    story.schedule(ready_when=LOADED)
    run = story.trigger()
    story.schedule(ready_when={**LOADED, "query": "select 1"})
    story.passes(minutes=5)
    assert story.read(run).status == "waiting"
