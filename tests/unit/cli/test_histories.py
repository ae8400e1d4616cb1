"""What stays on record, as a terminal and a machine show it."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from pipeline.db import reading, transaction
from pipeline.models import Door, Run, Slot
from pipeline.services import audit
from pipeline.services.audit import Actor
from tests import factories

pytestmark = pytest.mark.usefixtures("database", "broker")
WEEK = timedelta(days=7)


def save(home: Path, key: str, **changes) -> None:
    definition = factories.schedule_file(key, **changes).definition
    (home / "schedules" / f"{key}.yaml").write_text(yaml.safe_dump(definition))


# ---- audit


def test_who_triggered_what_from_where_is_on_record(typed, as_json, database: Path):
    save(database, "shipments")
    typed("sync", "--by", "the deployment")
    typed("trigger", "shipments", "--by", "Anna", "-p", "region=us", "--to", "me@example.com", "--no-send")

    triggered, synced = as_json("audit", "shipments")
    with reading() as session:
        run = session.query(Run).one()
    assert (triggered["action"], triggered["kind"], triggered["subject"]) == ("trigger", "run", str(run.id))
    assert (triggered["by"], triggered["source"], triggered["address"]) == ("Anna", "cli", socket.gethostname())
    assert triggered["detail"] == {"params": {"region": "us"}, "to": 1, "send": False}
    assert (synced["by"], synced["subject"], synced["detail"]) == ("the deployment", "shipments", {"change": "added"})
    assert run.triggered_by == "cli:Anna"


def test_what_changes_nothing_or_is_refused_leaves_no_record(typed, as_json, database: Path):
    save(database, "shipments")
    for words in (["sync"], ["sync"], ["trigger", "shipmets"], ["trigger", "shipments", "-p", "regin=us"]):
        typed(*words)

    assert [entry["action"] for entry in as_json("audit")] == ["sync"]


def test_the_record_is_found_by_schedule_by_the_beginning_of_an_id_and_by_time(typed, as_json):
    run = factories.make_run("shipments")
    with transaction() as session:
        door = Actor("bob", Door.HTTP, "192.0.2.7")
        audit.record(session, door, "cancel", "run", run.id, schedule="shipments", reason="wrong week")
        audit.record(session, door, "pause", "schedule", "daily", schedule="daily", note=None)

    assert [entry["action"] for entry in as_json("audit", str(run.id)[:13])] == ["cancel"]
    assert [entry["detail"] for entry in as_json("audit", "daily")] == [{}]
    assert as_json("audit", "--since", "1h", "--limit", 1)[0]["action"] == "pause"
    assert "bob (http from" in typed("audit").stdout
    assert 'Nothing is on record about "weekly"' in " ".join(typed("audit", "weekly").stdout.split())


# ---- slots


def test_why_it_did_not_run_on_that_day_fits_80_columns(typed, as_json):
    run = factories.finished_run("shipments", status="failed", error="no route")
    factories.make_delivery(run, status="failed")
    with transaction() as session:
        decided = {"schedule_key": "shipments", "decided_at": run.due_at}
        session.add(Slot(due_at=run.due_at, decision="fired", run_id=run.id, **decided))
        skipped = "run 0199f3a1-7c3e was still running"
        session.add(Slot(due_at=run.due_at - WEEK, decision="skipped", reason=skipped, **decided))
    result = typed("slots", "shipments", "--since", "2026-11-09", "--until", "2026-11-16")

    assert max(map(len, result.stdout.splitlines())) <= 80
    said = " ".join(result.stdout.split())
    assert "due (Berlin time) UTC decision run" in said
    assert f"Mon 16 Nov 07:00 16 06:00 fired {str(run.id)[:13]} failed, 0/1 sent" in said
    assert "Mon 9 Nov 07:00 09 06:00 skipped" in said
    assert "Next:" not in said  # the span is over

    (slot,) = as_json("slots", "shipments", "--decision", "skipped")
    assert (slot["due_at"], slot["local"]) == ("2026-11-09T06:00:00.000Z", "2026-11-09T07:00:00+01:00")
    assert (slot["reason"], slot["run"]) == (skipped, None)


def test_slots_to_come_are_named_below(typed):
    factories.make_schedule("shipments", when="0 7 * * mon")
    said = typed("slots", "shipments").stdout

    assert "No slot has been due yet." in said
    assert "At 07:00 on Monday, UTC time. Next:\nMon " in said
