"""A Celery task of another application: sent, followed without a worker, and its end told with all that is known."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import Celery
from celery.app.trace import trace_task
from kombu import Queue
from sqlalchemy import select

from pipeline import healing, tasks
from pipeline.celery import load_workflows
from pipeline.db import reading, transaction
from pipeline.models import Attempt, Run, Step
from pipeline.services import runs
from pipeline.services.runs import Request
from pipeline.workflows import elsewhere
from tests.broker import broker, worker
from tests.factories import MONDAY, make_schedule

__all__ = ["broker", "worker"]


class Elsewhere:
    """Another application on the same broker: its tasks, and a worker that carries them out when told."""

    def __init__(self, backend="cache+memory://"):
        self.app = Celery("elsewhere", broker="memory://", backend=backend, set_as_current=False)
        self.app.conf.task_create_missing_queues = False
        self.app.task(name="myapp.tasks.nightly", shared=False)(self.nightly)
        self.app.task(name="myapp.tasks.silent", ignore_result=True, shared=False)(self.nightly)
        self.given = []

    def nightly(self, *args, **kwargs):
        self.given.append((args, kwargs))
        if kwargs.get("fail"):
            raise ValueError("no route to host")
        return {"rows": 3}

    def take(self):
        with self.app.connection_for_read() as connection:
            queue = Queue("celery")(connection.default_channel)
            return list(iter(lambda: queue.get(no_ack=True), None))

    def work(self):
        """Carry out what lies in its queue; the messages."""
        messages = self.take()
        for message in messages:
            args, kwargs, embed = message.payload
            request = {
                **message.headers,
                **embed,
                "delivery_info": message.delivery_info,
                "args": args,
                "kwargs": kwargs,
            }
            name = message.headers["task"]
            trace_task(self.app.tasks[name], message.headers["id"], args, kwargs, request, app=self.app)
        return messages


class Story:
    """A schedule `nightly` whose runs are a task of the other application."""

    def __init__(self, worker, frozen, other):
        self.worker, self.frozen, self.other = worker, frozen, other

    def trigger(self, task="myapp.tasks.nightly", **fields):
        usual = {"report": None, "recipients": None, "task": task, "period": "yesterday"}
        make_schedule("nightly", **{**usual, **fields})
        run_id, _ = tasks.trigger(Request("nightly"))
        self.worker.work()
        return self.read(run_id)

    def passes(self, **time):
        self.frozen.tick(timedelta(**time))
        for run_id in healing.heal():
            tasks.publish(run_id)
        return self.worker.work()

    def read(self, run):
        with reading() as session:
            return session.get_one(Run, getattr(run, "id", run))

    def step(self, run):
        with reading() as session:
            return session.scalars(select(Step).where(Step.run_id == run.id, Step.name == "task")).one()

    def attempts(self, run):
        with reading() as session:
            mine = select(Attempt).where(Attempt.step_id == self.step(run).id)
            return list(session.scalars(mine.order_by(Attempt.fence)))


@pytest.fixture
def known(monkeypatch):
    """Who answers when workers are asked: by queue, the names that each worker knows."""
    answers = {"celery": {"other@host": {"myapp.tasks.nightly", "myapp.tasks.silent", "celery.chord"}}}
    monkeypatch.setattr(elsewhere, "_known", {})
    monkeypatch.setattr(elsewhere, "_asked", lambda queue: answers.get(queue, {}))
    return answers


@pytest.fixture
def story(database, worker, known, frozen):
    load_workflows()
    other = Elsewhere()
    other.take()
    frozen.move_to(MONDAY)
    return Story(worker, frozen, other)


# ---- its end


def test_its_result_is_kept_with_the_attempt_and_no_worker_is_held(story):
    run = story.trigger(
        {"name": "myapp.tasks.nightly", "args": ["{due_date}"], "kwargs": {"limit": "{limit}"}}, params={"limit": 7}
    )
    step = story.step(run)
    assert (run.status, step.status, step.lease_owner) == ("running", "queued", None)
    assert step.error.startswith('waits for myapp.tasks.nightly in the queue "celery", task ')
    assert story.passes(minutes=1) == ["task"]

    (message,) = story.other.work()
    assert (message.headers["run"], message.headers["schedule"]) == (str(run.id), "nightly")
    assert story.other.given == [(("2026-11-16",), {"limit": 7})]
    assert story.worker.work() == ["task.settled", "task"]
    assert story.read(run).status == "succeeded"
    parked, succeeded = story.attempts(run)
    assert (parked.outcome, succeeded.outcome, succeeded.output) == ("parked", "succeeded", '{"rows": 3}')
    assert story.step(run).result == {"task": message.headers["id"], "result": {"rows": 3}}


def test_its_traceback_is_the_attempts(story):
    run = story.trigger({"name": "myapp.tasks.nightly", "kwargs": {"fail": True}})
    story.other.work()
    story.worker.work()
    run = story.read(run)
    assert (run.status, run.error) == ("failed", "task: myapp.tasks.nightly failed: ValueError: no route to host")
    failed = story.attempts(run)[-1]
    assert failed.traceback.endswith("ValueError: no route to host\n")
    assert "in nightly" in failed.traceback


def test_a_failed_task_is_sent_again_where_the_schedule_says_so(story):
    run = story.trigger(
        {"name": "myapp.tasks.nightly", "kwargs": {"fail": True}},
        retry={"task": {"attempts": 2, "first": "1m", "jitter": 0}},
    )
    (first,) = story.other.work()
    story.worker.work()
    assert story.passes(minutes=1) == ["task"]
    (second,) = story.other.work()
    story.worker.work()
    assert first.headers["id"] != second.headers["id"]
    assert story.read(run).status == "failed"
    assert [one.outcome for one in story.attempts(run)] == ["parked", "retry", "parked", "failed"]


def test_a_callback_that_is_lost_costs_a_minute_at_most(story):
    run = story.trigger()
    story.other.work()
    story.worker.take()
    story.passes(minutes=1)
    assert story.read(run).status == "succeeded"


def test_an_application_that_keeps_its_results_to_itself_says_how_it_ended(story):
    run = story.trigger("myapp.tasks.silent")
    story.other.work()
    story.worker.work()
    assert story.read(run).status == "running"  # its result may come a moment later
    for _ in range(6):
        story.passes(seconds=1)
    assert story.read(run).status == "succeeded"
    assert story.attempts(run)[-1].output.startswith("succeeded; it keeps no result in PIPELINE_RESULT_URL")


def test_so_it_does_of_a_failure(story):
    story.other = Elsewhere(backend="disabled://")
    run = story.trigger({"name": "myapp.tasks.nightly", "kwargs": {"fail": True}})
    story.other.work()
    for _ in range(7):
        story.passes(seconds=1)
    assert story.read(run).error.startswith("task: myapp.tasks.nightly failed; why is in its worker's log")


def test_the_same_callback_twice_and_one_that_comes_too_late_do_nothing(story):
    run = story.trigger()
    story.other.work()
    (callback,) = story.worker.take()
    story.worker.carry_out(callback)
    story.worker.work()
    assert story.read(run).status == "succeeded"
    story.worker.carry_out(callback)
    assert story.worker.work() == []


# ---- what can go wrong


def test_a_name_that_no_worker_of_the_queue_knows_is_refused_at_once(story):
    run = story.trigger("myapp.tasks.nigthly")
    assert run.status == "failed"
    assert run.error == (
        'task: no worker of the queue "celery" (other@host) knows a task "myapp.tasks.nigthly": '
        "did you mean myapp.tasks.nightly?"
    )
    assert story.other.take() == []


def test_a_worker_that_does_not_say_what_it_knows_may_know_it(story, known):
    known["celery"]["slow@host"] = None
    run = story.trigger("myapp.tasks.other")
    assert story.step(run).status == "queued"


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({}, "task: myapp.tasks.nigthly is not known to the worker that took it"),
        ({"celery": {"other@host": {"myapp.tasks.nightly"}}}, "did you mean myapp.tasks.nightly?"),
    ],
)
@pytest.mark.parametrize("before", [{}, {"celery": {"other@host": None}}], ids=["nobody", "not what"])
def test_a_worker_that_does_not_know_it_after_all_says_so(story, known, before, later, said):
    known.clear()
    known.update(before)
    run = story.trigger("myapp.tasks.nigthly")
    (message,) = story.other.take()
    from celery.exceptions import NotRegistered

    story.other.app.backend.mark_as_failure(message.headers["id"], NotRegistered("myapp.tasks.nigthly"))
    known.update(later)
    story.passes(seconds=2)
    assert story.read(run).error.endswith(said)


def test_a_queue_that_nobody_listens_to_is_named_until_the_time_is_up(story, known):
    known.clear()
    run = story.trigger({"name": "myapp.tasks.nightly", "queue": "nobodys", "time_limit": "30m"})
    assert story.step(run).error.endswith(": no worker that answers listens to that queue")
    for _ in range(40):
        story.passes(minutes=1)
    said = "task: myapp.tasks.nightly did not end within its time limit of 30m: "
    assert story.read(run).error == said + "no worker that answers listens to its queue"
    assert [one.outcome for one in story.attempts(run)] == ["parked", "failed"]


def test_workers_that_come_later_are_asked_what_they_know(story, known):
    workers = known.pop("celery")
    run = story.trigger("myapp.tasks.other")
    assert story.step(run).status == "queued"
    known["celery"] = workers
    story.passes(minutes=1)
    assert story.read(run).error.startswith('task: no worker of the queue "celery" (other@host) knows a task')


def test_nobody_begins_it_after_its_time(story):
    story.trigger({"name": "myapp.tasks.nightly", "time_limit": "30m"})
    (message,) = story.other.take()
    assert message.headers["expires"] == (MONDAY + timedelta(minutes=30)).isoformat()


def test_a_process_that_dies_between_sending_and_noting_sends_it_under_the_same_id(story):
    run = story.trigger()
    with transaction() as session:
        row = session.get(Step, story.step(run).id)
        row.memory, row.not_before, row.published_at = None, None, None
    story.passes(seconds=10)
    first, second = story.other.take()
    assert first.headers["id"] == second.headers["id"]


def test_a_cancelled_run_is_not_woken(story):
    run = story.trigger()
    with transaction() as session:
        runs.close(session, runs.lock_to_close(session, run.id), "cancelled", "somebody said so")
    story.other.work()
    assert story.worker.work() == ["task.settled"]
    assert story.read(run).status == "cancelled"
