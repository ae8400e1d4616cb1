"""What a team's own tests are given: documents from rows that a test names, and tests of all that a home holds."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime

import pytest
from _pytest.outcomes import Failed, Skipped

from pipeline.authoring import homes
from pipeline.errors import PermanentError
from pipeline.settings import settings
from pipeline.testing import Catalogue, Renderer

SHIPMENTS = """
report:
  title: Your shipments
  period: last_week
  database: warehouse
  sql: select customer, day, parcels from shipments where day >= :start
  time: date
  split_by: customer
  formats: [pdf, xlsx]
  columns: {day: Day, parcels: {label: Parcels, total: sum}}
when: {cron: "0 7 * * mon", timezone: Europe/Berlin}
send_if: parcels > 5
recipients: [{email: ok@example.org, key: ACME}]
"""
BUILD = """
def build(rows, period, params):
    return {"summary": f"{sum(row.parcels for row in rows)} parcels in {period.label}", "late": rows[-1].day}
"""
ROWS = [
    {"customer": "ACME", "day": date(2026, 11, 10), "parcels": 1200},
    {"customer": "BETA", "day": date(2026, 11, 11), "parcels": 3},
    {"customer": "ACME", "day": date(2026, 11, 12), "parcels": 34},
    {"customer": None, "day": date(2026, 11, 12), "parcels": 1},
]


@pytest.fixture
def shipments(home):
    (home / "schedules" / "shipments.yaml").write_text(SHIPMENTS)
    (home / "reports").mkdir()
    (home / "reports" / "shipments.py").write_text(BUILD)
    return home


def test_rows_become_documents_as_a_run_would_make_them_and_nobody_is_asked(shipments):
    documents = Renderer()("shipments", ROWS, at="2026-11-16T07:00")
    assert list(documents) == ["ACME", "BETA"]
    acme = documents["ACME"]
    assert acme.period.label == "2026-W46"
    assert acme.context == {"summary": "1234 parcels in 2026-W46", "late": date(2026, 11, 12)}
    assert (acme.figures["parcels"], acme.figures["rows"]) == (1234, 2)
    assert "1234 parcels in 2026-W46" in acme.text
    assert "1,234" in acme.text, "numbers as readers see them"
    assert "BETA" not in acme.text
    assert acme.pages == 1
    assert acme.file("xlsx").data.startswith(b"PK")
    assert "ACME" in acme.message.subject
    assert "Anna" in acme.message_to("Anna").text
    assert (acme.held_back, "send_if" in documents["BETA"].held_back) == (None, True)


def test_when_it_is_due_is_a_time_of_the_schedules_zone_unless_it_says_another(shipments):
    made = Renderer()("shipments", ROWS, at="2026-11-16T00:30")
    assert made["ACME"].content.generated_at == datetime(2026, 11, 15, 23, 30, tzinfo=UTC)
    assert made["ACME"].period.label == "2026-W46"
    assert Renderer()("shipments", ROWS, at="2026-11-15T23:30Z")["ACME"].period.label == "2026-W46"
    assert Renderer()("shipments", ROWS, period="2026-W01")["ACME"].period.label == "2026-W01"


def test_rows_may_lie_in_a_file_and_are_read_as_a_source_is(shipments):
    file = shipments / "rows.csv"
    file.write_text("customer,day,parcels\nACME,2026-11-10,12\n")
    made = Renderer()("shipments", file).only
    assert (made.rows[0].day, made.rows[0].parcels) == (date(2026, 11, 10), 12)


def test_rows_may_come_one_by_one_and_their_file_by_the_path_as_text(shipments):
    made = Renderer()("shipments", (row for row in ROWS))
    assert repr(made["BETA"]).startswith("<shipments: BETA, 1 row, ")
    with pytest.raises(KeyError, match="no document has the key 'BTA': did you mean BETA"):
        made["BTA"]
    (shipments / "rows.csv").write_text("customer,day,parcels\nACME,2026-11-10,12\n")
    assert Renderer()("shipments", "rows.csv").only.rows[0].parcels == 12


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"schedule": "shipments", "rows": ROWS[0]}, 'rows of "rows" are a list of mappings'),
        ({"schedule": "shipments", "rows": [("ACME", 3)]}, "or the path of a file"),
        ({"schedule": "shipments", "rows": "nothing.csv"}, r"nothing\.csv does not exist"),
        ({"schedule": "shipments", "rows": ROWS, "at": "monday"}, 'at="monday" is not a time: write it like'),
        ({"schedule": "shipmets", "rows": ROWS}, "did you mean shipments"),
        ({"schedule": "shipments", "rows": []}, "without rows there are no documents"),
        ({"schedule": "shipments", "sources": {"people": ROWS}}, 'has no source "people"'),
        ({"schedule": "shipments", "rows": [{"customer": "ACME"}]}, "build\\(\\) raised AttributeError"),
        ({"schedule": "shipments", "rows": ROWS, "params": {"region": "eu"}}, "region"),
    ],
)
def test_what_would_fail_a_run_fails_the_test_with_the_same_sentence(shipments, wish, sentence):
    with pytest.raises(PermanentError, match=sentence):
        Renderer()(**wish)


def test_the_only_document_is_asked_for_by_name_of_none_and_several_are_told(shipments):
    with pytest.raises(AssertionError, match="2 documents: ACME, BETA"):
        _ = Renderer()("shipments", ROWS).only


@pytest.fixture
def team(tmp_path, monkeypatch):
    """A new home, made the active one."""
    folder = tmp_path / "team"
    homes.create(folder)
    monkeypatch.setenv("PIPELINE_HOME", str(folder))
    settings.cache_clear()
    yield folder
    settings.cache_clear()


def test_a_new_homes_tests_pass_as_it_is(team):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p", "no:schemathesis"],
        cwd=team, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "PASSED tests/test_stock.py::test_each_warehouse_sees_its_own_items" in done.stdout
    assert "::test_its_documents_are_made_in_every_format[stock]" in done.stdout


def test_the_catalogue_finds_what_somebody_breaks(team, monkeypatch):
    (team / "shop.db").touch()
    monkeypatch.setenv("PIPELINE_SOURCE_SHOP_URL", "sqlite:///shop.db")
    (team / "schedules" / "stock.yaml").write_text(
        "report: {title: T, database: shop, sql: selekt 1}\nwhen: {at: 2020-01-01T00:00}\nrecipients: [a@example.org]\n"
    )
    (team / "schedules" / "typo.yaml").write_text("wen: daily\n")
    tests = Catalogue()
    with pytest.raises(Failed, match=r'source "rows" of stock: near "selekt"'):
        tests.test_its_queries_can_be_read(team, "stock")
    with pytest.raises(AssertionError, match="never due again"):
        tests.test_it_is_due_again(team, "stock")
    with pytest.raises(AssertionError, match="did you mean when"):
        tests.test_nothing_is_wrong_with_it(team, "typo")
    with pytest.raises(Skipped, match=r"put some of its rows into tests/rows/stock\.csv"):
        tests.test_its_documents_are_made_in_every_format(team, "stock", Renderer())
    (team / "tests" / "rows").mkdir()
    (team / "tests" / "rows" / "stock.json").write_text('[{"item": "Tape", "in_stock": 3}]')
    tests.test_its_documents_are_made_in_every_format(team, "stock", Renderer())
