"""What stops at the gate, with real processes: nobody is mailed before somebody agrees, and then everybody once."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.models import Approval, Audit, Notice, Run
from tests.functional.running import PIPELINE, REPORT, Running

GATED = (
    REPORT.replace("from shipments where", "from {table} where")
    + 'recipients: {{database: warehouse, query: "{people}"}}\n'
    + "approvers: [ok+{table}@example.org]\n"
    + "deadline: {{finish_within: 1h}}\n"
    + 'require: {{versus_last: ">= 50%", recipients: "<= 300%"}}\n'
)
PEOPLE = "select key, email, name from contacts"
# Everybody is joined with every key, and twice over with an address of their own.
BAD_JOIN = (
    "select b.key, a.email from contacts a join contacts b "
    "union select b.key, 'x' || a.email from contacts a join contacts b"
)


def loaded(pipeline: Running, table: str, rows: int) -> None:
    """The warehouse with so many rows for each of two customers."""
    with sqlite3.connect(pipeline.home / "warehouse.db", timeout=60) as warehouse:
        warehouse.execute(f"create table if not exists {table} (customer text, day text, parcels integer, weight real)")
        warehouse.execute(f"delete from {table}")
        some = [(key, "2026-11-10", number, 1.0) for key in ("ACME", "BETA") for number in range(rows)]
        warehouse.executemany(f"insert into {table} values (?, ?, ?, ?)", some)


def stands(pipeline: Running, run: Run) -> Run:
    return pipeline.one(Run, Run.id == run.id)


def mailed_about(pipeline: Running, words: bytes, to: bytes) -> Callable[[], bytes | None]:
    return lambda: next((one for one in list(pipeline.smtp.contents) if words in one and to in one), None)


def approving(pipeline: Running, run: Run, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PIPELINE, "approve", str(run.id), "--by", "Anna", "--note", "looked at it"],
        cwd=pipeline.home,
        env={**pipeline.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(240)
def test_a_bad_join_stops_before_anybody_is_mailed(pipeline: Running) -> None:
    name = f"joined_{pipeline.engine.dialect.name}"
    loaded(pipeline, name, 10)
    pipeline.schedule(name, GATED.format(table=name, people=PEOPLE))
    first = pipeline.run(name)
    assert first.status == "succeeded"
    history = json.loads(pipeline.command("show", name, "--json").stdout)["events"]
    assert [one["text"] for one in history if one["kind"] == "gate"] == [
        "not compared, since no run has succeeded before: require versus_last >= 50%",
        "not compared, since no run has succeeded before: require recipients <= 300%",
    ]

    pipeline.schedule(name, GATED.format(table=name, people=BAD_JOIN))
    joined = pipeline.run(name)
    assert (joined.status, joined.waiting_for) == ("waiting", "approval")
    assert joined.error == (
        "recipients: 16, 533% of the last time, and require.recipients wants <= 300% "
        "(the last time, 2026-W46, it was 3)"
    )
    assert {one.status for one in pipeline.rows_of_deliveries(joined)} == {"planned", "skipped"}
    asked = pipeline.until(mailed_about(pipeline, f"Approval wanted: {name}".encode(), f"ok+{name}@".encode()), 60)
    assert b"https://reports.example.net/d/" in asked.replace(b"=\r\n", b"")
    done = pipeline.command("reject", name, "--by", "Anna", "--note", "a join is wrong", "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "rejected")
    assert stands(pipeline, joined).error == "rejected by Anna: a join is wrong"
    assert pipeline.taken(joined) == []
    assert "approve" not in {one.action for one in pipeline.rows(Audit, Audit.subject == str(joined.id))}


@pytest.mark.timeout(240)
def test_a_half_loaded_warehouse_waits_for_one_answer_whoever_is_killed(
    pipeline: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"half_{pipeline.engine.dialect.name}"
    loaded(pipeline, name, 10)
    pipeline.run(pipeline.schedule(name, GATED.format(table=name, people=PEOPLE)))
    loaded(pipeline, name, 4)
    half = pipeline.run(name)
    assert (
        half.error
        == "rows: 8, 40% of the last time, and require.versus_last wants >= 50% (the last time, 2026-W46, it was 20)"
    )
    assert pipeline.taken(half) == []

    killed = approving(pipeline, half, PIPELINE_FAILPOINTS="approval.answered=kill")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert stands(pipeline, half).waiting_for == "approval"

    pipeline.kill("worker")
    both = [approving(pipeline, half) for _ in range(2)]
    said = [one.communicate(timeout=60) for one in both]
    with monkeypatch.context() as armed:
        armed.setitem(pipeline.environment, "PIPELINE_FAILPOINTS", "gate.passed=kill")
        armed.setitem(pipeline.environment, "PIPELINE_FAILPOINTS_ONCE", str(tmp_path))
        pipeline.start("worker")
    assert sorted(one.returncode for one in both) == [0, 2]
    (refused,) = [error for one, (_, error) in zip(both, said, strict=True) if one.returncode]
    assert "is answered already: approved by cli:Anna on" in refused
    over = pipeline.until(
        lambda: one if (one := stands(pipeline, half)).finished_at else None,
        60,
        lambda: pipeline.command("show", str(half.id), "--attempts").stdout,
    )
    assert (over.status, over.error) == ("succeeded", None)
    assert (tmp_path / "gate.passed").exists()
    assert over.finish_by is not None
    (approval,) = pipeline.rows(Approval, Approval.run_id == half.id)
    assert over.finish_by > approval.answered_at
    assert len(pipeline.taken(half)) == 3
    assert [one.action for one in pipeline.rows(Audit, Audit.subject == str(half.id))] == ["trigger", "approve"]
    (told,) = pipeline.rows(Notice, Notice.run_id == half.id, Notice.kind == "approval_wanted")
    assert told.closed_at is not None


def test_what_does_not_matter_is_not_sent(sqlite_pipeline: Running) -> None:
    pipeline, people = sqlite_pipeline, "recipients: {database: warehouse, query: 'select key, email from contacts'}\n"
    summed = REPORT + "  columns: {day: Day, parcels: {total: sum}}\n" + people
    run = pipeline.run(pipeline.schedule("alert", summed + "send_if: parcels > 10 and documents == 2\n"))

    assert run.status == "succeeded"
    documents = pipeline.documents(run)
    assert {key: documents[key].status for key in ("ACME", "BETA")} == {"ACME": "rendered", "BETA": "skipped"}
    assert documents["BETA"].error == "send_if parcels > 10 and documents == 2: parcels is 7, documents is 2"
    assert {line["recipient"] for line in pipeline.taken(run)} == {"ok+acme@example.org", "ok+acme2@example.org"}
    assert pipeline.deliveries(run)["ok+beta@example.org"].status == "skipped"

    quiet = pipeline.run(pipeline.schedule("quiet", summed + "send_if: parcels > 100\n"))
    assert (quiet.status, quiet.error) == (
        "skipped", "send_if parcels > 100: parcels is 28 (the first of 2 documents, none of which matters)",
    )  # fmt: skip
    assert pipeline.taken(quiet) == []
    assert {one.status for one in pipeline.rows_of_deliveries(quiet)} == {"skipped"}
