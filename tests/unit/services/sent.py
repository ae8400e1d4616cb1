"""Deliveries as tests see them: rows made, claimed, written to and read back, one short transaction each."""

from __future__ import annotations

from sqlalchemy import select

from pipeline.db import clock, reading, transaction
from pipeline.models import Delivery, DeliveryAttempt, Run
from pipeline.services import ledger
from tests.factories import make_delivery

RELAY = "relay.example:25"


def queued(run, address="anna@acme.example", **values):
    return make_delivery(run, address, status="queued", **values)


def claim(run, attempt, batch=0):
    """Everything of the batch that may go now, after what earlier attempts left was settled."""
    with transaction() as session:
        ledger.recover(session, session.get_one(Run, run.id), batch, attempt)
        ids = [one.id for one in ledger.claimable(session, run.id, batch, clock(session))]
        return [one.id for one in ledger.claim(session, ids, attempt)]


def write(verb, *arguments, **values):
    with transaction() as session:
        return verb(session, *arguments, **values)


def read(delivery):
    with reading() as session:
        return session.get_one(Delivery, delivery.id)


def events(delivery):
    with reading() as session:
        mine = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery.id).order_by(DeliveryAttempt.id)
        return [(one.event, one.text) for one in session.scalars(mine)]
