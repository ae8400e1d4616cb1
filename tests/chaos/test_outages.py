"""Long outages of a server, and a clock that is set: each slot has its one run, and the work is done when all is back.

`make soak` runs them. CHAOS_BROKER_AWAY=600 keeps the broker away for ten minutes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from pipeline.models import Run, Slot
from tests.chaos.site import Site, site

pytestmark = pytest.mark.chaos
# Longer than a lease, and than what waits for a lock.
DATABASE_AWAY = 90
BROKER_AWAY = float(os.environ.get("CHAOS_BROKER_AWAY", "60"))
EVERY = 10
TICK = f"""
workflow: tick
when: {{every: {EVERY}s}}
overlap: allow
catch_up: {{mode: all, max: 100}}
"""
WORKFLOW = """
from pipeline.tasks import step, workflow


@step
def note(run):
    with (run.home / "ticks.txt").open("a") as file:
        file.write(f"{run.due_at.isoformat()}\\n")


@workflow
def tick(run):
    return note.si()
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "home", parts=("worker1", "beat1")) as found:
        (found.home / "workflows" / "tick.py").write_text(WORKFLOW)
        found.schedule("tick", TICK)
        found.command("sync", check=True)
        found.supervise()
        found.until(lambda: done(found), 60)
        yield found


def done(site: Site) -> Counter[str]:
    """How often each slot's step has left its line."""
    path = site.home / "ticks.txt"
    return Counter(path.read_text().split()) if path.exists() else Counter()


def watched(site: Site, seconds: float) -> None:
    """Let so much time pass; what ends by itself is started again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        site.supervise()
        time.sleep(0.5)


def settled(site: Site, since: datetime) -> Callable[[], bool]:
    """Every slot up to now has a run, one of them is younger than `since`, and all runs are over."""

    def look() -> bool:
        site.supervise()
        try:
            runs = site.rows(Run)
        except DBAPIError:
            return False
        return any(run.due_at > since for run in runs) and all(run.finished_at for run in runs)

    return look


def assert_each_slot_once(site: Site) -> None:
    slots = sorted(site.rows(Slot), key=lambda one: one.due_at)
    steps = {(after.due_at - before.due_at).total_seconds() for before, after in pairwise(slots)}
    assert steps == {EVERY}
    assert {one.decision for one in slots} == {"fired"}
    runs = {run.id: run for run in site.rows(Run)}
    assert Counter(one.run_id for one in slots) == dict.fromkeys(runs, 1)
    finished = {run.id: run.due_at.isoformat() for run in runs.values() if run.status == "succeeded"}
    assert Counter(run.status for run in runs.values() if run.finished_at) == {"succeeded": len(finished)}
    # Also what was done and could not be recorded for so long: who did it, recorded it afterwards.
    counted = done(site)
    assert {when: counted[when] for when in finished.values()} == dict.fromkeys(finished.values(), 1)


@pytest.mark.timeout(600)
def test_each_slot_fires_once_when_the_database_was_gone_for_a_minute(small: Site) -> None:
    small.database.stop(signal.SIGQUIT)
    watched(small, DATABASE_AWAY)
    small.database.start()
    back = datetime.now(UTC)
    small.until(settled(small, back), 120)
    sys.stdout.write(f"database away {DATABASE_AWAY} s: all done {datetime.now(UTC) - back} after it was back\n")
    assert_each_slot_once(small)


@pytest.mark.timeout(1200)
def test_each_slot_fires_in_time_and_is_worked_off_when_the_broker_was_gone(small: Site) -> None:
    small.kill("broker")
    gone = datetime.now(UTC)
    watched(small, BROKER_AWAY)
    back = datetime.now(UTC)
    small.start_broker()
    small.until(settled(small, back), 120)
    sys.stdout.write(f"broker away {BROKER_AWAY:g} s: all done {datetime.now(UTC) - back} after it was back\n")
    assert_each_slot_once(small)
    late = [slot for slot in small.rows(Slot) if gone < slot.due_at < back]
    assert len(late) >= BROKER_AWAY // EVERY - 1
    assert max((slot.decided_at - slot.due_at) for slot in late) < timedelta(seconds=10)
