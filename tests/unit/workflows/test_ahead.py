"""Messages made some at a time: none twice, none that does not come, and the first one never waits for long."""

from __future__ import annotations

import pytest

from pipeline.errors import PermanentError, TransientError
from pipeline.models import Delivery, new_id
from pipeline.workflows.report import ahead
from pipeline.workflows.report.ahead import Ahead


def deliveries(count, **more):
    return [Delivery(id=new_id(), channel="email", key=f"K{number}", **more) for number in range(count)]


class Maker:
    """Makes messages of a size, and knows of which deliveries."""

    def __init__(self, size=10, broken=(), error=PermanentError):
        self.size, self.broken, self.error, self.made = size, set(broken), error, []

    def __call__(self, delivery):
        self.made.append(delivery.key)
        if delivery.key in self.broken:
            raise self.error("the template names custmer")
        return delivery.key.encode().ljust(self.size)


@pytest.fixture(autouse=True)
def never_late(monkeypatch):
    monkeypatch.setattr(ahead, "SECONDS", 60)


def test_each_message_is_made_once_and_known_until_it_is_taken():
    maker, coming = Maker(), deliveries(3)
    found = Ahead(maker)
    for number, delivery in enumerate(coming):
        found.prepare(coming, number)
        assert found.made(delivery) == delivery.key.encode().ljust(10)
        assert found.take(delivery) == delivery.key.encode().ljust(10)
        assert found.made(delivery) is None
    assert maker.made == ["K0", "K1", "K2"]


@pytest.mark.parametrize("error", [PermanentError, TransientError])
def test_what_cannot_be_made_is_told_of_in_its_turn_and_those_after_it_are_made(error):
    maker, coming = Maker(broken=["K1"], error=error), deliveries(3)
    found = Ahead(maker)
    found.prepare(coming, 0)
    assert maker.made == ["K0", "K1"]
    with pytest.raises(error, match="custmer"):
        found.take(coming[1])
    found.prepare(coming, 2)
    assert found.made(coming[2])


@pytest.mark.parametrize(("size", "made"), [(300, 4), (2_000, 1)])
def test_no_more_are_made_than_memory_allows(monkeypatch, size, made):
    monkeypatch.setattr(ahead, "BYTES", 1_000)
    maker = Maker(size)
    Ahead(maker).prepare(deliveries(10), 0)
    assert len(maker.made) == made


def test_the_first_one_waits_for_no_slow_ones(monkeypatch):
    monkeypatch.setattr(ahead, "SECONDS", -1)
    maker, coming = Maker(), deliveries(2)
    found = Ahead(maker)
    found.prepare(coming, 0)
    assert maker.made == []
    assert found.take(coming[0])


def test_files_and_webhooks_are_none_of_its_business():
    maker = Maker()
    mail, other = deliveries(2)
    other.channel = "file"
    Ahead(maker).prepare([mail, other, *deliveries(1)], 0)
    assert maker.made == ["K0"]


def test_a_share_that_was_given_back_is_forgotten():
    maker, coming = Maker(), deliveries(2)
    found = Ahead(maker)
    found.prepare(coming, 0)
    found.forget()
    assert found.made(coming[0]) is None
