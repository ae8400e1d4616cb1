"""What Celery is told about each broker, and why."""

import pytest
from celery import Celery

from pipeline.celery import QUEUES, _check_pool, app, options
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


@pytest.mark.parametrize("broker", ["amqp://guest:guest@mq/", "redis://redis/0", "redis+socket:///run/valkey.sock"])
@pytest.mark.parametrize("result", ["redis://redis/1", "redis+socket:///run/valkey.sock?virtual_host=1"])
def test_results_are_kept_wherever_a_server_listens_whatever_the_broker_is(home, monkeypatch, broker, result):
    celery = Celery("told", set_as_current=False)
    celery.conf.update(told(monkeypatch, broker_url=broker, result_url=result))
    connection = celery.backend.client.connection_pool.make_connection()
    assert getattr(connection, "socket_keepalive", False) is not result.startswith("redis+socket")


def test_a_task_that_is_only_known_by_its_name_is_routed_as_well():
    routed = app.amqp.Router(app.amqp.queues).route({}, "run.start")
    assert routed["queue"].name == "default"


def _pool(name):
    return {"pool": type("TaskPool", (), {"__module__": f"celery.concurrency.{name}"})}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (_pool("gevent"), "-P gevent: steps need processes or threads of their own"),
        (_pool("eventlet"), "-P eventlet: steps need"),
        ({**_pool("prefork"), "pool_start_method": "spawn"}, "--pool-start-method spawn: a process that is not forked"),
    ],
)
def test_a_pool_that_carries_no_steps_is_refused_when_the_worker_starts(home, asked, said):
    with pytest.raises(SystemExit, match=said):
        _check_pool(asked)


@pytest.mark.parametrize("name", ["prefork", "thread", "solo"])
def test_other_pools_are_taken(home, name):
    _check_pool(_pool(name))
