"""A batch of deliveries that is carried out as a worker does it, and what its rows say afterwards."""

from __future__ import annotations

from pipeline.db import reading
from pipeline.errors import PermanentError, Waiting
from pipeline.handle import RunHandle
from pipeline.models import Delivery, DeliveryAttempt
from pipeline.settings import settings
from pipeline.workflows.report import posting, sending
from tests.unit.services import acts


def use(monkeypatch, **values):
    """Set PIPELINE_ variables, and read the settings again."""
    for name, value in values.items():
        monkeypatch.setenv(f"PIPELINE_{name}", value)
    settings.cache_clear()


def send(run):
    """Carry the step out, as a worker does; what it raises is recorded and returned."""
    claim = acts.claim(run, "deliver:0")
    with RunHandle(claim) as handle:
        try:
            sending.send_batch(handle, 0)
        except (Waiting, PermanentError) as error:
            acts.fail(claim, error)
            return error
    acts.succeed(claim)
    return None


def of(run):
    with reading() as session:
        return list(session.query(Delivery).filter_by(run_id=run.id))


def events(delivery):
    with reading() as session:
        mine = session.query(DeliveryAttempt).filter_by(delivery_id=delivery.id).order_by(DeliveryAttempt.id)
        return [one.event for one in mine]


def forget():
    """What this process remembers of relays and servers is another test's."""
    posting._hang_ups.clear()
    posting._told.clear()
