"""A million deliveries planned: how fast, in how much memory, and what the broker holds of them."""

from __future__ import annotations

import json
import time
from uuid import UUID

import redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.postgresql import server
from benchmarks.processes import Memory
from benchmarks.product import Product, product
from benchmarks.results import Result, Target, megabytes, seconds
from pipeline.models import Delivery, Run, RunStatus, Step, new_id
from pipeline.services import ledger

REPORT = """
report: {title: To everybody, period: 2013-W37, url: rows.csv, formats: [csv]}
recipients: {file: people.csv}
approval: required
"""
# What a worker's process may hold more for a hundred times as many people: not one by one as objects.
GROWTH = 300 * 2**20
CLAIMED = 1000


def measure(many: int) -> Result:
    """A run for a hundredth of them, then one for `many`; both stop before anything is sent."""
    with server() as url:
        rows = "key,text\nall,hello\n"
        files = {"rows.csv": rows, "people.csv": people(many // 100), "schedules/mails.yaml": REPORT}
        with product(1, database_url=url, files=files) as found:
            few = planned(found, many // 100)
            (found.home / "people.csv").write_text(people(many))
            all_ = planned(found, many)
            broker = published(found, UUID(all_["run"]))
            claims = first_and_last(found, UUID(all_["run"]))
    rate = many / all_["seconds"]
    return Result(
        "planning",
        "Deliveries planned (PostgreSQL)",
        ("deliveries", "plan", "a second", "largest process, peak"),
        [
            (f"{count:,}", seconds(one["seconds"]), f"{count / one['seconds']:,.0f}", megabytes(one["peak"]))
            for count, one in ((many // 100, few), (many, all_))
        ],
        {"few": few, "many": all_, "broker": broker, "claims": claims},
        [
            Target("microseconds a delivery planned", 1e6 / rate, 50),
            Target("bytes more in memory", all_["peak"] - few["peak"], GROWTH),
            Target("bytes in the broker for a hundred deliveries", broker * 100 / many, 5000),
            Target("the last thousand claims take, the first = 1", claims[1] / claims[0], 1.5),
        ],
        [f"First and last {CLAIMED:,} claims: {claims[0] * 1000:.0f} ms and {claims[1] * 1000:.0f} ms."],
    )


def people(count: int) -> str:
    return "email,name\n" + "".join(f"a{number}@example.org,Ann {number}\n" for number in range(count))


def planned(found: Product, count: int) -> dict[str, float | str]:
    """Seconds of the run's step plan, and the worker's peak meanwhile."""
    with Memory(found.worker) as memory:
        run_id = UUID(json.loads(found.command("trigger", "mails", "--yes", "--json"))["id"])
        deadline = time.monotonic() + 1800
        while True:
            with Session(found.engine) as session:
                run = session.get_one(Run, run_id)
                if run.status == RunStatus.WAITING:
                    break
                if run.status == RunStatus.FAILED or time.monotonic() > deadline:
                    raise SystemExit(f"run {run_id}: {run.status} {run.error}")
            time.sleep(0.2)
    with Session(found.engine) as session:
        made = session.scalar(select(func.count()).where(Delivery.run_id == run_id))
        if made != count:
            raise SystemExit(f"{made} of {count} deliveries")
        plan = select(Step.started_at, Step.finished_at).where(Step.run_id == run_id, Step.task == "report.plan")
        began, ended = session.execute(plan).one()
    return {"run": str(run_id), "seconds": (ended - began).total_seconds(), "peak": memory.largest}


def published(found: Product, run_id: UUID) -> int:
    """Bytes that the broker holds more when all deliver steps are published and none is carried out."""
    client = redis.Redis(unix_socket_path=str(found.home / "var" / "broker.sock"))
    found.command("mail", "stop")
    before = client.info("memory")["used_memory"]
    found.command("approve", str(run_id), "--by", "benchmark")
    largest, until = 0, time.monotonic() + 60
    while time.monotonic() < until:
        largest = max(largest, client.info("memory")["used_memory"])
        time.sleep(0.05)
    return largest - before


def first_and_last(found: Product, run_id: UUID) -> tuple[float, float]:
    """Seconds to find and claim a thousand deliveries of the first batches, and of the last ones; rolled back."""
    with Session(found.engine) as session:
        batches = session.scalar(select(func.max(Delivery.batch)).where(Delivery.run_id == run_id)) or 0
        now = session.scalar(select(func.now()))
    took = []
    for numbers in (range(batches + 1), range(batches, -1, -1)):
        with Session(found.engine) as session:
            began, claimed = time.perf_counter(), 0
            for batch in numbers:
                ids = [one.id for one in ledger.claimable(session, run_id, batch, now)]
                claimed += len(ledger.claim(session, ids[: CLAIMED - claimed], new_id()))
                if claimed >= CLAIMED:
                    break
            took.append(time.perf_counter() - began)
            session.rollback()
        if claimed < CLAIMED:
            raise SystemExit(f"{claimed} claimed")
    return took[0], took[1]
