"""Fail-points: nothing unless armed; armed, they end the process exactly where and when it was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from pipeline import failpoints
from pipeline.failpoints import arm, failpoint

PASSES = "from pipeline.failpoints import failpoint\nfor n in range(4): print(n, flush=True); failpoint('here')"


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    failpoints.disarm()


def process(**variables):
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", PASSES], env=environment, capture_output=True, text=True, check=False)


def test_nothing_happens_where_nothing_is_armed():
    failpoint("here")


def test_an_action_is_done_once_at_the_pass_that_was_asked_for():
    done = []
    arm("here", lambda: done.append("here"), passes=2)
    failpoint("elsewhere")
    failpoint("here")
    assert done == []

    failpoint("here")
    failpoint("here")
    assert done == ["here"]


def test_the_environment_kills_at_a_pass():
    killed = process(PIPELINE_FAILPOINTS="here=kill:3 elsewhere=kill")

    assert (killed.returncode, killed.stdout.split()) == (-signal.SIGKILL, ["0", "1", "2"])


def test_one_process_of_several_is_killed(tmp_path):
    variables = {"PIPELINE_FAILPOINTS": "here=kill", "PIPELINE_FAILPOINTS_ONCE": str(tmp_path)}

    assert [process(**variables).returncode for _ in range(2)] == [-signal.SIGKILL, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
