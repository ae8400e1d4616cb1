"""The commands that keep an installation going."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml
from sqlalchemy.exc import OperationalError

from pipeline.cli import tables, upkeep
from pipeline.db import reading, transaction
from pipeline.doctor import Check, Verdict
from pipeline.models import Schedule, Step
from pipeline.services import loading
from tests import factories
from tests.conftest import forget_engine
from tests.factories import MONDAY


def save(home: Path, key: str, text: str | None = None) -> None:
    definition = factories.schedule_file(key).definition
    (home / "schedules" / f"{key}.yaml").write_text(text if text is not None else yaml.safe_dump(definition))


# ---- sync


def test_sync_loads_the_files_and_says_what_changed(typed, as_json, database: Path):
    for key in ("daily", "weekly", "monthly"):
        save(database, key)
    added = ["daily", "monthly", "weekly"]
    assert as_json("sync") == {"added": added, "changed": [], "retired": [], "withheld": [], "errors": {}}
    assert "Nothing has changed." in typed("sync").stdout
    (database / "schedules" / "weekly.yaml").unlink()
    assert typed("sync").stdout.split() == ["added", "changed", "retired", "weekly"][2:]


def test_sync_loads_the_good_files_and_exits_1_for_the_bad_one(typed, database: Path):
    save(database, "daily")
    save(database, "weekly", "report: {title: Weekly}\nwhen: every monday\n")
    result = typed("sync")
    assert result.exit_code == 1
    assert "daily" in result.stdout
    assert "schedules/weekly.yaml: when" in result.stderr


def test_sync_says_what_it_did_not_retire_and_exits_1(typed, database: Path):
    for key in ("daily", "weekly", "monthly", "yearly"):
        save(database, key)
    typed("sync")
    for key in ("daily", "weekly", "monthly"):
        (database / "schedules" / f"{key}.yaml").rename(database / f"{key}.yaml")
    save(database, "hourly")
    result = typed("sync")
    assert (result.exit_code, result.stdout.split()) == (1, ["added", "hourly"])
    assert "3 schedules are gone from the folder" in result.stderr
    assert typed("sync", "--force").stdout.split() == ["retired", "daily,", "monthly,", "weekly"]


def test_sync_that_meets_a_beat_crosswise_gives_way_and_comes_again(typed, database: Path, monkeypatch):
    save(database, "daily")
    sync, met = loading.sync, []

    def deadlock_first(*given, **how):
        if not met:
            met.append(OperationalError("SELECT", {}, Exception("deadlock detected")))
            raise met[0]
        return sync(*given, **how)

    monkeypatch.setattr(loading, "sync", deadlock_first)
    assert typed("sync").stdout.split() == ["added", "daily"]


@pytest.mark.parametrize("there", [True, False])
def test_sync_of_an_empty_or_missing_folder_is_refused(typed, database: Path, there):
    factories.make_schedule()
    if not there:
        (database / "schedules").rmdir()
    result = typed("sync")
    assert result.exit_code == 2
    assert "nothing was changed" in result.stderr
    with reading() as session:
        assert session.get_one(Schedule, "shipments").retired_at is None
    assert typed("sync", "--force").exit_code == 0
    with reading() as session:
        assert session.get_one(Schedule, "shipments").retired_at is not None


# ---- migrate


def test_migrate_makes_the_tables_and_is_harmless_the_second_time(typed, home: Path):
    forget_engine()
    first, second = typed("migrate"), typed("migrate")
    after = typed("runs")
    forget_engine()
    assert (first.exit_code, second.exit_code, after.exit_code) == (0, 0, 0)
    assert "is at the newest migration now" in " ".join(first.stdout.split())
    assert "already" in second.stdout


# ---- reconcile


@pytest.mark.usefixtures("database", "broker")
def test_reconcile_says_what_it_healed(typed, as_json):
    assert "Nothing to heal." in typed("reconcile").stdout
    run = factories.make_run(status="running")
    with transaction() as session:
        step = session.query(Step).one()
        step.status, step.fence, step.lease_owner, step.lease_until = "running", 1, "elsewhere/1/2/3", MONDAY
    (healed,) = as_json("reconcile")
    assert (healed["run_id"], healed["published"]) == (str(run.id), True)
    assert healed["done"] == ["start: elsewhere/1/2/3 let its lease lapse; queued again"]


@pytest.mark.usefixtures("database", "no_broker")
def test_reconcile_without_a_broker_keeps_what_is_to_be_published(typed):
    factories.make_run()
    said = " ".join(typed("reconcile").stdout.split())
    assert "nothing is left to publish, or the broker is away" in said


# ---- doctor


def test_doctor_says_what_to_do_about_each_fault(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    upkeep.show_checks(
        [
            Check("Python", Verdict.OK, "Python 3.11.7"),
            Check("fonts", Verdict.WARNING, "only one family", "`apt-get install fonts-dejavu-core`"),
            Check("disk", Verdict.FAULT, "3 MB free in /var", "make room, or move PIPELINE_STORAGE_URL"),
        ]
    )
    said = capsys.readouterr().out
    assert "✓ Python" in said
    assert "→ `apt-get install fonts-dejavu-core`" in said
    assert "1 fault: reports will not go out" in said


def test_doctor_looks_at_everything_without_a_database_or_broker(typed, home: Path):
    result = typed("doctor", "--json")
    checks = json.loads(result.stdout)
    assert {"name", "verdict", "found", "advice"} == set(checks[0])
    assert result.exit_code == (1 if any(one["verdict"] == "fault" for one in checks) else 0)


def test_doctor_of_an_unknown_source_is_refused_or_a_fault(typed, home: Path):
    result = typed("doctor", "warehouse")
    assert result.exit_code in {1, 2}
    assert "PIPELINE_SOURCE_WAREHOUSE_URL" in " ".join(result.output.split())


# ---- up and catcher


def test_up_is_refused_where_it_runs_already(typed, home: Path, monkeypatch):
    from pipeline.embedded import state

    monkeypatch.setattr(state, "PATIENCE", 0.1)
    lock = state.TreeLock(home / "var" / "run")
    lock.take()
    try:
        result = typed("up")
    finally:
        lock.release()
    assert result.exit_code == 2
    assert "another `pipeline up` is just starting here" in result.stderr


def test_a_catcher_whose_port_is_taken_names_it(typed, home: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = typed("catcher", "--port", port)
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in result.stderr


# ---- colours


def test_every_status_has_a_colour_of_its_meaning():
    from pipeline.models import DeliveryStatus, DocumentStatus, Outcome, RunStatus, StepStatus

    for statuses in (RunStatus, StepStatus, DocumentStatus, DeliveryStatus, Outcome, Verdict):
        assert {str(one) for one in statuses} <= tables.STYLES.keys()
