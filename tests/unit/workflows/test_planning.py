"""What `plan` makes of the datasets: who is named, portion by portion; one that dies loses and doubles nothing."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from pipeline import bulk, failpoints
from pipeline.db import reading, transaction
from pipeline.errors import PermanentError, Waiting
from pipeline.handle import RunHandle
from pipeline.models import Delivery, DeliveryDocument, Document, Recipient
from pipeline.services import deliveries, optouts
from pipeline.workflows.report import planning
from tests.factories import make_run, make_schedule
from tests.unit.services import acts

pytestmark = pytest.mark.usefixtures("database")
REPORT = {"title": "Your shipments", "period": "last_week", "url": "rows.csv", "split_by": "customer"}
ANNA, BOB, CARL = (
    {"email": "anna@acme.example", "key": "ACME", "name": "Anna"},
    {"email": "bob@globex.example", "key": "Globex", "name": "Bob"},
    {"email": "carl@acme.example", "key": "ACME", "name": None},
)


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 2)
    yield
    failpoints.disarm()


def fetched(*people, customers=("ACME", "Globex"), scope=None, **definition):
    """A run whose sources have answered, and whose plan comes next."""
    make_schedule(**{"report": REPORT, "recipients": {"file": "people.csv"}, **definition})
    run = make_run(**({"scope": scope} if scope else {}))
    claim = acts.claim(run, "start")
    with RunHandle(claim) as handle:
        tables = {"rows": pa.table({"customer": list(customers)}), "recipients": pa.Table.from_pylist(list(people))}
        for name, table in tables.items():
            pq.write_table(table, handle.scratch / name)
            handle.put(f"dataset:{name}", handle.scratch / name, kind="dataset", suffix=".parquet")
    acts.succeed(claim, stages=[acts.planned("plan")])
    return run


def plan(run):
    """Carry the step out; what ends it before its time is recorded as the end of a worker."""
    claim = acts.claim(run, "plan")
    try:
        with RunHandle(claim) as handle:
            return planning.freeze(handle)
    except KeyboardInterrupt as error:
        acts.fail(claim, Waiting(str(error), again_in=0))
        return None


def killed_at(point, *, passes=1):
    def end():
        raise KeyboardInterrupt("its worker was killed")

    failpoints.arm(point, end, passes=passes)


def planned(run):
    with reading() as session:
        rows = session.scalars(
            select(Delivery).where(Delivery.run_id == run.id).order_by(Delivery.key, Delivery.address)
        )
        return rows.all()


def stands(run):
    return {one.address: (one.status, one.reason) for one in planned(run)}


def test_everybody_whom_the_dataset_names_has_a_delivery_and_is_known_from_now_on():
    run = fetched(BOB, CARL, ANNA, {**ANNA, "name": "Somebody else"})

    assert plan(run) == [0, 1]
    assert [(one.address, one.key, one.batch, one.context["name"]) for one in planned(run)] == [
        ("anna@acme.example", "ACME", 0, "Anna"),
        ("carl@acme.example", "ACME", 1, None),
        ("bob@globex.example", "Globex", 2, "Bob"),
    ]
    with reading() as session:
        assert dict(session.execute(select(Recipient.address, Recipient.name)).all()) == {
            "anna@acme.example": "Anna", "carl@acme.example": None, "bob@globex.example": "Bob",
        }  # fmt: skip


def test_whom_nothing_can_or_may_be_sent_has_a_row_that_says_why():
    run = fetched(ANNA, BOB, CARL, {"email": "dora@@x", "key": "ACME"}, {"email": None, "key": "Globex"})
    with transaction() as session:
        deliveries.suppress(session, "anna@acme.example", "550 5.1.1 unknown user", "relay a")
        optouts.opt_out(session, "carl@acme.example", run.schedule_key, "the link in message <1@x>")
    plan(run)

    found = stands(run)
    assert found["anna@acme.example"] == ("suppressed", "suppressed: 550 5.1.1 unknown user")
    assert found["carl@acme.example"][0] == "suppressed"
    assert found["carl@acme.example"][1].endswith("by the link in message <1@x>")
    assert found["bob@globex.example"] == ("planned", None)
    assert found["dora@@x"][0] == found[""][0] == "failed"
    assert found["dora@@x"][1].startswith('row 5 of people.csv: address "dora@@x" is not an e-mail address')
    with reading() as session:
        assert "dora@@x" not in session.scalars(select(Recipient.address)).all()


def test_keys_and_names_of_any_type_are_text():
    run = fetched({"email": "anna@acme.example", "key": 42, "name": 7}, customers=[42.0, 43.0])
    plan(run)

    assert [(one.key, one.context["name"], one.status) for one in planned(run)] == [("42", "7", "planned")]


def test_a_trigger_for_some_keys_and_one_reader_plans_nothing_else():
    narrowed = {"keys": ["Globex", "Globex"], "to": ["me@example.com"], "send": True}
    run = fetched(ANNA, BOB, customers=["ACME", "Globex", "Globex", "", None], scope=narrowed)
    plan(run)

    assert [(one.address, one.key) for one in planned(run)] == [("me@example.com", "Globex")]
    with reading() as session:
        assert session.execute(select(Document.key, Document.rows)).all() == [("Globex", 2)]


def test_one_reader_of_everything_gets_nothing_of_rows_without_a_key():
    run = fetched(ANNA, customers=["ACME", "", None], scope={"keys": [], "to": ["me@example.com"], "send": True})
    plan(run)

    assert [(one.address, one.key) for one in planned(run)] == [("me@example.com", "ACME")]


def test_a_key_without_rows_is_told_with_one_that_has_some():
    run = fetched(ANNA, scope={"keys": ["ACNE"], "to": [], "send": True})

    with pytest.raises(PermanentError, match='the key "ACNE" has no rows in this period: did you mean ACME'):
        plan(run)


def test_a_dataset_without_addresses_says_what_it_has():
    run = fetched({"mail": "anna@acme.example", "key": "ACME"})

    with pytest.raises(PermanentError, match="has no column email: it has key, mail; name it with `as`"):
        plan(run)


@pytest.mark.parametrize("combine", [False, True])
@pytest.mark.parametrize(("point", "passes"), [("plan.documents", 1), ("plan.deliveries", 1), ("plan.deliveries", 2)])
def test_a_plan_whose_worker_dies_half_way_is_made_once(point, passes, combine):
    people = [ANNA, BOB, CARL, {**ANNA, "key": "Globex"}, {**BOB, "email": "bill@globex.example"}]
    run = fetched(*people, combine=combine)
    killed_at(point, passes=passes)
    plan(run)
    before = {one.id: (one.address, one.key, one.batch) for one in planned(run)}
    batches = plan(run)

    after = {one.id: (one.address, one.key, one.batch) for one in planned(run)}
    assert batches == [0, 1]
    assert len(after) == (4 if combine else 5)
    assert before.items() <= after.items()
    assert len(before) == (0 if point == "plan.documents" else 2 * passes)
    with reading() as session:
        carried = session.execute(select(DeliveryDocument.delivery_id, DeliveryDocument.document_id)).all()
    assert len(carried) == (5 if combine else 0)
