"""A step that hangs ends as a clear failed attempt, and its worker lives on; one that kills its worker is given up."""

import socket
from collections import Counter
from datetime import timedelta

import pytest

from pipeline.models import Attempt, Relay, Run, Step
from tests.functional.running import REPORT, Running, running

CODE = """
import os
import resource
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


@step
def hungry(run):
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, before[1]))
    try:
        return len(bytearray(2_000_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@workflow
def starves(run):
    return hungry.si()


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


# One document of the batch kills whoever makes it, one never ends.
BUILD = """
import os
import signal
import time


def build(rows, period):
    if rows[0].customer == "BETA":
        os.kill(os.getpid(), signal.SIGKILL)
    while rows[0].customer == "GAMMA":
        time.sleep(0.01)
    return {}
"""
ENDLESS = """
report:
  title: Endless
  database: warehouse
  sql: with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) as rows from n
retry: {fetch: {attempts: 1}}
"""
TO_EACH = """
allow_failed: 100%
recipients:
  - {key: ACME, email: ok+acme@example.org}
  - {key: BETA, email: ok+beta@example.org}
  - {key: GAMMA, email: ok+gamma@example.org}
"""


@pytest.fixture
def up(tmp_path):
    limits = {f"PIPELINE_{name}_TIMEOUT": "5" for name in ("SOURCE", "SMTP")} | {"PIPELINE_DOCUMENT_TIMEOUT": "15"}
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        relays = f"smtp://127.0.0.1:{silent.getsockname()[1]},{{smtp}}"
        yield from running(tmp_path / "home", workflow=CODE, PIPELINE_SMTP_URL=relays, **limits)


def test_what_hangs_is_stopped_what_kills_is_given_up_and_the_worker_goes_on(up: Running) -> None:
    up.schedule("hangs", "workflow: hangs\nretry: {sleepy: {attempts: 2, first: 0s, time_limit: 1s}}\n")
    up.schedule("hangs_for_good", "workflow: hangs_for_good\nretry: {deaf: {time_limit: 1s}}\n")
    up.schedule("kills", "workflow: kills\n")
    up.schedule("starves", "workflow: starves\nretry: {hungry: {attempts: 1}}\n")
    up.schedule("takes_long", "workflow: hangs\ntime_limit: 5m\n")
    up.schedule("deadly_documents", REPORT + TO_EACH, **{"reports/deadly_documents.py": BUILD})
    up.schedule("endless_query", ENDLESS)
    up.schedule("shipments")
    names = ("hangs_for_good", "deadly_documents", "takes_long", "hangs", "kills", "endless_query", "starves")
    runs = {name: up.trigger(name) for name in names}
    sleeps = (Step.run_id == runs["takes_long"], Step.name == "sleepy", Step.status == "running")
    up.until(lambda: up.rows(Step, *sleeps), 60)
    with up.transaction() as session:  # five minutes later
        session.get_one(Run, runs["takes_long"]).stop_at -= timedelta(minutes=5)
    deaf = (Attempt.run_id == runs["hangs_for_good"], Attempt.outcome == "abandoned")
    killed = up.until(lambda: up.rows(Attempt, *deaf), 60)
    assert "its process was killed after 11 s" in killed[0].error or "is gone" in killed[0].error
    up.command("cancel", str(runs["hangs_for_good"]))  # before its third try, if the machine has time

    ended = {name: up.finished(run_id, 120) for name, run_id in runs.items()}

    assert ended["hangs_for_good"].status in {"cancelled", "failed"}
    assert ended["hangs"].error == "sleepy: took longer than its time limit of 1 s allows and was stopped"
    outcomes = Counter(one.outcome for one in up.rows_of_attempts(runs["hangs"]))
    assert outcomes == {"succeeded": 1, "retry": 1, "failed": 1}
    assert ended["kills"].error.startswith("deadly: abandoned: 3 processes died or fell silent while carrying it out")
    assert "the database did not answer in time" in ended["endless_query"].error
    assert ended["starves"].error == "hungry: ran out of memory"
    assert ended["takes_long"].status == "failed"
    assert ended["takes_long"].error == "took longer than its time limit of 5m allows and was stopped"
    assert up.steps(ended["takes_long"])["sleepy"].status == "cancelled"
    made = {one.key: (one.status, one.error) for one in up.documents(ended["deadly_documents"]).values()}
    assert made == {
        "ACME": ("rendered", None),
        "BETA": ("failed", "3 processes died while they made it (memory, or a fault in a library)"),
        "GAMMA": ("failed", "took longer than 15 s and was stopped (PIPELINE_DOCUMENT_TIMEOUT)"),
        "(no key)": made["(no key)"],
    }
    assert [line["recipient"] for line in up.taken(ended["deadly_documents"])] == ["ok+acme@example.org"]
    assert up.processes["worker"].poll() is None
    delivered = up.run("shipments")
    assert delivered.status == "succeeded"
    assert {line["recipient"] for line in up.taken(delivered)} >= {"ok+acme@example.org", "ok+beta@example.org"}
    assert any(relay.last_error for relay in up.rows(Relay))
