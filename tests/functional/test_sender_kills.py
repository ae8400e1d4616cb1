"""Sending processes are killed at every place that matters, and at random: nobody is left out, nobody is mailed twice.

What the mail server has logged, fsynced, is the truth that the ledger's rows are held against.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline import db, healing
from pipeline.db import reading, transaction
from pipeline.models import Attempt, Base, Delivery, DeliveryAttempt, Run, Step
from pipeline.services import late
from pipeline.settings import settings
from tests.conftest import forget_engine
from tests.factories import make_delivery, make_run, make_schedule
from tests.senders import Senders, is_over, senders, wait_for
from tests.smtp_server import ScriptedServer
from tests.unit.services import acts
from tests.webhook import Webhook, webhook

__all__ = ["webhook"]


@dataclass
class Place:
    """A database with a home, a mail server, and the process that forks senders."""

    smtp: ScriptedServer
    senders: Senders

    def taken(self, run: Run) -> Counter[str]:
        """How often the server has taken each delivery of the run, by its address."""
        addresses = {str(row.id): row.address for row in self.rows(run)}
        return Counter(addresses[one["delivery"]] for one in self.smtp.taken() if one["delivery"] in addresses)

    def rows(self, run: Run) -> list[Delivery]:
        with reading() as session:
            return session.query(Delivery).filter_by(run_id=run.id).order_by(Delivery.key).all()

    def statuses(self, run: Run) -> dict[str, str]:
        return {row.address: row.status for row in self.rows(run)}

    def check(self, run: Run, kills: int) -> Counter[str]:
        """The invariants; returns how many deliveries stand where."""
        taken = self.taken(run)
        for row in self.rows(run):
            assert row.status in {"accepted", "uncertain"}, (row.address, row.status, row.reason)
            assert taken[row.address] <= 1, f"{row.address} was mailed twice"
            assert row.status != "accepted" or taken[row.address] == 1, f"{row.address} got nothing"
        found = Counter(row.status for row in self.rows(run))
        assert found["uncertain"] <= kills
        return found


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("kills")
    (home / "var").mkdir()
    url = f"sqlite:///{home / 'var' / 'pipeline.db'}"
    if request.param == "postgresql":
        from tests.postgresql import administer

        socket = request.getfixturevalue("postgresql_server")
        name = f"kills_{uuid4().hex}"  # a process may come back to these tests
        administer(socket, f"CREATE DATABASE {name}")
        url = f"postgresql+psycopg://postgres@/{name}?host={socket}"
    smtp = ScriptedServer(home / "smtp.log").start()
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("PIPELINE_")]:
            patched.delenv(name)
        ours = {"HOME": str(home), "DATABASE_URL": url, "MAIL": "live", "SMTP_URL": smtp.url}
        ours["RATE"] = "rated.example 20/s"
        for name, value in ours.items():
            patched.setenv(f"PIPELINE_{name}", value)
        settings.cache_clear()
        forget_engine()
        Base.metadata.create_all(db.engine())
        make_schedule()
        with senders(os.environ) as forker:
            yield Place(smtp, forker)
        forget_engine()
        settings.cache_clear()
    smtp.stop()


def make_batches(
    count: int, batches: int = 1, schedule: str = "shipments", domain: str = "example.org", slow: int = 0
) -> Run:
    """A run whose deliver steps are queued, with `count` mailboxes that take everything, the first `slow` slowly."""
    run = make_run(schedule)
    stages = [[late._deliver(run, number, ()) for number in range(batches)], [late._finish(run, ())]]
    acts.carry_out(run, "start", stages=stages)
    for number in range(count):
        address = f"{'slow-dot' if number < slow else 'ok'}+{number:04}@{domain}"
        make_delivery(run, address, f"K{number:04}", status="queued", batch=number % batches, relay=None, reply=None)
    return run


def heal() -> None:
    healing.heal()


def until(look: Callable[[], object], seconds: float = 60, otherwise: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)


# ---- at every place that matters


@pytest.mark.parametrize(
    ("failpoint", "passes", "uncertain", "taken"),
    [
        # Before the first dot nothing can be out: everything is sent by whoever comes next.
        ("mail.claimed", 1, None, 0),
        ("mail.rcpt", 1, None, 0),
        ("mail.body", 1, None, 0),
        # Its dot was announced and not written: the rows cannot know, and say so.
        ("mail.committed", 1, 0, 0),
        ("mail.dot", 1, 0, 1),
        ("mail.answered", 1, 0, 1),
        # An answer waits for the next dot: a kill in between leaves the one before it uncertain.
        ("mail.claimed", 3, 1, 1),
        ("mail.rcpt", 3, 1, 1),
        ("mail.body", 3, 1, 1),
        ("mail.committed", 3, 2, 0),
        ("mail.dot", 3, 2, 1),
        ("mail.answered", 3, 2, 1),
    ],
)
def test_a_kill_costs_at_most_one_doubt_and_no_message(
    place: Place, failpoint: str, passes: int, uncertain: int | None, taken: int
) -> None:
    run = make_batches(4)
    wait_for(place.senders.start(run.id, **{failpoint.replace(".", "_"): f"kill:{passes}"}))
    until(lambda: heal() or acts.step(run, "deliver:0").status == "queued")
    wait_for(place.senders.start(run.id))

    place.check(run, kills=1)
    names = [row.address for row in place.rows(run)]
    doubtful = names[uncertain] if uncertain is not None else None
    assert place.statuses(run) == {name: "uncertain" if name == doubtful else "accepted" for name in names}
    if doubtful:
        until(lambda: place.taken(run)[doubtful] == taken)


# ---- asleep, and not dead


def asleep(place: Place, run: Run, failpoint: str) -> int:
    """A sender that fell asleep there, and whose step was taken away and carried out by another one."""
    slept = place.senders.start(run.id, **{failpoint: "stop:1"})
    until(lambda: Path(f"/proc/{slept}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    with transaction() as session:  # its lease is over, and nobody else's
        session.query(Step).filter_by(run_id=run.id, status="running").update({"lease_until": run.created_at})
    until(lambda: heal() or acts.step(run, "deliver:0").status == "queued")
    wait_for(place.senders.start(run.id))
    return slept


def end_of(run: Run) -> tuple[str, str | None]:
    with reading() as session:
        found = session.get_one(Run, run.id)
        return found.status, found.error


def test_a_sender_that_slept_before_its_dot_does_not_write_it(place: Place) -> None:
    run = make_batches(2)
    slept = asleep(place, run, "mail_body")
    assert set(place.statuses(run).values()) == {"accepted"}
    os.kill(slept, signal.SIGCONT)
    wait_for(slept)

    assert place.check(run, kills=0) == {"accepted": 2}


def test_what_a_sender_that_slept_heard_settles_the_doubt(place: Place) -> None:
    run = make_batches(2)
    slept = asleep(place, run, "mail_dot")
    first, second = place.rows(run)
    assert (first.status, second.status) == ("uncertain", "accepted")
    assert end_of(run) == ("partial", "of the deliveries: 1 uncertain")
    os.kill(slept, signal.SIGCONT)
    wait_for(slept)

    assert place.check(run, kills=0) == {"accepted": 2}
    assert end_of(run) == ("succeeded", None)
    with reading() as session:
        told = session.query(DeliveryAttempt).filter_by(delivery_id=first.id).order_by(DeliveryAttempt.id)
        assert [one.event for one in told] == ["dot", "uncertain", "accepted"]


# ---- by rates


def test_no_second_sees_more_than_the_rate_however_late_senders_are_and_whoever_dies(place: Place) -> None:
    """A message that is slow leaves its sender behind: it must not make up for it all at once."""
    place.smtp.slow = 0.7
    run = make_batches(45, batches=3, domain="rated.example", slow=2)
    first, second = place.senders.start(run.id, mail_dot="kill:5"), place.senders.start(run.id)
    until(lambda: is_over(first), 60)
    third = place.senders.start(run.id)
    until(lambda: heal() or is_done(run), 60)
    for sender in (second, third):
        wait_for(sender)

    place.check(run, kills=1)
    mine = {str(row.id) for row in place.rows(run)}
    times = [datetime.fromisoformat(one["at"]) for one in place.smtp.taken() if one["delivery"] in mine]
    shortest = min((after - before).total_seconds() for before, after in zip(times, times[20:], strict=False))
    assert shortest > 0.99, f"21 messages within {shortest:.3f} s"


# ---- posting to a webhook


@pytest.mark.parametrize(
    ("failpoint", "repeats"),
    [
        # The answer to the second waits for what announces the third, and is lost with the process.
        ("hook.claimed", 1),
        ("hook.body", 1),
        # The third was announced, and not written; then written, and its answer not kept.
        ("hook.committed", 0),
        ("hook.sent", 1),
        ("hook.answered", 1),
    ],
)
def test_a_kill_while_posting_costs_one_repeat_under_the_same_key_at_most(
    place: Place, webhook: Webhook, failpoint: str, repeats: int
) -> None:
    url = f"{webhook.url}/{{key}}"
    make_schedule("posted", deliver_to={"webhook": url}, retry={"deliver": {"first": 0.2, "jitter": 0}})
    run = make_batches(0, schedule="posted")
    for key in "ABCD":
        make_delivery(run, url, key, status="queued", channel="webhook", message_id=None, relay=None, reply=None)
    wait_for(place.senders.start(run.id, **{failpoint.replace(".", "_"): "kill:3"}))

    def all_posted() -> bool:
        heal()
        wait_for(place.senders.start(run.id))
        return {row.status for row in place.rows(run)} == {"accepted"}

    until(all_posted)
    taken = Counter(request.headers["Idempotency-Key"] for request in webhook.requests)
    assert set(taken) == {str(row.id) for row in place.rows(run)}
    assert sum(taken.values()) == 4 + repeats
    with reading() as session:
        mine = DeliveryAttempt.delivery_id.in_([row.id for row in place.rows(run)])
        doubts = session.query(DeliveryAttempt).filter(mine, DeliveryAttempt.event == "uncertain").count()
    assert doubts == 1


# ---- at random


def test_a_soak_with_senders_killed_at_random_loses_and_doubles_nothing(place: Place) -> None:
    """`make soak` has the long one, with real workers."""
    dice, kills, recipients = random.Random(7), 12, 300
    run = make_batches(recipients, batches=6)
    alive = [place.senders.start(run.id) for _ in range(2)]
    for kill in range(1, kills + 1):
        until(lambda kill=kill: heal() or is_done(run) or len(place.taken(run)) >= kill * recipients / (kills + 2))
        victim = alive.pop(dice.randrange(2))
        # A step that costs three processes before any of them has sent something is given up.
        until(lambda victim=victim: heal() or is_done(run) or has_sent(victim, run))
        time.sleep(dice.uniform(0, 0.02))
        if is_done(run):
            break
        with suppress(ProcessLookupError):  # it was quicker
            os.kill(victim, signal.SIGKILL)
        alive.append(place.senders.start(run.id))
    until(lambda: heal() or is_done(run), 120, lambda: stands(run))

    found = place.check(run, kills)
    taken = place.taken(run)
    sys.stdout.write(
        f"recipients {recipients}, kills {kills}, accepted {found['accepted']}, "
        f"lost {sum(row.status == 'accepted' and not taken[row.address] for row in place.rows(run))}, "
        f"doubled {sum(count > 1 for count in taken.values())}, uncertain {found['uncertain']}\n"
    )
    assert found["accepted"] + found["uncertain"] == recipients


def stands(run: Run) -> list[tuple[object, ...]]:
    with reading() as session:
        mine = session.query(Step).filter_by(run_id=run.id)
        return [(step.name, step.status, step.not_before, step.lease_owner, step.error) for step in mine]


def has_sent(pid: int, run: Run) -> bool:
    """Whether the process has got on with the step that it carries out now."""
    with reading() as session:
        at_work = session.query(Attempt).filter_by(run_id=run.id, outcome="running", progressed=True)
        return any(f"/{pid}/" in attempt.worker for attempt in at_work)


def is_done(run: Run) -> bool:
    with reading() as session:
        mine = session.query(Step).filter_by(run_id=run.id, task="report.deliver")
        return all(step.status == "succeeded" for step in mine)
