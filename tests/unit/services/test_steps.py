"""A step is claimed by one process at a time, recorded by whoever holds it, tried again, joined and published."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from uuid import UUID

import pytest

from pipeline.adapters import owners
from pipeline.db import transaction
from pipeline.errors import Parked, PermanentError, Refused, StaleClaim, TransientError
from pipeline.models import RunStatus, Step, WaitingFor
from pipeline.retry import Retry
from pipeline.services import publishing, steps
from pipeline.services.runs import Verdict
from tests.factories import MONDAY, make_run
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, claim, fail, planned, publishable, statuses, succeed

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def run(time):
    return make_run()


@pytest.fixture
def another_process():
    """The name, as an owner, of another living process of this host."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    yield process, owners.owner_of(process.pid)
    process.kill()
    process.communicate()


def owned_by(run, name, owner, **values):
    """The step as it stands in the database when another process has claimed it."""
    claim(run, name)
    with transaction() as session:
        row = session.get_one(Step, acts.step(run, name).id)
        for column, value in {"lease_owner": owner, **values}.items():
            setattr(row, column, value)


# ---- claim


def test_a_step_delivered_twice_does_its_work_once(run):
    first, second = claim(run, "start"), claim(run, "start")

    assert first is not None
    assert second is None


def test_a_message_that_comes_again_after_the_work_is_done_finds_nothing_to_do(run):
    begin(run, planned("fetch"))

    assert claim(run, "start") is None
    assert [one.outcome for one in acts.attempts(run, "start")] == ["succeeded"]


def test_the_first_claim_starts_the_run(run, time):
    assert acts.reread(run).status == RunStatus.QUEUED
    now = time.passes(seconds=3)

    claimed = claim(run, "start")

    assert claimed.run.status == RunStatus.RUNNING
    assert (acts.reread(run).started_at, acts.step(run, "start").started_at) == (now, now)


def test_a_body_that_comes_early_is_refused(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    carry_out(run, "fetch:a")

    assert claim(run, "plan") is None
    assert acts.attempts(run, "plan") == []

    carry_out(run, "fetch:b")
    assert claim(run, "plan") is not None


def test_a_message_of_an_earlier_try_is_refused(run, time):
    old = acts.step(run, "start").task_id
    fail(claim(run, "start"), TransientError("no answer"))
    time.passes(minutes=5)

    assert claim(run, "start", task=old) is None
    assert claim(run, "start") is not None


def test_a_message_that_comes_before_its_step_is_due_again_is_refused(run, time):
    fail(claim(run, "start"), TransientError("no answer"))
    time.passes(seconds=29)
    assert claim(run, "start") is None

    time.passes(seconds=1)
    assert claim(run, "start") is not None


def test_a_message_of_a_step_that_is_not_there_is_refused(run):
    with transaction() as session:
        assert steps.claim(session, UUID(int=4), str(UUID(int=5))) is None


def test_a_dead_owner_on_this_host_is_taken_over_at_once(run, another_process):
    process, owner = another_process
    owned_by(run, "start", owner)
    process.kill()
    process.wait()

    taken = claim(run, "start")

    assert taken is not None
    assert [one.outcome for one in acts.attempts(run, "start")] == ["abandoned", "running"]
    assert acts.step(run, "start").lease_owner == owners.owner()


def test_a_killed_owner_that_nobody_waited_for_is_dead_too(run, another_process):
    process, owner = another_process
    owned_by(run, "start", owner)
    process.kill()
    # A zombie: its parent has not asked for its exit status yet.
    while not owners.is_dead(owner):
        pass

    assert claim(run, "start") is not None


def test_a_living_owners_step_is_not_taken(run, another_process):
    _, owner = another_process
    owned_by(run, "start", owner)

    assert claim(run, "start") is None
    assert acts.step(run, "start").lease_owner == owner


def test_an_owner_on_another_host_has_its_lease(run):
    owned_by(run, "start", "elsewhere/01234567/4711/99")

    assert claim(run, "start") is None


def test_a_claim_that_a_standby_had_not_heard_of_when_it_took_over_is_made_again(run):
    task = acts.step(run, "start").task_id
    acts.publish(run)
    with suppress(ConnectionError), transaction() as session:
        claimed = steps.claim(session, acts.step(run, "start").id, str(task))
        raise ConnectionError
    with pytest.raises(StaleClaim):
        succeed(claimed)
    assert publishable(run) == []
    with transaction() as session:
        steps.lose_message(session, claimed.step.id, str(task))

    assert publishable(run) == [["start"]]


def test_a_message_of_a_step_that_is_somebody_elses_is_not_sent_once_more(run, another_process):
    process, owner = another_process
    old = acts.step(run, "start").task_id
    owned_by(run, "start", owner)
    process.kill()
    process.communicate()
    acts.heal()
    acts.publish(run)
    with transaction() as session:
        steps.lose_message(session, acts.step(run, "start").id, str(old))

    assert publishable(run) == []


def test_a_step_whose_worker_is_stopped_again_and_again_is_not_taken_for_poison(run, another_process, time):
    process, owner = another_process
    process.kill()
    process.communicate()
    for _ in range(2 * steps.POISONOUS):
        owned_by(run, "start", owner)
        with transaction() as session:
            (step,) = steps.owned_by(session, [owner])
            steps.hand_back(session, step.id, time.now, "its worker was stopped")

    assert {(one.outcome, one.error) for one in acts.attempts(run, "start")} == {("parked", "its worker was stopped")}
    assert publishable(run) == [["start"]]


def test_only_what_a_dead_process_held_is_handed_back(run, another_process, time):
    _, owner = another_process
    owned_by(run, "start", owner)
    with transaction() as session:
        steps.hand_back(session, acts.step(run, "start").id, time.now, "its worker was stopped")

    assert acts.step(run, "start").status == "running"


def test_a_new_process_with_a_dead_ones_number_is_not_taken_for_it(another_process):
    _, owner = another_process
    host_boot_pid, _, started = owner.rpartition("/")

    assert not owners.is_dead(owner)
    assert owners.is_dead(f"{host_boot_pid}/{int(started) - 1}")


def at_once(work, count):
    """Do `work(number)` in so many threads that start together; what each gave."""
    together = Barrier(count)

    def one(number):
        together.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_of_many_that_claim_at_once_one_wins(run):
    step = acts.step(run, "start")

    def claim_it(_):
        with transaction(durable=False) as session:
            return steps.claim(session, step.id, str(step.task_id))

    assert sum(won is not None for won in at_once(claim_it, 6)) == 1
    assert len(acts.attempts(run, "start")) == 1


def test_of_many_that_finish_at_once_the_last_one_queues_what_follows(run):
    names = [f"render:{number}" for number in range(6)]
    begin(run, planned(*names), planned("gate"))
    claims = [claim(run, name) for name in names]
    at_once(lambda number: succeed(claims[number], carried=True), 6)

    assert statuses(run)["gate"] == "queued"
    carry_out(run, "gate")
    assert acts.reread(run).status == RunStatus.SUCCEEDED


def test_a_run_that_fails_while_its_steps_are_claimed_fails_alone(run):
    names = [f"fetch:{number}" for number in range(5)]
    begin(run, planned(*names))
    failing = claim(run, names[0])
    at_once(lambda n: claim(run, names[n]) if n else fail(failing, PermanentError("no such table")), 5)

    assert acts.reread(run).error == "fetch:0: no such table"
    assert set(statuses(run).values()) <= {"succeeded", "failed", "running", "cancelled"}


# ---- record


def test_a_stale_fence_writes_nothing(run, time):
    slept = claim(run, "start")
    time.passes(seconds=31)
    acts.heal()
    begin(run, planned("fetch"))

    with pytest.raises(StaleClaim, match=r"step start of run .* was taken over by another process"):
        succeed(slept, result="late")
    with pytest.raises(StaleClaim):
        fail(slept, TransientError("late"))
    with transaction() as session, pytest.raises(StaleClaim):
        steps.renew(session, slept)
    assert acts.step(run, "start").result is None
    assert [one.outcome for one in acts.attempts(run, "start")] == ["abandoned", "succeeded"]


def test_who_renews_its_lease_keeps_its_step(run, time):
    held = claim(run, "start")
    for _ in range(4):
        time.passes(seconds=10)
        with transaction() as session:
            steps.renew(session, held)

    assert acts.heal() == set()
    succeed(held)
    assert statuses(run) == {"start": "succeeded"}


def test_what_a_step_returned_stays_on_its_row(run):
    begin(run, planned("download"))
    carry_out(run, "download", {"path": "a.csv", "rows": 3})

    assert acts.step(run, "download").result == {"path": "a.csv", "rows": 3}


def test_the_last_step_ends_the_run(run, time):
    begin(run, planned("download"))
    now = time.passes(seconds=40)
    carry_out(run, "download")

    ended = acts.reread(run)
    assert (ended.status, ended.finished_at, ended.error) == (RunStatus.SUCCEEDED, now, None)


def test_a_verdict_ends_the_run_as_it_says_and_cancels_what_is_left(run):
    begin(run, planned("look"), planned("load"))
    carry_out(run, "look", Verdict(RunStatus.SKIPPED, "nothing to do"))

    assert (acts.reread(run).status, acts.reread(run).error) == (RunStatus.SKIPPED, "nothing to do")
    assert statuses(run) == {"start": "succeeded", "look": "succeeded", "load": "cancelled"}


def test_a_verdict_may_leave_the_run_waiting(run):
    begin(run, planned("finish"))
    carry_out(run, "finish", Verdict(RunStatus.WAITING, "3 were turned away", WaitingFor.DEFERRED))

    waiting = acts.reread(run)
    assert (waiting.status, waiting.waiting_for, waiting.finished_at) == ("waiting", "deferred", None)


# ---- failures and tries


def test_a_retry_waits_in_the_row_under_a_new_task_id_and_is_published_when_due(run, time):
    acts.publish(run)
    before = acts.step(run, "start").task_id

    fail(claim(run, "start"), TransientError("503 from the source"))

    parked = acts.step(run, "start")
    assert (parked.status, parked.not_before, parked.error) == (
        "queued",
        time.now.replace(second=30),
        "503 from the source",
    )
    assert parked.task_id != before
    assert parked.published_at is None
    assert publishable(run) == []
    assert acts.heal() == set()

    time.passes(seconds=30)
    assert acts.heal() == {run.id}
    assert publishable(run) == [["start"]]


def test_the_waits_grow_and_the_last_attempt_fails_the_run(run, time):
    waits = []
    for _ in range(2):
        fail(claim(run, "start"), TransientError("no answer"))
        waits.append((acts.step(run, "start").not_before - time.now).total_seconds())
        time.move_to(acts.step(run, "start").not_before)
    fail(claim(run, "start"), TransientError("still no answer"))

    assert waits == [30, 60]
    assert statuses(run) == {"start": "failed"}
    assert (acts.reread(run).status, acts.reread(run).error) == (RunStatus.FAILED, "start: still no answer")


def test_every_attempt_is_kept_with_its_error_and_traceback(run, time):
    fail(claim(run, "start"), TransientError("no answer"))
    time.passes(seconds=30)
    fail(claim(run, "start"), PermanentError("no such table: flights"))

    kept = [(one.outcome, one.error, one.traceback, one.fence) for one in acts.attempts(run, "start")]
    assert kept == [
        ("retry", "no answer", "Traceback: no answer", 1),
        ("failed", "no such table: flights", "Traceback: no such table: flights", 2),
    ]
    assert all(one.finished_at and one.worker == owners.owner() for one in acts.attempts(run, "start"))


def test_what_the_other_side_asks_for_is_waited_for(run, time):
    fail(claim(run, "start"), TransientError("429", retry_after=120))

    assert (acts.step(run, "start").not_before - time.now).total_seconds() == 120


def test_a_permanent_error_fails_at_once(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    fail(claim(run, "fetch:a"), PermanentError("no such table: flights"))

    assert statuses(run) == {"start": "succeeded", "fetch:a": "failed", "fetch:b": "cancelled", "plan": "cancelled"}
    assert acts.reread(run).error == "fetch:a: no such table: flights"


def test_a_sibling_that_still_works_when_the_run_has_failed_is_recorded_and_moves_nothing(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    working = claim(run, "fetch:b")
    fail(claim(run, "fetch:a"), PermanentError("no such table"))
    succeed(working)

    assert statuses(run) == {"start": "succeeded", "fetch:a": "failed", "fetch:b": "succeeded", "plan": "cancelled"}
    assert acts.reread(run).error == "fetch:a: no such table"


def test_a_sibling_that_fails_when_the_run_has_failed_is_not_tried_again(run):
    begin(run, planned("fetch:a", "fetch:b"))
    working = claim(run, "fetch:b")
    fail(claim(run, "fetch:a"), PermanentError("no such table"))
    fail(working, TransientError("no answer"))

    assert statuses(run)["fetch:b"] == "failed"
    assert publishable(run) == []


def test_a_tolerated_step_that_fails_lets_the_run_go_on(run):
    begin(run, planned("render:0", "render:1", tolerated=True), planned("gate"))
    fail(claim(run, "render:0"), PermanentError("no template"))
    assert claim(run, "gate") is None
    carry_out(run, "render:1")
    carry_out(run, "gate")

    assert statuses(run) == {"start": "succeeded", "render:0": "failed", "render:1": "succeeded", "gate": "succeeded"}
    assert acts.reread(run).status == RunStatus.SUCCEEDED


def test_what_is_parked_uses_up_no_attempt(run, time):
    once = Retry(attempts=1)
    for _ in range(6):
        fail(claim(run, "start"), Parked("the relay is down"), once)
        time.move_to(acts.step(run, "start").not_before)
    assert [one.outcome for one in acts.attempts(run, "start")] == ["parked"] * 6

    fail(claim(run, "start"), TransientError("turned away"), once)
    assert acts.reread(run).error == "start: turned away"


def test_what_is_parked_waits_from_half_a_minute_to_a_quarter_of_an_hour(run, time):
    waits = []
    for _ in range(8):
        fail(claim(run, "start"), Parked("the relay is down"))
        waits.append(round((acts.step(run, "start").not_before - time.now).total_seconds()))
        time.move_to(acts.step(run, "start").not_before)

    assert 27 <= waits[0] <= 30
    assert 810 <= waits[-1] <= 900
    assert waits[:5] == sorted(waits[:5])


def test_what_is_parked_for_longer_than_allowed_gives_up(run, time):
    patient = Retry(attempts=1, give_up_after=600)
    fail(claim(run, "start"), Parked("the relay is down"), patient)
    time.passes(minutes=10)
    fail(claim(run, "start"), Parked("the relay is still down"), patient)

    assert acts.reread(run).error == "start: the relay is still down"


def test_an_error_with_a_nul_byte_in_it_can_be_recorded(run):
    fail(claim(run, "start"), PermanentError("the source said \x00\x01"))

    assert acts.step(run, "start").status == "failed"
    assert "\x00" not in acts.step(run, "start").error


# ---- canvases


def test_the_stages_of_a_canvas_come_behind_those_that_are_there(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))

    assert statuses(run) == {"start": "succeeded", "fetch:a": "queued", "fetch:b": "queued", "plan": "pending"}


def test_two_steps_of_one_name_are_refused(run):
    with pytest.raises(Refused, match='two steps are called "fetch:a": give one another argument or name'):
        begin(run, planned("fetch:a"), planned("fetch:a"))


def test_a_step_with_the_name_of_an_earlier_one_is_refused(run):
    begin(run, planned("look"))
    with pytest.raises(Refused, match='the run already has a step "look"'):
        carry_out(run, "look", stages=[planned("look")])


def test_a_step_is_handed_a_list_also_of_one(run):
    begin(run, planned("download"), planned("load", takes_results=True), planned("check"))
    carry_out(run, "download", {"path": "a.csv"})
    loading = claim(run, "load")
    assert loading.inputs == ([{"path": "a.csv"}],)
    succeed(loading, 17)

    assert claim(run, "check").inputs == ()


def test_a_group_of_one_hands_on_a_list_too(run):
    begin(run, planned("count:a"), planned("add", takes_results=True))
    carry_out(run, "count:a", 1)

    assert claim(run, "add").inputs == ([1],)


def test_a_groups_results_are_handed_on_as_a_list_in_the_groups_order(run):
    begin(run, planned("count:a", "count:b", "count:c"), planned("add", takes_results=True))
    for name, result in (("count:c", 3), ("count:a", 1), ("count:b", 2)):
        carry_out(run, name, result)

    assert claim(run, "add").inputs == ([1, 2, 3],)


def test_a_step_that_returns_a_canvas_hands_over_to_it(run):
    begin(run, planned("plan"))
    carry_out(run, "plan", stages=[planned("render:0", "render:1"), planned("gate")])
    assert statuses(run)["gate"] == "pending"
    for name in ("render:0", "render:1", "gate"):
        carry_out(run, name)

    assert acts.reread(run).status == RunStatus.SUCCEEDED


def test_two_steps_of_a_group_that_return_canvases_run_both(run):
    begin(run, planned("plan:a", "plan:b"))
    carry_out(run, "plan:a", stages=[planned("work:a"), planned("end:a")])
    carry_out(run, "plan:b", stages=[planned("work:b"), planned("end:b")])
    assert publishable(run) == [["work:a", "work:b"], ["end:a"], ["end:b"]]
    for name in ("work:b", "work:a", "end:a", "end:b"):
        carry_out(run, name)

    assert acts.reread(run).status == RunStatus.SUCCEEDED


# ---- publishing


def test_one_canvas_carries_a_group_and_its_body(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))

    assert publishable(run) == [["fetch:a", "fetch:b"], ["plan"]]


def test_one_canvas_carries_a_chain_of_single_steps(run):
    begin(run, planned("a"), planned("b"), planned("c"))

    assert publishable(run) == [["a"], ["b"], ["c"]]


def test_a_group_after_single_steps_is_left_to_the_last_of_them(run):
    begin(run, planned("a"), planned("b"), planned("c:1", "c:2"), planned("d"))
    assert publishable(run) == [["a"], ["b"]]

    acts.publish(run)
    carry_out(run, "a", carried=True)
    carry_out(run, "b")
    assert publishable(run) == [["c:1", "c:2"], ["d"]]


def test_a_group_right_after_a_group_is_left_to_the_first(run):
    begin(run, planned("a:1", "a:2"), planned("b:1", "b:2"))

    assert publishable(run) == [["a:1", "a:2"]]


def test_what_has_a_message_is_not_published_again(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    acts.publish(run)

    assert publishable(run) == []


def test_a_body_that_its_chord_brings_is_not_published_again(run):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    acts.publish(run)
    carry_out(run, "fetch:a", carried=True)
    carry_out(run, "fetch:b", carried=True)

    assert (acts.step(run, "plan").status, publishable(run)) == ("queued", [])


def test_a_body_is_published_when_a_step_of_its_header_was_tried_again(run, time):
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    acts.publish(run)
    fail(claim(run, "fetch:a"), TransientError("no answer"), carried=True)
    carry_out(run, "fetch:b", carried=True)
    time.passes(seconds=30)
    acts.publish(run)
    carry_out(run, "fetch:a")

    assert publishable(run) == [["plan"]]


def test_marking_counts_how_often_a_step_was_published(run):
    acts.publish(run)
    assert (acts.step(run, "start").published_at, acts.step(run, "start").published) == (MONDAY, 1)


def test_a_step_that_failed_before_its_message_was_noted_is_published_again(run, time):
    with transaction() as session:
        stages = publishing.publishable(session, [run.id], time.now).get(run.id, [])
    fail(claim(run, "start"), TransientError("no answer"))
    with transaction() as session:
        publishing.mark_published(session, stages[0], time.now)

    time.passes(seconds=30)
    assert publishable(run) == [["start"]]
