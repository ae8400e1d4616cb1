"""What passes the gate: numbers against the last time, trials, and the documents that somebody is shown."""

from __future__ import annotations

import pytest

from pipeline.db import clock, reading, transaction
from pipeline.errors import ApprovalWanted, Cancelled, PermanentError, Skip, StaleClaim
from pipeline.handle import RunHandle
from pipeline.models import Delivery, DeliveryDocument, Document, RunEvent, Step
from pipeline.services import measures, steps
from pipeline.services.answers import wording
from pipeline.settings import settings
from pipeline.workflows.report import gating
from tests.factories import finished_run, make_delivery, make_document, make_file, make_run, make_schedule, make_step
from tests.unit.services import acts

pytestmark = pytest.mark.usefixtures("database")
REQUIRE = {"versus_last": ">= 50%", "recipients": "<= 300%", "documents": ">= 2"}


def planned(*keys, rows=10, readers=1, run=None, **values):
    """A run whose documents are rendered and whose gate comes next."""
    run = run or make_run(status="running", **values)
    make_step(run, "fetch:rows", args=["rows"], result={"rows": rows * len(keys)})
    for number, key in enumerate(keys):
        document = make_document(run, key, rows=rows + number)
        make_file(run, document, f"document/{run.id}/{key}.pdf")
        for reader in range(readers):
            make_delivery(run, f"{reader}@{key.lower()}.example", key, document_id=document.id, status="planned")
    make_step(run, "gate", status="queued", published_at=None)
    return run


def done(*keys, **values):
    """The same, some time ago, and it went well."""
    return planned(*keys, run=finished_run(), **values)


def pass_gate(run):
    with RunHandle(acts.claim(run, "gate")) as handle:
        return gating.pass_(handle)


def change(run, key, values):
    with transaction() as session:
        session.query(Document).filter_by(run_id=run.id, key=key).update(values)


def statuses(run):
    with reading() as session:
        return sorted({one.status for one in session.query(Delivery).filter_by(run_id=run.id)})


def remarks(run):
    with reading() as session:
        return [one.text for one in session.query(RunEvent).filter_by(run_id=run.id, kind="gate")]


def test_as_the_last_time_it_passes():
    make_schedule(require=REQUIRE)
    done("ACME", "Globex")
    run = planned("ACME", "Globex")

    assert pass_gate(run) == [0]
    assert statuses(run) == ["queued"]
    assert remarks(run) == []


def test_the_first_time_it_passes_and_says_that_nothing_was_compared():
    make_schedule(require=REQUIRE)
    run = planned("ACME", "Globex")

    assert pass_gate(run) == [0]
    assert remarks(run) == [
        "not compared, since no run has succeeded before: require versus_last >= 50%",
        "not compared, since no run has succeeded before: require recipients <= 300%",
    ]


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        ({"rows": 4}, "rows: 8, 40% of the last time, and require.versus_last wants >= 50%"),
        ({"readers": 10}, "recipients: 20, 1,000% of the last time, and require.recipients wants <= 300%"),
    ],
)
def test_what_is_unlike_the_last_time_asks_first(now, sentence):
    make_schedule(require=REQUIRE)
    done("ACME", "Globex")
    run = planned("ACME", "Globex", **now)

    with pytest.raises(ApprovalWanted, match=sentence) as wanted:
        pass_gate(run)
    assert statuses(run) == ["planned"]
    assert wanted.value.facts["before"].endswith(": 20 rows, 2 documents, 2 recipients")


def test_a_trial_for_one_reader_is_no_last_time_and_is_not_measured_by_it():
    make_schedule(require={"recipients": "<= 300%", "documents": ">= 2"})
    done("ACME", "Globex")
    planned("ACME", run=finished_run(scope={"keys": ["ACME"], "to": ["me@example.com"], "send": True}))
    with reading() as session:
        assert measures.last(session, make_run()).numbers["documents"] == 2
    run = planned("ACME", readers=9, scope={"keys": ["ACME"], "to": [], "send": True})
    assert pass_gate(run) == [0]


def test_without_sending_nobody_is_asked():
    make_schedule(approval="required", require={"rows": ">= 1000"}, send_if="rows > 1000")
    run = planned("ACME", scope={"keys": [], "to": [], "send": False})

    assert pass_gate(run) == []
    assert statuses(run) == ["skipped"]


def test_an_address_in_a_combined_message_counts_for_each_of_its_documents():
    run = make_run(status="running")
    documents = [make_document(run, key) for key in ("ACME", "Globex", "Initech")]
    delivery = make_delivery(run, "all@example.com", "*", status="planned")
    with transaction() as session:
        session.add_all([DeliveryDocument(delivery_id=delivery.id, document_id=one.id) for one in documents])
        session.flush()
        assert measures.numbers(session, run)["recipients"] == 3


def test_the_approver_is_shown_the_largest_the_middle_and_the_smallest():
    make_schedule(approval="required")
    run = planned("A", "B", "C", "D", "E")
    with pytest.raises(ApprovalWanted, match="approval: required") as wanted:
        pass_gate(run)
    samples = wanted.value.facts["samples"]
    assert [(one["key"], one["rows"], one["pages"]) for one in samples] == [("E", 14, 3), ("C", 12, 3), ("A", 10, 3)]
    assert samples[0]["where"] == f"pipeline files {wording.short(run.id)} --key E --copy ."


def test_documents_that_lie_on_this_machine_are_shown_by_their_paths():
    make_schedule(approval="required")
    path = settings().var / "reports" / "shipments" / "2026-W46" / "ACME.pdf"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(ApprovalWanted) as wanted:
        pass_gate(planned("ACME"))
    assert [one["where"] for one in wanted.value.facts["samples"]] == [str(path)]


def test_where_there_is_a_public_address_samples_are_links(monkeypatch):
    monkeypatch.setenv("PIPELINE_PUBLIC_URL", "https://reports.example.com")
    settings.cache_clear()
    make_schedule(approval="required")
    with pytest.raises(ApprovalWanted) as wanted:
        pass_gate(planned("ACME"))
    (sample,) = wanted.value.facts["samples"]
    assert sample["where"].startswith("https://reports.example.com/d/")


def test_what_send_if_does_not_want_is_skipped_and_failed_documents_still_count():
    make_schedule(send_if="rows > 11", allow_failed="50%")
    run = planned("ACME", "Globex")
    change(run, "ACME", {"status": "skipped", "error": "send_if rows > 11: rows is 10"})
    assert pass_gate(run) == [0]
    assert statuses(run) == ["queued", "skipped"]

    change(run, "Globex", {"status": "skipped", "error": "send_if rows > 11: rows is 11"})
    with pytest.raises(Skip, match=r"send_if rows > 11: rows is 10 \(the first of 2 documents, none of which matters"):
        gate_again(run)


def gate_again(run):
    make_step(run, "gate/2", task="report.gate", status="queued", published_at=None)
    with RunHandle(acts.claim(run, "gate/2")) as handle:
        return gating.pass_(handle)


def test_too_many_failed_documents_are_nobodys_to_approve():
    make_schedule(approval="required", allow_failed="40%")
    run = planned("ACME", "Globex")
    change(run, "ACME", {"status": "failed", "error": "no font"})
    with pytest.raises(PermanentError, match=r"1 of 2 documents failed, more than allow_failed 40%.*ACME: no font"):
        pass_gate(run)


# ---- part by part


class KilledError(BaseException):
    """Stands for kill -9: nothing that is written for an Exception runs."""


def by_batch(run):
    with reading() as session:
        rows = session.query(Delivery).filter_by(run_id=run.id).order_by(Delivery.batch)
        return [one.status for one in rows]


@pytest.fixture
def three_batches(monkeypatch):
    """A run of three batches, whose gate lets out one at a time."""
    monkeypatch.setattr(gating, "PART", 1)
    make_schedule(allow_failed="50%")
    run = planned("A", "B", "C")
    with transaction() as session:
        for number, one in enumerate(session.query(Delivery).filter_by(run_id=run.id).order_by(Delivery.key)):
            one.batch = number
    return run


def killed(_):
    raise KilledError


def test_a_gate_that_is_killed_halfway_has_sent_nothing_and_the_next_one_goes_on(three_batches, monkeypatch):
    run = three_batches
    change(run, "C", {"status": "failed"})
    with monkeypatch.context() as patched:
        patched.setattr(gating, "failpoint", killed)
        with pytest.raises(KilledError):
            pass_gate(run)
    assert by_batch(run) == ["queued", "planned", "planned"]
    assert acts.statuses(run)["gate"] == "running"
    with reading() as session:
        assert session.query(Step).filter_by(run_id=run.id, task="report.deliver").count() == 0

    with transaction() as session:
        steps.release(session, session.query(Step).filter_by(run_id=run.id, name="gate").one(), clock(session))
    assert pass_gate(run) == [0, 1]
    assert by_batch(run) == ["queued", "queued", "failed"]


def test_a_run_that_is_cancelled_while_its_gate_opens_stops_there(three_batches, monkeypatch):
    run = three_batches
    with RunHandle(acts.claim(run, "gate")) as handle:
        monkeypatch.setattr(gating, "failpoint", lambda _: setattr(handle, "cancelled", "cancelled by anna"))
        with pytest.raises(Cancelled):
            gating.pass_(handle)
    assert by_batch(run) == ["queued", "planned", "planned"]


def test_a_gate_that_slept_while_another_took_over_writes_nothing(three_batches):
    run = three_batches
    with RunHandle(acts.claim(run, "gate")) as handle:
        with transaction() as session:
            steps.release(session, session.query(Step).filter_by(run_id=run.id, name="gate").one(), clock(session))
        with pytest.raises(StaleClaim):
            gating.pass_(handle)
    assert by_batch(run) == ["planned"] * 3
