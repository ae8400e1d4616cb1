"""The publisher: in order, bounded, each run once; a broker that is away is told once, and its runs let go."""

from __future__ import annotations

from threading import Event, Thread
from uuid import UUID

import pytest
from structlog.testing import CapturingLogger

from pipeline import publisher
from pipeline.errors import BrokerAway
from pipeline.publisher import Publisher

ONE, TWO, THREE = (UUID(int=n) for n in (1, 2, 3))


@pytest.fixture
def told(monkeypatch):
    logger = CapturingLogger()
    monkeypatch.setattr(publisher, "logger", logger)
    return lambda: [call.args[0] for call in logger.calls]


@pytest.fixture
def broker(monkeypatch):
    """What it was given, batch by batch; an error put into `broker.away` is raised instead."""

    class Broker(list):
        away = False

    found = Broker()

    def publish_all(batch):
        if found.away:
            raise BrokerAway("connection refused")
        found.append(list(batch))

    monkeypatch.setattr(publisher.tasks, "publish_all", publish_all)
    monkeypatch.setattr(publisher, "PAUSE", 0)
    return found


def publish_one_batch(made):
    made.publish(made._take())


def test_runs_are_published_together_in_the_order_they_came(broker):
    made = Publisher(Event())
    made.put([TWO, ONE])
    made.put([TWO, THREE])
    publish_one_batch(made)

    assert broker == [[TWO, ONE, THREE]]


def test_what_does_not_fit_is_left_to_reconcile_and_told_once(broker, told, monkeypatch):
    monkeypatch.setattr(publisher, "MOST", 2)
    made = Publisher(Event())
    made.put([ONE, TWO, THREE])
    made.put([THREE])
    publish_one_batch(made)
    assert broker == [[ONE, TWO]]
    assert told() == ["more runs wait to be published than fit: reconcile comes back to them"]

    made.put([THREE])
    publish_one_batch(made)
    assert broker[1:] == [[THREE]]


def test_a_broker_that_is_away_is_told_once_and_tried_one_batch_at_a_time(broker, told, monkeypatch):
    monkeypatch.setattr(publisher, "TOGETHER", 1)
    made = Publisher(Event())
    broker.away = True
    for _ in range(3):
        made.put([ONE, TWO, THREE])
        publish_one_batch(made)
        assert not made._waiting  # the others were let go
    broker.away = False
    made.put([ONE])
    publish_one_batch(made)

    assert broker == [[ONE]]
    assert told() == [
        "the broker is away: runs are opened, and published when it is back",
        "the broker is back: what was not published is",
    ]


def test_one_that_waits_for_runs_ends_when_it_is_stopped():
    made = Publisher(Event())
    thread = Thread(target=made.run, args=(lambda work: work(),), daemon=True)
    thread.start()
    made.stop()
    thread.join(30)

    assert not thread.is_alive()
