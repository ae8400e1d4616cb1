"""Every step's process is killed with -9 before it acts, before it records, and after: the run goes on by itself."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from pipeline.models import Attempt, Run, Step
from tests.chaos.site import site
from tests.functional.running import REPORT, Running

pytestmark = pytest.mark.chaos
STEPS = ["start", "fetch", "plan", "render", "gate", "deliver", "finish"]
# Three deaths of one step would look like its fault.
FIRST = [f"{step}.{place}" for step in STEPS for place in ("claimed", "recorded")]
SECOND = [*(f"{step}.acted" for step in STEPS), "plan.documents", "render.stored", "gate.passed", "publish.sent"]
QUICK = "retry: {fetch: {first: 0s}, plan: {first: 0s}, render: {first: 0s}, deliver: {first: 0s}}\n"
WHO = "recipients: [{email: ok+a@example.org, key: ACME}, {email: ok+b@example.org, key: BETA}]\n"


def pid_of(step: Step) -> int:
    return int(str(step.lease_owner).split("/")[2])


def asleep(pipeline: Running, run_id: UUID) -> Step | None:
    """The step whose process was stopped in the middle of it."""
    at_work = pipeline.rows(Step, Step.run_id == run_id, Step.status == "running")
    states = {step: Path(f"/proc/{pid_of(step)}/stat").read_text().rpartition(")")[2].split()[0] for step in at_work}
    return next((step for step, state in states.items() if state == "T"), None)


@contextmanager
def armed(pipeline: Running, marks: Path, points: dict[str, str]) -> Iterator[None]:
    """The worker with these fail-points, each of which acts in one process only."""
    marks.mkdir()
    said = " ".join(f"{point}={what}" for point, what in points.items())
    pipeline.kill("worker")
    pipeline.start("worker", PIPELINE_FAILPOINTS=said, PIPELINE_FAILPOINTS_ONCE=str(marks))
    yield
    pipeline.kill("worker")
    pipeline.start("worker")


def assert_done_once(pipeline: Running, run: Run) -> None:
    assert (run.status, run.error) == ("succeeded", None)
    assert Counter(line["recipient"] for line in pipeline.taken(run)) == {"ok+a@example.org": 1, "ok+b@example.org": 1}
    made = {one.key: one.status for one in pipeline.documents(run).values()}
    assert made == {"ACME": "rendered", "BETA": "rendered", "GAMMA": "skipped", "(no key)": "skipped"}
    won = Counter(one.step_id for one in pipeline.rows(Attempt, Attempt.run_id == run.id) if one.outcome == "succeeded")
    assert won == dict.fromkeys([step.id for step in pipeline.rows(Step, Step.run_id == run.id)], 1)


@pytest.mark.timeout(300)
def test_a_run_survives_the_death_of_every_step_at_every_point(pipeline: Running, tmp_path: Path) -> None:
    name = pipeline.schedule("deaths", REPORT + "  formats: [csv]\n" + WHO + QUICK)
    for number, places in enumerate((FIRST, SECOND)):
        with armed(pipeline, tmp_path / str(number), dict.fromkeys(places, "kill")):
            run = pipeline.run(name, timeout=100)
            assert {one.name for one in (tmp_path / str(number)).iterdir()} == set(places)
            assert_done_once(pipeline, run)


def test_who_wakes_up_after_his_lease_writes_over_nothing(pipeline: Running, tmp_path: Path) -> None:
    name = pipeline.schedule("sleeper", REPORT + "  formats: [csv]\n" + WHO + QUICK)
    with armed(pipeline, tmp_path / "marks", {"render.stored": "stop"}):
        run_id = pipeline.trigger(name)
        step = pipeline.until(lambda: asleep(pipeline, run_id), 60)
        # Nobody else's lease is over, however slow the machine is.
        with pipeline.transaction() as session:
            session.get_one(Step, step.id).lease_until = datetime.now(UTC) - timedelta(seconds=1)
        run = pipeline.finished(run_id, 100)
        assert_done_once(pipeline, run)
        (slept,) = [one for one in pipeline.rows(Attempt, Attempt.run_id == run.id) if one.outcome == "abandoned"]
        assert (slept.step_id, slept.worker) == (step.id, step.lease_owner)
        files = {one.key: one.error for one in pipeline.documents(run).values()}
        os.kill(pid_of(step), signal.SIGCONT)
        pipeline.until(lambda: "was taken over by another process" in (pipeline.home / "worker.log").read_text(), 60)
    assert {one.key: one.error for one in pipeline.documents(run).values()} == files
    assert_done_once(pipeline, pipeline.one(Run, Run.id == run.id))


ONE = """
report: {title: One, period: 2026-W46, url: one.csv, split_by: key, formats: [csv]}
recipients: [{email: ok@example.org, key: k1}]
"""
PATIENT = """
import time

from pipeline.tasks import step, workflow


@step
def wait(run):
    with (run.home / "waits").open("a") as file:
        file.write("waits ")
    while not (run.home / "go").exists():
        time.sleep(0.05)
    return "done"


@workflow
def patient(run):
    return wait.si()
"""


def test_who_has_begun_is_known_and_recorded_although_the_database_crashed_meanwhile(tmp_path: Path) -> None:
    with site(tmp_path / "home", parts=("worker1", "beat1")) as place:
        place.environment["PIPELINE_LEASE"] = "30"
        (place.home / "workflows" / "patient.py").write_text(PATIENT)
        place.schedule("patient", "workflow: patient\n")
        place.command("sync", check=True)
        place.supervise()
        run_id = place.trigger("patient")
        place.until((place.home / "waits").exists, 60)
        place.database.stop(signal.SIGQUIT)
        (place.home / "go").touch()
        place.until(lambda: "the database is away" in (place.home / "worker1.log").read_text(), 60)
        place.database.start()
        run = place.finished(run_id)
        (step,) = place.rows(Step, Step.run_id == run_id, Step.name == "wait")
        outcomes = [one.outcome for one in place.attempts(step)]
        begun = (place.home / "waits").read_text().split()
    assert (run.status, step.result) == ("succeeded", "done")
    # By the process that did it; if it came back after its lease only, it was done again by another one.
    assert outcomes in (["succeeded"], ["abandoned", "succeeded"])
    assert len(begun) == len(outcomes)


def test_what_a_step_had_made_is_there_although_the_database_crashed_before_it_was_recorded(tmp_path: Path) -> None:
    with site(tmp_path / "home", parts=("worker1", "beat1")) as place:
        place.environment["PIPELINE_LEASE"] = "30"
        (place.home / "one.csv").write_text("key,value\nk1,1\n")
        place.schedule("one", ONE)
        place.command("sync", check=True)
        place.start("mail")
        place.start("beat1")
        place.start("worker1", PIPELINE_FAILPOINTS="render.acted=stop", PIPELINE_FAILPOINTS_ONCE=str(tmp_path))
        run_id = place.trigger("one")
        place.until(lambda: asleep(place, run_id), 60)
        place.database.stop(signal.SIGQUIT)
        place.database.start()
        for pid in place.children("worker1"):
            os.kill(pid, signal.SIGCONT)
        run = place.finished(run_id, 60)
        made = {one.key: one.status for one in place.documents(run).values()}
        assert (run.status, run.error, made) == ("succeeded", None, {"k1": "rendered"})
        assert [line["recipient"] for line in place.smtp.taken()] == ["ok@example.org"]
