"""What was fetched from a real Redis over a connection that ended is put back; what is begun, or others', is not."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from kombu import Connection
from redis import Redis
from redis.exceptions import NoPermissionError
from sqlalchemy import select, update

from pipeline import fetched, healing, tasks
from pipeline.celery import app
from pipeline.db import reading, transaction
from pipeline.embedded.broker import binary
from pipeline.fetched import Fetched
from pipeline.models import RunEvent, Step
from pipeline.services import reconcile
from tests.broker import _use, broker
from tests.factories import make_run

__all__ = ["broker"]


def until(look):
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    socket = tmp_path_factory.mktemp("broker") / "redis.sock"
    process = subprocess.Popen([binary(), "--port", "0", "--unixsocket", str(socket), "--save", ""], cwd=socket.parent)
    until(socket.exists)
    yield socket
    process.kill()
    process.wait()


@pytest.fixture
def redis(server, database, broker, monkeypatch):
    url = f"redis+socket://{server}"
    _use(app, broker_url=url, result_backend=url)
    opened = []
    monkeypatch.setattr("kombu.connection.Connection.__init__", _remembering(opened))
    with Redis(unix_socket_path=str(server)) as client:
        client.flushall()
        yield client
        for connection in opened:  # while there is something to give back to
            connection.release()


def _remembering(opened):
    make = Connection.__init__

    def remember(self, *args, **named):
        opened.append(self)
        make(self, *args, **named)

    return remember


class Worker:
    """Fetches messages as a worker does, and may be cut off with what it has."""

    def __init__(self, redis):
        self.redis, self.connection, self.taken = redis, app.connection_for_read(), []
        before = self._fetching()
        consumer = self.connection.Consumer(app.amqp.queues["default"], on_message=self.taken.append)
        consumer.qos(prefetch_count=2)
        consumer.consume()
        self.fetch(timeout=0.01)
        until(lambda: self._fetching() - before)
        (self.number,) = self._fetching() - before

    def _fetching(self):
        return {one["id"] for one in self.redis.client_list() if one["cmd"] == "brpop"}

    def fetch(self, *, timeout=60):
        try:
            self.connection.drain_events(timeout=timeout)
        except TimeoutError:
            return None
        return self.taken[-1].headers

    def die(self):
        self.redis.client_kill_filter(_id=self.number)
        until(lambda: self.number not in self._fetching())


def waiting(redis):
    """What lies in the queues, and what is laid aside."""
    return sum(redis.llen(key) for key in redis.keys("default*")), redis.hlen("unacked")


def history(run):
    with reading() as session:
        return session.scalars(select(RunEvent.text).where(RunEvent.run_id == run.id)).all()


def published_run():
    run = make_run()
    tasks.publish(run.id)
    return run


def test_what_the_dead_had_fetched_lies_in_the_queue_again(redis):
    beat, dead = Fetched(), Worker(redis)
    beat.look()
    run = published_run()
    tasks.status.delay(run="an application asks")
    first = dead.fetch(), dead.fetch()
    for _ in range(2):
        beat.look()
    assert waiting(redis) == (0, 2)

    dead.die()
    beat.look()
    assert waiting(redis) == (0, 2)
    beat.look()
    assert waiting(redis) == (2, 0)
    assert history(run) == ["start: fetched by a worker whose connection ended; put back"]
    living = Worker(redis)
    while len(living.taken) < 2:
        assert living.fetch()
    assert {one.headers["id"] for one in living.taken} == {one["id"] for one in first}


def test_what_was_on_its_way_when_a_connection_ended_is_sent_again(redis):
    beat, dead = Fetched(), Worker(redis)
    beat.look()
    begun = published_run()
    dead.fetch()
    with transaction() as session:
        session.execute(update(Step).where(Step.run_id == begun.id).values(status="running"))
    lost, waits = published_run(), published_run()
    redis.brpop(redis.keys("default*"))  # taken from the queue, and never laid aside
    dead.die()

    assert beat.look() == set()
    assert beat.look() == {lost.id}
    assert beat.look() == set()
    tasks.publish(lost.id)
    assert waiting(redis) == (2, 1)
    assert history(lost) == ["start: its message was lost with a worker's connection; it is sent again"]
    assert (history(begun), history(waits)) == ([], [])


def test_where_very_many_wait_only_what_was_fetched_is_looked_for(redis, monkeypatch):
    monkeypatch.setattr(fetched, "MOST", 1)
    monkeypatch.delattr(reconcile, "untaken")  # nor is SQL asked, at each look, for thousands that may be late
    dead = Worker(redis)
    taken = published_run()
    dead.fetch()
    lost = published_run()
    redis.brpop(redis.keys("default*"))
    for _ in range(2):
        published_run()
    dead.die()
    beat = Fetched()

    assert (beat.look(), beat.look()) == (set(), set())
    assert history(taken) == ["start: fetched by a worker whose connection ended; put back"]
    assert history(lost) == []


def test_a_message_that_waits_behind_others_for_long_is_not_sent_again_and_one_that_is_lost_is(redis):
    lost, waits = published_run(), published_run()
    redis.brpop(redis.keys("default*"))
    began = datetime.now(UTC) - timedelta(minutes=10)
    with transaction() as session:
        session.execute(update(Step).values(published_at=began, queued_at=began))

    assert Fetched().look() == set()
    assert healing.heal() == {lost.id}
    assert tasks.publish(lost.id)
    assert (waiting(redis), history(waits)) == ((2, 0), [])
    assert history(lost) == ["start: nobody took the message; it is sent again"]
    with reading() as session:
        published = dict(session.execute(select(Step.run_id, Step.published)).all())
    assert published == {lost.id: 2, waits.id: 1}
    assert healing.heal() == set()


def test_what_a_broken_chord_was_to_bring_is_sent_within_seconds_and_what_has_been_brought_is_not(redis):
    beat = Fetched()
    beat.look()  # the first one takes for gone whoever was before
    beat.look()
    lost, waits = published_run(), published_run()
    redis.brpop(redis.keys("default*"))
    taken = published_run()
    worker = Worker(redis)
    while len(worker.taken) < 2:
        worker.fetch()
    brought = published_run()
    published, queued = (datetime.now(UTC) - timedelta(seconds=seconds) for seconds in (20, 10))
    with transaction() as session:
        session.execute(update(Step).values(published_at=published, queued_at=queued))

    assert beat.look() == {lost.id}
    assert history(lost) == ["start: what was to bring its message is gone; it is sent"]
    assert tasks.publish(lost.id)
    assert (beat.look(), healing.heal()) == (set(), set())
    assert [history(one) for one in (waits, taken, brought)] == [[], [], []]


def test_what_is_begun_or_not_ours_stays_where_it_is(redis):
    worker = Worker(redis)
    run = published_run()
    worker.fetch()
    with transaction() as session:
        session.execute(update(Step).where(Step.run_id == run.id).values(status="running"))
    redis.hset("unacked", "theirs", '[{"headers": {"task": "run.nightly", "id": "1"}}, "", "celery"]')
    worker.die()
    beat = Fetched()
    for _ in range(3):
        beat.look()

    assert waiting(redis) == (0, 2)
    assert history(run) == []


def test_a_beat_that_starts_takes_for_gone_whoever_was_before(redis):
    worker = Worker(redis)
    published_run()
    worker.fetch()
    worker.die()
    beat = Fetched()
    beat.look()
    beat.look()

    assert waiting(redis) == (1, 0)


def test_a_broker_that_does_not_say_who_is_connected_is_asked_no_more(redis, monkeypatch, caplog):
    asked = []

    def refuse(*_args, **_named):
        asked.append(1)
        raise NoPermissionError("this user has no permissions to run the 'client|list' command")

    monkeypatch.setattr(Redis, "client_list", refuse)
    beat = Fetched()
    for _ in range(3):
        beat.look()

    assert asked == [1]


def test_a_broker_that_is_away_is_no_trouble_of_this_one(database, broker, tmp_path):
    _use(broker, broker_url=f"redis+socket://{tmp_path}/none.sock")
    Fetched().look()


def test_rabbitmq_is_left_alone():
    away = SimpleNamespace(transport=SimpleNamespace(driver_type="amqp"))
    beat = Fetched()
    beat._connection = away
    beat.look()
