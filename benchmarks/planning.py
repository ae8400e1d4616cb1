"""A million deliveries planned: how fast, in how much memory, and what the broker holds of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from uuid import UUID

import redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.postgresql import server
from benchmarks.processes import Memory
from benchmarks.product import Product, product
from benchmarks.results import Result, Target, megabytes, seconds
from pipeline.models import Attempt, Delivery, Run, RunStatus, Step, StepStatus, new_id
from pipeline.services import ledger

REPORT = """
report: {title: To everybody, period: 2013-W37, url: rows.csv, formats: [csv]}
recipients: {file: people.csv}
approval: required
"""
# The run that memory is compared with has a twentieth of the deliveries, and a peak that may be called flat.
FEWER, FLAT = 20, 1.15
CLAIMED = 1000


def measure(many: int) -> Result:
    """A run for a twentieth of them, then one for `many`; both stop before anything is sent."""
    files = {"rows.csv": "key,text\nall,hello\n", "people.csv": "email,name\n", "schedules/mails.yaml": REPORT}
    with server() as url, product(1, database_url=url, files=files) as found:
        few, all_ = planned(found, many // FEWER), planned(found, many)
        broker, gate = published(found, UUID(all_["run"]))
        claims = first_and_last(found, UUID(all_["run"]))
    rate = many / all_["seconds"]
    return Result(
        "planning",
        "Deliveries planned (PostgreSQL)",
        ("deliveries", "plan", "a second", "largest process, peak"),
        [
            (f"{count:,}", seconds(one["seconds"]), f"{count / one['seconds']:,.0f}", megabytes(one["peak"]))
            for count, one in ((many // FEWER, few), (many, all_))
        ],
        {"few": few, "many": all_, "broker": broker, "gate": gate, "claims": claims},
        [
            Target("microseconds a delivery planned", 1e6 / rate, 50),
            Target("peak of the largest process, first run = 1", all_["peak"] / few["peak"], FLAT),
            Target("bytes in the broker for a hundred deliveries", broker * 100 / many, 5000),
            Target("the last thousand claims take, the first = 1", claims[1] / claims[0], 1.5),
        ],
        [
            f"First and last {CLAIMED:,} claims: {claims[0] * 1000:.0f} ms and {claims[1] * 1000:.0f} ms.",
            f"The gate let them out within {seconds(gate)}.",
        ],
    )


def write_people(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write("email,name\n")
        file.writelines(f"a{number}@example.org,Ann {number}\n" for number in range(count))


def planned(found: Product, count: int) -> dict[str, float | str]:
    """Seconds of the run's step plan, and the worker's peak from its trigger to its gate."""
    write_people(found.home / "people.csv", count)
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
    took = step_time(found, run_id, "report.plan")
    if made != count or took is None:
        raise SystemExit(f"{made} of {count} deliveries")
    return {"run": str(run_id), "seconds": took, "peak": memory.largest}


def step_time(found: Product, run_id: UUID, task: str) -> float | None:
    """Seconds that the last try of the run's step took, if it is over."""
    with Session(found.engine) as session:
        attempts = select(Attempt.started_at, Attempt.finished_at).join(Step, Step.id == Attempt.step_id)
        mine = attempts.where(Step.run_id == run_id, Step.task == task, Step.status == StepStatus.SUCCEEDED)
        last = session.execute(mine.order_by(Attempt.started_at.desc()).limit(1)).first()
    return (last[1] - last[0]).total_seconds() if last and last[1] else None


def published(found: Product, run_id: UUID) -> tuple[int, float]:
    """Bytes that the broker holds more when all deliver steps are published and none carried out; the gate's time."""
    client = redis.Redis(unix_socket_path=str(found.home / "var" / "broker.sock"))
    found.command("mail", "stop")
    before = client.info("memory")["used_memory"]
    found.command("approve", str(run_id), "--by", "benchmark")
    largest, gate = 0, None
    until = time.monotonic() + 600
    while time.monotonic() < until:
        largest = max(largest, client.info("memory")["used_memory"])
        if gate is None and (gate := step_time(found, run_id, "report.gate")) is not None:
            until = time.monotonic() + 60
        time.sleep(0.05)
    return largest - before, gate or 600


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
