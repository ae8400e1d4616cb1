"""The slots of a range become runs, some at a time, each once, whoever is killed meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Audit, Backfill, Door, Order, Run, RunStatus, Slot, Step
from pipeline.services import answers, backfills, ranges, runs
from pipeline.services.audit import Actor
from pipeline.services.ranges import Known, Wish
from tests.factories import MONDAY, finished_run, make_run, schedule_file
from tests.unit.services import acts
from tests.unit.services.looks import at, change, fire, sync

pytestmark = pytest.mark.usefixtures("time")
ANNA = Actor("anna@desk-7", Door.CLI, "desk-7")
DAY = timedelta(days=1)
EIGHT = MONDAY + timedelta(hours=1)  # 08:00 in Berlin


@pytest.fixture
def daily(time):
    """A schedule that is due every day at 08:00 and was loaded on Monday at 07:00; now is Thursday, 07:00."""
    sync(at(8))
    change(high_water_mark=time.passes(days=3))
    change(next_due_at=EIGHT + 3 * DAY)


def wish(**values):
    """Monday, Tuesday and Wednesday."""
    return Wish("shipments", **{"since": MONDAY, "until": MONDAY + 3 * DAY, **values})


def look(**values):
    with reading() as session:
        return [(slot.due_at, slot.known, slot.to_run) for slot in ranges.preview(session, wish(**values)).slots]


def opened(**values):
    with transaction() as session:
        return backfills.open_backfill(session, wish(**values), ANNA).id


def fill(backfill_id):
    with transaction() as session:
        return backfills.fill(session, backfill_id)


def start(**values):
    """What a command does: open it, and fill it."""
    backfill_id = opened(**values)
    while fill(backfill_id).more:
        pass
    return backfill_id


def decided(key="shipments"):
    """Every slot with what its run is at."""
    with reading() as session:
        joined = select(Slot, Run).outerjoin(Run, Run.id == Slot.run_id).where(Slot.schedule_key == key)
        found = session.execute(joined.order_by(Slot.due_at, Slot.decided_at, Slot.id)).all()
        return [(slot.due_at, slot.decision, run.status if run else slot.reason) for slot, run in found]


def runs_of(backfill_id):
    with reading() as session:
        return session.scalars(select(Run).where(Run.backfill_id == backfill_id).order_by(Run.due_at)).all()


def statuses(backfill_id):
    return [run.status for run in runs_of(backfill_id)]


def end(run, status=RunStatus.SUCCEEDED):
    with transaction() as session:
        runs.close(session, runs.lock_to_close(session, run.id), status)


def summary(backfill_id):
    with reading() as session:
        return answers.summarise_backfills(session, [session.get_one(Backfill, backfill_id)])[0]


def slot_with(run, due_at, decision="fired"):
    with transaction() as session:
        session.add(
            Slot(schedule_key="shipments", due_at=due_at, decision=decision, run_id=run and run.id, decided_at=due_at)
        )


# ---- the preview


def test_the_preview_says_what_is_known_of_each_slot(daily):
    slot_with(finished_run(due_at=EIGHT), EIGHT)
    slot_with(finished_run(due_at=EIGHT + DAY, status="failed"), EIGHT + DAY)
    slot_with(make_run(due_at=EIGHT + 2 * DAY), EIGHT + 2 * DAY)

    assert look() == [
        (EIGHT, Known.SUCCEEDED, False),
        (EIGHT + DAY, Known.OPEN, True),
        (EIGHT + 2 * DAY, Known.IN_PROGRESS, False),
    ]
    assert look(again=True, first=Order.NEWEST) == [
        (EIGHT + 2 * DAY, Known.IN_PROGRESS, False),
        (EIGHT + DAY, Known.OPEN, True),
        (EIGHT, Known.SUCCEEDED, True),
    ]


def test_a_slot_whose_run_was_purged_is_not_run_unless_asked_for(daily):
    slot_with(None, EIGHT)
    slot_with(None, EIGHT + DAY, "paused")

    assert [known for _, known, _ in look()] == [Known.PURGED, Known.OPEN, Known.OPEN]
    assert look(again=True)[0] == (EIGHT, Known.PURGED, True)


def test_each_slot_is_about_its_own_period_in_the_schedules_zone(daily):
    with reading() as session:
        first = ranges.preview(session, wish()).slots[0]

    assert (first.local, first.period.label) == ("2026-11-16T08:00:00+01:00", "2026-W46")


def test_what_is_due_after_the_mark_is_the_schedules_own_to_fire(daily, time):
    time.passes(hours=2)  # past 08:00 on Thursday, and no beat has looked yet

    assert [due_at for due_at, _, _ in look(until=MONDAY + 30 * DAY)] == [EIGHT, EIGHT + DAY, EIGHT + 2 * DAY]


def test_days_from_before_there_was_such_a_schedule_can_be_run(daily):
    assert [due_at for due_at, _, _ in look(since=MONDAY - 2 * DAY, until=MONDAY)] == [EIGHT - 2 * DAY, EIGHT - DAY]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"schedule_key": "shipmets"}, "did you mean shipments"),
        ({"schedule_key": "by_hand"}, "by_hand has no `when`, so it has no slots"),
        ({"since": MONDAY + 9 * DAY}, "ends .2026-11-19 06:00 UTC. before it begins .2026-11-25 06:00 UTC."),
        (
            {"until": MONDAY + timedelta(minutes=5)},
            "no slot of shipments was due from 2026-11-16 06:00 UTC to",
        ),
        (
            {"since": MONDAY + 3 * DAY, "until": MONDAY + 9 * DAY},
            "is shipments's own to fire",
        ),
        ({"since": MONDAY - 40 * 365 * DAY}, "there are more than 10,000 slots in that range"),
        ({"concurrency": 0}, "--concurrency 0: must be between 1 and 100"),
    ],
)
def test_a_range_that_cannot_be_is_refused(daily, values, sentence):
    sync(at(8), schedule_file("by_hand", when=None))
    wanted = Wish(**{"schedule_key": "shipments", "since": MONDAY, "until": MONDAY + 3 * DAY, **values})
    with transaction() as session, pytest.raises(Refused, match=sentence):
        backfills.open_backfill(session, wanted, ANNA)


# ---- running it


def test_its_runs_start_in_order_as_many_at_a_time_as_it_may(daily):
    backfill_id = start(concurrency=2)
    assert statuses(backfill_id) == ["queued", "queued", "waiting"]

    end(runs_of(backfill_id)[0])
    assert statuses(backfill_id) == ["succeeded", "queued", "queued"]
    run = runs_of(backfill_id)[2]
    assert (run.trigger, run.triggered_by, run.due_at) == ("backfill", "cli:anna@desk-7", EIGHT + 2 * DAY)
    assert acts.step(run, "start").status == "queued"
    assert run.id in acts.heal()


def test_the_newest_may_come_first(daily):
    backfill_id = start(first=Order.NEWEST)

    assert statuses(backfill_id) == ["waiting", "waiting", "queued"]
    end(runs_of(backfill_id)[2], RunStatus.FAILED)
    assert statuses(backfill_id) == ["waiting", "queued", "failed"]


def test_what_has_succeeded_is_skipped_with_its_reason_and_run_again_only_when_asked(daily):
    run = finished_run(due_at=EIGHT)
    slot_with(run, EIGHT)
    backfill_id = start()

    skipped = (EIGHT, "skipped", f"run {run.id} has succeeded for it")
    assert decided()[:2] == [(EIGHT, "fired", "succeeded"), skipped]
    assert len(runs_of(backfill_id)) == 2
    for one in runs_of(backfill_id):
        end(one)
    acts.heal()
    assert len(runs_of(start(again=True))) == 3


def test_it_is_over_when_its_last_run_is(daily):
    backfill_id = start(concurrency=3)
    acts.heal()
    assert (summary(backfill_id).status, summary(backfill_id).runs) == ("running", {"queued": 3})
    for run in runs_of(backfill_id):
        end(run)
    acts.heal()

    found = summary(backfill_id)
    assert (found.status, found.slots, found.skipped, found.over) == ("finished", 3, 0, 3)
    assert statuses(start(again=True)) == ["queued", "waiting", "waiting"]


def test_a_range_of_which_nothing_is_to_run_is_over_at_once(daily):
    for number in range(3):
        slot_with(finished_run(due_at=EIGHT + number * DAY), EIGHT + number * DAY)
    backfill_id = start()
    acts.heal()

    assert (summary(backfill_id).status, summary(backfill_id).skipped) == ("finished", 3)


def test_the_schedules_own_slots_fire_meanwhile(daily, time):
    start()
    time.passes(hours=1)

    assert fire() == [EIGHT + 3 * DAY]
    assert decided()[-1] == (EIGHT + 3 * DAY, "fired", "queued")


def test_a_second_one_on_the_same_slots_is_refused_while_the_first_is_at_work(daily):
    first = start()
    with pytest.raises(
        Refused, match=f"backfill {first} of shipments, by cli:anna@desk-7, is at work on slots of this"
    ):
        opened(since=MONDAY + DAY)

    assert opened(since=MONDAY - 2 * DAY, until=MONDAY)


# ---- whoever is killed


def test_whoever_opens_it_may_be_killed_at_any_time_reconcile_goes_on(daily, monkeypatch):
    monkeypatch.setattr(backfills, "CHUNK", 2)
    backfill_id = opened(concurrency=5)
    assert acts.heal() == {run.id for run in runs_of(backfill_id)}
    assert statuses(backfill_id) == ["queued", "queued"]
    acts.heal()

    assert statuses(backfill_id) == ["queued", "queued", "queued"]
    assert not fill(backfill_id).more
    assert len(decided()) == 3


def test_all_its_runs_are_of_the_definition_that_it_was_opened_with(daily, monkeypatch):
    monkeypatch.setattr(backfills, "CHUNK", 2)
    backfill_id = opened()
    fill(backfill_id)
    sync(at(9))
    fill(backfill_id)

    assert [run.due_at for run in runs_of(backfill_id)] == [EIGHT, EIGHT + DAY, EIGHT + 2 * DAY]
    assert len({run.revision for run in runs_of(backfill_id)}) == 1


def test_several_that_fill_it_at_once_take_turns(daily, monkeypatch):
    monkeypatch.setattr(backfills, "CHUNK", 1)
    backfill_id = opened(concurrency=2)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: fill(backfill_id), range(4)))

    assert statuses(backfill_id) == ["queued", "queued", "waiting"]
    assert len(decided()) == 3


def test_a_backfill_that_cannot_go_on_harms_no_other(daily, monkeypatch):
    broken, other = opened(until=MONDAY + DAY), opened(since=MONDAY + DAY)
    with transaction() as session:
        session.get_one(Backfill, broken).until = MONDAY  # as if its range held no slot any more
    acts.heal()

    assert len(runs_of(other)) == 2


# ---- cancelling it


def test_a_cancelled_one_starts_nothing_more_and_stops_what_is_at_work(daily):
    backfill_id = start()
    first, *_ = runs_of(backfill_id)
    claimed = acts.claim(first, "start")
    with transaction() as session:
        ended = backfills.cancel(session, backfills.find(session, str(backfill_id)[:13]).id, ANNA, "wrong week")

    assert (ended.waiting, ended.at_work) == (2, 1)
    assert statuses(backfill_id) == ["cancelling", "cancelled", "cancelled"]
    assert summary(backfill_id).status == "cancelling"
    with reading() as session:
        assert set(session.scalars(select(Step.status))) == {"running", "cancelled"}
        assert [entry.action for entry in session.scalars(select(Audit).order_by(Audit.id))][-2:] == [
            "backfill",
            "cancel",
        ]
    acts.succeed(claimed)
    acts.heal()
    assert (summary(backfill_id).status, summary(backfill_id).cancelled_by) == ("cancelled", "cli:anna@desk-7")
    with transaction() as session, pytest.raises(Refused, match="has ended already"):
        backfills.cancel(session, backfill_id, ANNA)


def test_a_cancelled_one_gives_no_further_slot_a_run(daily, monkeypatch):
    monkeypatch.setattr(backfills, "CHUNK", 1)
    backfill_id = opened()
    fill(backfill_id)
    with transaction() as session:
        backfills.cancel(session, backfill_id, ANNA)
    acts.heal()

    assert statuses(backfill_id) == ["cancelled"]


def test_one_that_there_is_none_of_is_told(daily):
    with reading() as session, pytest.raises(NotFound, match='there is no backfill "ffff": `pipeline backfill --list`'):
        backfills.find(session, "ffff")
