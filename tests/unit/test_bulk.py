"""Many rows at once: looked for by their values, made ahead, and inserted where they are new."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from pipeline import bulk
from pipeline.db import reading, transaction
from pipeline.models import Heartbeat, Suppression

pytestmark = pytest.mark.usefixtures("database")
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


def suppression(address):
    return {"address": address, "reason": "gone", "source": "a test", "created_at": NOON}


@pytest.mark.parametrize("strangers", [3, bulk.CHUNK, 5 * bulk.CHUNK], ids=["few", "portions", "more than rows"])
def test_rows_are_found_among_few_values_and_among_many(strangers):
    names = [f"beat {number}" for number in range(2 * bulk.CHUNK)]
    with transaction(durable=False) as session:
        bulk.insert_all(session, Heartbeat, [{"name": name, "at": NOON, "detail": None} for name in names])
    asked = [*names[100:103], *(f"nobody {number}" for number in range(strangers))]
    with reading() as session:
        found = sorted(bulk.among(session, select(Heartbeat.name, Heartbeat.at), asked))
    assert found == [(name, NOON) for name in names[100:103]]


def test_only_new_rows_are_inserted_and_counted():
    with transaction() as session:
        assert bulk.insert_new(session, Suppression, [suppression("a"), suppression("b")]) == 2
        assert bulk.insert_new(session, Suppression, [suppression("b"), suppression("c")]) == 1
        assert bulk.insert_new(session, Suppression, []) == 0


def test_many_rows_go_in_chunks():
    with transaction(durable=False) as session:
        assert bulk.insert_new(session, Suppression, [suppression(str(number)) for number in range(1300)]) == 1300


@pytest.mark.parametrize("count", [0, 1, bulk.CHUNK, 3 * bulk.CHUNK + 1])
def test_portions_that_are_made_ahead_are_the_same(count):
    made = list(bulk.ahead(bulk.portions(iter(range(count)), written=True)))

    assert [number for part in made for number in part] == list(range(count))
    assert {len(part) for part in made[:-1]} <= {bulk.CHUNK}


def test_what_goes_wrong_ahead_is_raised_where_it_is_wanted():
    def rows():
        yield from range(2 * bulk.CHUNK)
        raise ValueError("the disk is full")

    found = bulk.ahead(bulk.portions(rows(), written=True))
    assert len(next(found)) == len(next(found)) == bulk.CHUNK
    with pytest.raises(ValueError, match="the disk is full"):
        next(found)
