"""Flower beside a pipeline that runs: it lets nobody in without the password, and its tasks name our runs and steps."""

import json
import socket
import subprocess
import sys
from base64 import b64encode
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.functional.running import PIPELINE, Running
from tests.ports import free_port


@contextmanager
def served(pipeline: Running, command):
    """Its address, as `command` serves it, and what it says."""
    port = free_port()
    log = pipeline.home / f"flower-{port}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, f"--port={port}"], cwd=pipeline.home, env=pipeline.environment, stdout=file, stderr=file
        )
    url = f"http://127.0.0.1:{port}"
    try:
        pipeline.until(lambda: asked(f"{url}/healthcheck")[0] == 200 or None, 60)
        yield url, log
    finally:
        process.terminate()
        process.wait(60)


def asked(url, user=""):
    headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
    try:
        with urlopen(Request(url, headers=headers), timeout=60) as answer:  # noqa: S310 - http
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


@pytest.fixture
def served_here(sqlite_pipeline: Running):
    with served(sqlite_pipeline, [PIPELINE, "flower"]) as found:
        yield found


def test_it_lets_in_who_knows_the_password_and_shows_runs_and_steps_by_our_ids(sqlite_pipeline, served_here):
    flower, log = served_here
    file = sqlite_pipeline.home / "var" / "flower.password"
    assert file.stat().st_mode & 0o777 == 0o600
    user = f"pipeline:{file.read_text().strip()}"
    assert asked(f"{flower}/api/tasks")[0] == 401
    assert asked(f"{flower}/api/tasks", "pipeline:guess")[0] == 401
    assert asked(f"{flower}/")[0] == 401
    assert user.split(":")[1] not in log.read_text()

    # What happens before it listens it never hears of.
    sqlite_pipeline.until(lambda: json.loads(asked(f"{flower}/workers?json=1", user)[1])["data"], 60)
    sqlite_pipeline.schedule("flowery")
    run = sqlite_pipeline.run("flowery")

    def shown():
        tasks = json.loads(asked(f"{flower}/api/tasks", user)[1]).values()
        return {one["name"]: one for one in tasks if str(run.id) in one["kwargs"] and one["state"] == "SUCCESS"}

    sqlite_pipeline.until(lambda: shown().keys() >= {"run.expand", "report.plan", "report.finish"} or None, 60)
    steps = sqlite_pipeline.steps(run)
    plan = shown()["report.plan"]
    assert (plan["uuid"], plan["kwargs"]) == (
        str(steps["plan"].task_id), repr({"run": str(run.id), "step": "plan"})
    )  # fmt: skip


def test_celerys_own_command_is_no_open_door_either(sqlite_pipeline):
    with served(sqlite_pipeline, [sys.executable, "-m", "celery", "-A", "pipeline", "flower"]) as (url, log):
        assert asked(f"{url}/")[0] == asked(f"{url}/api/workers")[0] == 401
        assert (
            asked(f"{url}/", f"pipeline:{(sqlite_pipeline.home / 'var' / 'flower.password').read_text().strip()}")[0]
            == 200
        )
        assert "flower.password" in log.read_text()
        # It listens on this address alone: on another one of this machine its port is free.
        socket.create_server(("127.0.0.2", int(url.rpartition(":")[2]))).close()
