"""The broker is killed twenty times under load: Celery 5.7.0's Redis transport may end a worker then.

`make soak` runs it and prints the line that stands in docs/benchmarks.md.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import Attempt, Delivery, Run
from tests.functional.running import Running, running

KILLS = 20
KEYS = 40
LOAD = """
report:
  title: Load
  period: 2026-W46
  url: load.csv
  split_by: key
  formats: [csv]
recipients: {file: people.csv}
retry: {fetch: {first: 1s}, plan: {first: 1s}, render: {first: 1s}, deliver: {first: 1s}}
when: {every: 2s}
overlap: allow
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Running]:
    home = tmp_path / "home"
    for found in running(home):
        (home / "load.csv").write_text("key,value\n" + "".join(f"k{n},{n}\n" for n in range(KEYS)))
        (home / "people.csv").write_text("key,email\n" + "".join(f"k{n},ok+{n}@example.org\n" for n in range(KEYS)))
        yield found


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_no_work_is_lost_or_done_twice_while_the_broker_dies_twenty_times(loaded: Running) -> None:
    dice = random.Random(20)
    loaded.schedule("load", LOAD)
    loaded.until(lambda: loaded.rows(Run), 30)
    started, ended = time.monotonic(), 0
    for _ in range(KILLS):
        ended += loaded.revive("worker")
        time.sleep(dice.uniform(0.5, 3))
        loaded.kill("broker")
        time.sleep(dice.uniform(0.1, 2))
        loaded.start_broker()
    (loaded.home / "schedules" / "load.yaml").write_text(LOAD.replace("when: {every: 2s}", ""))
    time.sleep(8)

    def over() -> bool:
        nonlocal ended
        ended += loaded.revive("worker")
        return not loaded.rows(Run, Run.finished_at.is_(None))

    loaded.until(over, 400, lambda: str([(run.id, run.status) for run in loaded.rows(Run, Run.finished_at.is_(None))]))
    runs = loaded.rows(Run)
    wanted = len(runs) * KEYS
    taken = Counter(line["delivery"] for line in loaded.smtp.taken())
    statuses = Counter(one.status for one in loaded.rows(Delivery))
    sys.stdout.write(
        f"\nbroker kills {KILLS}, runs {len(runs)}, documents {wanted}, workers that ended {ended}, "
        f"lost {wanted - len(taken)}, doubled {sum(count > 1 for count in taken.values())}, "
        f"uncertain {statuses['uncertain']}, {time.monotonic() - started:.0f} s\n"
    )
    assert Counter(run.status for run in runs) == {"succeeded": len(runs)}
    assert statuses == {"accepted": wanted}
    assert len(taken) == wanted
    assert set(taken.values()) == {1}
    with Session(loaded.engine) as session:
        wins = select(func.count()).where(Attempt.outcome == "succeeded").group_by(Attempt.step_id)
        assert set(session.scalars(wins)) == {1}
