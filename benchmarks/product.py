"""The whole product in a home of its own, with a worker of two processes; its runs are timed by their rows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from benchmarks.processes import cpu_seconds, worker_of
from pipeline import example
from pipeline.db import make_engine
from pipeline.models import FINAL_RUN, Delivery, DeliveryStatus, Document, Run, RunStatus

ROOT = Path(__file__).parent.parent
# On the disk that the checkout is on: in a temporary file system in memory, writing durably would cost nothing.
FOLDER = ROOT / "var" / "benchmarks"
PIPELINE = str(Path(sys.executable).with_name("pipeline"))
PROCESSES = 2
# The shipped report, and only for the first of those aircraft that somebody wants to hear of.
LIMIT = """  and flights.tailnum in (
    select key from contacts
    where kind = 'aircraft' and active = 1
      and key in (select tailnum from flights where day >= :start and day < :end)
    order by key limit :documents
  )
"""
# And no more than so many flights of each.
SHORTENED = """
select * from (select *, row_number() over (partition by tailnum order by day, departure) as place from ({query}))
where place <= {rows}
"""


@dataclass(frozen=True)
class RunTimes:
    """One run: seconds from its row's creation to its end, seconds as seen from outside, seconds of processor time."""

    id: UUID
    documents: int
    pages: int
    seconds: float
    seen: float
    cpu: float


def database() -> Path:
    """The example's flights, built on first use."""
    path = ROOT / "var" / "example" / "flights.db"
    example.ensure_database(path)
    return path


def query(most_rows: int | None = None) -> str:
    """The shipped query, limited to :documents aircraft, and to `most_rows` flights of each."""
    before, order, after = (ROOT / "schedules" / "aircraft_log.sql").read_text().rpartition("order by")
    whole = before + LIMIT + order + after
    return SHORTENED.format(query=whole, rows=most_rows) if most_rows else whole


def make_home(folder: Path, most_rows: int | None) -> Path:
    """A home with the shipped report `aircraft_log`, its query limited."""
    for name in ("schedules", "templates", "workflows"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(ROOT / "templates" / "aircraft_log", folder / "templates" / "aircraft_log")
    definition = (ROOT / "schedules" / "aircraft_log.yaml").read_text()
    definition = definition.replace("{airport: JFK}", "{airport: all, documents: 1000}")
    (folder / "schedules" / "aircraft_log.yaml").write_text(definition)
    (folder / "schedules" / "aircraft_log.sql").write_text(query(most_rows))
    return folder


def clean_environment() -> dict[str, str]:
    """Ours, without settings of the pipeline, and with Python keeping what it compiled, as it does by default."""
    unwanted = ("PIPELINE_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


class Product:
    """A home whose tree is up."""

    def __init__(self, home: Path, environment: Mapping[str, str], engine: Engine, tree: int) -> None:
        self.home, self.environment, self.engine, self.tree = home, environment, engine, tree

    @property
    def worker(self) -> int:
        """The worker's main process."""
        return worker_of(self.tree)

    def command(self, *words: str) -> str:
        done = subprocess.run(
            [PIPELINE, *words], env=self.environment, cwd=self.home, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"pipeline {' '.join(words)}: {done.stderr}")
        return done.stdout

    def run(self, schedule: str, *words: str, patience: float = 900) -> RunTimes:
        """Trigger as a person does, and look at the rows until it is over."""
        cpu, began = cpu_seconds(self.tree), time.perf_counter()
        run_id = UUID(json.loads(self.command("trigger", schedule, *words, "--yes", "--json"))["id"])
        run = self.finished(run_id, began + patience)
        seen = time.perf_counter() - began
        seconds = (run.finished_at - run.created_at).total_seconds() if run.finished_at else seen
        with Session(self.engine) as session:
            of_run = select(func.count(), func.sum(Document.pages)).where(Document.run_id == run_id)
            documents, pages = session.execute(of_run).one()
            accepted = (Delivery.run_id == run_id, Delivery.status == DeliveryStatus.ACCEPTED)
            delivered = session.scalar(select(func.count()).where(*accepted))
        if run.status != RunStatus.SUCCEEDED or delivered != documents:
            raise SystemExit(f"{schedule}: {run.status}, {delivered} of {documents} delivered: {run.error}")
        return RunTimes(run_id, documents, pages or 0, seconds, seen, cpu_seconds(self.tree) - cpu)

    def finished(self, run_id: UUID, deadline: float) -> Run:
        """The run when it is over, by `time.perf_counter`; its row alone is looked at."""
        while time.perf_counter() < deadline:
            with Session(self.engine) as session:
                run = session.get_one(Run, run_id)
            if run.status in FINAL_RUN or run.status == RunStatus.WAITING:
                return run
            time.sleep(0.1)
        raise SystemExit(f"run {run_id} has not ended; the logs are in {self.home / 'var' / 'log'}")


@contextmanager
def product(
    smtp_port: int,
    *,
    database_url: str = "",
    files: Mapping[str, str] | None = None,
    most_rows: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Product]:
    """`pipeline up` in a new home, with `files` (text by path) added, mailing to `smtp_port`; gone afterwards.

    `settings` are further variables of its environment.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True) as folder:
        home = make_home(Path(folder), most_rows)
        for path, text in (files or {}).items():
            (home / path).write_text(text)
        environment = clean_environment() | {
            "PIPELINE_HOME": str(home),
            "PIPELINE_DATABASE_URL": database_url or f"sqlite:///{home / 'var' / 'pipeline.db'}",
            "PIPELINE_SOURCE_FLIGHTS_URL": f"sqlite:///{database()}",
            "PIPELINE_MAIL": "live",
            "PIPELINE_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
            "PIPELINE_MAIL_FROM": "Reports <reports@example.com>",
            "PIPELINE_CONCURRENCY": str(PROCESSES),
            **(settings or {}),
        }
        with _up(home, environment) as tree:
            engine = make_engine(environment["PIPELINE_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
            found = Product(home, environment, engine, tree)
            _await_schedules(found)
            yield found
            engine.dispose()


@contextmanager
def _up(home: Path, environment: Mapping[str, str]) -> Iterator[int]:
    log = home / "up.log"
    with log.open("wb") as output:
        tree = subprocess.Popen([PIPELINE, "up"], cwd=home, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while "Up." not in log.read_text():
            if tree.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"pipeline up did not come up:\n{log.read_text()}")
            time.sleep(0.1)
        yield tree.pid
    finally:
        tree.send_signal(signal.SIGINT)
        tree.wait(60)


def _await_schedules(found: Product) -> None:
    """The worker answers and the schedules are loaded: nothing of starting up is in the first run."""
    found.command("sync")
    ping: Sequence[str] = [sys.executable, "-m", "celery", "-A", "pipeline", "inspect", "ping", "--timeout", "2"]
    for _ in range(30):
        done = subprocess.run(ping, env=found.environment, cwd=found.home, capture_output=True, check=False)
        if done.returncode == 0:
            return
    raise SystemExit(f"the worker does not answer; its log is in {found.home / 'var' / 'log'}")
