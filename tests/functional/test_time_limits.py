"""A step that hangs ends as a clear failed attempt, and its worker lives on; one that kills its worker is given up."""

from collections import Counter

import pytest

from pipeline.models import Attempt
from tests.functional.running import Running, running

CODE = """
import os
import signal
import time

from pipeline.tasks import step, workflow


@step
def sleepy(run):
    time.sleep(60)


@step
def deaf(run):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@step
def deadly(run):
    os.kill(os.getpid(), signal.SIGKILL)


@workflow
def hangs(run):
    return sleepy.si()


@workflow
def hangs_for_good(run):
    return deaf.si()


@workflow
def kills(run):
    return deadly.si()
"""


@pytest.fixture
def up(tmp_path):
    home = tmp_path / "home"
    home.joinpath("workflows").mkdir(parents=True)
    (home / "workflows" / "trouble.py").write_text(CODE)
    yield from running(home, f"sqlite:///{home / 'var' / 'pipeline.db'}")


def test_what_hangs_is_stopped_what_kills_is_given_up_and_the_worker_goes_on(up: Running) -> None:
    up.schedule("hangs", "workflow: hangs\nretry: {sleepy: {attempts: 2, first: 0s, time_limit: 1s}}\n")
    up.schedule("hangs_for_good", "workflow: hangs_for_good\nretry: {deaf: {time_limit: 1s}}\n")
    up.schedule("kills", "workflow: kills\n")
    up.schedule("shipments")
    deaf = up.trigger("hangs_for_good")
    hung, deadly = up.run("hangs"), up.run("kills")
    assert hung.error == "sleepy: took longer than its time limit of 1 s allows and was stopped"
    assert Counter(one.outcome for one in up.rows_of_attempts(hung.id)) == {"succeeded": 1, "retry": 1, "failed": 1}
    assert deadly.error.startswith("deadly: abandoned: 3 processes died or fell silent while carrying it out")
    killed = up.until(lambda: up.rows(Attempt, Attempt.run_id == deaf, Attempt.outcome == "abandoned"), 40)
    assert "its process was killed (time limit of 1 s" in killed[0].error or "is gone" in killed[0].error
    up.command("cancel", str(deaf), check=True)
    assert up.finished(deaf, 40).status == "cancelled"
    assert up.processes["worker"].poll() is None
    assert up.run("shipments").status == "succeeded"
