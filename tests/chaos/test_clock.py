"""Beat's clock is set two minutes forth and back while it runs: each slot is decided once, whoever's clock counts.

The clock that everyone reads is the database's: PostgreSQL's does not care for beat's, SQLite's is beat's own. Needs
Debian's package faketime: setting the machine's clock would set everybody's, and no namespace has one of its own. It
sets beat's monotonic clock as well, which is harder than what happens: without that it breaks Python's sleep.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.models import Run, Slot
from tests.functional.running import Running, running
from tests.postgresql import administer

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = [pytest.mark.chaos, pytest.mark.skipif(FAKETIME is None, reason="apt-get install faketime")]
EVERY = 5
TICK = f"workflow: tick\nwhen: {{every: {EVERY}s}}\noverlap: allow\ncatch_up: {{mode: all, max: 100}}\n"
WORKFLOW = "from pipeline.tasks import step, workflow\n\n\n@step\ndef note(run):\n    pass\n\n\n"
WORKFLOW += "@workflow\ndef tick(run):\n    return note.si()\n"


@pytest.fixture(params=["sqlite", "postgresql"])
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    home = tmp_path / "home"
    (home / "workflows").mkdir(parents=True)
    (home / "workflows" / "tick.py").write_text(WORKFLOW)
    url = f"sqlite:///{home / 'var' / 'pipeline.db'}"
    if request.param == "postgresql":
        socket = request.getfixturevalue("postgresql_server")
        administer(socket, "CREATE DATABASE clock")
        url = f"postgresql+psycopg://postgres@/clock?host={socket}"
    yield from running(home, url)


@pytest.mark.timeout(400)
def test_no_slot_fires_twice_or_never_when_the_clock_is_set_forth_and_back(up: Running) -> None:
    clock = up.home / "clock"
    clock.write_text("+0\n")
    up.kill("beat")
    up.start(
        "beat",
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1",
    )
    up.schedule("tick", TICK)
    up.until(lambda: up.rows(Run), 60)
    for setting in ("+120\n", "+0\n", "-120\n", "+0\n"):
        clock.write_text(setting)
        time.sleep(2 * EVERY)
    # Where beat's clock counts, it waits for the slots that it has had two minutes too early.
    last = max(slot.due_at for slot in up.rows(Slot))
    up.until(lambda: max(slot.due_at for slot in up.rows(Slot)) > last, 180)

    slots = sorted(up.rows(Slot), key=lambda one: one.due_at)
    assert {(after.due_at - before.due_at).total_seconds() for before, after in pairwise(slots)} == {EVERY}
    assert {one.decision for one in slots} == {"fired"}
    assert Counter(one.run_id for one in slots) == dict.fromkeys([run.id for run in up.rows(Run)], 1)
    sys.stdout.write(f"clock set four times: {len(slots)} slots, each with one run\n")
