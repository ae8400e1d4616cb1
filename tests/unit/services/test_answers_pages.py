"""Lists that may be long: page by page, the same order on every page, whatever is added meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.db import reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Recipient, Subscription, Suppression
from pipeline.services import answers
from pipeline.services.answers import DeliveryFilter, RunFilter, marks
from tests.factories import MONDAY, finished_run, make_delivery, make_run, make_schedule

pytestmark = pytest.mark.usefixtures("database")
# What depends on no database's ways is asked of one of the two.
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
WEEK = timedelta(days=7)


def pages(page, items, **how):
    """Every page's items, until there is no next one."""
    found, after = [], None
    while not found or after:
        with reading() as session:
            one = page(session, after=after, **how)
        found.append(getattr(one, items))
        after = one.next
    return found


def runs(wanted=None, **how):
    page = lambda session, **more: answers.run_page(session, wanted or RunFilter(), **more)  # noqa: E731
    return [[one.id for one in found] for found in pages(page, "runs", **how)]


def deliveries(run, wanted=None, **how):
    page = lambda session, **more: answers.delivery_page(session, run, wanted or DeliveryFilter(), **more)  # noqa: E731
    return [[(one.status, one.key, one.address) for one in found] for found in pages(page, "deliveries", **how)]


# ---- runs


def test_runs_come_page_by_page_the_newest_first_also_those_of_one_instant():
    old = finished_run(due_at=MONDAY - WEEK)
    same = [finished_run() for _ in range(3)]
    newest = [one.id for one in reversed(same)]
    assert runs(limit=2) == [newest[:2], [newest[2], old.id]]
    with reading() as session:
        first = answers.run_page(session, RunFilter(), limit=2)
    finished_run(due_at=MONDAY + WEEK)  # comes in while somebody reads
    with reading() as session:
        second = answers.run_page(session, RunFilter(), limit=2, after=first.next)
    assert [one.id for one in second.runs] == [newest[2], old.id]


def test_runs_are_narrowed_by_schedule_status_trigger_and_time():
    make_schedule("nightly")
    weekly = [finished_run(due_at=MONDAY - weeks * WEEK).id for weeks in range(3)]
    failed = finished_run("nightly", due_at=MONDAY - WEEK, status="failed", trigger="manual").id
    partial = finished_run("nightly", due_at=MONDAY - 2 * WEEK, status="partial").id
    assert runs(RunFilter("shipments")) == [weekly]
    assert runs(RunFilter(statuses=["failed"])) == [[failed]]
    assert runs(RunFilter(statuses=["partial", "failed"]), limit=1) == [[failed], [partial]]
    assert runs(RunFilter("shipments", statuses=["failed"])) == [[]]
    assert runs(RunFilter(trigger="manual")) == [[failed]]
    assert runs(RunFilter("shipments", since=MONDAY - WEEK, until=MONDAY)) == [[weekly[1]]]


def test_runs_are_found_by_who_was_to_get_something_of_them():
    ours, theirs = finished_run(), finished_run(due_at=MONDAY - WEEK)
    make_delivery(ours, "Anna@acme.example")
    make_delivery(theirs, "bob@globex.example")
    with transaction() as session:
        for address, name in (("Anna@acme.example", "Anna Miller"), ("bob@globex.example", "Bob 100%")):
            session.add(Recipient(address=address, name=name, seen_at=MONDAY))
    for text in ("anna@ACME.example", "@acme.example", "miller", "acme"):
        assert runs(RunFilter(recipient=text)) == [[ours.id]], text
    assert runs(RunFilter(recipient="100%")) == [[theirs.id]]
    assert runs(RunFilter(recipient="nobody@acme.example")) == [[]]


@sqlite_only
def test_what_there_is_none_of_is_refused_with_a_hint():
    finished_run()
    with reading() as session:
        with pytest.raises(NotFound, match="did you mean shipments"):
            answers.run_page(session, RunFilter("shipment"))
        with pytest.raises(Refused, match="did you mean failed"):
            answers.run_page(session, RunFilter(statuses=["faild"]))
        with pytest.raises(Refused, match="it is one of schedule, manual, api, backfill"):
            answers.run_page(session, RunFilter(trigger="moon"))
        for mark in ("nonsense", "", marks.mark("x", "y"), marks.mark(MONDAY), marks.mark(MONDAY, 3), "W10"):
            with pytest.raises(Refused, match="no mark of this list"):
                answers.run_page(session, RunFilter(), after=mark)


# ---- deliveries


def test_deliveries_come_page_by_page_what_somebody_has_to_look_at_first():
    run = make_run()
    for key in ("A", "B", "C"):
        make_delivery(run, "anna@acme.example", key)
    make_delivery(run, "bob@acme.example", "B", status="failed")
    make_delivery(run, "bob@acme.example", "A", status="deferred", not_before=MONDAY)
    make_delivery(run, "carl@acme.example", "B")
    every = [
        ("failed", "B", "bob@acme.example"),
        ("deferred", "A", "bob@acme.example"),
        ("accepted", "A", "anna@acme.example"),
        ("accepted", "B", "anna@acme.example"),
        ("accepted", "B", "carl@acme.example"),
        ("accepted", "C", "anna@acme.example"),
    ]
    for limit in (1, 2, 4, 6, 50):
        assert deliveries(run, limit=limit) == [every[at : at + limit] for at in range(0, 6, limit)]


def test_deliveries_are_narrowed_and_counted_whatever_their_status():
    run = make_run()
    make_delivery(run, "anna@acme.example", "ACME")
    make_delivery(run, "bob@globex.example", "Globex 100%", status="failed")
    with reading() as session:
        found = answers.delivery_page(session, run, DeliveryFilter(statuses=["failed"]), history=True)
        assert ([one.key for one in found.deliveries], found.counts) == (["Globex 100%"], {"accepted": 1, "failed": 1})
        assert found.deliveries[0].history == []
        with pytest.raises(Refused, match="did you mean failed"):
            answers.delivery_page(session, run, DeliveryFilter(statuses=["faild"]))
    assert deliveries(run, DeliveryFilter(text="GLOBEX")) == [[("failed", "Globex 100%", "bob@globex.example")]]
    assert deliveries(run, DeliveryFilter(text="0%")) == [[("failed", "Globex 100%", "bob@globex.example")]]
    assert deliveries(run, DeliveryFilter(keys=["ACME"])) == [[("accepted", "ACME", "anna@acme.example")]]


# ---- people


def test_people_are_found_by_a_part_of_their_address_or_name_with_what_they_were_sent_last():
    make_delivery(finished_run(due_at=MONDAY - WEEK), "anna@acme.example")
    newest = finished_run()
    make_delivery(newest, "anna@acme.example", "ACME", status="failed", reason="no such user")
    with transaction() as session:
        session.add(Recipient(address="anna@acme.example", name="Anna Miller", seen_at=MONDAY))
        session.add(Recipient(address="bob@globex.example", name=None, seen_at=MONDAY))
        session.add(Suppression(address="bob@globex.example", reason="bounced", source="cli:anna", created_at=MONDAY))
        mine = {"schedule_key": "shipments", "address": "anna@acme.example", "source": "cli:anna", "created_at": MONDAY}
        session.add(Subscription(key="ACME", **mine))
        session.add(Subscription(key="Globex", status="unsubscribed", **mine))
    with reading() as session:
        (anna,) = answers.recipient_page(session, "miLLer").recipients
        assert (anna.address, anna.suppressed, anna.subscriptions) == ("anna@acme.example", None, 1)
        assert (anna.last.run_id, anna.last.status, anna.last.reason) == (newest.id, "failed", "no such user")
        (bob,) = answers.recipient_page(session, "@globex").recipients
        assert (bob.suppressed, bob.last) == ("bounced", None)
        assert answers.recipient_page(session, "_").recipients == []
    found = pages(answers.recipient_page, "recipients", limit=1)
    assert [[one.address for one in page] for page in found] == [["anna@acme.example"], ["bob@globex.example"]]
