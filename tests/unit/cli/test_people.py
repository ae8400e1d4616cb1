"""Subscribing, importing, unsubscribing and suppressing, as they are typed."""

from __future__ import annotations

import pytest

from pipeline.adapters import storage
from pipeline.errors import PermanentError
from tests.factories import MONDAY, finished_run, make_delivery, make_document, make_file, make_schedule

ANNA = "anna@acme.example"


@pytest.fixture
def shipments(database):
    make_schedule("shipments", recipients="subscriptions")
    return database


def said(result):
    return " ".join(result.output.split())


def test_one_person_comes_goes_and_comes_back(typed, as_json, shipments):
    assert "Subscriptions to shipments: 1 new." in said(
        typed("subscribe", "shipments", "anna@ACME.example", "--key", "ACME", "--name", "Anna")
    )
    (one,) = as_json("subscriptions", ANNA)["subscriptions"]
    assert (one["address"], one["key"], one["name"], one["status"]) == (ANNA, "ACME", "Anna", "active")
    assert "gets nothing more of shipments; 1 subscription ended" in said(typed("unsubscribe", "shipments", ANNA))
    refused = typed("subscribe", "shipments", ANNA, "--key", "ACME")
    assert refused.exit_code == 1
    assert "anna@acme.example stays out (ACME): unsubscribed on" in said(refused)
    assert as_json("subscribe", "shipments", ANNA, "--key", "ACME", "--again")["outcome"]["again"] == 1
    assert "1 active" in typed("subscriptions", "shipments").stdout


MISTAKES = {
    "nobody": (["shipments"], "say whom: ADDRESS or --import FILE"),
    "no key": (["shipments", ANNA], "key is missing: whose document? There is one for each customer"),
    "no address": (["shipments", "anna", "--key", "A"], 'email "anna" is not an e-mail address'),
    "no zone": (["shipments", ANNA, "--key", "A", "--zone", "Berlin"], 'zone "Berlin" is not an IANA time zone'),
    "no schedule": (["shipment", ANNA, "--key", "A"], 'no schedule "shipment": did you mean shipments'),
    "no file": (["shipments", "--import", "nobody.csv"], "there is no file nobody.csv"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_a_sentence(typed, shipments, name):
    words, sentence = MISTAKES[name]
    result = typed("subscribe", *words)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_a_file_is_imported_whole_or_not_at_all(typed, as_json, shipments, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("email,key,team\nanna@acme.example,ACME,x\nbob,ACME,\nanna@acme.example,ACME,\n")

    failed = typed("subscribe", "shipments", "--import", path)
    assert failed.exit_code == 1
    told = said(failed)
    assert 'people.csv:3: email "bob" is not an e-mail address' in told
    assert "people.csv:4: anna@acme.example for ACME is in line 2 already" in told
    assert "Columns that mean nothing here: team." in told
    assert "Nobody was subscribed: 1 line of the file cannot be meant" in told
    assert as_json("subscriptions")["subscriptions"] == []

    tried = typed("subscribe", "shipments", "--import", path, "--skip-bad", "--dry-run")
    assert "Nothing was changed; it would be: Subscriptions to shipments: 1 new." in said(tried)
    assert as_json("subscriptions")["subscriptions"] == []

    assert as_json("subscribe", "shipments", "--import", path, "--skip-bad")["outcome"]["new"] == 1
    typed("unsubscribe", "shipments", ANNA)
    out = tmp_path / "export.csv"
    assert "1 subscription in" in said(typed("subscriptions", "shipments", "--export", out))
    assert "anna@acme.example,ACME,,,,unsubscribed" in out.read_text()
    assert as_json("subscribe", "shipments", "--import", out)["outcome"]["unsubscribed"] == 0


def test_an_address_is_suppressed_everywhere(typed, as_json, shipments):
    assert "Nothing is sent to anna@acme.example any more" in said(typed("suppress", ANNA, "--reason", "asked"))
    assert [one["reason"] for one in as_json("suppressions")] == ["asked"]
    assert "asked" in typed("suppressions").stdout
    assert "Suppressed, and sent nothing" in said(typed("subscribe", "shipments", ANNA, "--key", "ACME"))
    assert as_json("unsuppress", ANNA) == {"address": ANNA, "suppressed": False}
    assert typed("unsuppress", ANNA).exit_code == 2


def test_what_another_system_does_not_send_to_is_imported_and_what_this_one_does_not_is_exported(
    typed, as_json, database, tmp_path
):
    path = tmp_path / "bounces.csv"
    path.write_text("status,email,reason\n5.1.1,anna@ACME.example,unknown user\n5.1.1,bob,x\n,dan@acme.example,\n")

    failed = typed("suppress", "--import", path)
    assert failed.exit_code == 1
    assert 'bounces.csv:3: email "bob" is not an e-mail address' in said(failed)
    assert "bounces.csv:4: reason is missing: fill it in, or say --reason for all" in said(failed)
    assert as_json("suppressions") == []

    assert as_json("suppress", "--import", path, "--skip-bad")["new"] == 1
    told = said(typed("suppress", "--import", path, "--skip-bad", "--reason", "bounced"))
    assert told.endswith("Nothing is sent to 1 more address; 1 had been suppressed before.")
    out = tmp_path / "export.csv"
    assert "2 suppressions in" in said(typed("suppressions", "--export", out))
    assert 'anna@acme.example,unknown user,"bounces.csv, imported by' in out.read_text()
    assert as_json("suppress", "--import", out)["new"] == 0


@pytest.mark.parametrize(
    ("words", "sentence"), [([], "say whom: ADDRESS or --import FILE"), ([ANNA], "say why, with --reason")]
)
def test_nobody_is_suppressed_for_no_reason(typed, database, words, sentence):
    refused = typed("suppress", *words)
    assert (refused.exit_code, sentence in said(refused)) == (2, True)


def test_a_schedule_that_does_not_send_to_subscribers_says_so(typed, database):
    make_schedule("plain")
    told = said(typed("subscribe", "plain", ANNA, "--key", "A"))
    assert "schedules/plain.yaml does not send to subscribers yet: it needs `recipients: subscriptions`" in told


def test_a_person_is_forgotten_after_a_look_at_what_goes(typed, as_json, shipments):
    run = finished_run(due_at=MONDAY)
    document = make_document(run, "HERS")
    storage.store().begin(None)
    stored = storage.store().put(b"hers", "document", ".pdf")
    make_file(run, document, stored.uri)
    make_delivery(run, ANNA, "HERS", document_id=document.id)
    caught = shipments / "var" / "outbox" / "1.eml"
    caught.parent.mkdir()
    caught.write_text(f"To: {ANNA}")

    looked = as_json("forget", ANNA)
    assert (looked["done"], looked["counts"]["deliveries"], looked["copies"]) == (False, 1, [str(caught)])
    asked = typed("forget", ANNA)
    assert "To be forgotten: 1 file, 1 document, 1 delivery, 1 copy in var/." in said(asked)
    assert asked.exit_code == 1  # nobody answered
    assert caught.exists()

    done = as_json("forget", ANNA, "--yes")
    assert (done["done"], done["counts"]["documents"]) == (True, 1)
    assert not caught.exists()
    with pytest.raises(PermanentError):
        storage.store().read(stored.uri)
    assert "(forgotten)" in typed("suppressions").stdout
    assert typed("who", ANNA, "--since", "400d").exit_code == 1
    (act,) = [one for one in as_json("audit") if one["action"] == "forget"]
    assert "anna" not in str(act).replace(act["by"], "")
