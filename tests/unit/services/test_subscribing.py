"""People subscribe to a report, end it and come back; what somebody has ended stays ended until they ask again."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from pipeline import fingerprint
from pipeline.db import reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Audit, OptOut, Subscription, Suppression
from pipeline.schedule import Person
from pipeline.services import answers, optouts, subscribing, subscriptions, suppressing
from pipeline.services.audit import Actor
from tests.factories import make_delivery, make_run, make_schedule

ANNA = Actor("anna@desk", "cli", "desk")
KEYS = [b"k" * 32]
ADDRESS = "Ann.Miller@acme.example"


@pytest.fixture
def plan(database):
    make_schedule("shipments", recipients="subscriptions")
    with reading() as session:
        return subscribing.plan_of(session, "shipments")


def subscribe(plan, *people, **options):
    with transaction() as session:
        rows = [Person(email=email, key=key, **said) for email, key, said in people]
        return subscribing.subscribe(session, ANNA, plan, rows, "by hand", **options)


def unsubscribe(address, **options):
    with transaction() as session:
        return subscribing.unsubscribe(session, ANNA, "shipments", address, **options)


def rows(table):
    with reading() as session:
        return list(session.scalars(select(table).order_by(*table.__table__.primary_key)))


def frozen(schedule="shipments"):
    with reading() as session:
        return [row[:2] for chunk in subscriptions.frozen(session, schedule) for row in chunk]


def test_whoever_is_subscribed_is_part_of_the_next_run_and_of_no_other_schedules(plan):
    make_schedule("weekly", recipients="subscriptions")
    first = subscribe(plan, (ADDRESS, "ACME", {"name": "Ann"}), (ADDRESS, "Globex", {}), ("bob@b.example", "ACME", {}))
    assert (first.new, first.sends) == (3, True)
    assert frozen() == [(ADDRESS, "ACME"), (ADDRESS, "Globex"), ("bob@b.example", "ACME")]
    assert frozen("weekly") == []


def test_subscribing_again_changes_what_is_said_and_nothing_else(plan):
    subscribe(plan, (ADDRESS, "ACME", {"name": "Ann", "zone": "Europe/Berlin"}))
    again = subscribe(plan, (ADDRESS, "ACME", {"name": "Ann Miller"}))
    same = subscribe(plan, (ADDRESS, "ACME", {}))
    assert (again.new, again.changed, same.changed, same.unchanged) == (0, 1, 0, 1)
    (row,) = rows(Subscription)
    assert (row.name, row.zone, row.status) == ("Ann Miller", "Europe/Berlin", "active")


def test_who_unsubscribes_keeps_the_row_and_stays_out_until_they_ask_again(plan):
    subscribe(plan, (ADDRESS, "ACME", {}), (ADDRESS, "Globex", {}))
    assert unsubscribe(ADDRESS, reason="left the company") == 2
    assert unsubscribe(ADDRESS) == 0
    assert frozen() == []
    assert {(row.status, row.ended_by) for row in rows(Subscription)} == {
        ("unsubscribed", "cli:anna@desk: left the company")
    }

    kept_out = subscribe(plan, (ADDRESS, "ACME", {}), (ADDRESS, "New", {}))
    assert [one["key"] for one in kept_out.kept_out] == ["ACME", "New"]
    assert "left the company" in kept_out.kept_out[0]["reason"]
    assert frozen() == []

    back = subscribe(plan, (ADDRESS, "ACME", {}), again=True)
    assert (back.again, rows(OptOut), frozen()) == (1, [], [(ADDRESS, "ACME")])


def test_one_key_can_be_ended_and_the_others_go_on(plan):
    subscribe(plan, (ADDRESS, "ACME", {}), (ADDRESS, "Globex", {}))
    assert unsubscribe(ADDRESS, key="ACME") == 1
    assert frozen() == [(ADDRESS, "Globex")]
    run = make_run()
    acme, globex = (make_delivery(run, ADDRESS, key, status="queued") for key in ("ACME", "Globex"))
    with reading() as session:
        barred = optouts.barred_deliveries(session, [acme, globex], "shipments")
    assert list(barred) == [acme.id]
    assert barred[acme.id].endswith("by cli:anna@desk")
    with pytest.raises(NotFound, match='not subscribed to shipments for the key "ACNE": did you mean ACME'):
        unsubscribe(ADDRESS, key="ACNE")


def test_the_link_in_a_message_ends_the_subscription_once(plan):
    subscribe(plan, (ADDRESS, "ACME", {}))
    delivery = make_delivery(make_run(), ADDRESS)
    token = optouts.unsubscribe_token(KEYS, delivery.id)
    for _ in range(2):
        with transaction() as session:
            assert optouts.unsubscribe(session, KEYS, token, Actor("reader", "http", "192.0.2.7")).ended
    (row,) = rows(Subscription)
    assert (row.status, row.ended_by) == ("unsubscribed", f"the link in message {delivery.message_id}")
    assert [one.action for one in rows(Audit)].count("unsubscribe") == 1


def test_people_whom_another_system_lists_as_unsubscribed_are_kept_out(plan):
    subscribe(plan, (ADDRESS, "ACME", {}))
    with transaction() as session:
        done = subscribing.subscribe(session, ANNA, plan, [], "old.csv")
        both = [Person(email=ADDRESS, key="ACME"), Person(email="eve@e.example", key="ACME")]
        subscribing.keep_out(session, ANNA, done, both, "old.csv")
    assert (done.unsubscribed, frozen()) == (2, [])
    assert subscribe(plan, ("eve@e.example", "ACME", {})).kept_out


def test_the_record_names_rows_and_no_address(plan):
    subscribe(plan, (ADDRESS, "ACME", {}))
    unsubscribe(ADDRESS)
    with transaction() as session:
        suppressing.suppress(session, ANNA, ADDRESS, "asked by phone", fingerprint.of(KEYS, ADDRESS))
    said = [one for one in rows(Audit) if one.by == "anna@desk"]
    assert [one.action for one in said] == ["subscribe", "unsubscribe", "suppress"]
    (subscription,) = rows(Subscription)
    assert {one.detail["subscriptions"][0] for one in said[:2]} == {str(subscription.id)}
    assert "miller" not in str([(one.subject, one.detail) for one in said]).lower()


def test_nothing_is_sent_to_a_suppressed_address_until_it_is_taken_off_the_list(plan):
    mark = fingerprint.of(KEYS, ADDRESS)
    with transaction() as session:
        assert suppressing.suppress(session, ANNA, ADDRESS, "asked by phone", mark)
        assert not suppressing.suppress(session, ANNA, ADDRESS, "once more", mark)
    assert subscribe(plan, (ADDRESS, "ACME", {})).suppressed == {ADDRESS: "suppressed: asked by phone"}
    with reading() as session:
        (listed,) = answers.subscriptions(session, ADDRESS.lower()).subscriptions
        assert listed.suppressed == "asked by phone"
        assert [one.address for one in answers.suppressions(session, "phone")] == [ADDRESS]
    with transaction() as session:
        suppressing.unsuppress(session, ANNA, ADDRESS, [mark])
        with pytest.raises(NotFound, match="is not suppressed"):
            suppressing.unsuppress(session, ANNA, ADDRESS, [mark])
    assert rows(Suppression) == []


def test_only_a_report_has_subscribers(plan):
    make_schedule("nightly", report=None, recipients=None, command=["true"])
    with reading() as session:
        with pytest.raises(Refused, match='nobody can subscribe to "nightly": it is of a command'):
            subscribing.plan_of(session, "nightly")
        with pytest.raises(NotFound, match='no schedule "shipment": did you mean shipments'):
            subscribing.plan_of(session, "shipment")
