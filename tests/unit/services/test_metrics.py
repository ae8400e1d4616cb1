"""What Prometheus is told is what the rows say: counted once over all beats, and not forgotten when rows are purged."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import delete

from pipeline.db import clock, reading, transaction
from pipeline.models import BadFile, Heartbeat, Run, Slot, Step
from pipeline.notice import Kind
from pipeline.services import notices, tallies
from pipeline.services.metrics import metrics
from pipeline.settings import settings
from tests.factories import MONDAY, finished_run, make_delivery, make_run, make_schedule, make_step
from tests.unit.services.acts import claim
from tests.unit.services.looks import change

pytestmark = pytest.mark.usefixtures("time")
SECOND = timedelta(seconds=1)


class Rows:
    def collect(self):
        with reading() as session:
            yield from metrics(session)


def scrape():
    """Every sample as Prometheus' own parser reads it, by name and labels."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def count(time, **passes):
    time.passes(**(passes or {"seconds": 31}))
    with transaction(durable=False) as session:
        tallies.advance(session, clock(session))


def fired(due, seconds, **values):
    return make_run(due_at=due, created_at=due + seconds * SECOND, **values)


# ---- histograms


def test_how_late_slots_were_fired_is_a_histogram(time):
    count(time)
    for seconds in (0.03, 0.2, 0.2, 7200):
        fired(time.now, seconds)
        time.passes(seconds=seconds)
    fired(time.now, 40, trigger="manual")
    count(time, hours=1)
    count(time, hours=1)
    count(time, hours=2)

    found = scrape()
    at = {bound: found["pipeline_due_to_fired_seconds_bucket", bound] for bound in ("0.05", "0.25", "3600.0", "+Inf")}
    assert at == {"0.05": 1, "0.25": 3, "3600.0": 3, "+Inf": 4}
    assert found["pipeline_due_to_fired_seconds_count",] == 4
    assert found["pipeline_due_to_fired_seconds_sum",] == pytest.approx(7200.43, abs=0.01)


def test_how_long_workers_took_to_begin_counts_from_the_end_of_the_jitter(time):
    count(time)
    run = make_run(due_at=time.now, created_at=time.now, not_before=time.now + 60 * SECOND)
    with transaction() as session:
        session.get_one(Run, run.id).started_at = time.now + 62 * SECOND
    count(time, seconds=120)

    assert scrape()["pipeline_fired_to_started_seconds_sum",] == pytest.approx(2, abs=0.01)


def test_what_was_counted_stays_when_its_rows_are_purged(time):
    count(time)
    run = fired(time.now, 1)
    count(time)
    with transaction() as session:
        session.execute(delete(Step))
        session.execute(delete(Slot))
        session.execute(delete(Run).where(Run.id == run.id))
    count(time)

    assert scrape()["pipeline_due_to_fired_seconds_count",] == 1


def test_each_row_is_counted_once_however_many_beats_count(time):
    count(time)
    fired(time.now, 1)
    time.passes(seconds=60)

    def beat():
        with transaction(durable=False) as session:
            tallies.advance(session, clock(session))

    beats = [threading.Thread(target=beat) for _ in range(4)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()

    assert scrape()["pipeline_due_to_fired_seconds_count",] == 1


def test_what_is_younger_than_any_transaction_is_counted_next_time(time):
    count(time)
    time.passes(seconds=20)
    fired(time.now, 0)
    count(time, seconds=10)
    assert scrape()["pipeline_due_to_fired_seconds_count",] == 0
    count(time, seconds=20)
    assert scrape()["pipeline_due_to_fired_seconds_count",] == 1


# ---- counters


def test_runs_and_deliveries_count_as_they_end(time):
    count(time)
    for status in ("succeeded", "succeeded", "failed"):
        run = finished_run(due_at=time.now, status=status)
        make_delivery(run, status="accepted" if status == "succeeded" else "failed")
    count(time, minutes=5)

    found = scrape()
    assert {key[1]: value for key, value in found.items() if key[0] == "pipeline_runs_ended_total"} == {
        "succeeded": 2, "failed": 1,
    }  # fmt: skip
    assert found["pipeline_deliveries_ended_total", "accepted"] == 2


# ---- what is so now


def test_what_is_so_now_is_read_from_the_rows(time):
    make_schedule("paused")
    change("paused", paused=True)
    run = make_run("shipments", due_at=time.now)
    make_run("invoices", due_at=time.now, status="waiting", waiting_for="approval")
    make_delivery(run, status="deferred")
    change("shipments", next_due_at=time.now)
    with transaction() as session:
        session.add(BadFile(file="schedules/x.yaml", schedule_key="x", error="is wrong", since=MONDAY))
        session.add(Heartbeat(name="beat@one:1", at=time.now, detail=None))
        notices.tell(session, Kind.RUN_FAILED, "schedule:x", "1", targets=["ops@example.com"])
    time.passes(seconds=90)

    found = scrape()
    assert found["pipeline_schedules", "active"] == 2
    assert found["pipeline_schedules", "paused"] == 1
    assert found["pipeline_overdue_seconds",] == 90
    assert found["pipeline_bad_files",] == 1
    assert found["pipeline_beat_heartbeat_age_seconds", "beat@one:1"] == 90
    assert found["pipeline_runs", "queued", ""] == 1
    assert found["pipeline_runs", "waiting", "approval"] == 1
    assert found["pipeline_deliveries", "deferred"] == 1
    assert found["pipeline_steps_queued", "default"] == 2
    assert found["pipeline_steps_queued_age_seconds", "default"] == 90
    assert found["pipeline_notices_open", "run_failed"] == 1
    assert found["pipeline_notices_unsent",] == 1

    assert claim(run, "start")
    assert scrape()["pipeline_steps_running", "default"] == 1


def test_pools_tell_how_full_they_are_and_how_many_wait(time, monkeypatch):
    monkeypatch.setenv("PIPELINE_POOLS", "warehouse=3")
    settings.cache_clear()
    run = make_run()
    values = {"pool": "warehouse", "lease_until": time.passes(seconds=1) + timedelta(seconds=30)}
    make_step(run, "fetch:a", status="running", **values)
    make_step(run, "fetch:b", status="queued", place_wanted_at=time.now, **values)

    found = scrape()

    told = {name: found[f"pipeline_pool_{name}", "warehouse"] for name in ("places", "taken", "waiting")}
    assert told == {"places": 3, "taken": 1, "waiting": 1}


def test_an_empty_database_has_every_metric():
    found = scrape()

    assert found["pipeline_due_to_fired_seconds_count",] == 0
    assert found["pipeline_bad_files",] == 0
    assert any(key[0] == "pipeline_build_info" for key in found)
