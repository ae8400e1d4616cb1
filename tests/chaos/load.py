"""The work that goes on while things fail: a report to mailboxes and folders, and a workflow that leaves traces."""

from __future__ import annotations

from tests.chaos.site import Site

KEYS = [f"k{number:02}" for number in range(12)]
WHEN = "when: {{every: {seconds}s}}\n"
# Steps of the workflow that run beside each other.
PARTS = 6
REPORT = """
report:
  title: Load
  period: 2026-W46
  url: load.csv
  split_by: key
  formats: [csv]
recipients: {file: people.csv}
deliver_to: [HOME/copies/]
retry: {fetch: {first: 1s}, plan: {first: 1s}, render: {first: 1s}, deliver: {first: 1s}}
overlap: allow
catch_up: all
"""
TRACES = """
workflow: traces
overlap: allow
catch_up: all
"""
# A line is on the disk before its step is done: what SQL says is held against it.
WORKFLOW = f"""
import os
import time

from celery import chain, chord

from pipeline.tasks import step, workflow
from pipeline.retry import Retry

PATIENT = Retry(attempts=20, first=1, ceiling=5)


def leave(run, what):
    line = f"{{run.id}} {{what}}\\n".encode()
    file = os.open(run.home / "traces.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.fsync(file)
    os.close(file)


@step(retry=PATIENT)
def first(run):
    leave(run, "first")


@step(retry=PATIENT)
def part(run, number: int):
    time.sleep(0.2)
    run.alive()
    leave(run, f"part {{number}}")
    return number


@step(retry=PATIENT)
def last(run, numbers):
    leave(run, "last " + " ".join(map(str, numbers)))


@workflow
def traces(run):
    return chain(first.si(), chord([part.si(number) for number in range({PARTS})], last.s()))
""".replace("\\\\\\\\", "\\\\")
SCHEDULES = {"load": REPORT, "traces": TRACES}


def write(site: Site) -> None:
    """Put the work into the installation's home."""
    (site.home / "load.csv").write_text("key,value\n" + "".join(f"{key},of {key}\n" for key in KEYS))
    (site.home / "people.csv").write_text("key,email\n" + "".join(f"{key},ok+{key}@example.org\n" for key in KEYS))
    (site.home / "workflows" / "traces.py").write_text(WORKFLOW)


def begin(site: Site, every: int) -> None:
    """So many seconds apart, from now on."""
    _schedule(site, WHEN.format(seconds=every))


def end(site: Site) -> None:
    """No slot is due from now on; what is under way goes on."""
    _schedule(site, "")


def _schedule(site: Site, when: str) -> None:
    for name, text in SCHEDULES.items():
        site.schedule(name, text.replace("HOME", site.home.as_uri()) + when)
    site.command("sync", check=True)
