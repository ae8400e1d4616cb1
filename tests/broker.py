"""A broker in memory, one that is away, and a worker without a process: it carries out what lies in the queues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery.app.trace import trace_task
from kombu import Queue, pools


@pytest.fixture
def broker() -> Iterator[Any]:
    """Celery's app with a broker in memory: what is published stays in its queues, and nobody takes it."""
    from pipeline.celery import app

    urls = {name: app.conf[name] for name in ("broker_url", "result_backend")}
    _use(app, broker_url="memory://", result_backend="cache+memory://")
    Worker(app).take()  # the queues in memory outlive a test
    yield app
    _use(app, **urls)


@pytest.fixture
def no_broker(broker: Any, tmp_path: Path) -> Iterator[None]:
    """A broker that is away, and found to be so at once."""
    usual = broker.conf.broker_transport_options
    at_once = {**usual, "max_retries": 1, "interval_start": 0}
    url = f"redis+socket://{tmp_path}/none.sock"
    _use(broker, broker_url=url, broker_transport_options=at_once, task_publish_retry=False)
    yield
    _use(broker, broker_transport_options=usual, task_publish_retry=True)


def _use(app: Any, **options: Any) -> None:
    """Change the app's options, and forget the connections that were made with the former ones."""
    app.conf.update(options)
    pools.reset()
    app._pool = app.amqp._producer_pool = None
    app._local.__dict__.pop("backend", None)


@dataclass
class Worker:
    """Takes messages one after the other and does with them what a worker's child does, Celery's canvases included."""

    app: Any
    # Names of tasks that were carried out, in order, with the step's name where it is one.
    done: list[str] = field(default_factory=list)

    def take(self) -> list[Any]:
        """Every message that lies in the queues; they are gone from there, as if a worker had fetched them."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            queues = [Queue(queue.name)(channel) for queue in self.app.conf.task_queues]
            return [message for queue in queues for message in iter(lambda queue=queue: queue.get(no_ack=True), None)]

    def carry_out(self, message: Any) -> None:
        """Do the work of one message. May be called again with the same one: brokers deliver twice."""
        args, kwargs, embed = message.payload
        request = {**message.headers, **embed, "delivery_info": message.delivery_info, "args": args, "kwargs": kwargs}
        name = message.headers["task"]
        self.done.append(str(message.headers.get("step") or name))
        trace_task(self.app.tasks[name], message.headers["id"], args, kwargs, request, app=self.app)

    def work(self, rounds: int = 100) -> list[str]:
        """Carry out what is there, and what comes of it, until the queues are empty; what was done, in order."""
        before = len(self.done)
        for _ in range(rounds):
            messages = self.take()
            if not messages:
                return self.done[before:]
            for message in messages:
                self.carry_out(message)
        raise AssertionError(f"the work does not end: {self.done[-20:]}")


@pytest.fixture
def worker(broker: Any) -> Worker:
    return Worker(broker)
