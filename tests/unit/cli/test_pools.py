"""Who has the places of the pools, as people and machines ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from pipeline.db import transaction
from pipeline.models import Step
from pipeline.settings import settings
from tests import factories

pytestmark = pytest.mark.usefixtures("database")


def test_without_pools_it_says_how_to_make_one(typed):
    assert "PIPELINE_POOLS=warehouse=2" in typed("pools").stdout


def test_pools_are_shown_with_those_who_have_a_place_and_those_who_wait(typed, as_json, monkeypatch):
    monkeypatch.setenv("PIPELINE_POOLS", "warehouse=1, pdf=8")
    settings.cache_clear()
    run, now = factories.make_run(status="running"), datetime.now(UTC)
    factories.make_step(
        run, "fetch:a", status="running", pool="warehouse", lease_until=now + timedelta(minutes=1), started_at=now
    )
    for number in range(7):
        factories.make_step(run, f"fetch:{number}", status="queued", pool="warehouse", place_wanted_at=now)

    shown = typed("pools").stdout

    assert max(map(len, shown.splitlines())) <= 80
    assert "1 of 1" in shown
    assert "0 of 8" in shown
    assert "fetch:2, 4 more" in " ".join(shown.split())
    warehouse, pdf = as_json("pools")
    assert (warehouse["name"], warehouse["places"], warehouse["waiting"]) == ("warehouse", 1, 7)
    assert [one["step"] for one in warehouse["holders"]] == ["fetch:a"]
    assert pdf["holders"] == []
    assert "7 of them" in typed("show", "shipments").stdout
    assert "1 of 1 taken, by fetch:a of shipments" in " ".join(typed("show", "shipments").stdout.split())


def test_a_schedule_whose_runs_wait_for_their_turn_is_shown_like_a_pool(typed, as_json):
    factories.make_schedule("shipments", concurrency=1)
    now = datetime.now(UTC)
    working = factories.finished_run(status="running", finished_at=None)
    waiting = factories.make_run(due_at=now)
    with transaction() as session:
        session.scalars(select(Step).where(Step.run_id == waiting.id)).one().place_wanted_at = now

    (found,) = as_json("pools")

    assert (found["kind"], found["name"], found["places"], found["waiting"]) == ("schedule", "shipments", 1, 1)
    assert [one["run_id"] for one in found["holders"]] == [str(working.id)]
    assert [one["run_id"] for one in found["next"]] == [str(waiting.id)]
    assert "1 of 1" in typed("pools").stdout


def test_a_pool_without_places_is_refused_by_its_name(typed, monkeypatch):
    monkeypatch.setenv("PIPELINE_POOLS", "warehouse=0")
    settings.cache_clear()
    result = typed("pools")
    assert result.exit_code == 2
    assert 'PIPELINE_POOLS="warehouse=0"' in result.stderr
    assert '"warehouse=0" is not a pool: write its name and its places, 1 or more, like warehouse=2' in result.stderr
