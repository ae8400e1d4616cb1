"""One click in a message ends one schedule's reports to one address; looking at the page ends nothing."""

from uuid import uuid4

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Audit, OptOut
from pipeline.services import optouts
from pipeline.services.audit import Actor
from pipeline.services.optouts import Subscription
from tests.factories import make_delivery, make_run

pytestmark = pytest.mark.usefixtures("sqlite_database")
KEYS = [b"k" * 32]
READER = Actor("reader", "http", "192.0.2.7")


def rows(table):
    with reading() as session:
        return session.scalars(select(table)).all()


def test_a_look_at_the_page_changes_nothing_and_a_click_does():
    delivery = make_delivery(make_run())
    token = optouts.unsubscribe_token(KEYS, delivery.id)
    with reading() as session:
        shown = optouts.subscription(session, KEYS, token)
    assert shown == Subscription("anna@acme.example", "shipments", "Your shipments", None, ended=False)
    assert rows(OptOut) == []

    for _ in range(2):
        with transaction() as session:
            assert optouts.unsubscribe(session, KEYS, token, READER).ended
    with reading() as session:
        assert optouts.subscription(session, KEYS, token).ended
    (said,) = [row for row in rows(Audit) if row.action == "unsubscribe"]
    assert (said.action, said.kind, said.subject, said.schedule_key, said.by, said.address) == (
        "unsubscribe", "delivery", str(delivery.id), "shipments", "reader", "192.0.2.7",
    )  # fmt: skip
    assert "anna" not in str(said.detail)


def test_only_this_schedule_ends_and_only_for_this_address():
    make_run("weekly")
    delivery = make_delivery(make_run())
    with transaction() as session:
        optouts.unsubscribe(session, KEYS, optouts.unsubscribe_token(KEYS, delivery.id), READER)
    addresses = ["anna@acme.example", "bob@globex.example"]
    with reading() as session:
        (ended,) = optouts.opted_out(session, addresses, "shipments").items()
        assert optouts.opted_out(session, addresses, "weekly") == {}
    assert ended[0] == "anna@acme.example"
    assert ended[1].startswith("unsubscribed on 20")
    assert ended[1].endswith(f"by the link in message {delivery.message_id}")


def test_a_link_that_is_none_or_of_a_message_that_is_forgotten_says_so():
    with transaction() as session:
        with pytest.raises(Refused, match="not one of ours"):
            optouts.unsubscribe(session, KEYS, "nonsense", READER)
        with pytest.raises(NotFound, match="nothing is known of this message any more"):
            optouts.unsubscribe(session, KEYS, optouts.unsubscribe_token(KEYS, uuid4()), READER)
    assert rows(OptOut) == rows(Audit) == []
