"""`pipeline trigger`: what it opens, what it refuses, what it asks, and how it waits."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from pipeline.cli import reach, triggering, waiting
from pipeline.cli.options import actor
from pipeline.db import reading, transaction
from pipeline.models import Audit, Run, Schedule, Step, WaitingFor
from pipeline.services import answers, runs
from pipeline.settings import settings
from tests import factories

pytestmark = pytest.mark.usefixtures("database", "broker")


def save(home: Path, key: str = "shipments", **changes) -> None:
    """Write a schedule file into the home, as somebody with an editor does."""
    definition = factories.schedule_file(key, **changes).definition
    (home / "schedules" / f"{key}.yaml").write_text(yaml.safe_dump(definition))


def all_runs() -> list[Run]:
    with reading() as session:
        return session.query(Run).order_by(Run.created_at).all()


# ---- what it opens


def test_a_file_that_was_saved_a_moment_ago_is_run(typed, database: Path):
    save(database)
    result = typed("trigger", "shipments")
    assert result.exit_code == 0
    (run,) = all_runs()
    assert f"Run {str(run.id)[:13]} of shipments is opened: Your shipments" in result.stdout
    assert "nothing leaves this machine" in result.stdout
    assert "`pipeline show" in result.stdout
    assert (run.trigger, run.triggered_by) == ("manual", str(actor()))


def test_period_parameters_and_scope_are_the_runs(typed, database: Path):
    save(database)
    words = ["-p", "region=us", "-p", "limit=7", "--period", "2026-Q3", "--key", "ACME", "--to", "me@example.com"]
    assert typed("trigger", "shipments", *words, "--no-send").exit_code == 0
    (run,) = all_runs()
    assert run.params == {"region": "us", "limit": 7}
    assert run.period["label"] == "2026-Q3"
    assert run.scope == {"keys": ["ACME"], "to": ["me@example.com"], "send": False}


def test_machines_get_the_full_id_and_whether_the_broker_has_it(as_json, database: Path):
    save(database)
    found = as_json("trigger", "shipments")
    assert found["id"] == str(all_runs()[0].id)
    assert (found["status"], found["new"], found["published"]) == ("queued", True, True)


def test_the_same_idempotency_key_opens_no_second_run(typed, as_json, database: Path):
    save(database)
    first = as_json("trigger", "shipments", "--idempotency-key", "today")
    again = as_json("trigger", "shipments", "--idempotency-key", "today")
    assert (again["id"], again["new"]) == (first["id"], False)
    assert "was opened with this key before" in typed("trigger", "shipments", "--idempotency-key", "today").stdout
    other = typed("trigger", "shipments", "--idempotency-key", "today", "--key", "ACME")
    assert other.exit_code == 2
    assert "was used for another request" in other.stderr


@pytest.mark.usefixtures("no_broker")
def test_a_broker_that_is_away_only_delays_the_run(typed, database: Path):
    save(database)
    result = typed("trigger", "shipments")
    assert result.exit_code == 0
    assert "starts as soon as `pipeline up` is running" in result.stdout
    assert [run.status for run in all_runs()] == ["queued"]


@pytest.mark.usefixtures("no_broker")
def test_of_a_run_that_somebody_else_opened_nothing_is_said_of_the_broker(typed, database: Path):
    save(database)
    words = ["trigger", "shipments", "--idempotency-key", "today"]
    assert "The broker is away" in typed(*words).stdout
    assert "The broker is away" not in typed(*words).stdout


# ---- what it refuses


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["shipmets"], 'there is no schedule "shipmets": did you mean shipments?'),
        (["shipments", "-p", "regin=us"], "did you mean region?"),
        (["shipments", "-p", "region"], '-p "region": write it as KEY=VALUE'),
        (["shipments", "-p", "limit=many"], "must be a whole number"),
        (["shipments", "--period", "someday"], 'period "someday" is not known'),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(typed, database: Path, words, sentence):
    save(database)
    result = typed("trigger", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert sentence in json.loads(typed("trigger", *words, "--json").stdout)["error"]
    assert all_runs() == []


def test_a_bad_file_is_in_nobodys_way_but_its_own(typed, database: Path):
    save(database)
    (database / "schedules" / "weekly.yaml").write_text("report: {title: Weekly\n")
    assert typed("trigger", "shipments").exit_code == 0
    result = typed("trigger", "weekly")
    assert result.exit_code == 2
    assert result.stderr.startswith("schedules/weekly.yaml: line 2")


def test_where_files_are_loaded_by_hand_that_is_said(typed, database: Path, monkeypatch):
    monkeypatch.setenv("PIPELINE_WATCH_SCHEDULES", "false")
    settings.cache_clear()
    save(database)
    result = typed("trigger", "shipments")
    assert result.exit_code == 2
    assert "schedules/shipments.yaml is there but not loaded: `pipeline sync` loads it" in result.stderr


def test_when_no_file_is_there_the_schedules_stay_as_they_are(typed, database: Path):
    factories.make_schedule("shipments")
    result = typed("trigger", "shipments")
    assert result.exit_code == 0
    assert "nothing was changed" in " ".join(result.stderr.split())
    with reading() as session:
        assert session.get_one(Schedule, "shipments").retired_at is None


def test_where_workers_are_started_by_themselves_it_says_that_their_settings_count(home, monkeypatch):
    assert triggering.mail(settings()).endswith("(PIPELINE_MAIL=catch)")
    monkeypatch.setenv("PIPELINE_BROKER_URL", "redis://broker.invalid")
    settings.cache_clear()
    said = "(PIPELINE_MAIL=catch here; what the workers are started with counts)"
    assert triggering.mail(settings()).endswith(said)


# ---- what it asks


@pytest.fixture
def live(typed, monkeypatch):
    """Mail goes out for real, and somebody sits at the terminal; types `answer` when asked."""
    from typer.testing import CliRunner

    from pipeline.cli import application

    monkeypatch.setenv("PIPELINE_MAIL", "live")
    monkeypatch.setenv("PIPELINE_SMTP_URL", "smtp://relay.invalid")
    monkeypatch.setattr(reach, "on_terminal", lambda: True)  # the runner's standard input is none
    settings.cache_clear()
    return lambda *words, answer="": CliRunner().invoke(application(), ["trigger", *words], input=answer)


def people(count: int) -> list[dict[str, str]]:
    return [{"email": f"p{number}@example.com", "key": f"K{number}"} for number in range(count)]


def test_more_than_ten_people_are_mailed_only_after_a_yes(live, database: Path):
    save(database, recipients=people(11))
    refused = live("shipments", answer="n\n")
    assert refused.exit_code == 2
    assert "about 11 people for real" in refused.stderr
    assert all_runs() == []
    assert live("shipments", answer="y\n").exit_code == 0
    assert len(all_runs()) == 1


@pytest.mark.parametrize("words", [["--yes"], ["--no-send"], ["--key", "K3"], ["--to", "me@example.com"], ["--json"]])
def test_nothing_is_asked_where_few_are_mailed_or_nobody_can_answer(live, database: Path, words):
    save(database, recipients=people(11))
    assert live("shipments", *words).exit_code == 0


def test_ten_people_are_no_question(live, database: Path):
    save(database, recipients=people(10))
    assert live("shipments").exit_code == 0


def test_people_who_come_from_a_query_are_counted_by_it(live, database: Path, tmp_path: Path, monkeypatch):
    with sqlite3.connect(tmp_path / "contacts.db") as contacts:
        contacts.execute("create table contacts (key text, email text)")
        contacts.executemany("insert into contacts values (?, ?)", [(str(n), f"p{n}@example.com") for n in range(12)])
    contacts.close()
    monkeypatch.setenv("PIPELINE_SOURCE_CRM_URL", f"sqlite:///{tmp_path}/contacts.db")
    save(database, recipients={"database": "crm", "query": "select key, email from contacts"})
    assert "about 12 people" in live("shipments", answer="n\n").stderr
    assert live("shipments", "--key", "3").exit_code == 0


def test_people_who_cannot_be_counted_are_asked_about(live, database: Path):
    save(database, recipients={"database": "nowhere", "query": "select key, email from contacts"})
    result = live("shipments", answer="n\n")
    assert "an unknown number of people" in result.stderr
    assert "PIPELINE_SOURCE_NOWHERE_URL" in result.stderr


# ---- how it waits


def ends_soon(status: str, **values) -> None:
    """Let the run that is opened next end after a moment, as a worker would."""

    def end() -> None:
        while not (opened := all_runs()):
            time.sleep(0.05)
        time.sleep(0.2)
        with transaction() as session:
            found = runs.lock(session, opened[0].id)
            found.started_at = found.created_at
            found.waiting_for = values.get("waiting_for")
            runs.close(session, found, status, values.get("error")) if not found.waiting_for else None
            found.status = status

    threading.Thread(target=end, daemon=True).start()


def test_waiting_ends_with_the_run_and_exits_0_only_if_it_succeeded(typed, database: Path):
    save(database)
    ends_soon("succeeded")
    result = typed("trigger", "shipments", "--wait")
    assert result.exit_code == 0
    assert "succeeded" in result.stdout
    assert "Next: `pipeline show" in result.stdout


def test_waiting_for_a_run_that_fails_exits_1_and_says_why(typed, database: Path):
    save(database)
    ends_soon("failed", error="fetch:rows: no route to host")
    result = typed("trigger", "shipments", "--wait")
    assert result.exit_code == 1
    assert "fetch:rows: no route to host" in result.stdout
    assert "says more; " in result.stdout


def test_waiting_ends_with_what_to_type_where_a_person_has_to_decide(typed, database: Path):
    save(database)
    ends_soon("waiting", waiting_for="approval")
    assert "pipeline approve" in " ".join(typed("trigger", "shipments", "--wait").stdout.split())


def test_waiting_for_machines_prints_the_progress_at_the_end(typed, database: Path):
    save(database)
    ends_soon("partial")
    result = typed("trigger", "shipments", "--wait", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["status"], found["new"]) == ("partial", True)
    assert found["documents"]["total"] == 0


def test_what_holds_a_run_up_is_said_once_while_it_is_waited_for(typed, database: Path, monkeypatch):
    save(database)
    looks = []

    def slept(_seconds: float) -> None:
        looks.append(1)
        (run,) = all_runs()
        if len(looks) == 1:
            factories.make_step(
                run, "deliver:0", status="queued", not_before=factories.MONDAY, error="relay a:25 cannot be reached"
            )
        elif len(looks) == 4:
            with transaction() as session:
                runs.close(session, runs.lock(session, run.id), "failed")

    monkeypatch.setattr(waiting.time, "sleep", slept)
    result = typed("trigger", "shipments", "--wait")
    assert result.stderr.count("deliver:0 waits: relay a:25 cannot be reached. It is tried again by itself at ") == 1


def test_ctrl_c_ends_the_wait_and_not_the_run(typed, database: Path, monkeypatch):
    save(database)

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting.time, "sleep", interrupted)  # what a signal does between two looks
    result = typed("trigger", "shipments", "--wait")
    assert result.exit_code == 130
    assert "the run goes on: `pipeline show" in result.stderr
    assert [run.status for run in all_runs()] == ["queued"]


def test_what_a_person_has_to_decide_is_not_waited_for(typed, database: Path):
    save(database)
    ends_soon("waiting", waiting_for=WaitingFor.APPROVAL)
    assert typed("trigger", "shipments", "--wait").exit_code == 1


def test_the_bars_count_documents_made_and_deliveries_settled():
    run = factories.make_run(status="running")
    for key, status in (("A", "rendered"), ("B", "failed"), ("C", "planned")):
        factories.make_document(run, key, status=status)
    for key, status in (("A", "accepted"), ("B", "failed"), ("C", "queued"), ("D", "deferred")):
        factories.make_delivery(run, key=key, status=status)
    with reading() as session:
        found = answers.progress(session, run)
    with waiting._progress() as progress:
        waiting.Bars(progress).update(found)
    documents, deliveries = progress.tasks
    assert (documents.completed, documents.total, documents.fields["note"]) == (2, 3, "1 failed")
    assert (deliveries.completed, deliveries.total, deliveries.fields["note"]) == (2, 4, "1 failed")


# ---- waiting for data


@pytest.fixture
def waiting_run(database: Path):
    return factories.make_run(status="waiting", waiting_for="data", error="waits for its data: nothing has come")


def test_a_run_that_waits_for_its_data_is_sent_on(typed, waiting_run):
    with transaction() as session:
        start = session.query(Step).filter_by(run_id=waiting_run.id).one()
        start.task, start.not_before = "waiting.ready", waiting_run.created_at + timedelta(hours=1)
    result = typed("proceed", "shipments")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Run {str(waiting_run.id)[:13]} of shipments goes on without waiting: ")
    with reading() as session:
        step = session.query(Step).filter_by(run_id=waiting_run.id).one()
        (act,) = session.query(Audit).filter_by(action="proceed")
    assert step.memory["kept"]["released"].startswith("cli:")
    assert (act.subject, act.detail) == (str(waiting_run.id), {"waited": "waits for its data: nothing has come"})


def test_a_run_that_waits_for_nothing_is_refused(typed, database: Path):
    run = factories.make_run()
    result = typed("proceed", "shipments")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"run {run.id} of shipments is queued, not for its data" in result.stderr
