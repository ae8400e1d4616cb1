"""Notices that the broker was emptied (FLUSHALL, restarted without its file), and publishes again what it lost.

A mark lies in the broker, and is remembered in SQL: if it is gone, so are the messages. Without it a lost message is
missed only after its grace, a minute or more. A broker that is new, or empty, gets our queues.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url

from pipeline import log
from pipeline.celery import app
from pipeline.db import reading, transaction
from pipeline.services import brokers
from pipeline.settings import settings

logger = log.get(__name__)
KEY = "pipeline:mark"


class BrokerMark:
    """Looks at the mark over a connection of its own; any number of beats may."""

    def __init__(self) -> None:
        self._connection: Connection | None = None

    def look(self) -> set[UUID]:
        """Runs whose messages were lost, and are to be published now; none while the broker is away."""
        connection = self._connection or app.connection_for_write()
        name = maybe_sanitize_url(connection.as_uri())
        with reading() as session:
            known = brokers.mark(session, name)
        try:
            found = _mark_of(connection, known)
            if found != known:
                _declare_queues()
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors):
            connection.release()  # whoever publishes tells that it is away
            self._connection = None
            return set()
        self._connection = connection
        if found == known:
            return set()
        with transaction() as session:
            if known is None:
                brokers.remember(session, name, found)
                return set()
            lost = brokers.forget_messages(session, name, known, found)
        if lost:
            logger.warning("the broker was emptied: what it had lost is published again", runs=len(lost))
        return lost


def _declare_queues() -> None:
    """What an application sends to our exchange while no queue is bound to it, the broker throws away."""
    # Over a connection that has declared nothing yet: to Redis no other would do it again.
    with app.connection_for_write() as connection:
        for queue in app.conf.task_queues:
            queue(connection.default_channel).declare()


def _mark_of(connection: Connection, known: str | None) -> str:
    """The broker's mark, which it is given if it has none."""
    kind = str(connection.transport.driver_type)
    if kind == "redis":
        return _in_redis(connection.default_channel)
    if kind == "amqp":
        return _as_queue(connection, known)
    return known or kind  # a broker in memory ends with us


def _in_redis(channel: Any) -> str:
    channel.client.set(KEY, str(uuid4()), nx=True)
    found: bytes = channel.client.get(KEY)
    return found.decode()


def _as_queue(connection: Any, known: str | None) -> str:
    """AMQP has no keys: a durable queue that nobody uses stands for the mark."""
    if known is not None:
        channel = connection.channel()
        try:
            channel.queue_declare(f"pipeline.mark.{known}", passive=True)
        except connection.channel_errors:  # NOT_FOUND, which closes the channel
            pass
        else:
            channel.close()
            return known
    mark = str(uuid4())
    with connection.channel() as channel:
        kind = {"x-queue-type": "quorum"} if settings().rabbitmq_queues == "quorum" else None
        channel.queue_declare(f"pipeline.mark.{mark}", durable=True, auto_delete=False, arguments=kind)
    return mark
