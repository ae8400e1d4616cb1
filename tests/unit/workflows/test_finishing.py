"""The step `finish`: what its deliver steps have left is ended, and the run as its deliveries went."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline.db import reading
from pipeline.errors import Cancelled
from pipeline.handle import RunHandle
from pipeline.models import Delivery
from pipeline.services import deliveries
from pipeline.tasks import STEPS
from tests.factories import make_delivery, make_run, make_step
from tests.unit.services import acts

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def run(monkeypatch):
    """A run of which steps gave up three deliveries: more than are ended at once, which is two."""
    monkeypatch.setattr(deliveries, "MANY", 2)
    monkeypatch.setattr(deliveries, "PORTION", 2)
    run = make_run(status="running")
    for number, status in enumerate(("queued", "queued", "queued", "deferred", "accepted")):
        make_delivery(run, f"p{number}@x.example", status=status, batch=0)
    make_step(run, "finish", status="queued", published_at=None)
    return run


def finish(run, **seen):
    with RunHandle(acts.claim(run, "finish")) as handle:
        vars(handle).update(seen)
        return STEPS["report.finish"].function(handle)


def stands():
    with reading() as session:
        return list(session.scalars(select(Delivery.status).order_by(Delivery.address)))


def test_what_steps_gave_up_is_ended_some_at_a_time_and_what_was_turned_away_waits(run):
    assert finish(run).waiting_for == "deferred"
    assert stands() == ["expired", "expired", "expired", "deferred", "accepted"]


def test_a_run_that_is_cancelled_meanwhile_is_left_to_that(run):
    with pytest.raises(Cancelled):
        finish(run, cancelled="cancelled by anna")
    assert stands() == ["queued", "queued", "queued", "deferred", "accepted"]
