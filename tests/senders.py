"""Sender processes for tests that kill them: forked from one that has everything imported, as a worker's children are.

`python -m tests.senders` reads a JSON line for each child that is wanted, and answers with its pid. A child carries out
the run's steps that deliver and finish, one after the other as they are due, as a worker does, until the run has none
left; what it sends is composed of nothing but addresses and ids.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from pipeline.failpoints import _ACTIONS, arm

ROOT = Path(__file__).parent.parent


class Senders:
    """The process that forks, as a test sees it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._forker = subprocess.Popen(
            [sys.executable, "-m", "tests.senders"],
            cwd=ROOT, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def start(self, run: UUID, **failpoints: str) -> int:
        """Start a child; `mail_dot="kill:2"` ends it at its second pass of the fail-point mail.dot."""
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps({"run": str(run), "failpoints": failpoints}) + "\n")
        self._forker.stdin.flush()
        return int(self._forker.stdout.readline())

    def stop(self) -> None:
        """End it with all its children, whatever they are at."""
        os.killpg(self._forker.pid, signal.SIGKILL)
        self._forker.wait()
        for pipe in (self._forker.stdin, self._forker.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def senders(environment: Mapping[str, str]) -> Iterator[Senders]:
    found = Senders(environment)
    try:
        yield found
    finally:
        found.stop()


def is_over(pid: int) -> bool:
    """Whether the child has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_for(pid: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_over(pid):
        assert time.monotonic() < deadline, f"sender {pid} goes on and on"
        time.sleep(0.01)


# ---- the forking process, and its children


class Letters:
    """Stands in for what is composed from templates and documents."""

    sender = "Reports <reports@example.com>"
    can_link = False

    def __init__(self, run: Any) -> None:
        self.run = run

    def load(self, session: Any, claimed: Any) -> None:
        pass

    def documents_of(self, delivery: Any) -> list[Any]:
        return [delivery]

    def names(self, document: Any) -> dict[str, str]:
        return {"key": document.key}

    def message(self, delivery: Any, *, linked: bool = False) -> bytes:  # noqa: ARG002 - the real one's
        return (
            f"From: {self.sender}\r\nTo: {delivery.address}\r\nMessage-ID: {delivery.message_id}\r\n"
            f"X-Delivery-ID: {delivery.id}\r\nSubject: Shipments\r\n\r\nHello\r\n"
        ).encode()


def carry_out(run: UUID) -> None:
    """Carry out the run's due steps that deliver and finish until none is left, or this process is killed."""
    from sqlalchemy import select

    from pipeline import tasks
    from pipeline.db import clock, reading, transaction
    from pipeline.models import Step
    from pipeline.services import steps
    from pipeline.workflows.report import requests, sending

    sending.Letters = Letters  # type: ignore[assignment,misc]
    requests.payload = lambda _, delivery: json.dumps({"delivery": str(delivery.id)}).encode()
    while True:
        with reading() as session:
            now = clock(session)
            ours = Step.task.in_(("report.deliver", "report.finish"))
            mine = select(Step).where(Step.run_id == run, ours, Step.status != "succeeded")
            left = session.scalars(mine.order_by(Step.ordinal)).all()
        due = [one for one in left if one.status == "queued" and (one.not_before is None or one.not_before <= now)]
        if not left:
            return
        for step in due:
            with transaction(durable=False) as session:
                claim = steps.claim(session, step.id, str(step.task_id))
            if claim is not None:
                tasks.act_and_record(tasks.STEPS[step.task], claim, carried=False)
                break
        else:
            time.sleep(0.02)


def begin(run: str, failpoints: Mapping[str, str]) -> None:
    for name, what in failpoints.items():
        word, _, passes = what.partition(":")
        arm(name.replace("_", "."), partial(os.kill, os.getpid(), _ACTIONS[word]), passes=int(passes or 1))
    try:
        carry_out(UUID(run))
    except BaseException:  # noqa: BLE001 - whatever it is, this child must not become the forker
        traceback.print_exc()
    os._exit(0)


def main() -> None:
    import pipeline.workflows.report  # noqa: F401 - imported once, for all children
    from pipeline import log
    from pipeline.settings import settings

    log.configure(settings())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            begin(wanted["run"], wanted["failpoints"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
