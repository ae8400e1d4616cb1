"""What Celery is told about each broker, and why."""

import pytest

from pipeline.celery import QUEUES, app, options
from pipeline.settings import settings


def told(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"PIPELINE_{name.upper()}", value)
    settings.cache_clear()
    return options(settings())


RABBIT = {"broker_url": "amqp://guest:guest@mq/", "result_url": "redis://redis/0"}


def test_queues_keep_priorities_apart_unless_they_are_to_outlive_a_node(home, monkeypatch):
    classic = told(monkeypatch, **RABBIT)["task_queues"]
    assert [(one.name, one.max_priority, one.queue_arguments) for one in classic] == [
        (name, 9, None) for name in QUEUES
    ]
    quorum = told(monkeypatch, rabbitmq_queues="quorum")["task_queues"]
    assert [(one.max_priority, one.queue_arguments["x-queue-type"]) for one in quorum] == [(None, "quorum")] * 3


@pytest.mark.parametrize(("broker", "first"), [(RABBIT, 9), ({"broker_url": "redis://redis/0"}, 0)])
def test_what_somebody_waits_for_comes_first_whichever_way_the_broker_counts(home, monkeypatch, broker, first):
    routes = told(monkeypatch, **broker)["task_routes"]
    assert routes["run.*"]["priority"] == first


def test_a_task_that_is_only_known_by_its_name_is_routed_as_well():
    routed = app.amqp.Router(app.amqp.queues).route({}, "run.start")
    assert routed["queue"].name == "default"
