"""Deliveries that were turned away for now: when and how they are tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event

from pipeline.db import engine, transaction
from pipeline.models import RunStatus, WaitingFor, new_id
from pipeline.retry import Retry
from pipeline.services import late, ledger
from pipeline.services.canvases import Planned
from pipeline.services.runs import Verdict
from tests.factories import make_delivery, make_run
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, heal, statuses
from tests.unit.services.sent import RELAY, claim, write

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def run(time):
    return make_run()


@pytest.fixture
def attempt():
    return new_id()


# ---- what was turned away for now


@pytest.fixture
def waiting(run, time):
    """A run that waits for two deliveries turned away, of batches 1 and 3; it has delivered 0, 1 and 3 in vain."""
    retry = Retry(attempts=8, first=60)
    steps = [
        Planned(f"deliver:{n}", "report.deliver", args=[n], queue="deliver", tolerated=True, retry=retry)
        for n in (0, 1, 3)
    ]
    begin(run, steps, [Planned("finish", "report.finish", retry=retry)])
    for name in ("deliver:0", "deliver:1", "deliver:3"):
        carry_out(run, name)
    for batch, minutes in ((1, 1), (3, 2)):
        due = time.now + timedelta(minutes=minutes)
        make_delivery(run, f"b{batch}@x.example", status="deferred", batch=batch, not_before=due, deferrals=1)
    carry_out(run, "finish", Verdict(RunStatus.WAITING, "2 were turned away", WaitingFor.DEFERRED))
    return run


def test_what_is_not_due_yet_waits(waiting, time):
    time.passes(seconds=59)

    assert heal() == set()
    assert acts.reread(waiting).status == "waiting"


def test_what_is_due_gets_a_new_step_and_its_run_a_new_finish(waiting, time):
    time.passes(minutes=1)

    assert heal() == {waiting.id}

    assert (acts.reread(waiting).status, acts.reread(waiting).waiting_for) == ("running", None)
    new = {name: status for name, status in statuses(waiting).items() if "/" in name}
    assert new == {"deliver:1/2": "queued", "finish/2": "pending"}
    late = acts.step(waiting, "deliver:1/2")
    assert (late.task, late.args, late.queue, late.tolerated, late.kind) == (
        "report.deliver", [1], "deliver", True, "deliver",
    )  # fmt: skip
    assert acts.publishable(waiting) == [["deliver:1/2"], ["finish/2"]]
    assert heal() == set()


def test_late_deliveries_go_on_until_none_is_left(waiting, time):
    time.passes(minutes=1)
    heal()
    attempt = acts.claim(waiting, "deliver:1/2")
    (late,) = claim(waiting, attempt.attempt_id, batch=1)
    write(ledger.accepted, late, attempt.attempt_id, relay=RELAY, code=250, reply="250 OK", at=time.now)
    acts.succeed(attempt)
    carry_out(waiting, "finish/2", Verdict(RunStatus.WAITING, "1 was turned away", WaitingFor.DEFERRED))
    time.passes(minutes=1)
    heal()
    carry_out(waiting, "deliver:3/2")
    carry_out(waiting, "finish/3", Verdict(RunStatus.SUCCEEDED))

    assert acts.reread(waiting).status == "succeeded"


def test_a_run_whose_finish_is_still_at_work_gets_no_second_one(waiting, time):
    time.passes(minutes=2)
    write(
        lambda session: setattr(
            session.get_one(type(acts.step(waiting, "finish")), acts.step(waiting, "finish").id), "status", "running"
        )
    )

    with transaction() as session:
        assert late.sweep(session, time.now) == set()


# ---- however many there are


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_sweep_reads_what_is_deferred_and_not_every_delivery_there_is(time):
    said = []

    def note(_connection, _cursor, statement, parameters, *_):
        if "FROM deliveries" in statement:
            said.append((statement, parameters))

    event.listen(engine(), "before_cursor_execute", note)
    try:
        with transaction() as session:
            late.sweep(session, time.now)
    finally:
        event.remove(engine(), "before_cursor_execute", note)
    with engine().connect() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values).all() for one, values in said]
    assert "deliveries USING INDEX ix_deliveries_deferred" in str(plans)
