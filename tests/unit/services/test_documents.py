"""What is frozen when a run is planned: a document for every key, a delivery for every recipient, and why not."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import select

from pipeline.db import reading, transaction
from pipeline.errors import PermanentError
from pipeline.models import Channel, Delivery, Document, Recipient, new_id
from pipeline.services import documents, freezing, recipients
from pipeline.services.canvases import Planned
from pipeline.services.freezing import (
    Addressee,
    batch_size,
    planned_deliveries,
    planned_documents,
)
from tests.factories import make_document, make_run
from tests.unit.services import acts
from tests.unit.services.acts import begin, plan_of

ANNA = Addressee("anna@acme.example", "ACME", "Anna Miller", "de_DE", "Europe/Berlin")
BOB = Addressee("bob@globex.example", "Globex")
BARRED = ANNA._replace(barred="suppressed: complained")
ROWS = {"Globex": 3, "ACME": 5}


def frozen(**values):
    return [(row["key"], row["status"], row["batch"], row["error"]) for row in planned_documents(plan_of(**values))]


def planned(keys=("ACME", "Globex"), **values):
    ids = {key: new_id() for key in keys}
    return list(planned_deliveries(plan_of(ROWS, documents=ids, **values))), ids


# ---- documents


def test_every_key_somebody_gets_is_a_document_in_the_order_of_the_keys():
    assert frozen(rows_by_key=ROWS, addressees=[BOB, ANNA]) == [
        ("ACME", "planned", 0, None),
        ("Globex", "planned", 1, None),
    ]


def test_a_key_that_nobody_gets_is_skipped_and_says_so():
    assert frozen(rows_by_key=ROWS, addressees=[ANNA]) == [
        ("ACME", "planned", 0, None),
        ("Globex", "skipped", None, 'no recipient has the key "Globex"'),
    ]


def test_a_key_that_nobody_gets_is_made_where_files_are_wanted():
    assert [one[1] for one in frozen(rows_by_key=ROWS, unaddressed_wanted=True)] == ["planned", "planned"]


def test_rows_without_a_key_are_counted():
    rows = frozen(rows_by_key={**ROWS, None: 1234}, addressees=[ANNA, BOB])

    assert rows[-1] == ("(no key)", "skipped", None, "1,234 rows have no key (NULL)")
    assert frozen(rows_by_key={**ROWS, None: 0}, addressees=[ANNA, BOB]) == rows[:-1]


@pytest.mark.parametrize(
    ("count", "messages"), [(0, 0), (1, 1), (16, 16), (50, 50), (51, 26), (1_000, 50), (10_000, 50), (100_000, 400)]
)
def test_100_000_documents_make_hundreds_of_messages(count, messages):
    size = batch_size(count, freezing.RENDER_BATCHES, freezing.LARGEST_RENDER_BATCH)

    assert -(-count // size) == messages


def test_the_batches_are_even_and_in_order():
    rows = frozen(rows_by_key={f"{number:05}": 1 for number in range(1000)}, unaddressed_wanted=True)

    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    assert Counter(row[2] for row in rows) == dict.fromkeys(range(50), 20)


# ---- deliveries


def test_every_recipient_gets_the_document_of_their_key():
    rows, ids = planned(addressees=[BOB, ANNA], domain="reports.example")

    anna = rows[0]
    assert (anna["address"], anna["key"], anna["document_id"], anna["status"]) == (
        "anna@acme.example", "ACME", ids["ACME"], "planned",
    )  # fmt: skip
    assert anna["context"] == {"name": "Anna Miller", "locale": "de_DE", "zone": "Europe/Berlin"}
    assert anna["message_id"] == f"<{anna['id']}@reports.example>"
    assert [row["address"] for row in rows] == ["anna@acme.example", "bob@globex.example"]


@pytest.mark.parametrize(
    ("processes", "people", "batches"),
    [(1, 3, 3), (1, 100, 4), (2, 4_000, 8), (4, 4_000, 16), (64, 4_000, 16), (1, 8_000, 16), (64, 10_000, 20)],
)
def test_deliveries_are_cut_for_the_processes_that_send_them(processes, people, batches):
    everybody = [Addressee(f"a{number}@acme.example", "ACME", "Anna") for number in range(people)]
    rows, _ = planned(addressees=everybody, processes=processes)

    assert len({row["batch"] for row in rows}) == batches


def test_one_address_named_twice_for_a_key_gets_one_message():
    rows, _ = planned(addressees=[ANNA, Addressee("anna@acme.example", "ACME", "Somebody Else")])

    assert [row["context"]["name"] for row in rows] == ["Anna Miller"]


def test_one_address_with_several_keys_gets_one_message_a_key():
    rows, _ = planned(addressees=[ANNA, Addressee("anna@acme.example", "Globex")])

    assert [(row["address"], row["key"]) for row in rows] == [
        ("anna@acme.example", "ACME"),
        ("anna@acme.example", "Globex"),
    ]


def test_combined_an_address_gets_one_message_with_all_its_documents():
    both = Addressee("anna@acme.example", "Globex")
    idle = Addressee("anna@acme.example", "Idle")
    ids = {key: new_id() for key in ROWS}
    plan = plan_of(ROWS, [both, ANNA, BOB, ANNA, idle], ids, combine=True)
    rows = list(planned_deliveries(plan))

    assert [(row["address"], row["key"], row["document_id"], row["status"]) for row in rows] == [
        ("anna@acme.example", "*", None, "planned"),
        ("bob@globex.example", "*", None, "planned"),
        ("anna@acme.example", "Idle", None, "skipped"),
    ]
    assert {row["address"]: row["context"]["name"] for row in rows[:2]} == dict.fromkeys([both.address, BOB.address])
    assert list(plan.draft.carried()) == [
        ("anna@acme.example", ids["ACME"]),
        ("anna@acme.example", ids["Globex"]),
        ("bob@globex.example", ids["Globex"]),
    ]
    assert list(plan_of(ROWS, [ANNA], ids).draft.carried()) == []


def test_a_combined_message_whose_address_is_suppressed_or_wrong_goes_to_nobody():
    wrong = Addressee("bob@@globex", "Globex", problem='"bob@@globex" is not an address')
    rows, _ = planned(addressees=[BARRED, wrong], combine=True)

    assert [(row["key"], row["status"], row["batch"]) for row in rows] == [
        ("*", "suppressed", None),
        ("Globex", "failed", None),
    ]


def test_whoever_gets_nothing_has_a_row_that_says_why():
    wrong = Addressee("bob@@globex", "Globex", problem='"bob@@globex" is not an address')
    idle = Addressee("carl@idle.example", "Idle")
    rows, _ = planned(addressees=[BARRED, wrong, idle])

    assert {row["address"]: (row["status"], row["reason"], row["batch"]) for row in rows} == {
        "anna@acme.example": ("suppressed", "suppressed: complained", None),
        "bob@@globex": ("failed", '"bob@@globex" is not an address', None),
        "carl@idle.example": ("skipped", 'no rows for the key "Idle" in this period', None),
    }


def test_each_place_has_batches_of_its_own_behind_those_of_mail():
    rows, _ = planned(addressees=[ANNA, BOB], folders=["/a/", "/b/"], webhooks=["hook:shop"])

    batches = {}
    for row in rows:
        batches.setdefault(row["address"] if "@" not in row["address"] else "mail", set()).add(row["batch"])
    assert list(batches) == ["mail", "/a/", "/b/", "hook:shop"]
    numbers = [number for found in batches.values() for number in sorted(found)]
    assert numbers == list(range(len(numbers)))


def test_folders_get_a_copy_of_every_document():
    rows, _ = planned(addressees=[ANNA], folders=["file:///reports/{period}/"])

    copies = [row for row in rows if row["channel"] == Channel.FILE]
    assert [(row["address"], row["key"]) for row in copies] == [
        ("file:///reports/{period}/", "ACME"),
        ("file:///reports/{period}/", "Globex"),
    ]
    assert {row["message_id"] for row in copies} == {None}


def test_4_000_recipients_make_tens_of_messages_of_even_size():
    people = [Addressee(f"{number}@x.example", "ACME") for number in range(4000)]
    rows, _ = planned(addressees=people, processes=4)

    assert Counter(row["batch"] for row in rows) == dict.fromkeys(range(16), 250)


# ---- rows


@pytest.fixture
def run(time):
    return make_run()


def test_what_an_earlier_attempt_froze_stays(run):
    first = list(planned_documents(plan_of(rows_by_key={"ACME": 5}, unaddressed_wanted=True)))
    again = list(planned_documents(plan_of(rows_by_key=ROWS, unaddressed_wanted=True)))
    with transaction() as session:
        assert documents.insert(session, Document, run.id, first) == 1
    with transaction() as session:
        assert documents.insert(session, Document, run.id, again) == 1

    with reading() as session:
        found = {one.key: (one.id, one.batch) for one in documents.wanted(session, run.id)}
    assert found == {"ACME": (first[0]["id"], 0), "Globex": (again[1]["id"], 1)}


def test_many_rows_are_frozen_in_chunks(run):
    rows = {f"{number:05}": 1 for number in range(1234)}
    with transaction() as session:
        made = list(planned_documents(plan_of(rows_by_key=rows, unaddressed_wanted=True)))
        assert documents.insert(session, Document, run.id, made) == 1234
        assert documents.counts(session, run.id) == {"planned": 1234}
        assert len(list(documents.wanted(session, run.id))) == 1234


def test_a_thousand_rows_go_in_at_once_with_whatever_they_say_and_only_once(run):
    """On PostgreSQL by COPY, whose own signs are tabs, line ends and backslashes."""
    document = make_document(run, "ACME")
    names = ["Anna\tB.\r\nC", r"\N", "Zoë 😀", "", None, "NUL\0", '"{},"']
    people = [Addressee(f"{number:04}@x.example", "ACME", names[number % 7]) for number in range(1000)]
    rows = list(planned_deliveries(plan_of({"ACME": 5}, people, {"ACME": document.id})))
    with transaction() as session:
        assert documents.insert(session, Delivery, run.id, rows) == 1000
        recipients.meet(session, rows)
    with transaction() as session:
        assert documents.insert(session, Delivery, run.id, [{**row, "id": new_id()} for row in rows]) == 0
        recipients.meet(session, rows)
        session.delete(session.get_one(Delivery, rows[7]["id"]))
        session.flush()
        assert documents.insert(session, Delivery, run.id, [{**row, "id": new_id()} for row in rows]) == 1

    with reading() as session:
        found = session.scalars(select(Delivery).order_by(Delivery.address)).all()
        met = dict(session.execute(select(Recipient.address, Recipient.name)).all())
    assert [(one.address, one.context["name"], one.repeat, one.sent_at) for one in found] == [
        (one.address, one.name, 0, None) for one in people
    ]
    assert met == {one.address: one.name and one.name.replace("\0", "\N{REPLACEMENT CHARACTER}") for one in people}


def test_a_step_tried_again_renders_what_is_left(run):
    with transaction() as session:
        rows = planned_documents(plan_of(rows_by_key={"a": 1, "b": 1, "c": 1}, unaddressed_wanted=True))
        documents.insert(session, Document, run.id, [{**row, "batch": 0} for row in rows])
        done, *_ = documents.to_render(session, run.id, 0)
        documents.mark(session, done.id, status="rendered", pages=2)

    with reading() as session:
        assert [one.key for one in documents.to_render(session, run.id, 0)] == ["b", "c"]
        assert documents.to_render(session, run.id, 1) == []


def test_what_a_failed_step_left_says_why(run):
    begin(run, [Planned(f"render:{n}", "report.render", args=[n], queue="render", tolerated=True) for n in (0, 1)])
    done = make_document(run, "a", batch=0)
    left = make_document(run, "b", batch=0, status="planned")
    elsewhere = make_document(run, "c", batch=1, status="planned")
    acts.fail(acts.claim(run, "render:0"), PermanentError("no font at all"))
    with transaction() as session:
        documents.fail_unrendered(session, run.id)

    with reading() as session:
        stands = {one.id: (one.status, one.error) for one in session.scalars(select(Document))}
        assert documents.first_error(session, run.id) == "b: no font at all"
    assert stands[left.id] == ("failed", "no font at all")
    assert stands[done.id] == ("rendered", None)
    assert stands[elsewhere.id] == ("planned", None)


def test_a_run_that_ends_leaves_no_document_planned(run):
    make_document(run, "a")
    make_document(run, "b", status="planned")
    acts.cancel(run)

    with reading() as session:
        assert documents.counts(session, run.id) == {"rendered": 1, "skipped": 1}
        assert documents.first_error(session, run.id) is None


def test_a_document_is_planned_once_per_run_and_key(run):
    people = [ANNA, BOB]
    with transaction() as session:
        ids = {}
        for _ in range(2):
            rows = list(planned_documents(plan_of(rows_by_key=ROWS, addressees=people)))
            documents.insert(session, Document, run.id, rows)
            ids = {one.key: one.id for one in documents.wanted(session, run.id)}
            documents.insert(session, Delivery, run.id, planned_deliveries(plan_of(ROWS, people, ids)))

        assert documents.counts(session, run.id) == {"planned": 2}
        assert len(session.scalars(select(Delivery)).all()) == 2
