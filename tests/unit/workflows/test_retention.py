"""The retention workflow: what its steps remove from the store and from var/, and what they leave alone."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline.adapters import storage
from pipeline.db import reading, transaction
from pipeline.errors import Parked, Refused, StaleClaim
from pipeline.handle import RunHandle, store
from pipeline.models import Artifact, Attempt, RateUse, Run, Step
from pipeline.services import artifacts, steps
from pipeline.settings import settings
from pipeline.tasks import bound_parameters, stages_of
from pipeline.workflows import retention
from tests.factories import MONDAY, finished_run, make_run, make_schedule, make_step

YEAR = timedelta(days=365)


@pytest.fixture
def run(database):
    """The nightly run of retention, its first step claimed."""
    make_schedule("retention", report=None, recipients=None, workflow="retention")
    row = make_run("retention")
    with transaction() as session:
        step = session.scalars(select(Step).where(Step.run_id == row.id)).one()
        claim = steps.claim(session, step.id, str(step.task_id))
    with RunHandle(claim) as handle:
        yield handle


def touched(path: Path, age: timedelta) -> Path:
    stamp = (MONDAY - age).timestamp()
    os.utime(path, (stamp, stamp))
    return path


def a_file(name: str, age: timedelta) -> Path:
    path = settings().var / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("bytes")
    return touched(path, age)


def an_artifact(data: bytes, age: timedelta, run_id=None) -> Path:
    """Bytes in the store with their row, known to a run or to none."""
    stored = store(data, "dataset", ".parquet")
    file = artifacts.StoredFile("dataset:rows", stored.sha256, stored.size, stored.uri, "dataset", "text/plain")
    with transaction() as session:
        artifacts.record(session, run_id or make_run_id(session), [file], MONDAY - age)
        if run_id is None:
            session.query(artifacts.RunArtifact).delete()
    return touched(settings().var / "artifacts" / stored.uri, age)


def make_run_id(session):
    return session.scalars(select(Run.id).limit(1)).one()


def carry_out(task, *args):
    from pipeline.tasks import STEPS

    return STEPS[task.name].function(*args)


def test_the_workflow_is_three_steps_and_keeps_what_the_settings_say(run, monkeypatch):
    monkeypatch.setenv("PIPELINE_KEEP_DAYS", "90")
    settings.cache_clear()
    stages = stages_of(retention.retention(run))
    assert [(step.task, step.args) for (step,) in stages] == [
        ("retention.purge_runs", (90,)), ("retention.purge_artifacts", ()), ("retention.purge_files", (90,)),
    ]  # fmt: skip
    assert stages_of(retention.retention(run, 7))[0][0].args == (7,)


def test_nobody_can_ask_to_keep_nothing():
    assert bound_parameters("retention", {"keep_days": "30"}) == {"keep_days": 30}
    with pytest.raises(Refused, match='parameter keep_days="0": Input should be greater than or equal to 1'):
        bound_parameters("retention", {"keep_days": 0})


def test_old_runs_go_and_the_step_says_how_many(run):
    finished_run("shipments", due_at=MONDAY - YEAR)
    finished_run("shipments", due_at=MONDAY - timedelta(days=29))
    assert carry_out(retention.purge_runs, run, 30) == {"attempts": 1, "steps": 1, "runs": 1}
    with reading() as session:
        assert session.query(Run).count() == 2


def test_rates_that_nobody_uses_any_more_are_forgotten(run):
    at_work = make_step(run.claim.run, "deliver:0", status="running", attempts=("running",))
    with transaction() as session:
        sender = session.scalars(select(Attempt.id).where(Attempt.step_id == at_work.id)).one()
        for name, days, held in (
            ("used of late", 29, {}),
            ("unused", 31, {}),
            ("a sender has it", 31, {str(sender): 1}),
            ("never", None, {}),
        ):
            at = (MONDAY - timedelta(days=days or 0)).timestamp()
            session.add(RateUse(name=name, spans=[[at - 9, at, 5]] if days else [], held=held))
    assert carry_out(retention.purge_runs, run, 30) == {"rate_uses": 2}
    with reading() as session:
        assert {*session.scalars(select(RateUse.name))} == {"used of late", "a sender has it"}


def test_a_purge_whose_step_was_taken_over_stops(run):
    finished_run("shipments", due_at=MONDAY - YEAR)
    run.lost = True
    with pytest.raises(StaleClaim):
        carry_out(retention.purge_runs, run, 30)


def test_artifacts_that_no_run_knows_go_with_their_bytes(run):
    gone, young = an_artifact(b"gone", YEAR), an_artifact(b"young", timedelta(hours=3))
    known = an_artifact(b"known", YEAR, run.id)
    assert carry_out(retention.purge_artifacts, run) == {"artifacts": 1, "bytes": 4, "unfinished": 0}
    assert [path.exists() for path in (gone, young, known)] == [False, True, True]
    with reading() as session:
        assert session.query(Artifact).count() == 2


def test_bytes_that_are_being_stored_again_stay_with_their_row(run):
    """A step has put the same bytes once more and is about to record them."""
    path = an_artifact(b"gone", YEAR)
    storage.store().put(b"gone", "dataset", ".parquet")
    assert carry_out(retention.purge_artifacts, run) == {"artifacts": 0, "bytes": 0, "unfinished": 0}
    assert path.exists()


def test_where_the_store_is_not_mounted_no_row_goes_and_nothing_is_written(run, tmp_path):
    file = an_artifact(b"old", YEAR)
    mounted = settings().var / "artifacts"
    mounted.rename(tmp_path / "elsewhere")
    for act in (lambda: carry_out(retention.purge_artifacts, run), lambda: run.put("a", b"new")):
        with pytest.raises(Parked, match="mount it, or correct PIPELINE_STORAGE_URL"):
            act()
    assert not mounted.exists()
    (tmp_path / "elsewhere").rename(mounted)
    assert carry_out(retention.purge_artifacts, run)["artifacts"] == 1
    assert not file.exists()


def test_bytes_that_are_gone_already_are_no_obstacle(run):
    an_artifact(b"gone", YEAR).unlink()
    assert carry_out(retention.purge_artifacts, run) == {"artifacts": 1, "bytes": 4, "unfinished": 0}


def test_files_are_removed_by_their_age_and_empty_folders_with_them(run):
    old = [
        a_file("scratch/fetch-x1/rows.parquet", YEAR).parent,
        a_file("cache/bundles/5f2b/document.html", YEAR).parent,
        a_file("cache/dataset/ab/abcd.parquet", YEAR),
        a_file("reports/shipments/2025-W46/ACME.pdf", YEAR),
        a_file("outbox/20251110T060000Z-anna.eml", YEAR),
    ]
    for folder in old[:2]:
        touched(folder, YEAR)
    young = [
        a_file("scratch/fetch-x2/rows.parquet", timedelta()),
        a_file("cache/bundles/aa12/_base/document.html", YEAR),  # old files of a bundle that was used today
        a_file("cache/bundles/aa12/bb/document.html", YEAR),
        a_file("reports/shipments/2026-W45/ACME.pdf", timedelta(days=7)),
        a_file("outbox/20261109T060000Z-anna.eml", timedelta(days=7)),
        a_file("broker/appendonly.aof", YEAR),  # not ours
    ]
    gone = carry_out(retention.purge_files, run, 30)
    assert gone == {"scratch": 1, "cache": 2, "reports": 1, "outbox": 1}
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)
    assert not (settings().var / "reports/shipments/2025-W46").exists()


def test_a_home_without_any_of_it_is_fine(run):
    gone = carry_out(retention.purge_files, run, 30)
    assert gone == {"scratch": 0, "cache": 0, "reports": 0, "outbox": 0}
