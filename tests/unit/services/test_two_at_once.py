"""Two people give the same command at once: one does it, the other is told who was faster, and it is on record once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import Refused
from pipeline.models import Audit, Run, RunEvent, Step
from pipeline.services import approvals, brokers, cancelling, pausing, repeating, rerunning, settling
from pipeline.services.audit import Actor
from pipeline.services.rerunning import Wish
from tests.factories import finished_run, make_delivery, make_document, make_run, make_schedule
from tests.unit.services import acts
from tests.unit.services.test_approvals import asking

pytestmark = pytest.mark.usefixtures("time")
ANNA, BOB = Actor("anna@desk", "cli"), Actor("bob@desk", "cli")


def at_once(first, second=None):
    """What Anna and Bob are told, by whoever did it, if one did: `first` and `second` take a session and an actor."""
    barrier = Barrier(2)

    def type_it(act, actor):
        barrier.wait()
        try:
            with transaction() as session:
                return act(session, actor)
        except Refused as refused:
            return refused

    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(type_it, first, ANNA), pool.submit(type_it, second or first, BOB)]
        return [one.result(60) for one in told]


def on_record(action):
    with reading() as session:
        those = select(Audit).where(Audit.action.in_(action.split())).order_by(Audit.id)
        return [row.by for row in session.scalars(those)]


def late(told):
    """What the one who was refused was told."""
    refused = [str(one) for one in told if isinstance(one, Refused)]
    assert len(refused) == 1
    return refused[0]


@pytest.mark.parametrize("at_work", [False, True])
def test_a_run_is_cancelled_by_one_and_the_other_is_told_by_whom_when_and_why(at_work):
    run = make_run()
    if at_work:
        acts.claim(run, "start")
    told = at_once(lambda session, actor: cancelling.cancel(session, run.id, actor, "wrong week")[1])
    (by,) = on_record("cancel")
    said = f"on Mon 16 Nov 2026 at 07:00:00 Berlin time: cancelled by cli:{by}: wrong week"
    assert sorted(told, key=str) == [None, said]
    with reading() as session:
        assert session.scalars(select(RunEvent.kind).where(RunEvent.run_id == run.id)).all() == ["cancelled"]
        assert session.get_one(Run, run.id).status == ("cancelling" if at_work else "cancelled")


def test_late_deliveries_are_given_up_by_one(time):
    run = finished_run(status="partial", waiting_for="deferred")
    told = at_once(lambda session, actor: cancelling.cancel(session, run.id, actor)[1])
    (by,) = on_record("cancel")
    assert [one for one in told if one] == [f"on Mon 16 Nov 2026 at 07:00:00 Berlin time: cancelled by cli:{by}"]


def test_one_answers_an_approval_and_the_other_is_told_what():
    run = asking()
    told = at_once(
        lambda session, actor: approvals.approve(session, actor, run.id),
        lambda session, actor: approvals.reject(session, actor, run.id, "the join is wrong"),
    )
    (by,) = on_record("approve reject")
    how = "approved by cli:anna@desk on" if by == "anna@desk" else "rejected by cli:bob@desk on"
    assert f"is answered already: {how}" in late(told)


def test_a_run_is_done_again_once_and_the_other_is_told_since_when():
    run = finished_run(status="failed")
    with transaction() as session:
        session.query(Step).filter_by(run_id=run.id).update({"status": "failed"})
    told = at_once(lambda session, actor: rerunning.rerun(session, run.id, actor, Wish()))
    (by,) = on_record("rerun")
    assert "is queued, reopened on Mon 16 Nov 2026 at 07:00:00 Berlin time" in late(told)
    assert f"generation 2 does again: start, and what follows, asks cli:{by}): wait for its end" in late(told)
    assert acts.reread(run).generation == 2


def test_what_an_emptied_broker_has_lost_is_published_by_one_of_two_beats():
    run = make_run()
    acts.publish(run)
    with transaction() as session:
        brokers.remember(session, "redis", "old")
    told = at_once(lambda session, _actor: brokers.forget_messages(session, "redis", "old", "new"))
    assert sorted(told, key=len) == [set(), {run.id}]


def test_a_lost_message_is_sent_again_and_told_of_by_one_of_two_beats(time):
    run = make_run()
    acts.publish(run)
    lost, now = [acts.step(run, "start")], time.passes(seconds=1)
    told = at_once(lambda session, _actor: brokers.send_again(session, lost, before=now, why="it is lost"))
    assert sorted(told, key=len) == [set(), {run.id}]
    with reading() as session:
        assert session.scalars(select(RunEvent.text)).all() == ["start: it is lost"]


def test_a_schedule_is_paused_and_resumed_once_each():
    make_schedule()
    told = at_once(lambda session, actor: pausing.pause(session, "shipments", actor, note="we move"))
    (by,) = on_record("pause")
    assert sorted(one.new for one in told) == [False, True]
    assert {one.paused_by for one in told} == {f"cli:{by}"}
    assert {one.before for one in told} == {None, f"paused since 16 Nov 07:00 by cli:{by}: we move"}

    told = at_once(lambda session, actor: pausing.resume(session, "shipments", actor))
    (by,) = on_record("resume")
    assert late(told) == (f"shipments is not paused: cli:{by} resumed it on Mon 16 Nov 2026 at 07:00:00 Berlin time")


def test_a_pause_with_other_words_replaces_the_first_and_says_so():
    make_schedule()
    with transaction() as session:
        pausing.pause(session, "shipments", ANNA, note="we move")
    with transaction() as session:
        found = pausing.pause(session, "shipments", BOB, note="and mend the roof")
    assert (found.new, found.note, found.before) == (
        True, "and mend the roof", "paused since 16 Nov 07:00 by cli:anna@desk: we move",
    )  # fmt: skip
    assert on_record("pause") == ["anna@desk", "bob@desk"]


def test_the_same_is_resent_by_one_and_the_other_is_told(time):
    run = finished_run()
    make_delivery(run, document_id=make_document(run).id)
    told = at_once(lambda session, actor: len(repeating.resend(session, actor, settling.lock(session, run), ["ACME"])))
    (by,) = on_record("resend")
    assert f"ACME is being sent once more already (deferred: to be sent once more, says {by})" in late(told)
