"""Recipients: whether somebody got theirs, in a sentence, and to whom nothing is sent."""

from __future__ import annotations

from sqlalchemy import select

from pipeline.db import reading
from pipeline.models import Audit, Recipient, Suppression
from tests.factories import MONDAY, finished_run, make_delivery
from tests.unit.console.visits import send, text_of

ANNA = "anna@acme.example"


def seen(address=ANNA, name="Anna Miller"):
    from pipeline.db import transaction

    with transaction() as session:
        session.add(Recipient(address=address, name=name, seen_at=MONDAY))


def test_did_they_get_theirs_is_answered_in_a_sentence(http):
    seen()
    run = finished_run()
    make_delivery(run, ANNA, "ACME", context={"name": "Anna Miller", "locale": None, "zone": None})
    for text in (ANNA, "ACME", "anna miller", "@acme.example"):
        page = http.get("/recipients", params={"q": text}).text
        assert "was handed over to relay smtp.example" in text_of(page)
        assert f"/runs/{run.id}" in page
    assert "Anna Miller" in text_of(http.get("/recipients").text)
    assert "Nothing was ever to be sent" in http.get("/recipients?q=nobody@nowhere.example").text


def test_an_address_is_suppressed_and_let_again_on_record_without_its_name(http):
    page = f"/recipients?q={ANNA}"
    send(http, page, "/recipients/suppress", address=ANNA, reason="asked by phone")
    said = text_of(http.get(page).text)
    assert f"Nothing is sent to {ANNA} any more." in said
    assert "asked by phone" in said
    with reading() as session:
        assert session.scalars(select(Suppression.address)).all() == [ANNA]
        acts = session.scalars(select(Audit).where(Audit.kind == "address")).all()
        assert [(one.action, one.by, ANNA in one.subject) for one in acts] == [("suppress", "anna", False)]
    send(http, page, "/recipients/unsuppress", address=ANNA)
    assert "Nobody called so is suppressed." in text_of(http.get(page).text)
    send(http, page, "/recipients/unsuppress", address=ANNA)
    assert "is not suppressed" in text_of(http.get(page).text)
    send(http, page, "/recipients/suppress", address="nonsense")
    assert "nonsense" in text_of(http.get("/recipients").text)
