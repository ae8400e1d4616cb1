"""What is purged by hand, after a look at it, and what there was by month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.db import reading
from pipeline.models import Run
from tests import factories

pytestmark = pytest.mark.usefixtures("runs")
NOW = datetime.now(UTC).replace(microsecond=0)
OLD = NOW - timedelta(days=500)


@pytest.fixture
def runs(database):
    """Two of a schedule that keeps one, and an old and a new one of another that says nothing."""
    factories.make_schedule("often", keep={"runs": 1})
    for hours in (5, 2):
        run = factories.finished_run("often", due_at=NOW - timedelta(hours=hours))
        factories.make_document(run)
        factories.make_delivery(run)
    factories.finished_run("shipments", due_at=OLD, status="failed")
    factories.finished_run("shipments", due_at=NOW)


def count():
    with reading() as session:
        return session.query(Run).count()


def test_a_dry_run_says_what_would_go_and_changes_nothing(typed, as_json):
    shown = " ".join(typed("purge", "--dry-run").stdout.split())
    assert "all others 1" in shown
    assert "older than 400 days, or beyond the newest 1" in shown
    assert "`pipeline totals`" in shown
    found = as_json("purge")
    assert not found["done"]
    assert [(one["schedule"], one["runs"]) for one in found["runs"]] == [(None, 1), ("often", 1)]
    assert count() == 4


def test_what_was_looked_at_goes_and_still_counts(typed, as_json):
    before = as_json("totals")
    shown = " ".join(typed("purge", "--yes", "--by", "Anna").stdout.split())
    assert "2 runs, 1 delivery, 1 document." in shown
    assert count() == 2
    assert as_json("totals") == before
    acts = [(one["action"], one["subject"], one["detail"]["runs"]) for one in as_json("audit") if one["by"] == "Anna"]
    assert sorted(acts) == [("purge", "all others", 1), ("purge", "often", 1)]
    assert typed("purge", "--yes").stdout == "Nothing is older, or more, than is to be kept.\n"


def test_a_run_with_uncertain_deliveries_stays_and_is_named(typed, as_json):
    run = factories.finished_run("often", due_at=NOW - timedelta(hours=9), status="partial")
    factories.make_delivery(run, status="uncertain")
    shown = " ".join(typed("purge", "--yes").stdout.split())
    assert f"Of often there stay, until `pipeline resolve RUN` says what was sent: {str(run.id)[:13]}." in shown
    assert as_json("purge")["unsettled"] == {"often": [str(run.id)]}
    assert count() == 3


def test_who_does_not_say_yes_keeps_everything(typed):
    assert typed("purge").exit_code == 1
    assert count() == 4


def test_totals_are_by_schedule_and_month_the_newest_first(typed, as_json):
    found = as_json("totals", "shipments")
    assert [(one["month"], one["runs"]) for one in found] == [
        (f"{NOW:%Y-%m}", {"succeeded": 1}), (f"{OLD:%Y-%m}", {"failed": 1}),
    ]  # fmt: skip
    shown = typed("totals").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert f"{NOW:%Y-%m}" in shown
    assert "did you mean shipments?" in typed("totals", "shipmets").stderr
