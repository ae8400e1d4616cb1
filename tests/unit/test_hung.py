"""A process whose run is cancelled and that leaves no sign of life is killed; any other is left alone."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from pipeline import hung
from pipeline.adapters import owners
from pipeline.db import transaction
from pipeline.models import Run, Step
from tests.factories import make_run
from tests.unit.services import acts

pytestmark = pytest.mark.usefixtures("database")
PLACE = 7


@pytest.fixture
def process(monkeypatch):
    monkeypatch.setattr(hung, "PATIENCE", 0.0)
    monkeypatch.setattr(hung, "SILENT", 600.0)  # longer than a machine stands still
    with subprocess.Popen(["sleep", "60"]) as found:
        yield found
        found.kill()
    hung._SIGN.pack_into(hung._shared, PLACE * hung._SIGN.size, 0, 0.0)


@pytest.fixture
def run(process):
    """A run with a step that the process has claimed."""
    found = make_run()
    acts.claim(found, "start")
    with transaction() as session:
        session.query(Step).one().lease_owner = owners.owner_of(process.pid)
    return found


def last_sign(process: subprocess.Popen, ago: float) -> None:
    hung._SIGN.pack_into(hung._shared, PLACE * hung._SIGN.size, process.pid, time.monotonic() - ago)


def cancelling(run: Run) -> None:
    with transaction() as session:
        session.get_one(Run, run.id).status = "cancelling"


def test_who_is_silent_while_its_run_is_cancelled_is_killed(process, run):
    last_sign(process, hung.SILENT + 1)
    watch = hung.Watch()
    watch.look()
    assert process.poll() is None
    cancelling(run)
    watch.look()
    assert process.wait(60) == -9


def test_who_leaves_signs_ends_by_itself(process, run):
    cancelling(run)
    last_sign(process, 1)
    hung.Watch().look()
    assert process.poll() is None


def test_who_comes_back_to_life_in_time_is_left_alone(process, run, monkeypatch):
    monkeypatch.setattr(hung, "PATIENCE", 60.0)
    cancelling(run)
    watch = hung.Watch()
    for ago in (hung.SILENT + 1, 0, hung.SILENT + 1):
        last_sign(process, ago)
        watch.look()
    assert process.poll() is None


def test_a_step_of_no_workers_child_leaves_no_sign():
    with hung.heartbeat() as beat:
        beat()
        assert hung.silent() == set()


def test_a_dead_process_is_not_asked_about(process, run, monkeypatch):
    last_sign(process, hung.SILENT + 1)
    process.kill()
    process.wait()
    monkeypatch.setattr(hung, "reading", lambda: pytest.fail("asked"))
    hung.Watch().look()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_no_process_is_forked_in_the_middle_of_a_look():
    begun, read = threading.Event(), []

    def look() -> None:
        with hung._reading:
            begun.set()
            time.sleep(0.2)
            read.append(True)

    thread = threading.Thread(target=look)
    thread.start()
    begun.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if read and hung._reading.acquire(blocking=False) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
