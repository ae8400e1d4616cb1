"""Beats are killed with -9 at each point of their transaction: every due slot has its one run all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from pipeline import db, failpoints
from pipeline import schedule as definitions
from pipeline.bulk import insert_all
from pipeline.db import reading, transaction
from pipeline.models import Base, Run, Schedule, ScheduleRevision, Slot, Step
from pipeline.services import firing
from pipeline.settings import settings
from tests.conftest import forget_engine

pytestmark = pytest.mark.postgresql
SLOTS, KILLS = 1000, 50
# In the order in which a beat passes them; after the last one it publishes.
POINTS = [f"firing.{place}" for place in ("locked", "decided", "runs", "slots", "written", "committed")]


@pytest.fixture
def engine(home: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("PIPELINE_DATABASE_URL", postgresql_url)
    settings.cache_clear()
    forget_engine()
    Base.metadata.create_all(db.engine())
    yield db.engine()
    forget_engine()


def make_due(number: int) -> None:
    """So many schedules, each with one slot that was due ten minutes ago."""
    due = datetime.now(UTC) - timedelta(minutes=10)
    stored = {"workflow": "nightly", "when": {"at": due.isoformat()}}
    revision = definitions.revision(stored)
    keys = [f"nightly_{one}" for one in range(number)]
    times = {"high_water_mark": due - timedelta(days=1), "next_due_at": due, "changed_at": due}
    rest = {"revision": revision, "paused": False, "note": None, "retired_at": None}
    revisions = {"revision": revision, "definition": stored, "created_at": due}
    with transaction() as session:
        insert_all(session, Schedule, [{"key": key, **times, **rest} for key in keys])
        insert_all(session, ScheduleRevision, [{"schedule_key": key, **revisions} for key in keys])


class Beats:
    """Firing loops in processes of their own, as beat has them, each replaced when it is killed.

    Forked, since a hundred Celery beats would take minutes to start; the last test has those.
    """

    def __init__(self, number: int, engine: Engine) -> None:
        self.engine, self.points = engine, cycle(POINTS)
        self.kills: Counter[str] = Counter()
        self.alive = dict(self.start() for _ in range(number))

    def start(self) -> tuple[int, str | None]:
        point = next(self.points) if self.kills.total() < KILLS else None
        pid = os.fork()
        if pid == 0:
            self.fire(point)
        return pid, point

    def fire(self, point: str | None) -> None:
        """In the child: fire what is due; with a `point`, end there at its second pass."""
        try:
            self.engine.dispose(close=False)
            db._engine = (os.getpid(), self.engine)  # with the statements that it has compiled
            if point:
                failpoints.arm(point, lambda: os.kill(os.getpid(), signal.SIGKILL), passes=2)
            while True:
                with transaction() as session:
                    batch = firing.fire_due(session)
                failpoints.failpoint("firing.committed")
                with reading() as session:
                    if not batch.more and firing.soonest(session) is None:
                        os._exit(0)
        finally:
            os._exit(1)

    def watch(self) -> None:
        """Replace those that are killed, until the others have found nothing more to do."""
        while self.alive:
            for pid in list(self.alive):  # and no other child of this process
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.replace(pid, os.waitstatus_to_exitcode(status))
            time.sleep(0.005)

    def replace(self, pid: int, code: int) -> None:
        point = self.alive.pop(pid)
        assert code in {-signal.SIGKILL, 0}
        if code:
            assert point is not None
            self.kills[point] += 1
            self.alive.update([self.start()])


@pytest.mark.parametrize("beats", [2, 3])
def test_every_slot_has_one_run_when_beats_are_killed_a_hundred_times(
    engine: Engine, beats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "BATCH", 5)  # so that there are enough transactions to be killed in
    make_due(SLOTS)
    crowd = Beats(beats, engine)
    crowd.watch()

    assert crowd.kills.total() >= KILLS
    assert set(crowd.kills) == set(POINTS)
    assert_each_fired_once()


def test_a_celery_beat_that_is_killed_is_made_up_for_by_the_one_beside_it(
    engine: Engine, home: Path, tmp_path: Path, postgresql_url: str
) -> None:
    make_due(SLOTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")} | {
        "PIPELINE_HOME": str(home),
        "PIPELINE_DATABASE_URL": postgresql_url,
        "PIPELINE_BROKER_URL": f"redis+socket://{home}/none.sock",
        "PIPELINE_FAILPOINTS": "firing.slots=kill:2",
        "PIPELINE_FAILPOINTS_ONCE": str(tmp_path),
    }
    command = [sys.executable, "-m", "celery", "-A", "pipeline", "beat", "--pidfile="]
    with (home / "beats.log").open("wb") as log:
        beats = [
            subprocess.Popen(command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for _ in range(2)
        ]
    try:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and (fired() < SLOTS or all(beat.poll() is None for beat in beats)):
            time.sleep(0.1)
        ended = sorted(str(beat.poll()) for beat in beats)
    finally:
        for beat in beats:
            beat.kill()
            beat.wait()

    assert ended == [str(-signal.SIGKILL), "None"], (home / "beats.log").read_text()[-3000:]
    assert_each_fired_once()


def fired() -> int:
    with reading() as session:
        return session.scalar(select(func.count(Slot.id))) or 0


def assert_each_fired_once() -> None:
    with reading() as session:
        slots = session.execute(select(Slot.schedule_key, Slot.decision, Slot.run_id)).all()
        runs = set(session.scalars(select(Run.id)))
        starts = session.execute(select(func.count(Step.id), func.count(Step.run_id.distinct()))).one()
        left = session.scalar(select(func.count()).where(Schedule.next_due_at.is_not(None)))
    assert Counter(decision for _, decision, _ in slots) == {"fired": SLOTS}
    assert len({key for key, _, _ in slots}) == SLOTS
    assert {run_id for _, _, run_id in slots} == runs
    assert len(runs) == SLOTS
    assert (*starts, left) == (SLOTS, SLOTS, 0)
