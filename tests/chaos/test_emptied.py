"""The broker is emptied twice amid a run of 1,000 documents: it completes by itself, every document and mail once.

`make soak` runs it; tests/functional/test_broker_emptied.py has a small one.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import Attempt, Delivery, Document
from tests.functional.running import Running, running

KEYS = [f"k{number:04}" for number in range(1000)]
MANY = """
report:
  title: Many
  period: 2026-W46
  url: many.csv
  split_by: key
  formats: [pdf]
recipients: {file: people.csv}
"""


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Running]:
    home = tmp_path / "home"
    for found in running(home):
        (home / "many.csv").write_text("key,value\n" + "".join(f"{key},1\n" for key in KEYS))
        (home / "people.csv").write_text("key,email\n" + "".join(f"{key},ok+{key}@example.org\n" for key in KEYS))
        found.schedule("many", MANY)
        yield found


def count(up: Running, table: type, status: str) -> int:
    with Session(up.engine) as session:
        return session.scalar(select(func.count()).select_from(table).where(table.status == status)) or 0


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_thousand_documents_arrive_once_though_the_broker_forgets_everything_twice(many: Running) -> None:
    run_id: UUID = many.trigger("many")
    began = time.monotonic()
    many.until(lambda: count(many, Document, "rendered") >= 300, 400)
    with Redis(unix_socket_path=str(many.home / "var" / "broker.sock")) as broker:
        broker.flushall()
    flushed = time.monotonic()
    many.until(lambda: count(many, Document, "rendered") >= 400, 100)
    went_on = time.monotonic() - flushed
    many.until(lambda: len(many.smtp.taken()) >= 100, 400)
    many.kill("broker")
    for file in (many.home / "var" / "appendonlydir").iterdir():
        file.unlink()
    many.start_broker()

    run = many.finished(run_id, 400)
    taken = Counter(line["recipient"] for line in many.smtp.taken())
    sys.stdout.write(
        f"documents {len(KEYS)}, lost {len(KEYS) - len(taken)}, doubled {sum(n > 1 for n in taken.values())}, "
        f"a hundred more within {went_on:.1f} s of FLUSHALL, all within {time.monotonic() - began:.0f} s\n"
    )
    assert run.status == "succeeded"
    assert taken == Counter(f"ok+{key}@example.org" for key in KEYS)
    assert (count(many, Document, "rendered"), count(many, Delivery, "accepted")) == (1000, 1000)
    won = Counter(one.step_id for one in many.rows(Attempt) if one.outcome == "succeeded")
    assert set(won.values()) == {1}
