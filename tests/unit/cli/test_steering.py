"""Schedules steered from a terminal: paused, resumed."""

from __future__ import annotations

import json

import pytest

from pipeline.db import reading, transaction
from pipeline.models import Schedule, Slot
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
    assert set(as_json("pause", "shipments")) == {"schedule", "zone", "paused_at", "paused_until", "note"}
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
