"""Beats as processes, ours and Celery's own, each with what it needs, seen from outside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from benchmarks.postgresql import server
from benchmarks.processes import cpu_seconds, resident
from benchmarks.product import FOLDER, ROOT, clean_environment
from pipeline import schedule as definitions
from pipeline.db import make_engine
from pipeline.embedded.broker import binary
from pipeline.models import Base, Heartbeat, Schedule, ScheduleRevision, Slot

# Seconds between two looks from outside: what is measured is this much too long at most.
LOOK = 0.004
TOMORROW = timedelta(days=1)
REPORT = {
    "title": "Your shipments",
    "period": "last_week",
    "database": "warehouse",
    "sql": "select * from shipments where shipped_at >= :start and shipped_at < :end",
    "split_by": "customer",
}


@dataclass
class Place:
    """A home, its database and its broker, for beats to work in."""

    home: Path
    engine: Engine
    environment: dict[str, str]
    broker: redis.Redis

    @contextmanager
    def beats(
        self, number: int = 1, app: str = "pipeline", **variables: str
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """So many beats, from their start on; gone afterwards."""
        words = [sys.executable, "-m", "celery", "-A", app, "beat", "--pidfile=", "-s", str(self.home / "own.schedule")]
        environment = self.environment | {"PYTHONPATH": str(ROOT), **variables}
        with (self.home / "beat.log").open("ab") as log:
            found = [
                subprocess.Popen(words, cwd=self.home, env=environment, stdout=log, stderr=log) for _ in range(number)
            ]
        try:
            yield found
        finally:
            for one in found:
                one.kill()
                one.wait()

    def alive(self) -> int:
        """How many of our beats have shown themselves."""
        with Session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Heartbeat)) or 0

    def fired(self, key: str = "") -> int:
        with Session(self.engine) as session:
            statement = select(func.count(Slot.id))
            return session.scalar(statement.where(Slot.schedule_key == key) if key else statement) or 0

    def sent(self, queue: str = "own") -> int:
        return int(self.broker.llen(queue))

    def schedules(self, number: int, due: datetime, name: str, **when: object) -> None:
        """So many schedules as rows, each with its own definition, due at `due` and by `when`."""
        mark, rows, revisions = due - timedelta(seconds=1), [], []
        for one in range(number):
            key = f"{name}_{one}"
            stored = {"report": {"name": key, **REPORT}, "when": when, "overlap": "allow"}
            revision = definitions.revision(stored)
            times = {"high_water_mark": mark, "next_due_at": due, "changed_at": mark, "retired_at": None}
            rows.append({"key": key, "revision": revision, "paused": False, "note": None, **times})
            revisions.append({"schedule_key": key, "revision": revision, "definition": stored, "created_at": mark})
        with self.engine.begin() as connection:
            connection.execute(Schedule.__table__.insert(), rows)
            connection.execute(ScheduleRevision.__table__.insert(), revisions)
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE")


@contextmanager
def place(database: str = "SQLite") -> Iterator[Place]:
    """A new place with a database, durable as it comes, and the bundled broker; gone afterwards."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True)))
        (home / "var").mkdir()
        url = f"sqlite:///{home / 'var' / 'pipeline.db'}"
        if database == "PostgreSQL":
            url = stack.enter_context(server()).replace("postgresql://", "postgresql+psycopg://")
        broker = home / "broker.sock"
        words = [binary(), "--port", "0", "--unixsocket", str(broker), "--save", "", "--dir", str(home)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        engine = make_engine(url)
        stack.callback(engine.dispose)
        Base.metadata.create_all(engine)
        environment = clean_environment() | {
            "PIPELINE_HOME": str(home),
            "PIPELINE_DATABASE_URL": url,
            "PIPELINE_BROKER_URL": f"redis+socket://{broker}",
            "OWN_BROKER": f"redis+socket://{broker}",
        }
        client = redis.Redis(unix_socket_path=str(broker))
        until(broker.exists, 10)
        yield Place(home, engine, environment, client)


def until(look: Callable[[], object], patience: float) -> float:
    """The instant (seconds since the epoch) at which `look` first finds something."""
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing came of it within {patience:.0f} s")
        time.sleep(LOOK)
    return time.time()


def arrivals(count: Callable[[], int], number: int, patience: float) -> list[float]:
    """When each of the next `number` things was first seen (seconds since the epoch)."""
    before, seen = count(), []
    look = LOOK if number <= 1000 else 0.05  # to count many takes a while itself
    deadline = time.monotonic() + patience
    while len(seen) < number:
        found = count() - before
        seen += [time.time()] * (found - len(seen))
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(seen)} of {number} within {patience:.0f} s")
        time.sleep(look)
    return seen[:number]


def load(beat: subprocess.Popen[bytes], seconds: float) -> tuple[float, int]:
    """The share of a core that a beat takes over so many seconds, and its memory (bytes) then."""
    before = cpu_seconds(beat.pid)
    time.sleep(seconds)
    return (cpu_seconds(beat.pid) - before) / seconds, resident(beat.pid)


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
