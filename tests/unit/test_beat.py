"""Beat fires at the right instants, loads what changes, and outlives whatever goes wrong around it."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time
from sqlalchemy import select
from structlog.testing import CapturingLogger

from pipeline import beat, endurance, watcher
from pipeline.beat import SqlScheduler
from pipeline.db import reading, transaction
from pipeline.models import Audit, Heartbeat, Run, Schedule, Slot, Step
from pipeline.settings import settings
from tests.broker import broker, worker
from tests.conftest import forget_engine
from tests.factories import MONDAY, make_run
from tests.webhook import webhook

__all__ = ["broker", "webhook", "worker"]
DAILY = "report: {title: Daily, url: flights.csv}\nwhen: {cron: '0 8 * * *', timezone: Europe/Berlin}\n"
MINUTELY = "report: {title: Minutely, url: flights.csv}\nwhen: '* * * * *'\noverlap: allow\n"
WEEKLY = DAILY.replace("* * *", "* * mon")


@pytest.fixture
def frozen(database):
    with freeze_time(MONDAY) as frozen:
        yield frozen


@pytest.fixture
def said(monkeypatch):
    """What beat tells, as pairs of level and sentence."""
    logger = CapturingLogger()
    for module in (beat, endurance, watcher):
        monkeypatch.setattr(module, "logger", logger)
    return lambda: [(call.method_name, call.args[0]) for call in logger.calls]


@pytest.fixture
def write(home):
    """Write schedule files, later than those that were there."""
    written = 0

    def write(**files):
        nonlocal written
        for name, text in files.items():
            path = home / "schedules" / f"{name}.yaml"
            path.write_text(text) if text is not None else path.unlink()
            written += 1
            if text is not None:
                os.utime(path, ns=(written, written))

    return write


class Beat(SqlScheduler):
    """A beat without its threads, which looks at the files whenever it looks for due slots."""

    def tick(self):
        self._safely(self._watcher.look)
        return super().tick()


@pytest.fixture
def scheduler(frozen, broker):
    made = Beat(broker, lazy=True)
    yield made
    made.close()


def tick_through(scheduler, frozen, **duration):
    """Tick as Celery's loop does, sleeping as long as each look says; the waits."""
    waits, end = [], datetime.now(UTC) + timedelta(**duration)
    while datetime.now(UTC) < end:
        waits.append(scheduler.tick())
        frozen.tick(waits[-1])
    return waits


def fired(key):
    with reading() as session:
        mine = session.execute(select(Run.due_at, Run.created_at).where(Run.schedule_key == key).order_by(Run.due_at))
        return [tuple(row) for row in mine]


def keys():
    with reading() as session:
        return set(session.scalars(select(Schedule.key).where(Schedule.retired_at.is_(None))))


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


# ---- firing


def test_a_slot_is_fired_at_its_very_instant(scheduler, frozen, write):
    write(daily=DAILY)
    frozen.move_to(utc(2026, 11, 16, 6, 59, 57))
    tick_through(scheduler, frozen, seconds=6)

    assert fired("daily") == [(utc(2026, 11, 16, 7), utc(2026, 11, 16, 7))]


def test_every_minute_is_every_minute(scheduler, frozen, write):
    write(minutely=MINUTELY)
    tick_through(scheduler, frozen, seconds=200)

    assert fired("minutely") == [(due, due) for due in (MONDAY + timedelta(minutes=n) for n in (1, 2, 3))]


def test_beat_sleeps_until_the_next_slot_and_never_longer_than_a_second(scheduler, frozen, write):
    write(minutely=MINUTELY)
    frozen.move_to(MONDAY + timedelta(seconds=58.25))

    assert [round(wait, 3) for wait in tick_through(scheduler, frozen, seconds=2)] == [1.0, 0.75, 1.0]


def test_without_schedules_it_looks_every_second(scheduler):
    assert scheduler.tick() == 1.0


def test_two_beats_open_one_run(scheduler, frozen, write, broker):
    write(minutely=MINUTELY)
    other = Beat(broker, lazy=True)
    for one in (scheduler, other, scheduler, other):
        one.tick()
    frozen.tick(timedelta(seconds=60))
    for one in (scheduler, other):
        one.tick()

    assert len(fired("minutely")) == 1


def test_what_was_missed_while_no_beat_ran_is_coalesced(scheduler, frozen, write):
    write(minutely=MINUTELY)
    scheduler.tick()
    frozen.tick(timedelta(minutes=10))
    scheduler.tick()

    assert [due for due, _ in fired("minutely")] == [MONDAY + timedelta(minutes=10)]
    with reading() as session:
        assert len(session.scalars(select(Slot)).all()) == 10


def test_what_is_fired_is_handed_to_the_publisher(scheduler, frozen, write, worker):
    write(minutely=MINUTELY)
    scheduler.tick()
    frozen.tick(timedelta(seconds=60))
    scheduler.tick()

    scheduler._publisher.publish(scheduler._publisher._take())
    (message,) = worker.take()
    assert message.headers["step"] == "start"


# ---- schedule files


def test_a_changed_file_is_loaded_within_seconds(scheduler, frozen, write, said):
    write(daily=DAILY)
    scheduler.tick()
    write(weekly=WEEKLY)
    tick_through(scheduler, frozen, seconds=2)
    assert keys() == {"daily", "weekly"}
    assert said().count(("info", "schedules loaded")) == 2


def test_files_that_did_not_change_are_not_read_again(scheduler, frozen, write, said):
    write(daily=DAILY)
    tick_through(scheduler, frozen, seconds=30)

    assert said().count(("info", "schedules loaded")) == 1


def test_a_query_beside_the_file_counts_too(scheduler, frozen, write, home):
    (home / "schedules" / "daily.sql").write_text("select 1")
    write(daily="report: {title: Daily, database: w, sql: daily.sql}\n")
    scheduler.tick()
    (home / "schedules" / "daily.sql").write_text("select 2")
    os.utime(home / "schedules" / "daily.sql", ns=(7, 7))
    tick_through(scheduler, frozen, seconds=6)

    with reading() as session:
        assert session.scalars(select(Schedule)).one().changed_at > MONDAY


def test_a_broken_file_stops_neither_the_others_nor_its_last_good_revision(scheduler, frozen, write, said):
    write(minutely=MINUTELY, other=MINUTELY)
    scheduler.tick()
    write(minutely="report: [", third=MINUTELY)
    tick_through(scheduler, frozen, seconds=66)

    assert keys() == {"minutely", "other", "third"}
    assert [len(fired(key)) for key in ("minutely", "other", "third")] == [1, 1, 1]
    assert said().count(("error", "schedule file refused, its last good revision goes on")) == 1


def test_a_folder_that_is_gone_retires_nothing(scheduler, frozen, write, home, said):
    write(minutely=MINUTELY)
    scheduler.tick()
    (home / "schedules").rename(home / "elsewhere")
    tick_through(scheduler, frozen, seconds=61)

    assert keys() == {"minutely"}
    assert len(fired("minutely")) == 1
    assert said().count(("warning", "schedules were not loaded")) == 1


def test_what_an_editor_is_still_writing_is_not_loaded(scheduler, frozen, write, home, said):
    write(daily=DAILY, weekly=WEEKLY)
    scheduler.tick()
    (home / "schedules" / "weekly.yaml").rename(home / "schedules" / "weekly.yaml~")
    scheduler.tick()
    write(weekly=WEEKLY.partition("when")[0])
    scheduler.tick()
    write(weekly=WEEKLY.replace("Daily", "Weekly"))
    tick_through(scheduler, frozen, seconds=2)

    assert said().count(("info", "schedules loaded")) == 2
    with reading() as session:
        assert [entry.detail for entry in session.scalars(select(Audit).where(Audit.subject == "weekly"))] == [
            {"change": "added"},
            {"change": "changed"},
        ]
        assert session.get_one(Schedule, "weekly").next_due_at == utc(2026, 11, 16, 7)


def test_files_are_not_watched_beside_another_broker(frozen, write, broker, monkeypatch):
    monkeypatch.setenv("PIPELINE_BROKER_URL", "redis://cache.example")
    settings.cache_clear()
    write(daily=DAILY)
    scheduler = SqlScheduler(broker)
    scheduler.tick()
    scheduler.close()

    assert keys() == set()


# ---- what goes wrong


def test_a_database_that_is_away_is_told_and_waited_for(
    scheduler, frozen, write, home, said, empty_database, monkeypatch
):
    database = shutil.copy(empty_database, home / "var" / "own.db")
    monkeypatch.setenv("PIPELINE_DATABASE_URL", f"sqlite:///{database}")
    settings.cache_clear()
    forget_engine()
    write(minutely=MINUTELY)
    scheduler.tick()
    forget_engine()
    database.rename(home / "var" / "away.db")
    database.mkdir()
    for _ in range(60):
        frozen.tick(timedelta(seconds=1))
        assert scheduler.tick() == 1.0

    database.rmdir()
    (home / "var" / "away.db").rename(database)
    forget_engine()
    tick_through(scheduler, frozen, seconds=11)
    assert len(fired("minutely")) == 1
    told = [(level, words) for level, words in said() if words.startswith("the database")]
    assert told == [
        ("error", "the database is away: beat tries again until it is back"),
        ("info", "the database is back"),
    ]


def test_a_clock_that_is_set_is_told_and_loses_and_doubles_nothing(scheduler, frozen, write, said, monkeypatch):
    write(minutely=MINUTELY)
    passed = Passed(frozen)
    monkeypatch.setattr(beat.time, "monotonic", passed.monotonic)
    tick_through(scheduler, passed, seconds=150)
    frozen.tick(timedelta(minutes=2))  # forward
    tick_through(scheduler, passed, seconds=40)
    frozen.tick(timedelta(minutes=-2))  # and back
    tick_through(scheduler, passed, seconds=190)

    due = [due for due, _ in fired("minutely")]
    assert due == sorted(set(due))
    with reading() as session:
        decided = session.scalars(select(Slot.due_at).order_by(Slot.due_at)).all()
    assert decided == [MONDAY + timedelta(minutes=n) for n in range(1, 7)]
    told = "the clock was set: slots are due by the new time, and none twice"
    assert said().count(("warning", told)) == 2


class Passed:
    """Time as it passes, whatever the clock is set to."""

    def __init__(self, frozen):
        self.frozen, self.seconds = frozen, 0.0

    def tick(self, seconds):
        self.seconds += seconds
        self.frozen.tick(seconds)

    def monotonic(self):
        return self.seconds


# ---- signs of life, and the threads


def test_beat_shows_itself_every_ten_seconds(scheduler, frozen):
    seen = set()
    for _ in range(25):
        scheduler.tick()
        frozen.tick(timedelta(seconds=1))
        with reading() as session:
            (sign,) = session.scalars(select(Heartbeat))
            seen.add(sign.at)

    assert sorted(seen) == [MONDAY + timedelta(seconds=n) for n in (0, 10, 20)]
    assert sign.name.endswith(f":{os.getpid()}")


def test_a_beat_that_is_stopped_says_goodbye(scheduler):
    scheduler.tick()
    scheduler.close()

    with reading() as session:
        assert session.scalars(select(Heartbeat)).all() == []


def test_what_reconcile_heals_is_handed_to_the_publisher(scheduler, frozen):
    run = make_run()
    frozen.tick(timedelta(seconds=6))
    scheduler._reconcile()

    assert scheduler._publisher._take() == [run.id]


def test_the_threads_publish_and_stop(database, broker, worker, monkeypatch):
    monkeypatch.setattr(beat, "HEAL", 0.01)
    run = make_run()
    with transaction() as session:
        session.scalars(select(Step)).one().queued_at = MONDAY - timedelta(days=9999)
    scheduler = SqlScheduler(broker)
    deadline, taken = time.monotonic() + 60, []
    while not taken and time.monotonic() < deadline:
        taken = worker.take()
        time.sleep(0.01)
    scheduler.close()

    assert [message.headers["run"] for message in taken] == [str(run.id)]


def test_a_monitor_is_called_from_the_start(database, broker, webhook, monkeypatch):
    monkeypatch.setenv("PIPELINE_HEARTBEAT_URL", webhook.url)
    settings.cache_clear()
    scheduler = SqlScheduler(broker)
    deadline = time.monotonic() + 60
    while not webhook.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    scheduler.close()

    assert len(webhook.requests) == 1


def test_celery_is_told_what_it_runs_on(scheduler):
    assert scheduler.info.strip() == ". schedules -> the pipeline's database"
    scheduler.sync()
