"""Schedules steered from a terminal: paused, resumed, run for the days that were missed."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import application, reach
from pipeline.db import reading, transaction
from pipeline.models import Run, Schedule, Slot, Step
from pipeline.settings import settings
from tests import factories

pytestmark = pytest.mark.usefixtures("database", "broker")
HOURLY = {"cron": "0 * * * *", "timezone": "Europe/Berlin"}


# ---- pause and resume


def test_a_pause_is_shown_with_its_note_where_schedules_are(typed, as_json):
    factories.make_schedule("shipments")
    result = typed("pause", "shipments", "--note", "the warehouse moves", "--until", "2099-12-01T18:00", "--by", "Anna")
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "shipments is paused until Tue 1 Dec 2099 at 18:00:00 Berlin time." in said

    (found,) = as_json("schedules")
    assert (found["state"], found["next_due_at"], found["paused_until"]) == ("paused", None, "2099-12-01T17:00:00.000Z")
    assert found["note"].endswith("by cli:Anna, until 1 Dec 18:00: the warehouse moves")
    assert "the warehouse moves" in " ".join(typed("schedules").stdout.split())
    assert "by cli:Anna, until 1 Dec 18:00: the warehouse moves. What is due" in " ".join(
        typed("slots", "shipments").stdout.split()
    )
    assert [entry["action"] for entry in as_json("audit", "shipments")] == ["pause", "sync"]


def test_resuming_says_when_it_fires_next_and_what_became_of_the_pause(typed, as_json):
    made = factories.make_schedule("shipments", when=HOURLY)
    typed("pause", "shipments")
    assert "shipments fires again; next: " in typed("resume", "shipments").stdout

    typed("pause", "shipments")
    with transaction() as session:
        row = session.get_one(Schedule, "shipments")
        row.paused_at = made.high_water_mark
        slot = {"schedule_key": "shipments", "decision": "paused", "decided_at": made.high_water_mark}
        session.add(Slot(due_at=made.high_water_mark + factories.SECOND, **slot))
    said = " ".join(typed("resume", "shipments").stdout.split())
    assert "1 slot was due while it was paused, and did not fire" in said
    assert f"`pipeline backfill shipments --from {made.high_water_mark:%F}` runs them" in said
    assert set(as_json("pause", "shipments")) == {
        "schedule", "zone", "paused_at", "paused_by", "paused_until", "note", "new", "before",
    }  # fmt: skip
    assert as_json("resume", "shipments", "--catch-up")["made_up"] == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pause", "shipmets"], "did you mean shipments?"),
        (["pause", "shipments", "--until", "2001-01-01"], "is past already: nothing was paused"),
        (["pause", "shipments", "--until", "soon"], '--until "soon": write a length of time such as 30d or 12h'),
        (["resume", "shipments"], "shipments is not paused"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(typed, words, sentence):
    factories.make_schedule("shipments")
    result = typed(*words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert sentence in json.loads(typed(*words, "--json").stdout)["error"]
    with reading() as session:
        assert not session.get_one(Schedule, "shipments").paused


# ---- backfill

RANGE = ("--from", "2026-11-01", "--to", "2026-11-15")  # two Mondays


@pytest.fixture
def people(database):
    """A weekly report for so many people, in a file."""

    def write(count):
        listed = [{"email": f"p{number}@acme.example", "key": "ACME"} for number in range(count)]
        definition = factories.schedule_file("shipments", recipients=listed).definition
        (database / "schedules" / "shipments.yaml").write_text(yaml.safe_dump(definition))

    write(6)
    return write


@pytest.fixture
def live(typed, monkeypatch):
    """Mail goes out for real; types `answer` if somebody sits at the terminal."""
    monkeypatch.setenv("PIPELINE_MAIL", "live")
    monkeypatch.setenv("PIPELINE_SMTP_URL", "smtp://relay.invalid")
    settings.cache_clear()

    def type_in(*words, answer=None):
        monkeypatch.setattr(reach, "on_terminal", lambda: answer is not None)
        return CliRunner().invoke(application(), ["backfill", "shipments", *RANGE, *words], input=answer)

    return type_in


def all_runs():
    with reading() as session:
        return session.query(Run).order_by(Run.due_at).all()


@pytest.mark.usefixtures("people")
def test_a_backfill_shows_its_slots_first_and_then_opens_them(typed, as_json):
    shown = typed("backfill", "shipments", *RANGE, "--preview")
    assert [line.split()[:4] for line in shown.stdout.splitlines()[1:]] == [
        ["Mon", "2", "Nov", "2026"],
        ["Mon", "9", "Nov", "2026"],
    ]
    assert all_runs() == []

    result = typed("backfill", "shipments", *RANGE, "--order", "newest", "--by", "Anna")
    assert result.exit_code == 0
    assert "of shipments: 2 runs; 1 at a time, the newest first." in " ".join(result.stdout.split())
    older, newer = all_runs()
    assert (older.status, newer.status, newer.triggered_by) == ("waiting", "queued", "cli:Anna")
    assert [older.period["label"], newer.period["label"]] == ["2026-W44", "2026-W45"]

    (found,) = as_json("backfill", "--list")
    assert (found["status"], found["runs"]) == ("running", {"queued": 1, "waiting": 1})
    assert "1 Nov 00:00 9 Nov 07:00 running 1 queued, 1" in " ".join(typed("backfill", "--list").stdout.split())
    assert {slot["origin"] for slot in as_json("slots", "shipments")} == {found["id"]}
    assert "in progress:" in " ".join(typed("backfill", "shipments", *RANGE).stdout.split())

    ended = " ".join(typed("backfill", "--cancel", found["id"][:13]).stdout.split())
    assert "is cancelled: 1 run will not start, 1 run at work is cancelled. What was sent stays sent." in ended
    assert {run.status for run in all_runs()} == {"cancelled"}


@pytest.mark.usefixtures("people")
def test_machines_get_the_slots_and_the_backfill(as_json):
    looked = as_json("backfill", "shipments", *RANGE, "--preview")
    assert (looked["backfill"], len(looked["slots"])) == (None, 2)
    found = as_json("backfill", "shipments", *RANGE, "--concurrency", "2")
    assert [slot["to_run"] for slot in found["slots"]] == [True, True]
    assert (found["slots"][0]["due_at"], found["slots"][0]["known"]) == ("2026-11-02T06:00:00.000Z", "open")
    assert found["backfill"]["runs"] == {"queued": 2}


@pytest.mark.usefixtures("people")
def test_more_than_ten_people_in_all_are_mailed_for_real_only_after_a_yes(live):
    refused = live(answer="n\n")
    assert "This opens 2 runs, and each mails about 6 people for real, 12 in all. Go on?" in refused.stderr
    assert (refused.exit_code, all_runs()) == (2, [])
    for words in ((), ("--json",)):
        unseen = live(*words)
        assert "each mails about 6 people for real, 12 in all: nothing was opened; --yes does it" in unseen.stderr
        assert (unseen.exit_code, all_runs()) == (2, [])

    assert live("--yes").exit_code == 0
    assert len(all_runs()) == 2


def test_a_few_people_are_asked_about_on_a_terminal_only(live, people):
    people(5)
    assert "This opens 2 runs. Go on?" in live(answer="n\n").stderr
    assert all_runs() == []

    assert live().exit_code == 0
    assert len(all_runs()) == 2


@pytest.mark.usefixtures("no_broker")
def test_a_backfill_without_a_broker_is_kept(typed, people):
    assert typed("backfill", "shipments", *RANGE).exit_code == 0
    assert [run.status for run in all_runs()] == ["queued", "waiting"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "SCHEDULE is missing: `pipeline backfill SCHEDULE --from DAY --to DAY`, or --list, or --cancel ID"),
        (["shipments"], "--from is missing: say where the range begins"),
        (["shipmets", *RANGE], "did you mean shipments?"),
        (["shipments", "--from", "someday"], '--from "someday": write a length of time'),
        (["shipments", "--from", "2026-11-03", "--to", "2026-11-04"], "no slot of shipments was due from"),
        (["--cancel", "ffff"], 'there is no backfill "ffff"'),
    ],
)
def test_a_range_that_cannot_be_is_refused_in_a_sentence(typed, people, words, sentence):
    typed("sync")
    result = typed("backfill", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert sentence in json.loads(typed("backfill", *words, "--json").stdout)["error"]


# ---- rerun


def test_a_run_that_failed_is_rerun_and_the_same_wish_twice_is_one(typed, as_json):
    run = factories.finished_run(status="failed")
    with transaction() as session:
        session.query(Step).filter_by(run_id=run.id).update({"status": "failed"})
    words = ("rerun", str(run.id), "--generation", "1")
    said = " ".join(typed(*words, "--reason", "fixed", "--by", "Anna").stdout.split())
    assert "is reopened: it had ended as failed; generation 2 does again: start, and what follows" in said
    assert "asks cli:Anna: fixed." in said
    again = as_json("rerun", str(run.id), "--generation", "1")
    assert (again["new"], again["generation"], again["run"]["status"]) == (False, 2, "queued")
    assert "was reopened before, as generation 2" in typed("rerun", str(run.id), "--generation", "1").stdout


def test_a_rerun_that_cannot_be_says_why(typed):
    factories.finished_run()
    assert "nothing of run" in typed("rerun").stderr
    assert "exclude each other" in typed("rerun", "--failed", "--all").stderr
