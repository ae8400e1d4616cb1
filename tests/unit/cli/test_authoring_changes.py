"""`pipeline check --against`: what a change does, told before it is deployed."""

import sqlite3
import subprocess

import pyarrow.acero
import pyarrow.parquet
import pytest

from pipeline.db import transaction
from pipeline.services import loading
from pipeline.settings import settings

# They look at the real datetime when they are loaded.
assert pyarrow.acero
assert pyarrow.parquet
WEEKLY = """
report:
  title: Sales
  database: shop
  sql: select customer, amount from sales
  split_by: customer
  formats: [pdf]
when: {cron: "0 7 * * mon", timezone: Europe/Berlin}
recipients: {database: shop, query: "select customer as key, email from contacts"}
"""


def git(folder, *words):
    who = ["-c", "user.name=anna", "-c", "user.email=anna@example.com"]
    return subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)


@pytest.fixture
def kept(database, frozen, monkeypatch):
    """A home in a folder of a repository, with one report that was committed."""
    with sqlite3.connect(database / "shop.db") as shop:
        shop.executescript(
            "create table contacts (customer, email, active);"
            "insert into contacts values ('A', 'Ann@example.org', 1), ('B', 'bob@example.org', 0);"
        )
    shop.close()
    monkeypatch.setenv("PIPELINE_SOURCE_SHOP_URL", "sqlite:///shop.db")
    settings.cache_clear()
    write(database, "schedules/weekly.yaml", WEEKLY)
    write(database, "schedules/nightly.yaml", 'command: [date]\nwhen: "0 3 * * *"\n')
    write(database, "reports/weekly.py", "def build(rows, period):\n    return {}\n")
    git(database.parent, "init", "-q")
    git(database.parent, "add", "home/schedules", "home/reports")
    git(database.parent, "commit", "-qm", "one")
    frozen.move_to("2026-11-26T12:00Z")
    return database


def write(home, place, text):
    (home / place).parent.mkdir(parents=True, exist_ok=True)
    (home / place).write_text(text)


def test_nothing_has_changed_where_only_a_default_was_written_down(kept, typed):
    write(kept, "schedules/weekly.yaml", WEEKLY + "overlap: skip\non_empty: fail\n")
    done = typed("check", "--against", "HEAD")
    assert done.exit_code == 0
    assert "nothing changes; 2 schedules stay as they are." in done.stdout


def test_a_change_is_told_by_what_it_does_to_slots_recipients_documents_and_policies(kept, typed, as_json):
    changed = WEEKLY.replace("0 7 * * mon", "30 8 * * mon").replace("formats: [pdf]", "formats: [pdf, xlsx]")
    changed = changed.replace("from contacts", "from contacts where active") + "overlap: queue\n"
    write(kept, "schedules/weekly.yaml", changed)
    write(kept, "reports/weekly.py", "def build(rows, period):\n    return {'late': 1}\n")
    write(kept, "templates/weekly/subject.txt", "Sales")
    (one,) = as_json("check", "--against", "HEAD", "--slots", "3")["changes"]["changes"]
    assert one["slots"] == {
        "added": [], "removed": [],
        "moved": [[f"2026-{day}T07:00:00+01:00", f"2026-{day}T08:30:00+01:00"] for day in ("11-30", "12-07", "12-14")],
    }  # fmt: skip
    assert one["people"] == {
        "before": 2, "after": 1, "added": [], "removed": ["bob@example.org (B)"], "problem": None
    }  # fmt: skip
    assert one["files"] == [
        {"file": "reports/weekly.py", "kind": "changed"},
        {"file": "templates/weekly/subject.txt", "kind": "added"},
    ]
    named = {area: [field["field"] for field in found] for area, found in one["fields"].items()}
    assert named == {
        "slots": ["when.cron"],
        "recipients": ["recipients.source.sql"],
        "documents": ["report.formats"],
        "policies": ["overlap"],
    }
    told = " ".join(typed("check", "--against", "HEAD").stdout.split())
    assert "moved Mon 30 Nov 07:00 to 08:30" in told
    assert "2 before, 1 now gone bob@example.org (B)" in told
    assert "overlap: skip -> queue" in told
    assert "reports/weekly.py is not the same templates/weekly/subject.txt is new" in told
    assert "1 changed; 1 schedule stays as it is." in told


def test_schedules_come_go_and_break(kept, typed, as_json):
    (kept / "schedules" / "nightly.yaml").unlink()
    write(kept, "schedules/weekly.yaml", "wen: never\n")
    write(kept, "schedules/late.yaml", 'command: [date]\nwhen: "0 4 * * *"\n')
    done = typed("check", "--against", "HEAD")
    assert done.exit_code == 1, "what is wrong is wrong, whatever it was before"
    assert "weekly: broken" in done.stdout
    assert "1 added, 1 removed, 1 broken; 0 schedules stay" in " ".join(done.stdout.split())
    changes = as_json("check", "late", "--against", "HEAD")["changes"]
    assert [(one["name"], one["kind"]) for one in changes["changes"]] == [("late", "added")]
    assert len(changes["changes"][0]["slots"]["added"]) == 10


def test_a_source_that_does_not_answer_costs_the_count_and_nothing_else(kept, typed):
    write(kept, "schedules/weekly.yaml", WEEKLY.replace("from contacts", "from nowhere"))
    done = typed("check", "--against", "HEAD")
    assert done.exit_code == 0
    assert "cannot be counted: " in done.stdout
    assert "no such table: nowhere" in " ".join(done.stdout.split())


def test_what_is_deployed_is_what_the_database_has(kept, typed):
    with transaction() as session:
        from pipeline.adapters import home

        loading.sync(session, home.load(kept))
    write(kept, "schedules/nightly.yaml", 'command: [date]\nwhen: "0 3 * * mon-fri"\n')
    told = " ".join(typed("check", "--against", "deployed").stdout.split())
    assert "nightly: changed" in told
    assert "gone Sat 28 Nov 03:00, Sun 29 Nov 03:00" in told
    assert "Against what is deployed: 1 changed; 1 schedule stays as it is." in told


@pytest.mark.parametrize(
    ("ref", "sentence"),
    [
        ("nonsense", 'Git knows no revision "nonsense"'),
        ("--output=/tmp/x", 'Git knows no revision "--output=/tmp/x"'),
        ("", 'Git knows no revision ""'),  # as of a CI's variable that is not set
    ],
)
def test_a_revision_that_is_none_is_told(kept, typed, ref, sentence):
    done = typed("check", "--against", ref)
    assert (done.exit_code, sentence in done.stderr) == (2, True)


def test_who_got_a_report_that_is_taken_away_is_told(kept, as_json):
    (kept / "schedules" / "weekly.yaml").unlink()
    (one,) = as_json("check", "--against", "HEAD")["changes"]["changes"]
    assert (one["kind"], one["people"]["removed"]) == ("removed", ["ann@example.org (A)", "bob@example.org (B)"])


def test_rows_that_git_keeps_are_part_of_what_documents_say(kept, as_json):
    write(kept, "data/stock.csv", "item\nTape\n")
    write(kept, "schedules/stock.yaml", "report: {title: Stock, url: data/stock.csv}\nrecipients: [a@example.org]\n")
    git(kept.parent, "add", "home/schedules", "home/data")
    git(kept.parent, "commit", "-qm", "two")
    write(kept, "data/stock.csv", "item\nTape\nGloves\n")
    (one,) = as_json("check", "--against", "HEAD")["changes"]["changes"]
    assert one["files"] == [{"file": "data/stock.csv", "kind": "changed"}]


def test_a_home_whose_folder_is_not_yet_there_is_all_new(kept, typed):
    kept.rename(kept.parent / "moved")
    git(kept.parent, "add", "-A", "moved/schedules", "moved/reports")
    git(kept.parent, "commit", "-qam", "moved")
    (kept.parent / "moved").rename(kept)
    told = " ".join(typed("check", "--against", "HEAD").stdout.split())
    assert "there is no folder home/ in HEAD" in told
    assert "2 added; 0 schedules stay" in told


def test_a_clone_of_one_commit_and_an_owner_that_git_does_not_trust_are_told_with_the_way_out(kept, typed, monkeypatch):
    git(kept.parent, "commit", "--allow-empty", "-qm", "two")
    git(kept.parent, "clone", "-q", "--depth=1", f"file://{kept.parent}", "shallow")
    monkeypatch.setenv("PIPELINE_HOME", str(kept.parent / "shallow" / "home"))
    settings.cache_clear()
    assert "this clone is shallow" in typed("check", "--against", "HEAD~1").stderr
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "safe.directory" in typed("check", "--against", "HEAD").stderr


def test_a_home_in_no_repository_is_told_the_other_way(home, typed):
    write(home, "schedules/nightly.yaml", "command: [date]\n")
    done = typed("check", "--against", "HEAD")
    assert done.exit_code == 2
    assert "not a git repository" in done.stderr
    assert "--against deployed needs no repository" in done.stderr
