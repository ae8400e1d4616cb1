"""An installation as in production: PostgreSQL, a broker and a mail server behind wires, two workers, two beats."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.db import make_engine
from tests.chaos.wire import Wire, Wires
from tests.functional.running import Running
from tests.ports import free_port
from tests.postgresql import Server, administer, die_with_parent
from tests.smtp_server import ScriptedServer

ROOT = Path(__file__).parents[2]
PARTS = ("worker1", "worker2", "beat1", "beat2")
# Seconds that a claim lasts without being renewed: who sleeps longer has lost it.
LEASE = 4


class Site(Running):
    """The parts, what is between them, and a supervisor that starts again what has ended."""

    database: Server
    wires: dict[str, Wire]
    parts: tuple[str, ...]
    # How often each part had ended and was started again.
    revived: Counter[str]

    def start(self, name: str, **environment: str) -> None:
        if name != "mail":
            super().start(name, **environment)
            return
        command = [sys.executable, "-m", "tests.smtp_server", str(self.smtp.port), str(self.smtp.log), "1"]
        with (self.home / "mail.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip

    def supervise(self) -> None:
        """Start again what has ended, as systemd or Kubernetes does; the broker is its fault's own affair."""
        for name in [*self.parts, "mail"]:
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                self.revived[name] += process is not None
                self.start(name)

    def children(self, name: str) -> list[int]:
        """The processes that carry out tasks for a worker."""
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return []
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        return []

    def empty_broker(self) -> None:
        """What it has stored is gone with its next start."""
        shutil.rmtree(self.home / "var" / "appendonlydir", ignore_errors=True)


@contextmanager
def site(home: Path, parts: tuple[str, ...] = PARTS) -> Iterator[Site]:
    """The servers up in `home`, and everything down again afterwards; `supervise` starts the other parts."""
    for folder in ("schedules", "workflows", "var"):
        (home / folder).mkdir(parents=True)
    # What is not committed durably is lost in a crash, and not only what the last fifth of a second brought.
    database, lines = Server("-F", "-c", "wal_writer_delay=10s"), Wires()
    try:
        database.start()
        administer(str(database.folder), "CREATE DATABASE chaos")
        mail = ScriptedServer(home / "smtp.log", port=free_port())
        wires = {
            "database": lines.wire(f"{database.folder}/.s.PGSQL.5432"),
            "broker": lines.wire(str(home / "var" / "broker.sock")),
            "mail": lines.wire(mail.port),
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")} | {
            "PIPELINE_HOME": str(home),
            "PIPELINE_DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1:{wires['database'].port}/chaos",
            "PIPELINE_BROKER_URL": f"redis://127.0.0.1:{wires['broker'].port}/0",
            "PIPELINE_MAIL": "live",
            "PIPELINE_SMTP_URL": f"smtp://127.0.0.1:{wires['mail'].port}",
            "PIPELINE_MAIL_FROM": "Reports <reports@example.net>",
            "PIPELINE_LEASE": str(LEASE),
            "PIPELINE_RELAY_RETRY": "1",
        }
        # Looked at from outside: past the wire, which may be cut.
        engine = make_engine(f"postgresql+psycopg://postgres@/chaos?host={database.folder}")
        found = Site(home, engine, mail, environment)
        found.database, found.wires, found.parts, found.revived = database, wires, parts, Counter()
        try:
            found.start_broker()
            found.command("migrate", check=True)
            yield found
        finally:
            found.stop()
            engine.dispose()
    finally:
        database.end()
        lines.stop()
