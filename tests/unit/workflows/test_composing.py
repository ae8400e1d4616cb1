"""The message of one delivery: the same bytes on every attempt, signed, its files attached or linked."""

from __future__ import annotations

import email
import hashlib
import re
from datetime import timedelta
from email import policy
from urllib.parse import urlsplit
from uuid import UUID

import dkim
import fsspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline import tokens
from pipeline.adapters import storage
from pipeline.adapters.documents import bundle
from pipeline.adapters.secret_keys import secret_keys
from pipeline.db import reading, transaction
from pipeline.errors import Blocked
from pipeline.handle import RunHandle
from pipeline.models import DeliveryDocument, Document, new_id
from pipeline.services import optouts
from pipeline.settings import settings
from pipeline.workflows.report.composing import Letters
from tests.factories import MONDAY, make_delivery, make_document, make_file, make_run, make_schedule
from tests.unit.adapters.test_messages_signing import pem
from tests.unit.services import acts

PERIOD = {
    "start": "2026-11-08T23:00:00+00:00",
    "end": "2026-11-15T23:00:00+00:00",
    "zone": "Europe/Berlin",
    "label": "2026-W46",
}
FACTS = {
    "template": "shipments", "title": "Your shipments", "key_label": "Customer", "report": "shipments",
    "period": PERIOD, "figures": [], "summary": "", "rows_count": 3, "generated_at": MONDAY.isoformat(),
    "locale": "en", "zone": "Europe/Berlin", "params": {}, "extra": {},
}  # fmt: skip


@pytest.fixture
def public(database, monkeypatch):
    """A database, and an address that links can begin with."""
    monkeypatch.setenv("PIPELINE_PUBLIC_URL", "https://reports.example.com")
    monkeypatch.setenv("PIPELINE_MAIL_FROM", "Reports <reports@example.com>")
    settings.cache_clear()
    return database


def opened(**changes):
    """A run whose template bundle is frozen, and the handle of its first step."""
    make_schedule(**changes)
    run = make_run()
    handle = RunHandle(acts.claim(run, "start"))
    handle.put("bundle", bundle(settings().home / "templates", "shipments"), kind="bundle", suffix=".zip")
    return run, handle


def with_file(run, key="ACME", size=2_000, **values):
    document = make_document(run, key, context={**FACTS, "key": key}, **values)
    data = hashlib.shake_256(key.encode()).digest(size)
    stored = storage.store().put(data, "document", ".pdf")
    make_file(run, document, stored.uri, size=stored.size, sha256=stored.sha256)
    return document, data


def composed(handle, delivery, **how):
    letters = Letters(handle)
    with reading() as session:
        letters.load(session, [delivery])
    data = letters.message(delivery, **how)
    assert data == letters.message(delivery, **how)
    return data, email.message_from_bytes(data, policy=policy.default)


def test_a_message_carries_its_file_and_no_link_that_nobody_asked_for(public):
    run, handle = opened()
    document, data = with_file(run)
    raw, message = composed(handle, make_delivery(run, document_id=document.id, status="sending"))
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("shipments-ACME-2026-W46.pdf", data)
    assert message["List-Id"] == "<shipments.example.com>"
    assert b"https://" not in raw
    assert message["List-Unsubscribe"] is message["DKIM-Signature"] is None


def test_files_above_the_size_that_the_schedule_says_are_links_that_open_them(public):
    run, handle = opened(message={"link_above": "10kB", "link_for": "7d"})
    document, _ = with_file(run, size=10_001)
    small, _ = with_file(run, "Globex", size=10_000)
    delivery = make_delivery(run, document_id=document.id)
    _, message = composed(handle, delivery)
    assert list(message.iter_attachments()) == []
    text = message.get_body(("plain",)).get_content()
    url = urlsplit(re.search(r"https://\S+", text)[0])
    assert (url.netloc, url.path.startswith("/d/")) == ("reports.example.com", True)
    assert "The links work until November 23, 2026" in text
    said = tokens.read(secret_keys(settings()), tokens.Purpose.DOCUMENT, url.path.removeprefix("/d/"), MONDAY)
    assert said == delivery.id.bytes + document.id.bytes + b"pdf"
    _, message = composed(handle, make_delivery(run, "b@globex.example", document_id=small.id))
    assert len(list(message.iter_attachments())) == 1


def test_a_message_that_is_sent_once_more_is_of_its_own_day_and_so_are_its_links(public):
    run, handle = opened()
    document, _ = with_file(run)
    later = MONDAY + timedelta(days=60)
    one = UUID(int=(int(later.timestamp() * 1000) << 80) + new_id().int % 2**80)
    delivery = make_delivery(run, document_id=document.id, id=one, repeat=1)
    _, message = composed(handle, delivery, linked=True)
    assert message["Date"].datetime == later
    token = re.search(r"/d/(\S+)", message.get_body(("plain",)).get_content())[1]
    assert tokens.read(secret_keys(settings()), tokens.Purpose.DOCUMENT, token, MONDAY + timedelta(days=89))


def test_a_relay_that_takes_less_gets_links_instead(public):
    run, handle = opened()
    document, _ = with_file(run)
    _, message = composed(handle, make_delivery(run, document_id=document.id), linked=True)
    assert list(message.iter_attachments()) == []
    assert "https://reports.example.com/d/" in message.get_body(("html",)).get_content()


def test_without_a_public_address_files_of_any_size_are_attached(database):
    run, handle = opened(message={"link_above": 0})
    document, _ = with_file(run)
    _, message = composed(handle, make_delivery(run, document_id=document.id))
    assert len(list(message.iter_attachments())) == 1
    assert not Letters(handle).can_link


def test_a_link_to_unsubscribe_is_in_the_headers_and_in_the_text_and_works(public):
    run, handle = opened(message={"unsubscribe": True})
    document, _ = with_file(run)
    delivery = make_delivery(run, document_id=document.id)
    _, message = composed(handle, delivery)
    url = message["List-Unsubscribe"].strip("<>")
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert f"Unsubscribe: {url}" in message.get_body(("plain",)).get_content()
    assert url in message.get_body(("html",)).get_content()
    with reading() as session:
        found = optouts.subscription(
            session, secret_keys(settings()), url.removeprefix("https://reports.example.com/u/")
        )
    assert (found.address, found.schedule, found.ended) == ("anna@acme.example", "shipments", False)


def test_a_combined_message_carries_all_its_documents_and_names_what_is_missing(public):
    run, handle = opened(combine=True)
    (globex, _), (acme, _) = with_file(run, "Globex"), with_file(run, "ACME")
    failed = make_document(run, "Hooli", status="failed")
    delivery = make_delivery(run, key="*")
    with transaction() as session:
        ids = [one.id for one in (globex, failed, acme)]
        session.add_all(DeliveryDocument(delivery_id=delivery.id, document_id=one) for one in ids)
    _, message = composed(handle, delivery)
    names = [one.get_filename() for one in message.iter_attachments()]
    assert names == ["shipments-ACME-2026-W46.pdf", "shipments-Globex-2026-W46.pdf"]
    assert message["Subject"].startswith("Your shipments \N{EN DASH} ACME, Globex, ")
    assert "could not be made: Hooli." in message.get_body(("plain",)).get_content()


def test_a_message_is_signed_with_the_key_that_is_set_and_a_key_that_is_none_burns_nobody(public, monkeypatch):
    run, handle = opened(message={"unsubscribe": True})
    document, _ = with_file(run)
    key = public / "dkim.pem"
    key.write_text(pem(rsa.generate_private_key(65537, 2048)))
    monkeypatch.setenv("PIPELINE_DKIM_KEY", "dkim.pem")
    monkeypatch.setenv("PIPELINE_DKIM_SELECTOR", "s1")
    settings.cache_clear()
    delivery = make_delivery(run, document_id=document.id)
    raw, message = composed(handle, delivery)
    record = Letters(handle).signer.record().encode()
    assert dkim.verify(raw, dnsfunc=lambda *_, **__: record)
    assert "list-unsubscribe-post" in message["DKIM-Signature"]

    (public / "other.pem").write_text("-----BEGIN RSA PRIVATE KEY-----")
    monkeypatch.setenv("PIPELINE_DKIM_KEY", "other.pem")
    settings.cache_clear()
    with pytest.raises(Blocked, match=r"PIPELINE_DKIM_KEY: it is no private key in PEM.*nothing goes out before"):
        Letters(handle)
    with reading() as session:
        assert session.get_one(Document, document.id).status == "rendered"


@pytest.mark.parametrize("mode", ["catch", "redirect:me@example.com", "live"])
def test_files_for_elsewhere_stay_here_unless_mail_is_live(public, monkeypatch, mode):
    monkeypatch.setenv("PIPELINE_MAIL", mode)
    monkeypatch.setenv("PIPELINE_SMTP_URL", "smtp://127.0.0.1:9")
    settings.cache_clear()
    fsspec.filesystem("memory").store.clear()
    run, handle = opened(deliver_to=["memory://elsewhere/", "here/"])
    document, data = with_file(run)
    letters = Letters(handle)
    found = {}
    for place in ("memory://elsewhere/", "here/"):
        delivery = make_delivery(run, place, document_id=document.id, channel="file")
        with reading() as session:
            letters.load(session, [delivery])
        found[place] = letters.copies(delivery)

    assert found["here/"] == ("file", "here/ACME.pdf")
    assert (public / "here" / "ACME.pdf").read_bytes() == data
    kept = list((public / "var" / "outbox").glob("*"))
    if mode == "live":
        assert (found["memory://elsewhere/"], kept) == (("file", "memory://elsewhere/ACME.pdf"), [])
    else:
        assert found["memory://elsewhere/"] == ("outbox", f"kept as {kept[0].name}")
        assert [one.read_bytes() for one in kept] == [data]
        assert fsspec.filesystem("memory").store == {}
