"""What the embedded tree is made of, as the settings say: whatever has a URL of its own is not started."""

from __future__ import annotations

import errno
import hashlib
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.adapters.broker import ask
from pipeline.embedded import broker, flower
from pipeline.embedded.child import Child
from pipeline.errors import PermanentError
from pipeline.settings import Settings

QUEUES = "default,render,deliver"
# Seconds that a worker may take to leave once what was at work has ended.
LAST = 6


@dataclass
class Parts:
    """Started in this order: `servers`, then the migrations, then `processes`; stopped in reverse."""

    servers: list[Child] = field(default_factory=list)
    migrate: Callable[[], None] = lambda: None
    processes: list[Child] = field(default_factory=list)
    # Where the mail catcher listens; none while the settings name one that runs elsewhere.
    listening: socket.socket | None = None
    # Where the API and the console listen; none where they are not served.
    serving: socket.socket | None = None
    # Where Flower is; empty where it is not served.
    flower_url: str = ""

    @property
    def catcher_url(self) -> str:
        """What PIPELINE_CATCHER_URL is for the processes; empty if the settings say it."""
        return f"smtp://127.0.0.1:{self.listening.getsockname()[1]}" if self.listening else ""

    @property
    def web_url(self) -> str:
        """Where the API and the console are; empty where they are not served."""
        if self.serving is None:
            return ""
        host, port = self.serving.getsockname()[:2]
        return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104 - compared, not bound

    def close(self) -> None:
        """Close the sockets that children inherited."""
        for one in (self.listening, self.serving):
            if one:
                one.close()


def parts(settings: Settings, *, web: bool = False) -> Parts:
    """The parts for these settings, with `web` also what serves the API, the console and Flower.

    Raises PermanentError when there is no broker to run or a port that was asked for is taken, TransientError when the
    broker in the settings does not answer.
    """
    found = Parts(migrate=_migrate)
    # A process that is started again later, when .env says another thing, does not mail another way than the others.
    environment = {"PIPELINE_HOME": str(settings.home), "PIPELINE_MAIL": settings.mail}
    if settings.embedded_broker:
        found.servers.append(broker.child(settings))
    else:
        ask(settings.broker_url)
    if "catcher_url" not in settings.model_fields_set:
        found.listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        found.servers.append(_catcher(found.listening, settings.var / "outbox"))
        environment["PIPELINE_CATCHER_URL"] = found.catcher_url
    found.processes = [_worker(settings, environment), _beat(environment)]
    if web:
        try:
            _add_web(found, settings, environment)
        except BaseException:
            found.close()
            raise
    return found


def _add_web(found: Parts, settings: Settings, environment: dict[str, str]) -> None:
    found.serving = _free_port(settings, "WEB", settings.web_host)
    if settings.flower_port and flower.is_installed():
        with _free_port(settings, "FLOWER", "127.0.0.1") as free:
            port = free.getsockname()[1]
        found.flower_url = f"http://127.0.0.1:{port}"
        found.processes.append(flower.child(settings, port, environment))
        if not settings.flower_url:
            environment = {**environment, "PIPELINE_FLOWER_URL": found.flower_url}
    found.processes.append(_web(found.serving, environment))


def _migrate() -> None:
    from pipeline.migrating import migrate

    migrate()


def _catcher(listening: socket.socket, outbox: Path) -> Child:
    """The mail catcher on a socket that the tree keeps.

    While the catcher is being restarted, connections wait instead of failing, and the port stays the one the worker
    was told.
    """
    command = [sys.executable, "-m", "pipeline.adapters.catcher", "--folder", str(outbox)]
    descriptor = listening.fileno()
    return Child("catcher", [*command, "--socket", str(descriptor)], inherits=[descriptor])


def _free_port(settings: Settings, name: str, host: str) -> socket.socket:
    """A socket on the port of WEB or FLOWER; where that is taken, and nobody asked for it, on another that is free."""
    setting = f"{name.lower()}_port"
    port = getattr(settings, setting)
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        if setting in settings.model_fields_set or error.errno != errno.EADDRINUSE:
            raise PermanentError(
                f"{host}:{port} cannot be listened on ({error.strerror}): set PIPELINE_{name}_PORT to a free port"
                + (", or PIPELINE_WEB_HOST to an address of this machine" if name == "WEB" else "")
            ) from None
        return socket.create_server((host, 0), backlog=128)


def _web(serving: socket.socket, environment: dict[str, str]) -> Child:
    descriptor = serving.fileno()
    command = [sys.executable, "-m", "pipeline.api.serve", "--socket", str(descriptor)]
    return Child("web", command, environment=environment, inherits=[descriptor])


def _worker(settings: Settings, environment: dict[str, str]) -> Child:
    # One name a home: two trees on one machine may share a broker of the team's.
    node = f"embedded-{hashlib.sha256(str(settings.home).encode()).hexdigest()[:6]}@%h"
    options = ["--pool", "prefork", "--concurrency", str(settings.concurrency), "--queues", QUEUES]
    options += ["--hostname", node, "--task-events", "--without-gossip", "--without-mingle"]
    options += ["--loglevel", settings.log_level]
    return Child(
        "worker",
        [*_celery("worker"), *options],
        environment=environment,
        # It ends what is at work, and gives it back, by itself (pipeline/shutdown.py), or when it is asked once more.
        grace=settings.stop_within + LAST,
        stronger=signal.SIGTERM,
        stronger_grace=LAST,
    )


def _beat(environment: dict[str, str]) -> Child:
    return Child("beat", _celery("beat"), environment=environment)


def _celery(command: str) -> list[str]:
    # Celery warns root because of pickled messages; ours are JSON, and in a container everybody is root.
    quiet = ["-W", "ignore:You're running the worker with superuser privileges"]
    return [sys.executable, *quiet, "-m", "celery", "--quiet", "--app", "pipeline", command]
