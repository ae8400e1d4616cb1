"""The bare loops of mail: smtplib on one connection a process, with messages made beforehand or one by one.

Run as `python -m benchmarks.bare_sending JSON`, where JSON holds the fields of `Job`; it prints what it did, as JSON.
"""

from __future__ import annotations

import json
import os
import smtplib
import sys
import time
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

from benchmarks.composing import SENDER, Theirs
from pipeline.adapters.messages import Attachment


@dataclass(frozen=True)
class Job:
    """`attachment`: none, own or shared; `prebuilt`: made before the clock starts."""

    templates: str
    smtp_port: int
    count: int
    attachment: str
    prebuilt: bool
    processes: int = 2


class Worker:
    """One process's share of the messages, and its one connection."""

    def __init__(self, job: Job) -> None:
        self.job, self.maker = job, Theirs(Path(job.templates))
        self.smtp = smtplib.SMTP("127.0.0.1", job.smtp_port, local_hostname="localhost")
        mine = range(job.count // job.processes)
        shared = Attachment("aircraft_log-N1.pdf", "application/pdf", os.urandom(12_000))
        own = job.attachment == "own"
        files = [Attachment(shared.name, shared.media_type, os.urandom(12_000)) if own else shared for _ in mine]
        self.files = files if job.attachment != "none" else [None for _ in mine]
        self.ready = [self.maker.make(number, file) for number, file in enumerate(self.files)] if job.prebuilt else None

    def send(self) -> int:
        for number, file in enumerate(self.files):
            data = self.ready[number] if self.ready else self.maker.make(number, file)
            self.smtp.sendmail(SENDER, [f"a{number}@example.org"], data)
        return len(self.files)


_worker: Worker


def begin(job: Job) -> None:
    global _worker  # noqa: PLW0603 - one a process
    _worker = Worker(job)


def send(_: int) -> int:
    return _worker.send()


def rest(_: int) -> None:
    time.sleep(0.5)  # so that each process takes one of these, and is ready


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    with Pool(job.processes, begin, (job,)) as pool:
        pool.map(rest, range(job.processes), chunksize=1)
        started = time.perf_counter()
        sent = sum(pool.map(send, range(job.processes), chunksize=1))
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "messages": sent}))


if __name__ == "__main__":
    main()
