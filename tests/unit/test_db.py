"""Short transactions that take turns, and a database that is away for a moment."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from pipeline import db
from pipeline.models import Heartbeat
from pipeline.settings import settings

pytestmark = pytest.mark.usefixtures("database")
NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


@pytest.fixture
def database(database_file):
    return database_file


def beat(name, at=NOON):
    with db.transaction(durable=False) as session:
        session.merge(Heartbeat(name=name, at=at, detail=None))


def beats():
    with db.reading() as session:
        return list(session.scalars(select(Heartbeat.name).order_by(Heartbeat.name)))


# ---- transactions


def test_a_transaction_is_committed_at_the_end_of_its_block():
    beat("a")
    assert beats() == ["a"]


def test_what_fails_leaves_nothing_behind():
    def failing():
        with db.transaction() as session:
            session.add(Heartbeat(name="a", at=NOON))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert beats() == []


def test_what_was_read_can_be_used_afterwards():
    beat("a")
    with db.transaction() as session:
        row = session.get_one(Heartbeat, "a")
    assert (row.name, row.at) == ("a", NOON)


def test_a_reader_waits_for_no_writer():
    beat("a")
    with db.transaction() as session:
        session.add(Heartbeat(name="b", at=NOON))
        session.flush()
        assert beats() == ["a"]
    assert beats() == ["a", "b"]


def test_durability_is_chosen_by_the_transaction():
    def synchronous(**how):
        with db.transaction(**how) as session:
            return session.scalar(text("PRAGMA synchronous"))

    normal, full = 1, 2
    assert [synchronous(), synchronous(durable=False), synchronous(durable=True)] == [full, normal, full]


def test_foreign_keys_are_checked():
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), db.transaction() as session:
        session.execute(
            text("INSERT INTO run_events (id, run_id, at, kind, text) VALUES ('x', 'nobody', '2026-11-16', 'k', 't')")
        )


def test_threads_that_write_take_turns():
    beat("0")

    def add(_):
        with db.transaction(durable=False) as session:
            row = session.scalars(select(Heartbeat)).one()
            number = int(row.name)
            session.delete(row)
            session.flush()
            session.add(Heartbeat(name=str(number + 1), at=NOON))

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(add, range(40)))
    assert beats() == ["40"]


def _write_in_child(number):
    beat(f"child-{number}")


def test_a_process_that_was_forked_in_a_transaction_does_not_keep_the_turn(database):
    with db.transaction():
        opened = [one for one in Path("/proc/self/fd").iterdir() if one.exists()]
        (ours,) = [int(one.name) for one in opened if one.resolve().name == "pipeline.db.lock"]
        inherited = os.dup(ours)  # the same open file, as a forked process has it
    with (database / "var" / "pipeline.db.lock").open("w") as another:
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(inherited)


def test_a_forked_process_has_an_engine_of_its_own():
    beat("parent")
    ours = db.engine()
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_write_in_child, args=(number,)) for number in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0, 0]
    assert beats() == ["child-0", "child-1", "parent"]
    assert db.engine() is ours


# ---- a database that is away


def error_of(kind, message):
    return kind("insert", {}, sqlite3.OperationalError(message))


@pytest.mark.parametrize(
    "message",
    [
        "database is locked",
        "disk I/O error",
        "connection to server at 127.0.0.1 failed: Connection refused",
        "terminating connection due to administrator command",
        "the connection is closed",
        "deadlock detected",
        "server closed the connection unexpectedly",
        "failed to resolve host 'db': [Errno -2] Name or service not known",
    ],
)
def test_what_passes_by_itself(message):
    assert db.is_away(error_of(OperationalError, message))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (OperationalError, "no such table: runs"),
        (ProgrammingError, 'relation "runs" does not exist'),
        (IntegrityError, "Key (name)=(connect to the locked warehouse) already exists"),
    ],
)
def test_what_does_not(kind, message):
    assert not db.is_away(error_of(kind, message))


def test_what_is_done_is_recorded_when_the_database_returns(monkeypatch):
    waits = []
    monkeypatch.setattr(db.time, "sleep", waits.append)
    tries = count()

    def write(session):
        if next(tries) < 3:
            raise error_of(OperationalError, "database is locked")
        session.add(Heartbeat(name="a", at=NOON))

    db.persist(write)
    assert beats() == ["a"]
    assert waits == [0.25, 0.5, 1.0]


def test_what_would_never_pass_is_raised_at_once(monkeypatch):
    monkeypatch.setattr(db.time, "sleep", pytest.fail)

    def write(session):
        raise error_of(OperationalError, "no such table: runs")

    with pytest.raises(OperationalError):
        db.persist(write)


def test_after_ten_minutes_it_is_given_up(monkeypatch):
    passed = count(step=300)
    monkeypatch.setattr(db.time, "monotonic", lambda: next(passed))
    monkeypatch.setattr(db.time, "sleep", lambda _: None)
    tries = []

    def write(session):
        tries.append(session)
        raise error_of(OperationalError, "database is locked")

    with pytest.raises(OperationalError):
        db.persist(write)
    assert len(tries) == 3


# ---- facts


def test_the_database_says_what_it_is():
    assert db.answers().startswith("SQLite 3.")


def test_the_clock_is_the_hosts():
    before = datetime.now(UTC)
    with db.reading() as session:
        assert before <= db.clock(session) <= datetime.now(UTC)


def test_a_new_engine_makes_its_folder(tmp_path):
    engine = db.make_engine(f"sqlite:///{tmp_path}/new/folder/pipeline.db")
    with Session(engine) as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
    engine.dispose()


def test_the_lock_is_beside_the_database():
    beat("a")
    assert (settings().var / "pipeline.db.lock").stat().st_mode & 0o077 == 0
