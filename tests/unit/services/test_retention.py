"""What is older than it needs to be is forgotten, a little at a time, and nothing else is."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pipeline.db import reading, transaction
from pipeline.models import Artifact, Base, Delivery, Run, RunArtifact, Slot
from pipeline.notice import Kind
from pipeline.services import artifacts, notices, retention, totals
from tests.factories import (
    MONDAY,
    finished_run,
    make_delivery,
    make_delivery_attempt,
    make_document,
    make_event,
    make_file,
    make_run,
    make_schedule,
    make_step,
)

pytestmark = pytest.mark.usefixtures("time")

YEAR = timedelta(days=365)
LAST_MONTH = MONDAY - timedelta(days=30)


def a_whole_run(due_at, **values):
    """A run with something in every table; two customers have a document with its file and its delivery."""
    run = finished_run(due_at=due_at, **values)
    make_step(run, "render:1", attempts=("retry", "succeeded"))
    make_event(run.id, "healed", "published again")
    for key in ("ACME", "Globex"):
        document = make_document(run, key)
        make_file(run, document, f"document/{run.id}-{key}.pdf")
        delivery = make_delivery(run, f"{key.lower()}@example.com", key, document_id=document.id)
        make_delivery_attempt(delivery, "accepted")
    with transaction() as session:
        notices.tell(session, Kind.UNCERTAIN, notices.about_run(run.id), "1", run=run, targets=["ops@example.com"])
        slot = {"schedule_key": run.schedule_key, "due_at": due_at, "decision": "fired", "decided_at": due_at}
        session.add(Slot(**slot, run_id=run.id))
    return run


def of_age(before=LAST_MONTH):
    return retention.Rule(before, 30)


def purge(rule=None, rows=500):
    """The nightly run: transactions until nothing is left; what went in each."""
    rule = rule or of_age()
    went = []
    while True:
        with transaction() as session:
            some = retention.purge_runs(session, rule, rows)
        if not some:
            return went
        went.append(some)


def counted():
    with reading() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: session.scalar(select(func.count()).select_from(table)) for table in tables}


def test_an_old_run_goes_with_all_that_belongs_to_it():
    a_whole_run(MONDAY)
    before = counted()
    a_whole_run(MONDAY - YEAR)

    went = purge()

    assert went == [
        Counter(
            attempts=3,
            steps=2,
            delivery_attempts=2,
            deliveries=2,
            run_artifacts=2,
            documents=2,
            run_events=1,
            notice_deliveries=1,
            notices=1,
            runs=1,
        )
    ]
    after = counted()
    assert after == {**before, "slots": 2, "artifacts": 4, "totals": 1}


def test_what_was_decided_about_its_slot_is_still_told():
    a_whole_run(MONDAY - YEAR)
    purge()
    with reading() as session:
        slot = session.scalars(select(Slot)).one()
    assert (slot.due_at, slot.decision, slot.run_id) == (MONDAY - YEAR, "fired", None)


def test_a_run_that_is_not_over_stays_however_old_it_is():
    make_run(due_at=MONDAY - YEAR, status="waiting", waiting_for="approval")
    assert purge() == []


def test_the_age_of_a_run_counts_from_its_end():
    finished_run(due_at=MONDAY - YEAR, finished_at=MONDAY)
    assert purge() == []


def test_many_runs_go_in_small_pieces_and_the_whole_is_the_same(monkeypatch):
    monkeypatch.setattr(retention, "RUNS", 2)
    for week in range(5):
        a_whole_run(MONDAY - YEAR - timedelta(weeks=week))
    went = purge(rows=10)
    assert max(some.total() - some["runs"] for some in went) <= 10
    total = sum(went, Counter())
    assert (total["runs"], total["deliveries"], total["attempts"]) == (5, 10, 15)
    assert {name: count for name, count in counted().items() if count} == {
        "schedules": 1, "schedule_revisions": 1, "slots": 5, "artifacts": 10, "audit": 1, "totals": 2,
    }  # fmt: skip


def test_a_purge_that_dies_halfway_leaves_a_run_that_cannot_be_rerun_and_goes_on_later():
    a_whole_run(MONDAY - YEAR)
    with transaction() as session:
        assert retention.purge_runs(session, of_age(), rows=6) == Counter(attempts=3, steps=2, delivery_attempts=1)
    assert counted()["runs"] == 1
    purge()
    assert counted()["runs"] == 0


def test_what_was_sent_once_more_goes_with_what_it_repeats_however_small_the_pieces():
    run = finished_run(due_at=MONDAY - YEAR)
    first = make_delivery(run, "anna@acme.example")
    for repeat in (1, 2):
        again = make_delivery(run, "anna@acme.example", repeat=repeat, repeat_of=first.id)
        make_delivery_attempt(again, "accepted")
    purge(rows=1)
    assert (counted()["deliveries"], counted()["runs"]) == (0, 0)


def test_deliveries_go_one_after_the_other_and_each_with_its_history():
    run = finished_run(due_at=MONDAY - YEAR)
    for name in ("anna", "ben"):
        sent = make_delivery(run, f"{name}@acme.example")
        for event in ("dot", "accepted"):
            make_delivery_attempt(sent, event)
    went = [table for some in purge(rows=1) for table in some if table.startswith("deliver")]
    assert went == ["delivery_attempts", "delivery_attempts", "deliveries"] * 2


def test_notices_of_no_run_go_by_their_age(time):
    for at in (MONDAY - YEAR, MONDAY):
        time.move_to(at)
        with transaction() as session:
            notices.tell(session, Kind.BEAT_SILENT, f"beat@{at.year}", "1", targets=["ops@example.com"])
    with transaction() as session:
        assert retention.purge_notices(session, LAST_MONTH) == Counter(notices=1)
        assert retention.purge_notices(session, LAST_MONTH) == Counter()
    assert (counted()["notices"], counted()["notice_deliveries"]) == (1, 1)


def test_every_table_that_belongs_to_a_run_is_known_to_the_purge():
    """A new table that refers to a run: say in retention.py what becomes of its rows."""
    belonging, grown = {"runs"}, True
    while grown:
        refers = {
            t.name for t in Base.metadata.sorted_tables for key in t.foreign_keys if key.column.table.name in belonging
        }
        grown = not refers <= belonging
        belonging |= refers
    known = [*retention.STEPS, *retention.DELIVERIES, *retention.THE_REST]
    assert belonging == {"runs", "slots", *(table.__tablename__ for table, _ in known)}


# ---- totals


def by_month(schedule=None):
    with reading() as session:
        return {name: dict(counts) for name, counts in totals.months(session, schedule).items()}


def test_what_was_purged_still_counts_whatever_the_pieces_it_went_in():
    for week in range(5):
        a_whole_run(MONDAY - YEAR - timedelta(weeks=week))
    failed = finished_run(due_at=MONDAY - YEAR, status="failed")
    make_document(failed, "ACME", status="failed")
    a_whole_run(MONDAY)
    before = by_month()

    purge(rows=7)

    assert by_month() == before
    assert before["shipments", "2025-11"] == {
        ("runs", "succeeded"): 3, ("runs", "failed"): 1, ("documents", "rendered"): 6, ("documents", "failed"): 1,
        ("deliveries", "accepted"): 6,
    }  # fmt: skip
    assert before["shipments", "2026-11"] == {
        ("runs", "succeeded"): 1, ("documents", "rendered"): 2, ("deliveries", "accepted"): 2,
    }  # fmt: skip
    assert by_month("another") == {}


# ---- by number


def dues(schedule="shipments"):
    with reading() as session:
        mine = select(Run.due_at).where(Run.schedule_key == schedule)
        return sorted((MONDAY - due_at).days for due_at in session.scalars(mine))


def all_rules(days=400):
    with reading() as session:
        return retention.rules(session, MONDAY, days)


def test_a_schedule_keeps_its_newest_runs_and_others_are_not_concerned():
    make_schedule(keep={"runs": 3})
    make_schedule("other")
    for day in range(6):
        finished_run(due_at=MONDAY - timedelta(days=day))
        finished_run("other", due_at=MONDAY - timedelta(days=day))
    for rule in all_rules():
        purge(rule)
    assert (dues(), dues("other")) == ([0, 1, 2], [0, 1, 2, 3, 4, 5])


def test_by_age_and_by_number_whichever_comes_first():
    make_schedule(keep={"days": 2, "runs": 4})
    for hours in (0, 1, 2, 30, 40, 60, 70):
        finished_run(due_at=MONDAY - timedelta(hours=hours))
    for rule in all_rules():
        purge(rule)
    assert len(dues()) == 4
    make_schedule(keep={"days": 1, "runs": 4})
    for rule in all_rules():
        purge(rule)
    assert len(dues()) == 3


def test_a_schedules_own_age_may_be_longer_than_that_of_all():
    make_schedule(keep={"days": 800})
    finished_run(due_at=MONDAY - YEAR - YEAR)
    finished_run(due_at=MONDAY - YEAR)
    for rule in all_rules(30):
        purge(rule)
    assert len(dues()) == 2


def test_the_last_run_that_succeeded_stays_since_the_gate_compares_with_it():
    make_schedule(keep={"runs": 2})
    for day in range(6):
        finished_run(due_at=MONDAY - timedelta(days=day), status="succeeded" if day >= 4 else "failed")
    for rule in all_rules():
        purge(rule)
    assert dues() == [0, 1, 4]


@pytest.mark.parametrize("keep", [{"runs": 1}, {"days": 2}])
def test_what_nobody_has_settled_stays_until_it_is_too_old_for_anybody_to_tell(keep):
    make_schedule(keep=keep)
    finished_run(due_at=MONDAY)
    doubtful = {day: finished_run(due_at=MONDAY - timedelta(days=day), status="partial") for day in (9, 10, 50)}
    for run in doubtful.values():
        make_delivery(run, status="uncertain")
    finished_run(due_at=MONDAY - timedelta(days=8))
    (rule,) = [rule for rule in all_rules(40) if rule.schedule]
    with reading() as session:
        assert list(retention.unsettled(session, rule)) == [doubtful[10].id, doubtful[9].id]
        assert retention.expired_count(session, rule)[0] == 2
    purge(rule)
    assert dues() == [0, 9, 10]
    with transaction() as session:
        for delivery in session.scalars(select(Delivery)):
            delivery.status = "accepted"
    purge(rule)
    assert dues() == [0]


def test_what_is_not_over_is_not_counted_and_does_not_go():
    make_schedule(keep={"runs": 1}, overlap="allow")
    finished_run(due_at=MONDAY)
    finished_run(due_at=MONDAY - timedelta(days=1), status="partial", waiting_for="deferred")
    make_run(due_at=MONDAY - timedelta(days=2))
    finished_run(due_at=MONDAY - timedelta(days=3), status="failed")
    for rule in all_rules():
        with reading() as session:
            assert retention.expired_count(session, rule)[0] == (1 if rule.schedule else 0)
        purge(rule)
    assert dues() == [0, 1, 2]


# ---- artifacts


def artifact(uri, age, **values):
    return Artifact(
        sha256="0" * 64, kind="document", media_type="text/plain", size=1, uri=uri, created_at=MONDAY - age, **values
    )


@pytest.fixture
def forgotten():
    """An artifact whose run is gone."""
    with transaction() as session:
        session.add(artifact("old", 2 * YEAR))
    with reading() as session:
        return session.scalars(select(Artifact)).one()


def uris():
    with reading() as session:
        return set(session.scalars(select(Artifact.uri)))


def test_only_what_no_run_knows_and_nobody_may_be_writing_is_unneeded(forgotten):
    run = finished_run()
    make_file(run, make_document(run), "known.pdf", created_at=MONDAY - YEAR)
    with transaction() as session:
        session.add(artifact("being-written", timedelta(hours=1)))
        found = artifacts.unreferred(session, MONDAY - timedelta(days=1))
        assert [one.uri for one in found] == ["old"]
        assert artifacts.forget(session, [one.id for one in found]) == 1
    assert uris() == {"known.pdf", "being-written"}


def test_one_that_a_run_has_come_to_know_since_is_not_forgotten(forgotten):
    run = make_run()
    with transaction() as session:
        session.add(RunArtifact(run_id=run.id, name="bundle", artifact_id=forgotten.id))
    with transaction() as session:
        assert artifacts.forget(session, [forgotten.id]) == 0
    assert uris() == {"old"}
