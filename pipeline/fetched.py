"""Puts back into its queue what a worker had fetched from Redis and not begun when its connection ended.

RabbitMQ does so by itself. Redis lays fetched messages aside for an hour, Celery's visibility time-out, without saying
who has them; but it knows who is connected. Without this, a message that a killed worker had fetched is missed only
after its grace, a minute or more.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import OperationalError

from pipeline import log
from pipeline.celery import app
from pipeline.db import reading, transaction
from pipeline.services import brokers

logger = log.get(__name__)


class Fetched:
    """Looks over a connection of its own who fetches messages; any number of beats may."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        # The connections on which workers wait for messages, by the broker's numbers; None before the first look.
        self._fetching: frozenset[str] | None = None
        # What was laid aside when such a connection was found to have ended, by its delivery tags.
        self._suspects: frozenset[str] = frozenset()
        self._refused = False

    def look(self) -> None:
        """Notice who has gone; at the look after that, put back what was laid aside then and is not begun even now.

        A living worker begins or answers meanwhile what it has fetched, but for what waits behind its work: that may
        come twice, and finds nothing to do. The first look takes for gone whoever was before.
        """
        connection = self._connection = self._connection or app.connection_for_write()
        if self._refused or connection.transport.driver_type != "redis":
            return
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
            self._compare(connection.default_channel)
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors):
            connection.release()  # whoever publishes tells that the broker is away
            self._connection = None

    def _compare(self, channel: Any) -> None:
        if self._suspects:
            _put_back(channel, self._suspects)
            self._suspects = frozenset()
        try:
            connected = channel.client.client_list(_type="normal")
        except channel.connection.client.channel_errors as error:
            self._refused = True
            logger.warning("the broker does not say who is connected: fetched messages wait longer", error=str(error))
            return
        before = self._fetching or frozenset()
        # One that has all it may fetch, or is idle, was asked something else last.
        fetching = {one["id"] for one in connected if one["cmd"] == "brpop"}
        now = frozenset(fetching | (before & {one["id"] for one in connected}))
        if self._fetching is None or before - now:
            self._suspects = frozenset(tag.decode() for tag in channel.client.hkeys(channel.unacked_key))
        self._fetching = now


def _put_back(channel: Any, tags: Collection[str]) -> None:
    """Those of these messages that are still laid aside, ours, and not begun: first in their queues, as they were."""
    asked: list[str] = []
    steps: dict[str, str] = {}
    for tag, laid in zip(tags, channel.client.hmget(channel.unacked_key, list(tags)), strict=True):
        headers = {} if laid is None else json.loads(laid)[0]["headers"]
        if "step" in headers:
            steps[headers["id"]] = tag
        # What an application asks for takes no time: who has it still, and lives, has not begun. Twice is harmless.
        elif headers.get("task", "").startswith("run.") and headers["task"] in app.tasks:
            asked.append(tag)
    with reading() as session:
        waiting = brokers.not_begun(session, list(steps))
    for tag in [*asked, *(steps[str(step.task_id)] for step in waiting)]:
        channel.qos.restore_by_tag(tag)
    if asked or waiting:
        put_back = len(asked) + len(waiting)
        logger.warning("a worker's connection ended: what it had fetched is put back", messages=put_back)
        with transaction(durable=False) as session:
            brokers.note_put_back(session, waiting)
