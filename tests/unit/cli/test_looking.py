"""The commands that ask, as people and machines type them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from pipeline.db import transaction
from pipeline.models import Attempt
from pipeline.services.answers import wording
from tests import factories
from tests.factories import MONDAY

pytestmark = pytest.mark.usefixtures("database")
NOW = datetime.now(UTC).replace(microsecond=0)


# ---- runs


def test_runs_fit_80_columns_and_say_below_why_one_failed(typed):
    run = factories.finished_run(status="failed", error="fetch:rows: no route to host warehouse.internal")
    for number in range(3):
        factories.make_document(run, f"K{number}", status="failed" if number else "rendered")
    result = typed("runs")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert wording.short(run.id) in result.stdout
    assert "1/3" in result.stdout
    assert "Times are Berlin time." in result.stdout
    assert "failed: fetch:rows: no route to host warehouse.internal" in " ".join(result.stdout.split())


def test_runs_of_one_millisecond_are_shown_with_their_whole_ids(typed):
    one, other = (UUID(f"01a1fd4f-9977-77cc-8905-56659be0{end}") for end in ("42c5", "42c6"))
    ids = wording.shortest([one, other, UUID("01a1fd4f-9978-77cc-8905-56659be042c5")])
    assert ids[one] == str(one)
    assert sorted(map(len, ids.values())) == [13, 36, 36]
    assert wording.shortest([]) == {}


def test_runs_for_machines_have_full_ids_and_utc_times(as_json):
    run = factories.finished_run()
    (found,) = as_json("runs", "shipments")
    assert found["id"] == str(run.id)
    assert found["due_at"] == "2026-11-16T06:00:00.000Z"
    assert found["period"]["start"] == "2026-11-08T23:00:00.000Z"
    assert set(found["documents"]) == {"planned", "rendered", "failed", "skipped"}


def test_no_run_yet_says_what_makes_one(typed):
    assert "`pipeline trigger NAME`" in typed("runs").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs", "shipmets"], "did you mean shipments?"),
        (["runs", "--status", "faild"], "did you mean failed?"),
        (["runs", "--since", "lately"], "write a length of time such as 30d or 12h, a day such as 2026-11-01"),
        (["show", "nothing_like_it"], "there are runs of shipments"),
        (["files", "shipments", "--key", "AC"], "did you mean ACME?"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence_and_exit_code_2(typed, words, sentence):
    factories.make_document(factories.finished_run(), "ACME")
    result = typed(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert json.loads(typed(*words, "--json").stdout)["error"] == result.stderr.strip()


def test_since_is_a_length_of_time_or_a_day(typed):
    factories.finished_run(due_at=NOW - timedelta(hours=5))
    assert "No run fits" in typed("runs", "--since", "2h").stdout
    assert "shipments" in typed("runs", "--since", "6h").stdout
    assert "shipments" in typed("runs", "--since", f"{NOW - timedelta(days=1):%F}").stdout


# ---- show


def a_run_that_went_wrong_in_every_way():
    run = factories.finished_run(status="partial", error="of the deliveries: 1 failed")
    for number in range(12):
        factories.make_step(run, f"render:{number}", attempts=("succeeded",))
    factories.make_step(run, "deliver:0", status="failed", attempts=("retry", "failed"), error="relay said no")
    factories.make_document(run)
    for number in range(30):
        factories.make_document(run, f"K{number:02}", status="failed", error="undefined variable late_count")
    factories.make_delivery(run)
    values = {"status": "failed", "relay": "smtp.example", "reply": "550 5.1.1 unknown \x1b[31muser"}
    factories.make_delivery(run, "bob@globex.example", "Globex", **values)
    factories.make_event(run.id, "healed", "render:3: its process died; queued again")
    return run


def test_show_is_one_screen_however_much_went_wrong(typed):
    run = a_run_that_went_wrong_in_every_way()
    result = typed("show")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) < 50
    assert max(map(len, lines)) <= 80
    assert str(run.id) in result.stdout
    assert "render: 12 of them" in result.stdout
    assert "K00 and 29 more" in result.stdout
    assert "550 5.1.1 unknown" in result.stdout
    assert "\x1b" not in result.stdout  # what a server answers is not for the terminal to obey
    assert "healed: render:3" in result.stdout
    assert "Next: " in "".join(lines[-3:])


def test_attempts_and_tracebacks_are_shown_when_asked_for(typed):
    a_run_that_went_wrong_in_every_way()
    assert "worker-1, process 4711" in typed("show", "--attempts").stdout
    assert "Traceback" not in typed("show", "--attempts").stdout
    assert "TransientError: relay said no" in typed("show", "--traceback").stdout


def test_tries_are_counted_one_by_one_and_after_a_rerun_told_by_generation(typed, as_json):
    run = factories.finished_run()
    step = factories.make_step(run, "fetch:rows", attempts=("abandoned", "succeeded"))
    with transaction() as session:
        second = session.query(Attempt).filter_by(step_id=step.id, outcome="succeeded").one()
        second.fence, second.generation = 3, 2  # whoever took the step away from the first one has raised it, too
    told = [(one["number"], one["generation"]) for one in as_json("show")["attempts"] if one["step"] == "fetch:rows"]
    assert told == [(1, 1), (2, 2)]
    assert "generation" in typed("show", "--attempts").stdout


def test_a_step_that_is_tried_again_says_when_and_by_which_rule(typed):
    run = factories.make_run(status="running", started_at=MONDAY)
    due = MONDAY + timedelta(minutes=5)
    factories.make_step(run, "fetch:rows", status="queued", attempts=("retry",), not_before=due, error="no answer")
    said = typed("show").stdout
    for words in ("1/5", "30s ×2 up to 15m", "next try 07:05:00", "no answer"):  # noqa: RUF001
        assert words in said


def test_show_for_machines_lists_everything(as_json):
    a_run_that_went_wrong_in_every_way()
    found = as_json("show", "shipments@2026-11-16")
    assert len(found["document_problems"]) == 30
    assert found["delivery_problems"][0]["reply"].startswith("550 5.1.1")
    assert {"run", "steps", "attempts", "events", "next", "params", "scope"} <= set(found)


# ---- schedules


def test_schedules_name_what_is_due_next_and_the_file_that_is_wrong(typed, database: Path):
    factories.make_schedule()
    factories.finished_run()
    (database / "schedules" / "weekly.yaml").write_text("report: {title: Weekly}\nwhen: '0 25 * * *'\n")
    result = typed("schedules")
    said = " ".join(result.stdout.split())
    assert "Your shipments" in said
    assert "07:00 Berlin time" in said
    assert "succeeded" in said
    assert "bad file" in said
    assert "weekly: schedules/weekly.yaml:" in said
    assert "hour 25 is outside 0-23" in said


def test_schedules_for_machines(as_json):
    factories.make_schedule()
    (found,) = as_json("schedules")
    assert (found["key"], found["state"], found["last_run"]) == ("shipments", "active", None)
    assert found["next_due_at"].endswith("Z")


# ---- who


def test_who_answers_in_a_sentence_and_exits_0(typed):
    factories.make_delivery(factories.finished_run(due_at=NOW - timedelta(days=2)))
    result = typed("who", "ACME")
    assert result.exit_code == 0
    assert "✓ ACME:" in result.stdout
    assert "handed over to relay smtp.example" in " ".join(result.stdout.split())


def test_who_is_nobody_says_how_far_it_looked_and_exits_1(typed, as_json):
    factories.make_delivery(factories.finished_run(due_at=NOW - timedelta(days=60)))
    result = typed("who", "ACME")
    assert result.exit_code == 1
    assert "in the last 30d" in result.stdout
    assert as_json("who", "ACME", "--since", "90d")["answers"][0]["status"] == "accepted"


# ---- files


@pytest.fixture
def stored(database: Path):
    """A run with one document, whose bytes are in the store and, under its second name, in var/reports."""
    from pipeline.adapters import storage

    run = factories.finished_run()
    document = factories.make_document(run, "ACME / Zürich")
    kept = storage.store().put(b"%PDF-1.7 a document", "document", ".pdf")
    factories.make_file(run, document, kept.uri, size=kept.size)
    return run


def test_files_are_where_they_can_be_opened(as_json, stored):
    (found,) = as_json("files")
    assert Path(found["path"]).read_bytes() == b"%PDF-1.7 a document"
    assert found["key"] == "ACME / Zürich"


def test_files_prefer_the_name_a_person_can_read(typed, as_json, stored, database: Path):
    from pipeline.adapters import copies

    (found,) = as_json("files")
    shown = database / "var" / "reports" / "shipments" / "2026-W46" / f"{copies.safe_name('ACME / Zürich')}.pdf"
    shown.parent.mkdir(parents=True)
    shown.hardlink_to(found["path"])
    assert as_json("files")[0]["path"] == str(shown)
    shown.unlink()
    shown.write_bytes(b"%PDF-1.7 a later run's")  # the name is another document's by now
    assert as_json("files")[0]["path"] == found["path"]


def test_files_are_copied_under_readable_names(typed, stored, tmp_path: Path):
    result = typed("files", "--copy", tmp_path / "out")
    assert "1 file copied to" in result.stdout
    (copy,) = (tmp_path / "out").iterdir()
    assert copy.name.startswith("ACME")
    assert copy.read_bytes() == b"%PDF-1.7 a document"


def test_a_folder_that_takes_no_copies_is_named(typed, stored, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    result = typed("files", "--copy", tmp_path / "file")
    assert result.exit_code == 2
    assert str(tmp_path / "file") in result.stderr


def test_a_run_without_documents_says_so(typed):
    factories.finished_run()
    assert "has no documents" in typed("files").stdout
