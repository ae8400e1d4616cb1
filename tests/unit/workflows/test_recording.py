"""What the deliver step says of its deliveries: each for itself, also where another attempt has taken one over."""

from __future__ import annotations

from contextlib import closing

import pytest

from pipeline.db import reading
from pipeline.models import Delivery, new_id
from pipeline.workflows.report.recording import Journal
from tests.factories import make_delivery, make_run
from tests.unit.services.sent import claim

RELAY = "relay.example:25"


@pytest.fixture
def run(database):
    return make_run()


def status(delivery):
    with reading() as session:
        return session.get_one(Delivery, delivery.id).status


def test_an_answer_is_kept_when_another_delivery_of_the_batch_was_taken_over(run):
    sent, taken = (make_delivery(run, f"{name}@acme.example", status="queued") for name in ("anna", "otto"))
    slept, other = new_id(), new_id()
    claim(run, slept)
    with closing(Journal(slept)) as journal:
        journal.dot(sent, RELAY, b"Subject: x\r\n\r\n")
        claim(run, other)

        journal.settle(taken, "failed", "550 no such user")
        journal.accepted(sent, RELAY, 250, "250 OK")
        journal.flush()

    assert (status(sent), status(taken)) == ("accepted", "sending")
