"""`pipeline who --open`: the message as it was sent, made once more from what was frozen."""

from __future__ import annotations

import email
from email import policy
from pathlib import Path

import pytest

from pipeline.db import reading, transaction
from pipeline.models import Artifact
from pipeline.services import ledger
from pipeline.settings import settings
from pipeline.workflows.report.composing import Letters
from tests.factories import make_delivery, make_delivery_attempt, make_document
from tests.unit.workflows.test_composing import opened, with_file

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def sent(database):
    """A delivery whose message went out, with the bytes."""
    run, handle = opened()
    document, _ = with_file(run)
    delivery = make_delivery(run, document_id=document.id)
    letters = Letters(handle)
    with reading() as session:
        letters.load(session, [delivery])
    data = letters.message(delivery)
    make_delivery_attempt(delivery, "dot", text=ledger.digest(data))
    return delivery, data


def test_the_message_is_byte_by_byte_what_was_sent(typed, as_json, sent):
    delivery, data = sent
    (one,) = as_json("who", "anna@acme.example", "--open", "--since", "4000d")["opened"]
    assert one["exact"] is True
    assert Path(one["message"]).read_bytes() == data
    assert email.message_from_bytes(data, policy=policy.default)["Message-ID"] == delivery.message_id
    assert [Path(path).suffix for path in one["documents"]] == [".pdf"]
    assert "byte by byte what was sent" in typed("who", "ACME", "--open", "--since", "4000d").stdout


def test_a_message_that_cannot_be_made_the_same_any_more_is_told(typed, as_json, sent, monkeypatch):
    monkeypatch.setenv("PIPELINE_MAIL_FROM", "New <new@example.com>")
    settings.cache_clear()
    assert "made anew, and not what was sent" in typed("who", "ACME", "--open", "--since", "4000d").stdout

    with transaction() as session:
        for artifact in session.query(Artifact).filter_by(kind="bundle"):
            artifact.uri = "gone"
    (one,) = as_json("who", "ACME", "--open", "--since", "4000d")["opened"]
    assert one["message"] is None
    assert one["problem"]


def test_what_was_not_made_cannot_be_opened(as_json):
    """Such as an alert that was not due."""
    run, _ = opened()
    document = make_document(run, status="skipped")
    make_delivery(run, document_id=document.id, status="skipped", relay=None, reply=None)
    (one,) = as_json("who", "ACME", "--open", "--since", "4000d")["opened"]
    assert (one["message"], one["problem"]) == (None, "no document was made for it")
