"""Deliveries as tests see them: rows made, claimed, written to and read back, one short transaction each."""

from __future__ import annotations

from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.models import Delivery, DeliveryAttempt
from pipeline.services import ledger
from tests.factories import make_delivery

RELAY = "relay.example:25"


def queued(run, address="anna@acme.example", **values):
    return make_delivery(run, address, status="queued", **values)


def claim(run, attempt, batch=0):
    with transaction() as session:
        return [one.id for one in ledger.claim(session, run.id, batch, attempt)]


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
