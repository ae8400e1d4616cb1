"""The engine end to end without a process: workflows declared here, carried out message by message."""

from __future__ import annotations

import errno
import json
from datetime import timedelta
from uuid import UUID

import pytest
from celery import chain, chord, group
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from pipeline import healing, tasks
from pipeline.adapters import folders, owners
from pipeline.celery import app, load_workflows
from pipeline.db import reading, transaction
from pipeline.errors import DefinitionError, NotFound, Parked, PermanentError, Refused, Skip, TransientError
from pipeline.failpoints import arm
from pipeline.models import Attempt, Run, Step
from pipeline.retry import Retry
from pipeline.services import steps
from pipeline.services.runs import Request
from pipeline.settings import settings
from pipeline.tasks import engine, step, workflow
from tests.broker import broker, no_broker, worker
from tests.factories import MONDAY, make_run, make_schedule

__all__ = ["broker", "no_broker", "worker"]
SOON = Retry(attempts=3, first=30, jitter=0)


class Story:
    """A schedule `nightly` for the workflow of that name, which each test declares, and a worker to carry it out."""

    def __init__(self, worker, frozen):
        self.worker, self.frozen = worker, frozen
        make_schedule("nightly", report=None, recipients=None, workflow="nightly")

    def trigger(self, **values):
        run_id, _ = tasks.trigger(Request(schedule_key="nightly", **values))
        return run_id

    def run(self, **values):
        """Trigger a run and carry out all there is to do; the run."""
        run_id = self.trigger(**values)
        self.worker.work()
        return self.read(run_id)

    def read(self, run_id):
        with reading() as session:
            return session.get_one(Run, run_id)

    def statuses(self, run):
        with reading() as session:
            rows = session.scalars(select(Step).where(Step.run_id == run.id).order_by(Step.stage, Step.ordinal))
            return {row.name: row.status for row in rows}

    def attempts(self, run, name):
        with reading() as session:
            mine = select(Attempt).join(Step, Step.id == Attempt.step_id)
            return list(session.scalars(mine.where(Step.run_id == run.id, Step.name == name).order_by(Attempt.fence)))

    def beat(self, **passes):
        """Time passes, and beat's reconcile looks: what it heals is published and carried out."""
        self.frozen.tick(timedelta(**passes))
        for run_id in healing.heal():
            tasks.publish(run_id)
        return self.worker.work()


@pytest.fixture
def story(database, worker, frozen):
    """What a test declares is forgotten afterwards: workflows and steps are known to the whole process."""
    load_workflows()
    frozen.move_to(MONDAY)
    yield Story(worker, frozen)
    for registry in (tasks.WORKFLOWS, tasks.STEPS):
        for name, known in list(registry.items()):
            if getattr(known, "function", known).__module__ == __name__:
                del registry[name]


def declare(*names, result=None):
    """Steps that return `result` of their arguments, or nothing."""

    def make(name):
        def function(run, *arguments):
            return result(*arguments) if result else None

        function.__name__, function.__module__ = name, __name__
        return step(function)

    return [make(name) for name in names]


# ---- canvases


def test_a_group_hands_its_results_to_what_follows(story):
    @step(queue="deliver")
    def download(run, day):
        return {"day": day, "rows": day * 10}

    @step
    def load(run, downloads):
        return sum(one["rows"] for one in downloads)

    @step
    def check(run, loaded):
        assert loaded == [60]

    @workflow
    def nightly(run):
        return chain(group(download.si(day) for day in (1, 2, 3)), load.s(), check.s())

    run = story.run()

    assert (run.status, run.error) == ("succeeded", None)
    assert story.statuses(run) == dict.fromkeys(
        ["start", "download:1", "download:2", "download:3", "load", "check"], "succeeded"
    )
    assert story.worker.done == ["start", "download:1", "download:2", "download:3", "load", "check"]


def test_a_group_of_one_hands_on_a_list_too(story):
    given = []

    @step
    def download(run, day):
        return day

    @step
    def load(run, days):
        given.append(days)

    @workflow
    def nightly(run):
        return chain(group(download.s(day) for day in [7]), load.s())

    assert story.run().status == "succeeded"
    assert given == [[7]]


def test_a_step_that_needs_no_result_is_given_none(story):
    given = []

    @step
    def first(run):
        return "something"

    @step
    def second(run, *arguments, **named):
        given.append((arguments, named))

    @workflow
    def nightly(run):
        return chain(first.si(), second.si(7, deep=True))

    assert story.run().status == "succeeded"
    assert given == [((7,), {"deep": True})]


def test_a_step_may_return_a_canvas(story):
    (render, gate, finish) = declare("render", "gate", "finish")

    @step
    def plan(run):
        return chord([render.si(0), render.si(1)], gate.si())

    @workflow
    def nightly(run):
        return chain(plan.si(), finish.si())

    run = story.run()

    assert run.status == "succeeded"
    assert set(story.statuses(run)) == {"start", "plan", "finish", "render:0", "render:1", "gate"}


def test_every_message_delivered_twice_does_its_work_once(story):
    worked = []

    @step
    def download(run, day):
        worked.append(day)

    @step
    def load(run):
        worked.append("load")

    @workflow
    def nightly(run):
        return chord([download.si(day) for day in range(3)], load.si())

    run_id = story.trigger()
    while messages := story.worker.take():
        for message in [*messages, *messages]:
            story.worker.carry_out(message)

    assert story.read(run_id).status == "succeeded"
    assert worked == [0, 1, 2, "load"]


def test_a_message_that_comes_again_while_it_is_worked_on_does_not_count_as_done(story):
    worked, fetched = [], []

    @step
    def download(run, day):
        if day == 2:
            story.worker.carry_out(fetched[day])
            worked.extend(message.headers["step"] for message in story.worker.take())
        worked.append(day)

    @step
    def load(run):
        worked.append("load")

    @workflow
    def nightly(run):
        return chord([download.si(day) for day in range(3)], load.si())

    run_id = story.trigger()
    story.worker.carry_out(*story.worker.take())
    fetched += story.worker.take()
    for message in fetched:
        story.worker.carry_out(message)
    story.worker.work()

    assert worked == [0, 1, 2, "load"]
    assert story.read(run_id).status == "succeeded"


def test_messages_hold_ids_alone(story):
    (only,) = declare("only")

    @workflow
    def nightly(run):
        return only.si("a secret")

    run_id = story.trigger()
    (message,) = story.worker.take()
    assert message.payload[1].keys() == {"step_id"}
    assert (message.headers["run"], message.headers["step"]) == (str(run_id), "start")
    assert "secret" not in json.dumps([message.payload, message.headers], default=str)


def test_the_run_that_a_step_is_given(story):
    seen = {}

    @step
    def look(run):
        seen.update(id=run.id, name=run.name, period=run.period.label, due=run.local_due_at.hour, params=run.params)
        seen.update(revision=run.revision)
        assert run.scratch.is_dir()
        seen["scratch"] = run.scratch

    @workflow
    def nightly(run, region: str = "eu"):
        return look.si()

    run = story.run(params={"region": "us"}, period="2026-Q3")

    assert seen.pop("scratch").exists() is False
    assert seen.pop("revision") == run.revision
    assert seen == {"id": run.id, "name": "nightly", "period": "2026-Q3", "due": 7, "params": {"region": "us"}}


def test_a_file_is_put_by_one_step_and_got_by_another(story):
    @step
    def download(run):
        assert not run.has("rows")
        run.put("rows", b"a,b", kind="dataset", suffix=".csv", media_type="text/csv")
        run.put("rows", b"c,d", kind="dataset", suffix=".csv", media_type="text/csv")

    @step
    def load(run):
        assert run.has("rows")
        return run.get("rows").read_bytes().decode()

    @step
    def lose(run):
        run.get("columns")

    @workflow
    def nightly(run):
        return chain(download.si(), load.si(), lose.si())

    run = story.run()

    assert run.error == 'lose: the run has no file "columns": an earlier step should have put it'
    with reading() as session:
        assert session.scalar(select(Step.result).where(Step.name == "load")) == "c,d"


# ---- what goes wrong


def test_a_transient_error_is_tried_again_when_it_is_due_and_the_body_waits_for_it(story):
    failures = [TransientError("503"), TransientError("still 503")]

    @step(retry=SOON)
    def download(run, day):
        if day == 1 and failures:
            raise failures.pop(0)
        return day

    @step
    def load(run, days):
        return days

    @workflow
    def nightly(run):
        return chain(group(download.si(day) for day in range(3)), load.s())

    run = story.run()
    assert (run.status, story.statuses(run)["load"]) == ("running", "pending")
    assert story.beat(seconds=29) == []
    assert story.beat(seconds=1) == ["download:1", "load"]
    assert story.beat(seconds=60) == ["download:1", "load", "load"]

    assert story.read(run.id).status == "succeeded"
    kept = [(one.outcome, one.error) for one in story.attempts(run, "download:1")]
    assert kept == [("retry", "503"), ("retry", "still 503"), ("succeeded", None)]
    assert "raise failures.pop(0)" in story.attempts(run, "download:1")[0].traceback


def test_a_permanent_error_ends_the_run_at_once(story):
    @step
    def download(run):
        raise PermanentError("no such table: flights")

    (load,) = declare("load")

    @workflow
    def nightly(run):
        return chain(download.si(), load.si())

    run = story.run()

    assert (run.status, run.error) == ("failed", "download: no such table: flights")
    assert story.statuses(run) == {"start": "succeeded", "download": "failed", "load": "cancelled"}


def test_an_error_that_nobody_named_is_permanent_and_keeps_its_name(story):
    @step
    def download(run):
        return {}["rows"]

    @workflow
    def nightly(run):
        return download.si()

    assert story.run().error == "download: KeyError: 'rows'"


def test_a_step_names_the_errors_that_are_worth_another_try(story):
    tries = []

    @step(retry=Retry(on=(ConnectionError, TransientError), attempts=2, first=30, jitter=0))
    def download(run):
        tries.append(run)
        raise ConnectionResetError("by peer")

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()
    assert run.status == "running"
    story.beat(seconds=30)

    assert len(tries) == 2
    assert story.read(run.id).error == "download: ConnectionResetError: by peer"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SoftTimeLimitExceeded(), "took longer than its time limit of 840 s allows and was stopped"),
        (MemoryError(), "ran out of memory"),
        (
            OperationalError("", {}, Exception("database is locked")),
            "the pipeline's database is away: database is locked",
        ),
    ],
)
def test_what_passes_by_itself_is_tried_again(story, error, sentence):
    @step(retry=SOON)
    def download(run):
        raise error

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()

    assert (run.status, story.attempts(run, "download")[0].error) == ("running", sentence)


def test_what_a_library_makes_of_an_interruption_is_told_as_that(story):
    @step(retry=SOON, limits=(60, 90))
    def hurried(run):
        run.interrupted = True
        raise PermanentError("another command is already in progress")

    @workflow
    def nightly(run):
        return hurried.si()

    run = story.run()

    said = "took longer than its time limit of 60 s allows and was stopped"
    assert (run.status, story.attempts(run, "hurried")[0].error) == ("running", said)


def test_what_is_interrupted_because_its_run_is_cancelled_is_cancelled_whatever_it_raises(story):
    @step(retry=SOON)
    def download(run):
        with transaction() as session:
            session.get_one(Run, run.id).status = "cancelling"
        run.cancelled = "cancelled by anna"
        run.interrupted = True
        raise PermanentError("another command is already in progress")

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()

    assert run.status == "cancelled"
    (tried,) = story.attempts(run, "download")
    assert (tried.outcome, tried.error) == ("cancelled", "cancelled by anna")


def test_what_is_done_and_could_not_be_recorded_in_all_of_its_time_has_not_failed(story, monkeypatch):
    worked, persist = [], engine.persist

    def out_of_time(write):
        engine.persist = persist
        raise SoftTimeLimitExceeded

    @step
    def download(run):
        worked.append(run.attempt_id)
        if len(worked) == 1:
            monkeypatch.setattr(engine, "persist", out_of_time)

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()
    assert [one.outcome for one in story.attempts(run, "download")] == ["running"]
    story.beat(seconds=31)

    assert [one.outcome for one in story.attempts(run, "download")] == ["abandoned", "succeeded"]
    assert story.read(run.id).status == "succeeded"


def test_a_relay_that_is_down_uses_up_no_attempt(story):
    down = [True] * 5

    @step(retry=Retry(attempts=1))
    def deliver(run):
        if down:
            down.pop()
            raise Parked("the relay is down")

    @workflow
    def nightly(run):
        return deliver.si()

    run = story.run()
    for _ in range(5):
        story.beat(minutes=16)

    assert story.read(run.id).status == "succeeded"
    assert [one.outcome for one in story.attempts(run, "deliver")] == ["parked"] * 5 + ["succeeded"]


def test_a_full_disk_is_tried_again_and_then_told_on_the_run(story, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    @step(retry=SOON)
    def download(run):
        run.put("rows", b"a,b")

    @workflow
    def nightly(run):
        return download.si()

    monkeypatch.setattr(folders, "_fill", full)
    run = story.run()
    for _ in range(3):
        story.beat(minutes=16)

    run = story.read(run.id)
    assert run.status == "failed"
    assert run.error.startswith(f"download: {settings().var / 'artifacts'}: cannot store ")
    assert run.error.endswith(": the disk is full; nothing of it was kept")
    assert [one.outcome for one in story.attempts(run, "download")] == ["retry", "retry", "failed"]
    assert not [path for path in (settings().var / "artifacts").rglob("*") if path.is_file()]


def test_a_store_that_is_not_mounted_is_waited_for(story):
    store, away = settings().var / "artifacts", settings().var / "away"

    @step
    def download(run):
        run.put("rows", b"a,b")
        store.rename(away)

    @step(retry=Retry(attempts=1))
    def load(run):
        return run.get("rows").read_bytes().decode()

    @workflow
    def nightly(run):
        return chain(download.si(), load.si())

    run = story.run()
    assert "mount it, or correct PIPELINE_STORAGE_URL" in story.attempts(run, "load")[0].error
    away.rename(store)
    story.beat(minutes=16)

    assert story.read(run.id).status == "succeeded"


def test_nothing_to_do_is_no_failure(story):
    @step
    def look(run):
        raise Skip("no rows for this period")

    (load,) = declare("load")

    @workflow
    def nightly(run):
        return chain(look.si(), load.si())

    run = story.run()

    assert (run.status, run.error) == ("skipped", "no rows for this period")
    assert story.statuses(run)["load"] == "cancelled"


def test_the_schedule_file_overrides_a_steps_retry(story):
    @step(retry=Retry(attempts=1))
    def download(run):
        raise TransientError("503")

    @workflow
    def nightly(run):
        return download.si()

    retry = {"download": {"attempts": 2, "first": "90s"}}
    make_schedule("nightly", report=None, recipients=None, workflow="nightly", retry=retry)
    run = story.run()

    assert run.status == "running"
    assert story.beat(seconds=80) == []
    assert story.beat(seconds=11) == ["download"]
    assert story.read(run.id).status == "failed"


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ({1, 2}, "step download returned what is not JSON: Object of type set is not JSON serializable"),
        (float("nan"), "step download returned what is not JSON: Out of range float values are not JSON compliant"),
        ("x" * 65_536, "step download returned 65,538 bytes: use run.put(name, file) above 64 kB"),
    ],
)
def test_what_a_step_returns_is_small_and_json(story, result, sentence):
    @step
    def download(run):
        return result

    @workflow
    def nightly(run):
        return download.si()

    assert story.run().error.startswith(f"download: {sentence}")


def test_64_kb_is_enough(story):
    @step
    def download(run):
        return "x" * 65_534

    @workflow
    def nightly(run):
        return download.si()

    assert story.run().status == "succeeded"


# ---- canvases that cannot be


def refused(story, canvas):
    @workflow
    def nightly(run):
        return canvas

    run = story.run()
    assert run.status == "failed"
    assert story.statuses(run) == {"start": "failed"}
    return run.error.removeprefix("start: ")


def test_two_steps_of_one_name_fail_the_step_that_asked_for_them(story):
    (load,) = declare("load")

    assert refused(story, group(load.si(1), load.si(1))) == (
        'two steps are called "load:1": give one another argument or name'
    )


def test_a_name_that_the_run_has_already_fails_the_step_that_asked_for_it(story):
    (load,) = declare("load")

    @step
    def plan(run):
        return load.si()

    @workflow
    def nightly(run):
        return chain(load.si(), plan.si())

    assert story.run().error == 'plan: the run already has a step "load": give this one another argument or name'


def test_a_group_inside_of_a_group_is_refused(story):
    (load,) = declare("load")

    assert refused(story, group(load.si(1), chain(load.si(2), load.si(3)))) == (
        "a group's members must be single steps: put what follows behind the group"
    )


def test_an_empty_group_is_refused(story):
    assert refused(story, group([])) == "a group is empty: leave it out, or skip the run"


def test_a_task_that_is_no_step_is_refused(story):
    assert refused(story, app.signature("run.status", ("x",), immutable=True)) == (
        '"run.status" is not a step: decorate the function with @step'
    )


def test_a_workflow_that_returns_no_canvas_is_refused(story):
    assert refused(story, {"not": "a canvas"}) == "workflow nightly returned dict, not a canvas of steps"


def test_a_queue_that_is_not_there_is_refused_where_it_is_written():
    with pytest.raises(DefinitionError, match='step download: queue "rendr" is not one of default, render, deliver'):

        @step(queue="rendr")
        def download(run):
            pass


@pytest.mark.parametrize(
    ("canvas", "stages"),
    [
        (lambda one: one.si(1), [["1"]]),
        (lambda one: group(one.si(1), one.si(2)), [["1", "2"]]),
        (lambda one: chain(one.si(1), one.si(2), one.si(3)), [["1"], ["2"], ["3"]]),
        (lambda one: chord([one.si(1), one.si(2)], one.si(3)), [["1", "2"], ["3"]]),
        (lambda one: chain(group(one.si(1), one.si(2)), one.si(3)), [["1", "2"], ["3"]]),
        (lambda one: chain(group(one.si(1), one.si(2)), group(one.si(3), one.si(4))), [["1", "2"], ["3", "4"]]),
        (
            lambda one: chain(one.si(1), group(one.si(2), one.si(3)), one.si(4), one.si(5)),
            [["1"], ["2", "3"], ["4"], ["5"]],
        ),
        (lambda one: chord([one.si(1), one.si(2)], chain(one.si(3), one.si(4))), [["1", "2"], ["3"], ["4"]]),
        (
            lambda one: chain(one.si(1), chord([one.si(2), one.si(3)], one.si(4)), one.si(5)),
            [["1"], ["2", "3"], ["4"], ["5"]],
        ),
    ],
)
def test_the_stages_of_a_canvas(story, canvas, stages):
    (one,) = declare("one")

    assert [[str(each.args[0]) for each in stage] for stage in tasks.stages_of(canvas(one))] == stages


# ---- messages that are lost


def test_a_lost_message_is_published_again(story):
    (download, load) = declare("download", "load")

    @workflow
    def nightly(run):
        return chain(download.si(), load.si())

    run_id = story.trigger()
    story.worker.take()  # and the broker dies

    assert story.beat(seconds=60) == []
    assert story.beat(seconds=1) == ["start", "download", "load"]
    assert story.read(run_id).status == "succeeded"


def test_what_follows_a_chord_of_which_a_message_was_sent_again_is_not_lost(story):
    worked = []

    @step
    def download(run, day):
        worked.append(day)

    @step
    def load(run):
        worked.append("load")

    @workflow
    def nightly(run):
        return chord([download.si(day) for day in range(2)], load.si())

    run_id = story.trigger()
    story.worker.carry_out(*story.worker.take())
    _lost, late = story.worker.take()
    story.frozen.tick(timedelta(seconds=61))
    for healed in healing.heal():
        tasks.publish(healed)
    (again, _) = story.worker.take()
    story.worker.carry_out(again)
    story.worker.work()  # what it brings comes too early, and is refused
    story.worker.carry_out(late)
    story.worker.work()

    assert worked == [0, 1, "load"]
    assert story.read(run_id).status == "succeeded"


def test_losing_the_whole_broker_amid_a_chord_costs_time_and_not_work(story):
    worked = []

    @step
    def download(run, day):
        worked.append(day)

    @step
    def load(run):
        worked.append("load")

    @workflow
    def nightly(run):
        return chord([download.si(day) for day in range(4)], load.si())

    run_id = story.trigger()
    (start,) = story.worker.take()
    story.worker.carry_out(start)
    for message in story.worker.take()[:2]:
        story.worker.carry_out(message)

    story.beat(seconds=61)
    assert story.read(run_id).status == "succeeded"
    assert worked == [0, 1, 2, 3, "load"]


def test_a_broker_that_is_away_costs_time_alone(story, no_broker):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    run_id = story.trigger()

    assert not tasks.publish(run_id)
    with reading() as session:
        assert session.scalars(select(Step.published_at).where(Step.run_id == run_id)).all() == [None]


def test_what_a_broker_that_was_away_missed_is_published_when_it_is_back(story, monkeypatch):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    def away(_stages):
        raise ConnectionRefusedError("111")

    with monkeypatch.context() as broken:
        broken.setattr("pipeline.tasks.publishing._canvas", away)
        run_id = story.trigger()
    assert story.beat(seconds=6) == ["start", "download"]
    assert story.read(run_id).status == "succeeded"


def test_there_is_nothing_to_publish_of_a_run_that_waits_or_is_over(story):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()
    assert not tasks.publish(run.id)


# ---- processes that die or lose their claim


def test_a_step_that_was_taken_over_records_nothing(story):
    @step
    def download(run):
        with transaction() as session:
            row = session.get_one(Step, run.claim.step.id)
            row.fence += 1  # another process, while this one slept past its lease
        return "late"

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()
    assert story.statuses(run)["download"] == "running"
    with reading() as session:
        assert session.scalar(select(Step.result).where(Step.name == "download")) is None


def test_a_process_that_was_killed_is_replaced_by_the_error_path(story):
    worked = []

    @step
    def download(run):
        worked.append(run)

    @workflow
    def nightly(run):
        return download.si()

    run_id = story.trigger()
    story.worker.carry_out(story.worker.take()[0])
    (message,) = story.worker.take()
    host, boot, pid, _ = owners.owner().split("/")
    with transaction() as session:
        claim = steps.claim(session, story_step(session, run_id, "download").id, message.headers["id"])
        session.get_one(Step, claim.step.id).lease_owner = f"{host}/{boot}/{pid}/1"

    # The worker's main process tells of the child's death: Celery's errback.
    tasks.failed(message.headers["id"])

    assert story.worker.work() == ["download"]
    assert len(worked) == 1
    assert story.read(run_id).status == "succeeded"


def test_the_error_path_leaves_a_living_owner_alone(story):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    run_id = story.trigger()
    (message,) = story.worker.take()
    with transaction() as session:
        steps.claim(session, story_step(session, run_id, "start").id, message.headers["id"])
    tasks.failed(message.headers["id"])

    assert story.worker.work() == []
    assert story.statuses(story.read(run_id)) == {"start": "running"}


def test_a_database_that_is_away_uses_up_no_message(story, monkeypatch):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    run_id = story.trigger()
    away, waits, claim = 3 * [OperationalError("", {}, Exception("connection refused"))], [], steps.claim

    def claim_when_it_is_back(*args):
        if away:
            raise away.pop()
        return claim(*args)

    monkeypatch.setattr(steps, "claim", claim_when_it_is_back)
    monkeypatch.setattr("pipeline.db.time.sleep", waits.append)

    assert story.worker.work() == ["start", "download"]
    assert (story.read(run_id).status, waits[:3]) == ("succeeded", [0.25, 0.5, 1.0])


def test_who_has_recorded_his_step_and_cannot_go_on_leaves_that_to_reconcile(story, monkeypatch):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    run_id = story.trigger()
    with monkeypatch.context() as away:
        away.setattr(engine, "publish", fail_with(OperationalError("", {}, Exception("connection refused"))))
        assert story.worker.work() == ["start"]
    assert story.beat(seconds=6) == ["download"]
    assert story.read(run_id).status == "succeeded"


def test_a_message_whose_process_died_before_it_claimed_anything_is_sent_again_at_once(story):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    story.trigger()
    for _ in range(3):
        (message,) = story.worker.take()
        tasks.failed(message.headers["id"])
    (message,) = story.worker.take()
    tasks.failed(message.headers["id"])

    assert story.worker.take() == []
    assert story.beat(minutes=9) == ["start", "download"]


@pytest.mark.parametrize("last", [1, 2])
def test_what_a_process_that_died_after_its_work_was_to_bring_along_comes_all_the_same(story, last):
    (load,) = declare("load")

    @step
    def download(run, number):
        if number == last:
            arm("download.recorded", ended)

    def ended():
        raise MemoryError  # no answer to Celery, as of a process that is gone

    @workflow
    def nightly(run):
        return chord([download.si(1), download.si(2)], load.si())

    run = story.run()

    assert (run.status, story.worker.done.count("load")) == ("succeeded", 1)
    assert [one.outcome for one in story.attempts(run, f"download:{last}")] == ["succeeded"]


def fail_with(error):
    def fail(*_args):
        raise error

    return fail


def story_step(session, run_id, name):
    return session.scalars(select(Step).where(Step.run_id == run_id, Step.name == name)).one()


# ---- parameters


def test_parameters_have_the_types_of_the_signature(story):
    seen = []
    (download,) = declare("download")

    @workflow
    def nightly(run, day: int, region: str = "eu", deep: bool = False):
        seen.append((day, region, deep))
        return download.si()

    story.run(params={"day": "3", "deep": "yes"})
    assert seen == [(3, "eu", True)]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"day": 1, "regoin": "us"}, 'there is no parameter "regoin": did you mean region?'),
        ({"day": 1, "zzz": "us"}, 'there is no parameter "zzz": known parameters: day, region'),
        ({}, 'parameter "day" is missing: give it with -p day=…'),
        (
            {"day": "soon"},
            'parameter day="soon": Input should be a valid integer, unable to parse string as an integer',
        ),
    ],
)
def test_a_wrong_parameter_opens_no_run(story, params, sentence):
    @workflow
    def nightly(run, day: int, region: str = "eu"):
        pass

    with pytest.raises(Refused) as refused:
        story.trigger(params=params)
    assert str(refused.value) == sentence
    with reading() as session:
        assert session.scalars(select(Run)).all() == []
    assert story.worker.take() == []


def test_an_unknown_workflow_names_the_nearest(story):
    @workflow
    def nightly_import(run):
        pass

    with pytest.raises(PermanentError, match='there is no workflow "nightly": did you mean nightly_import'):
        story.trigger()


def test_a_workflow_whose_file_came_after_the_worker_says_to_restart_it(story, home):
    (home / "workflows").mkdir(exist_ok=True)
    (home / "workflows" / "brand_new.py").write_text("")
    with pytest.raises(PermanentError, match=r"workflows/brand_new\.py is there, but .* restart the workers"):
        tasks.find_workflow("brand_new")


def test_a_scheduled_run_of_a_workflow_that_is_gone_says_so(story):
    make_schedule("nightly", report=None, recipients=None, workflow="nightly")
    run = make_run("nightly")
    tasks.publish(run.id)
    story.worker.work()

    assert story.read(run.id).error.startswith('start: there is no workflow "nightly": known workflows: ')


# ---- run.start and its like


def call(story, name, *args, **kwargs):
    """`celery call`: the result, by the id that it prints."""
    result = story.worker.app.tasks[name].apply_async(args, kwargs)
    story.worker.work()
    return result


def test_celery_call_opens_a_run_under_its_task_id(story):
    (download,) = declare("download")

    @workflow
    def nightly(run, region: str = "eu"):
        return download.si()

    scope = {"key": "ACME", "to": ["a@x.example"], "send": False}
    result = call(story, "run.start", schedule="nightly", params={"region": "us"}, period="2026-Q3", **scope)

    run = story.read(UUID(result.get()))
    assert (run.idempotency_key, run.trigger) == (result.id, "api")
    assert run.triggered_by.startswith("celery:")
    assert (run.params, run.period["label"]) == ({"region": "us"}, "2026-Q3")
    assert run.scope == {"keys": ["ACME"], "to": ["a@x.example"], "send": False}
    assert run.status == "succeeded"


def test_a_call_that_is_delivered_twice_opens_one_run(story):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    story.worker.app.tasks["run.start"].apply_async(("nightly",))
    (message,) = story.worker.take()
    story.worker.carry_out(message)
    story.worker.carry_out(message)
    story.worker.work()

    with reading() as session:
        assert len(session.scalars(select(Run)).all()) == 1
    assert story.worker.done.count("download") == 1


def test_a_call_that_cannot_be_granted_is_a_failure_with_the_sentence(story):
    result = call(story, "run.start", "nightli")

    assert result.state == "FAILURE"
    with pytest.raises(NotFound, match='there is no schedule "nightli": did you mean nightly'):
        result.get()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"schedule": "nightly", "perod": "2026"}, "run.start: perod is not a field here: did you mean period?"),
        ({"params": {}}, "run.start: schedule is missing"),
        ({"schedule": "nightly", "params": "region=us"}, 'run.start: params "region=us": must be a mapping of fields'),
        ({"schedule": "nightly", "send": "perhaps"}, 'run.start: send "perhaps": input should be a valid boolean'),
        ({"schedule": "nightly", "to": "x y"}, '"x y" is not an e-mail address: write it like ops@example.com'),
        ({"schedule": "nightly", "period": 13}, 'period "13" is not known: '),
    ],
)
def test_a_call_that_says_what_cannot_be_meant_is_told_what_can(story, said, sentence):
    result = call(story, "run.start", **said)

    with pytest.raises(Refused) as refused:
        result.get()
    assert str(refused.value).startswith(sentence)


def test_the_status_of_a_run_can_be_asked_for(story):
    (download,) = declare("download")

    @workflow
    def nightly(run):
        return download.si()

    run = story.run()
    answer = call(story, "run.status", run=str(run.id)).get()

    assert (answer["id"], answer["status"]) == (str(run.id), "succeeded")
    assert json.dumps(answer)


def test_a_name_that_ships_cannot_be_taken_by_a_homes_workflow(story):
    def task(run): ...

    task.__module__ = "workflows.mine"
    with pytest.raises(DefinitionError, match=r'"task" is taken by pipeline\.workflows\.single\.task: give it another'):
        workflow(task)
