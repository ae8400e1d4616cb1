"""What the engine adds to a message: a chord of empty steps, and the same chord in plain Celery on the same broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

from benchmarks.product import PROCESSES, ROOT, product
from benchmarks.results import Result, seconds
from benchmarks.sink import sink

ROUNDS = 3
EMPTY = """
from celery import chord
from pipeline.tasks import step, workflow

@step
def rest(run, number): ...

@step
def end(run): ...

@workflow
def empty(run, members: int):
    return chord([rest.si(number) for number in range(members)], end.si())
"""
# Started as a client of its own: the worker below is another process.
CHORD = """
import json, sys, time
from celery import chord
from benchmarks.textbook import end, rest
took = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    result = chord([rest.s(n) for n in range(int(sys.argv[1]))], end.s()).apply_async()
    while not result.ready():
        time.sleep(0.02)
    took.append(time.perf_counter() - began)
print(json.dumps(took))
"""


def measure(members: int) -> Result:
    files = {"workflows/empty.py": EMPTY, "schedules/empty.yaml": f"workflow: empty\nparams: {{members: {members}}}\n"}
    with sink() as mail, product(mail.port, files=files) as found:
        found.run("empty", "-p", "members=10")
        runs = [found.run("empty") for _ in range(ROUNDS)]
        plain = textbook(f"redis+socket://{found.home / 'var' / 'broker.sock'}", members)
    ours, theirs = median(one.seconds for one in runs), median(plain)
    each = {"engine": ours / members, "textbook": theirs / members}
    return Result(
        "messages",
        f"A chord of {members} empty steps ({PROCESSES} processes, medians of {ROUNDS})",
        ("", "time", "a member"),
        [
            ("the engine: claimed, recorded, fenced, on SQLite", seconds(ours), f"{each['engine'] * 1000:.1f} ms"),
            ("plain Celery: acknowledged early, nothing kept", seconds(theirs), f"{each['textbook'] * 1000:.1f} ms"),
        ],
        {"members": members, "engine": [one.seconds for one in runs], "textbook": plain, "seconds_each": each},
        notes=["For information: a run has some hundred steps, whatever the number of its documents."],
    )


def textbook(broker: str, members: int) -> list[float]:
    """Seconds of the same chord in plain Celery, once for each round."""
    environment = {**os.environ, "TEXTBOOK_BROKER": broker}
    with _worker(environment):
        words = [sys.executable, "-c", CHORD, str(members), str(ROUNDS)]
        done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


@contextmanager
def _worker(environment: Mapping[str, str]) -> Iterator[None]:
    celery = [sys.executable, "-m", "celery", "-A", "benchmarks.textbook"]
    options = ["-c", str(PROCESSES), "-Q", "textbook", "-n", "textbook@%h", "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen(
        [*celery, "worker", *options], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ping = [*celery, "inspect", "ping", "--timeout", "1"]
    try:
        for _ in range(30):
            # The product's own worker, on the same broker, answers as well.
            done = subprocess.run(ping, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if "textbook@" in done.stdout:
                break
            time.sleep(0.2)
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
