"""Finds what Redis has lost sight of when a worker's connection ended: messages fetched and not begun, or gone.

RabbitMQ gives such messages to the next worker by itself. Redis lays what was fetched aside for an hour, Celery's
visibility time-out, under nobody's name, and keeps nothing of what was on its way just then; but it knows who is
connected. Without this, such a message is missed only after its grace, a minute or more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kombu.connection import Connection
from kombu.exceptions import OperationalError

from pipeline import log
from pipeline.celery import QUEUES, app
from pipeline.db import clock, reading, transaction
from pipeline.services import brokers, reconcile

logger = log.get(__name__)
# Where more messages wait, they are not looked through for those that are missing.
MOST = 10_000
# After what share of its grace a message is looked for: before reconcile, which hangs on no broker, sends it again.
SOON = 0.75


@dataclass(frozen=True)
class Ended:
    """A connection that fetched messages has ended: when that was seen, and what was laid aside then, by its tags."""

    at: datetime
    aside: frozenset[str]


class Fetched:
    """Looks over a connection of its own who fetches messages; any number of beats may."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        # The connections on which workers wait for messages, by the broker's numbers; None before the first look.
        self._fetching: frozenset[str] | None = None
        self._ended: Ended | None = None
        self._refused = False

    def look(self) -> set[UUID]:
        """Notice who has gone; at the look after that, find what was lost with him. Runs to be published now.

        What was laid aside then and is not begun even now is put back; of what lies nowhere the message is sent again.
        A living worker begins or answers meanwhile what it has fetched: what comes twice finds nothing to do. The first
        look takes for gone whoever was before.
        """
        connection = self._connection = self._connection or app.connection_for_write()
        if connection.transport.driver_type != "redis":
            return set()
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
            channel: Any = connection.default_channel
            runs = set() if self._ended is None else _find(channel, self._ended)
            self._ended = None if self._refused else self._compare(channel)
            runs |= _missed(channel)
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors):
            connection.release()  # whoever publishes tells that the broker is away
            self._connection = None
            return set()
        return runs

    def _compare(self, channel: Any) -> Ended | None:
        try:
            connected = channel.client.client_list(_type="normal")
        except channel.connection.client.channel_errors as error:
            self._refused = True
            logger.warning("the broker does not say who is connected: lost messages are missed later", error=str(error))
            return None
        first, before = self._fetching is None, self._fetching or frozenset()
        # One that has all it may fetch, or is idle, was asked something else last.
        fetching = {one["id"] for one in connected if one["cmd"] == "brpop"}
        self._fetching = frozenset(fetching | (before & {one["id"] for one in connected}))
        if not first and before <= self._fetching:
            return None
        with reading() as session:
            now = clock(session)
        return Ended(now, frozenset(tag.decode() for tag in channel.client.hkeys(channel.unacked_key)))


def _find(channel: Any, ended: Ended) -> set[UUID]:
    # In this order: a message goes from a queue aside, and is answered once its step stands otherwise in SQL.
    in_queues = _in_queues(channel) if _are_few(channel) else None
    laid_aside = channel.client.hgetall(channel.unacked_key)
    aside = {tag.decode(): _headers(json.loads(laid)[0]) for tag, laid in laid_aside.items()}
    with reading() as session:
        queued = brokers.with_message(session, before=ended.at)
    tags = {headers["id"]: tag for tag, headers in aside.items() if "step" in headers}
    fetched = [step for step in queued if tags.get(str(step.task_id)) in ended.aside]
    known = None if in_queues is None else in_queues | tags.keys()
    lost = [] if known is None else [step for step in queued if str(step.task_id) not in known]
    # What an application asks for takes no time: who has it still, and lives, has not begun. Twice is harmless.
    asked = [tag for tag in ended.aside & aside.keys() if _is_ours(aside[tag])]
    for tag in [*asked, *(tags[str(step.task_id)] for step in fetched)]:
        channel.qos.restore_by_tag(tag)
    runs: set[UUID] = set()
    if fetched or lost:
        with transaction(durable=False) as session:
            brokers.note_put_back(session, fetched)
            why = "its message was lost with a worker's connection; it is sent again"
            runs = brokers.send_again(session, lost, before=ended.at, why=why)
    if asked or fetched or lost:
        count = {"put_back": len(asked) + len(fetched), "sent_again": len(lost)}
        logger.warning("a worker's connection ended: what it had fetched comes again", **count)
    return runs


def _missed(channel: Any) -> set[UUID]:
    """Whether what nobody has taken for long lies in its queue still, behind many others: then it is not lost.

    What a chord or chain was to bring, and what lies nowhere, is: it is to be published now.
    """
    if not _are_few(channel):
        return set()
    with reading() as session:
        now = clock(session)
        untaken = reconcile.untaken(session, now, share=SOON, limit=MOST)
        unbrought = reconcile.unbrought(session, now)
    if not (untaken or unbrought):
        return set()
    waiting = _in_queues(channel)
    aside = {_headers(json.loads(laid)[0])["id"] for laid in channel.client.hvals(channel.unacked_key)}
    lost = [step for step in unbrought if str(step.task_id) not in waiting | aside]
    with transaction(durable=False) as session:
        reconcile.seen(session, [step for step in (*untaken, *unbrought) if str(step.task_id) in waiting], now)
        return brokers.send_again(session, lost, before=now, why="what was to bring its message is gone; it is sent")


def _in_queues(channel: Any) -> set[str]:
    """The ids of the messages that wait in our queues."""
    return {_headers(json.loads(one))["id"] for key in _queues(channel) for one in channel.client.lrange(key, 0, -1)}


def _are_few(channel: Any) -> bool:
    """Whether they can be looked through."""
    waiting: int = sum(map(channel.client.llen, _queues(channel)))
    return waiting <= MOST


def _queues(channel: Any) -> list[str]:
    return [f"{name}{channel.sep}{step}" if step else name for name in QUEUES for step in channel.priority_steps]


def _headers(message: dict[str, Any]) -> dict[str, Any]:
    """Its headers; others than Celery's own may have none."""
    return {"id": "", "task": "", **message.get("headers", {})}


def _is_ours(headers: dict[str, Any]) -> bool:
    return "step" not in headers and headers["task"].startswith("run.") and headers["task"] in app.tasks
