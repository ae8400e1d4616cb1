"""2,000 messages on their way while a process that sends is killed every second: nobody is left out or mailed twice.

Real workers with their pools, a real SMTP server whose fsynced log is the truth. `make soak` prints the table;
SOAK_RECIPIENTS=500 makes it shorter.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from pipeline.models import Delivery, Run, Step
from tests.functional.running import Running, running

RECIPIENTS = int(os.environ.get("SOAK_RECIPIENTS", "2000"))
# Every so many mailboxes answer half a second late: there is time for some forty kills, and many strike a dot.
SLOW = 15
# Every so many seconds the worker dies with its whole pool, and a supervisor starts it again.
WHOLE_WORKER = 15
SOAK = """
report:
  title: Soak
  period: 2026-W46
  url: rows.csv
  formats: [csv]
recipients: {file: people.csv}
retry: {deliver: {first: 1s}}
"""
COLUMNS = ("recipients", "kills", "accepted", "lost", "doubled", "uncertain", "given up", "seconds")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def soaked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    home = tmp_path / "home"
    url = ""
    if request.param == "postgresql":
        from tests.postgresql import administer

        socket = request.getfixturevalue("postgresql_server")
        administer(socket, "CREATE DATABASE soak")
        url = f"postgresql+psycopg://postgres@/soak?host={socket}"
    for found in running(home, url):
        (home / "rows.csv").write_text("day,parcels\n2026-11-10,3\n")
        behaviours = ("ok" if number % SLOW else "slow-dot" for number in range(RECIPIENTS))
        people = "".join(f"{behaviour}+{number}@example.org\n" for number, behaviour in enumerate(behaviours))
        (home / "people.csv").write_text(f"email\n{people}")
        for name in ("PIPELINE_LEASE", "PIPELINE_RELAY_RETRY"):  # what is shortened elsewhere, as it is shipped
            del found.environment[name]
        for name in ("worker", "beat"):
            found.kill(name)
            found.start(name)
        yield found


def pool(found: Running) -> list[int]:
    """The processes of the worker's pool that are alive."""
    parent = found.processes["worker"].pid
    with suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def senders(found: Running) -> list[int]:
    """Those of the pool that have a step that sends: a process that has just been started has nothing to lose."""
    sending = found.rows(Step, Step.task == "report.deliver", Step.status == "running")
    owners = {int(step.lease_owner.split("/")[2]) for step in sending if step.lease_owner}
    return [pid for pid in pool(found) if pid in owners]


def kill_some(found: Running, dice: random.Random, number: int) -> int:
    """Kill one process that sends or, now and then, the worker with all of its pool; how many were sending."""
    victims = senders(found)
    if not victims:
        return 0
    if number % WHOLE_WORKER == 0:
        found.kill("worker")
        found.start("worker")
        return len(victims)
    with suppress(ProcessLookupError):
        os.kill(dice.choice(victims), signal.SIGKILL)
    return 1


@pytest.mark.chaos
@pytest.mark.timeout(2100)
def test_2_000_messages_while_a_sender_is_killed_every_second(soaked: Running) -> None:
    dice, seconds, kills, began = random.Random(2_000), 0, 0, time.monotonic()
    run_id = soaked.trigger(soaked.schedule("soak", SOAK))
    soaked.until(soaked.smtp.taken, 120)
    while not (run := soaked.one(Run, Run.id == run_id)).finished_at:
        assert time.monotonic() - began < 1800, (run.status, run.error, soaked.logs())
        seconds += 1
        kills += kill_some(soaked, dice, seconds)
        soaked.revive("worker")
        time.sleep(dice.uniform(0.8, 1.2))
    ended = statuses_of(soaked, run_id)
    given_up = ended["failed"] + ended["expired"]
    if given_up:
        # Messages over which three processes died before they were on their way: what `pipeline show` says.
        soaked.command("rerun", str(run_id), "--failed-deliveries", check=True)
        soaked.until(lambda: statuses_of(soaked, run_id).keys() <= {"accepted", "uncertain"}, 900)

    rows, taken = soaked.rows(Delivery, Delivery.run_id == run_id), taken_by(soaked)
    statuses = statuses_of(soaked, run_id)
    lost = sum(row.status == "accepted" and not taken[str(row.id)] for row in rows)
    doubled = sum(count > 1 for count in taken.values())
    figures = (len(rows), kills, statuses["accepted"], lost, doubled, statuses["uncertain"], given_up)
    show(soaked.engine.dialect.name, *figures, round(time.monotonic() - began))

    assert (len(rows), lost, doubled) == (RECIPIENTS, 0, 0)
    assert statuses["accepted"] + statuses["uncertain"] == RECIPIENTS
    assert statuses["uncertain"] <= kills
    assert kills > 10


def statuses_of(found: Running, run_id: UUID) -> Counter[str]:
    return Counter(row.status for row in found.rows(Delivery, Delivery.run_id == run_id))


def taken_by(found: Running) -> Counter[str]:
    """How often the server has taken each delivery."""
    return Counter(line["delivery"] for line in found.smtp.taken())


def show(database: str, *figures: int) -> None:
    sys.stdout.write("\n" + "".join(f"{name:>12}" for name in ("database", *COLUMNS)))
    sys.stdout.write("\n" + "".join(f"{figure:>12}" for figure in (database, *figures)) + "\n")
