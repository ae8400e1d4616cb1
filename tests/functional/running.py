"""A pipeline that really runs: broker, worker and beat as processes, a scripted SMTP server, either database."""

from __future__ import annotations

import email
import email.policy
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from pipeline.db import make_engine
from pipeline.embedded.broker import binary
from pipeline.models import FINAL_RUN, Attempt, Delivery, DeliveryAttempt, Document, Run, RunStatus, Step
from tests.functional.typist import Typist
from tests.ports import free_port
from tests.postgresql import die_with_parent
from tests.smtp_server import ScriptedServer

Row = TypeVar("Row")
PIPELINE = str(Path(sys.executable).with_name("pipeline"))
SHIPMENTS = """
create table shipments (customer text, day text, parcels integer, weight real);
insert into shipments values
  ('ACME', '2026-11-10', 12, 40.5), ('ACME', '2026-11-11', 7, 21.0), ('ACME', '2026-11-12', 9, 30.25),
  ('BETA', '2026-11-10', 3, 8.0), ('BETA', '2026-11-13', 4, 9.5), ('GAMMA', '2026-11-12', 1, 0.5),
  (null, '2026-11-12', 2, 1.0);
create table contacts (key text, email text, name text);
insert into contacts values
  ('ACME', 'ok+acme@example.org', 'Anna'), ('ACME', 'ok+acme2@example.org', 'Zoë Müller'),
  ('BETA', 'ok+beta@example.org', 'Bernd'), ('OMEGA', 'ok+omega@example.org', 'Olga');
"""
REPORT = """
report:
  title: Your shipments
  period: 2026-W46
  database: warehouse
  sql: select customer, day, parcels, weight from shipments where day >= :start and day < :end order by day
  time: date
  split_by: customer
"""
RECIPIENTS = """
recipients: {database: warehouse, query: "select key, email, name from contacts"}
"""


@dataclass
class Running:
    """The home, its processes, and what can be looked at from outside."""

    home: Path
    engine: Engine
    smtp: ScriptedServer
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    typist: Typist | None = None

    def schedule(self, name: str, text: str = REPORT + RECIPIENTS, **files: str) -> str:
        """Write schedules/<name>.yaml, and `files` by their path in the home (dots and slashes as given)."""
        (self.home / "schedules" / f"{name}.yaml").write_text(text)
        for path, content in files.items():
            target = self.home / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        return name

    def command(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """What `pipeline` with these words says; with `check` it has to succeed."""
        if self.typist is None or self.typist.environment != self.environment:
            self.dismiss_typist()
            self.typist = Typist(self.home, self.environment)
        done = self.typist.type(words)
        if check:
            done.check_returncode()
        return done

    def dismiss_typist(self) -> None:
        if self.typist is not None:
            self.typist.end()
        self.typist = None

    def celery(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Celery's own command line, as people use it."""
        command = [sys.executable, "-m", "celery", "-A", "pipeline", *words]
        return subprocess.run(
            command, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def trigger(self, name: str, *words: str) -> UUID:
        """Trigger by the command line and give the run's id."""
        done = self.command("trigger", name, *words, "--json")
        assert done.returncode == 0, done.stderr
        return UUID(json.loads(done.stdout)["id"])

    def run(self, name: str, *words: str, timeout: float = 60) -> Run:
        """Trigger and wait until the run is over."""
        return self.finished(self.trigger(name, *words), timeout)

    def finished(self, run_id: UUID, timeout: float = 60) -> Run:
        def over() -> Run | None:
            found = self.one(Run, Run.id == run_id)
            return found if found.status in FINAL_RUN or found.status == RunStatus.WAITING else None

        return self.until(
            over,
            timeout,
            lambda: f"run {run_id}: {[(s.name, s.status, s.error) for s in self.rows(Step, Step.run_id == run_id)]}",
        )

    def until(self, look: Callable[[], Row | None], timeout: float, otherwise: Callable[[], str] = lambda: "") -> Row:
        """Look until there is something; the test fails, with what is there, when it takes too long."""
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s: {otherwise()}\n{self.logs()}")
            time.sleep(0.1)
        return found

    def rows(self, table: type[Row], *where: Any) -> list[Row]:
        with Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(select(table).where(*where)))

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One that writes from its beginning: SQLite refuses a reader that writes after somebody else did."""
        with Session(self.engine) as session:
            session.connection(execution_options={"writing": True})
            yield session
            session.commit()

    def one(self, table: type[Row], *where: Any) -> Row:
        (found,) = self.rows(table, *where)
        return found

    def steps(self, run: Run) -> dict[str, Step]:
        return {step.name: step for step in self.rows(Step, Step.run_id == run.id)}

    def attempts(self, step: Step) -> list[Attempt]:
        return sorted(self.rows(Attempt, Attempt.step_id == step.id), key=lambda one: one.fence)

    def documents(self, run: Run) -> dict[str, Document]:
        return {one.key: one for one in self.rows(Document, Document.run_id == run.id)}

    def deliveries(self, run: Run) -> dict[str, Delivery]:
        """By address."""
        return {one.address: one for one in self.rows(Delivery, Delivery.run_id == run.id)}

    def rows_of_deliveries(self, run: Run | UUID) -> list[Delivery]:
        return self.rows(Delivery, Delivery.run_id == (run.id if isinstance(run, Run) else run))

    def rows_of_attempts(self, run_id: UUID) -> list[Attempt]:
        return self.rows(Attempt, Attempt.run_id == run_id)

    def history(self, delivery: Delivery) -> list[DeliveryAttempt]:
        return sorted(self.rows(DeliveryAttempt, DeliveryAttempt.delivery_id == delivery.id), key=lambda one: one.id)

    def taken(self, run: Run) -> list[dict[str, Any]]:
        """What the SMTP server took of this run: its own log, not our rows."""
        ids = {str(one.id) for one in self.deliveries(run).values()}
        return [line for line in self.smtp.taken() if line["delivery"] in ids]

    def mails(self, run: Run) -> list[EmailMessage]:
        """The messages of this run as a mail program reads them."""
        ids = [str(one.id).encode() for one in self.deliveries(run).values()]
        found = [data for data in self.smtp.contents if any(b"X-Delivery-ID: " + one in data for one in ids)]
        return [email.message_from_bytes(data, policy=email.policy.default) for data in found]

    # ---- processes

    def start(self, name: str, **environment: str) -> None:
        """Start a worker or a beat; a number behind the name makes it another one beside the first."""
        words = {
            "worker": [
                "worker",
                "-c",
                "2",
                "-Q",
                "default,render,deliver",
                "--without-gossip",
                "--without-mingle",
                "-E",
                "-n",
                f"{name}@%h",
            ],
            "beat": ["beat", "--pidfile="],
        }[name.rstrip("0123456789")]
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "pipeline", *words],
                cwd=self.home, env=self.environment | environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip

    def start_broker(self) -> None:
        """The bundled server as `pipeline up` starts it: a socket of the home's own, append-only file, noeviction."""
        socket = self.home / "var" / "broker.sock"
        socket.unlink(missing_ok=True)
        words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--maxmemory-policy", "noeviction"]
        words += ["--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(self.home / "var")]
        with (self.home / "broker.log").open("ab") as log:
            self.processes["broker"] = subprocess.Popen(
                [binary(), *words], stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip
        self.until(lambda: socket.exists() or None, 30)

    def revive(self, name: str) -> bool:
        """Start the process again if it ended by itself, as a supervisor does; whether it had."""
        if self.processes[name].poll() is None:
            return False
        self.start(name)
        return True

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal the whole process group, and wait until it is gone."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, number)
        process.wait(30)

    def stop(self) -> None:
        self.dismiss_typist()
        for name in reversed(list(self.processes)):
            self.kill(name)

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.home.glob("*.log")))


def running(home: Path, database_url: str = "", *, workflow: str = "", **settings: str) -> Iterator[Running]:
    """Everything up in `home`, and down again afterwards: on SQLite, unless `database_url` says otherwise.

    `workflow` is the Python of workflows that the worker finds; `settings` are further variables, {smtp} the server's
    URL.
    """
    database_url = database_url or f"sqlite:///{home / 'var' / 'pipeline.db'}"
    for folder in ("schedules", "var", "workflows"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    if workflow:
        (home / "workflows" / "story.py").write_text(workflow)
    with sqlite3.connect(home / "warehouse.db") as source:
        source.executescript(SHIPMENTS)
    smtp = ScriptedServer(home / "smtp.log", port=free_port(), slow=0.5).start()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
    environment |= {
        "PIPELINE_HOME": str(home),
        "PIPELINE_DATABASE_URL": database_url,
        "PIPELINE_SOURCE_WAREHOUSE_URL": f"sqlite:///{home / 'warehouse.db'}",
        "PIPELINE_MAIL": "live",
        "PIPELINE_SMTP_URL": smtp.url,
        "PIPELINE_MAIL_FROM": "Reports <reports@example.net>",
        "PIPELINE_PUBLIC_URL": "https://reports.example.net",
        "PIPELINE_RELAY_RETRY": "1",
        **{name: value.format(smtp=smtp.url) for name, value in settings.items()},
    }
    found = Running(home, make_engine(database_url), smtp, environment)
    try:
        found.start_broker()
        found.command("migrate", check=True)
        for name in ("worker", "beat"):
            found.start(name)
        yield found
    finally:
        found.stop()
        smtp.stop()
        found.engine.dispose()
