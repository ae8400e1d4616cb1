"""A run is opened once for one wish, keeps what it was opened with, can be named, and ends for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from pipeline.adapters.home import Loaded
from pipeline.db import reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Delivery, DeliveryStatus, Door, Run, RunStatus, Trigger
from pipeline.services import loading, runs
from pipeline.services.audit import Actor
from pipeline.services.runs import Request
from tests.factories import MONDAY, SHIPMENTS, finished_run, make_delivery, make_run, make_schedule, schedule_file
from tests.unit.services import acts
from tests.unit.services.acts import begin, carry_out, claim, planned, statuses

pytestmark = pytest.mark.usefixtures("time")


@pytest.fixture
def shipments(time):
    return make_schedule()


def open_run(key="shipments", **values):
    with transaction() as session:
        return runs.open_run(session, Request(schedule_key=key, **values))


def find(text=None):
    with reading() as session:
        return runs.find(session, text).id


def count():
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Run))


# ---- opening


def test_a_trigger_opens_a_run_with_the_one_step_start(shipments, time):
    run, new = open_run(actor=Actor("anna", Door.CLI, "desk-7"))

    assert new
    assert (run.status, run.workflow, run.trigger, run.triggered_by) == ("queued", "report", Trigger.MANUAL, "cli:anna")
    assert (run.due_at, run.created_at, run.generation) == (MONDAY, MONDAY, 1)
    assert statuses(run) == {"start": "queued"}
    assert acts.step(run, "start").task == "run.expand"


def test_the_same_wish_under_the_same_key_is_the_same_run(shipments, time):
    first, _ = open_run(params={"limit": 5}, idempotency_key="task-1")
    time.passes(hours=1)
    second, new = open_run(params={"limit": 5}, idempotency_key="task-1", actor=Actor("somebody else", Door.CLI))

    assert (second.id, new) == (first.id, False)
    assert count() == 1


@pytest.mark.parametrize(
    "other",
    [{"params": {"limit": 6}}, {"period": "last_month"}, {"keys": ["ACME"]}, {"to": ["a@b.example"]}, {"send": False}],
)
def test_another_wish_under_the_same_key_is_refused(shipments, other):
    first, _ = open_run(idempotency_key="task-1")

    with pytest.raises(Refused, match=f'the idempotency key "task-1" was used for another request: run {first.id}'):
        open_run(idempotency_key="task-1", **other)


def test_wishes_without_a_key_are_runs_of_their_own(shipments):
    make_schedule(overlap="allow")
    assert open_run()[0].id != open_run()[0].id


def test_the_order_of_keys_and_addresses_makes_no_other_wish(shipments):
    first, _ = open_run(keys=["A", "B"], idempotency_key="task-1")

    assert open_run(keys=["B", "A"], idempotency_key="task-1") == (first, False) or count() == 1


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("shipment", 'there is no schedule "shipment": did you mean shipments?'),
        ("zzz", 'there is no schedule "zzz": known schedules: invoices, shipments'),
    ],
)
def test_an_unknown_schedule_is_refused_with_what_exists(shipments, said, answer):
    make_schedule("invoices")
    with pytest.raises(NotFound) as refused:
        open_run(said)
    assert str(refused.value) == answer


def test_without_any_schedule_the_way_out_is_named(time):
    with pytest.raises(NotFound, match="known schedules: none, see `pipeline check`"):
        open_run("shipments")


def test_a_schedule_that_was_retired_is_not_there(shipments):
    with transaction() as session:
        loading.sync(session, Loaded(), force=True)
    with pytest.raises(NotFound, match='there is no schedule "shipments"'):
        open_run()


# ---- the period


def test_the_reports_period_is_computed_from_the_trigger_in_the_schedules_zone_and_stored(shipments, time):
    time.move_to(datetime(2026, 11, 15, 23, 30, tzinfo=UTC))  # Monday already, in Berlin
    run, _ = open_run()

    assert run.zone == "Europe/Berlin"
    assert run.period == {
        "start": "2026-11-08T23:00:00+00:00",
        "end": "2026-11-15T23:00:00+00:00",
        "zone": "Europe/Berlin",
        "label": "2026-W46",
    }


@pytest.mark.parametrize(
    ("said", "label"),
    [("last_quarter", "2026-Q3"), ("2026-Q3", "2026-Q3"), ("2026-07-01..2026-10-01", "2026-07-01..2026-10-01")],
)
def test_a_trigger_may_name_another_period(shipments, said, label):
    assert open_run(period=said)[0].period["label"] == label


def test_a_period_that_is_none_is_refused(shipments):
    with pytest.raises(Refused, match="lastweek"):
        open_run(period="lastweek")
    assert count() == 0


def test_a_workflow_is_about_yesterday_unless_it_says_otherwise(time):
    make_schedule("nightly", report=None, recipients=None, workflow="nightly")
    make_schedule("monthly", report=None, recipients=None, workflow="nightly", period="last_month")

    run, _ = open_run("nightly")
    assert (run.workflow, run.period["label"]) == ("nightly", "2026-11-15")
    assert open_run("monthly")[0].period["label"] == "2026-10"


# ---- parameters


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({}, {"region": "eu", "limit": 10}),
        ({"limit": "25"}, {"region": "eu", "limit": 25}),
        ({"limit": 25.0}, {"region": "eu", "limit": 25}),
        ({"region": 7}, {"region": "7", "limit": 10}),
        ({"limit": None}, {"region": "eu", "limit": None}),
    ],
)
def test_parameters_take_the_types_of_their_defaults(shipments, given, stored):
    assert open_run(params=given)[0].params == stored


def with_params(**params):
    return make_schedule(report={**SHIPMENTS["report"], "params": params})


@pytest.mark.parametrize(("said", "meant"), [("yes", True), ("False", False), (1, True), (0, False), (True, True)])
def test_truth_is_said_in_several_ways(time, said, meant):
    with_params(late=False)
    assert open_run(params={"late": said})[0].params == {"late": meant}


def test_numbers_with_a_fraction_stay_so(time):
    with_params(share=0.5, anything=None)
    assert open_run(params={"share": "0.25", "anything": "x"})[0].params == {"share": 0.25, "anything": "x"}


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ({"limt": 5}, 'there is no parameter "limt": did you mean limit?'),
        ({"zzzzz": 5}, 'there is no parameter "zzzzz": known parameters: late, limit, region, share'),
        ({"limit": "many"}, 'parameter limit="many": must be a whole number, as its default 10 is'),
        ({"limit": 2.5}, 'parameter limit="2.5": must be a whole number, as its default 10 is'),
        ({"limit": True}, 'parameter limit="True": must be a whole number, as its default 10 is'),
        ({"limit": [1]}, "parameter limit=[1]: must be one value, not a list or mapping"),
        ({"region": {"a": 1}}, 'parameter region={"a": 1}: must be one value, not a list or mapping'),
        ({"share": "half"}, 'parameter share="half": must be a number, as its default 0.5 is'),
        ({"share": "nan"}, 'parameter share="nan": must be a number, as its default 0.5 is'),
        ({"share": float("inf")}, 'parameter share="inf": must be a number, as its default 0.5 is'),
        ({"late": "perhaps"}, 'parameter late="perhaps": must be true or false'),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_way_out(time, given, answer):
    with_params(region="eu", limit=10, share=0.5, late=False)
    with pytest.raises(Refused) as refused:
        open_run(params=given)
    assert str(refused.value) == answer
    assert count() == 0


def test_a_report_without_parameters_says_so(time):
    with_params()
    with pytest.raises(Refused, match='there is no parameter "limit": the report has no parameters'):
        open_run(params={"limit": 1})


def test_the_triggers_values_win_over_the_schedules_and_those_over_the_reports(time):
    make_schedule(params={"limit": "3", "region": "us"})

    assert open_run(params={"region": "asia"})[0].params == {"limit": 3, "region": "asia"}


# ---- what is pinned


def test_a_run_keeps_the_definition_it_was_opened_with(shipments, time):
    run, _ = open_run()
    time.passes(minutes=1)
    make_schedule(report={**SHIPMENTS["report"], "title": "Another title"}, overlap="allow")

    assert acts.reread(run).definition["report"]["title"] == "Your shipments"
    assert open_run()[0].definition["report"]["title"] == "Another title"
    assert acts.reread(run).revision == schedule_file().revision


def test_a_run_records_the_homes_own_code(shipments, database):
    make_schedule(overlap="allow")
    before = open_run()[0].code_version
    (database / "reports").mkdir()
    (database / "reports" / "shipments.py").write_text("def build(rows, period): return {}")

    assert before != open_run()[0].code_version


# ---- naming


def test_a_run_is_found_by_its_id_its_beginning_and_its_task_ids(shipments):
    run, _ = open_run(idempotency_key="3f0e8f3c-8a3a-4b1c-9df8-0b7e5c6a1d2e")

    assert find(str(run.id)) == run.id
    assert find(run.id.hex) == run.id
    assert find(str(run.id).upper()) == run.id
    assert find(str(run.id)[:30]) == run.id
    assert find("3f0e8f3c-8a3a-4b1c-9df8-0b7e5c6a1d2e") == run.id
    assert find(str(acts.step(run, "start").task_id)) == run.id


def test_a_name_and_nothing_at_all_mean_the_latest_run(shipments, time):
    make_schedule("invoices")
    make_schedule(overlap="allow")
    open_run()
    time.passes(minutes=1)
    second, _ = open_run()
    time.passes(minutes=1)
    last, _ = open_run("invoices")

    assert find("shipments") == second.id
    assert find() == find("") == find("invoices") == last.id


def test_a_name_that_could_be_the_beginning_of_an_id_is_still_a_name(time):
    make_schedule("facade")
    run, _ = open_run("facade")

    assert find("facade") == run.id


def test_a_run_is_found_by_the_local_day_it_was_due(shipments):
    sunday = finished_run(due_at=MONDAY - timedelta(hours=7, minutes=1))
    monday = finished_run(due_at=MONDAY - timedelta(hours=7))

    assert find("shipments@2026-11-15") == sunday.id
    assert find("shipments@2026-11-16") == monday.id


def test_a_run_is_found_by_what_its_period_is_called(shipments):
    run = finished_run()
    finished_run(due_at=MONDAY + timedelta(days=7))

    assert find("shipments@2026-W46") == run.id


def test_the_day_a_run_was_due_goes_before_the_day_another_one_is_about(time):
    daily = {**SHIPMENTS["report"], "period": "yesterday"}
    make_schedule(report=daily)
    run = finished_run()
    finished_run(due_at=MONDAY + timedelta(days=1))

    assert find("shipments@2026-11-16") == run.id


def test_of_several_on_one_day_the_latest_is_meant(shipments):
    finished_run()
    later = finished_run(due_at=MONDAY + timedelta(hours=2))

    assert find("shipments@2026-11-16") == later.id


def test_the_beginning_of_several_ids_is_refused_with_two_of_them(shipments):
    ids = [make_run().id for _ in range(3)]
    with pytest.raises(Refused) as refused:
        find(str(ids[0])[:8])
    assert str(refused.value).startswith(f'"{ids[0].hex[:8]}" is the beginning of several runs, such as ')
    assert str(refused.value).endswith(": type more of it")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("shipment", 'there is no run "shipment": did you mean shipments?'),
        ("ffffffff", 'there is no run "ffffffff": there are runs of shipments'),
        ("f" * 40, f'there is no run "{"f" * 40}": there are runs of shipments'),
        (
            "shipments@2026-11-17",
            'there is no run of "shipments" due on or about 2026-11-17: `pipeline runs shipments` lists them',
        ),
    ],
)
def test_a_run_that_is_not_there_is_told_with_what_is(shipments, said, answer):
    open_run()
    with pytest.raises(NotFound) as refused:
        find(said)
    assert str(refused.value) == answer


def test_without_any_run_the_way_to_one_is_named(shipments):
    with pytest.raises(NotFound, match="there is no run yet: `pipeline trigger NAME` makes one"):
        find()
    with pytest.raises(NotFound, match='there is no run "shipments": there are runs of nothing'):
        find("shipments")


# ---- closing


def test_closing_cancels_what_has_not_started(shipments, time):
    run, _ = open_run()
    begin(run, planned("fetch:a", "fetch:b"), planned("plan"))
    claim(run, "fetch:a")
    now = time.passes(seconds=5)
    acts.cancel(run)

    assert statuses(run) == {"start": "succeeded", "fetch:a": "running", "fetch:b": "cancelled", "plan": "cancelled"}
    ended = acts.reread(run)
    assert (ended.status, ended.finished_at, ended.error) == (RunStatus.CANCELLED, now, "somebody said so")


def deliveries_of(run):
    with reading() as session:
        rows = session.scalars(select(Delivery).where(Delivery.run_id == run.id))
        return {row.address: (row.status, row.reason) for row in rows}


def test_closing_cancels_what_was_not_sent_and_leaves_what_was(shipments):
    run = make_run()
    for status in DeliveryStatus:
        make_delivery(run, f"{status}@example.com", status=status, reason="as it was")
    acts.cancel(run)

    changed = {address for address, (_, reason) in deliveries_of(run).items() if reason != "as it was"}
    assert changed == {f"{status}@example.com" for status in ("planned", "queued", "sending", "deferred")}
    assert deliveries_of(run)["queued@example.com"] == ("cancelled", "not sent: somebody said so")


def test_what_a_step_at_work_holds_is_left_to_it(shipments):
    run = make_run()
    begin(run, planned("deliver:0", tolerated=True), planned("finish"))
    working = claim(run, "deliver:0")
    make_delivery(run, "a@example.com", status="sending", attempt_id=working.attempt_id)
    acts.cancel(run)
    assert deliveries_of(run)["a@example.com"][0] == "sending"

    acts.succeed(working)
    assert deliveries_of(run)["a@example.com"] == ("cancelled", "not sent: somebody said so")


@pytest.mark.parametrize(("phase", "ends"), [(None, "cancelled"), ("dot", "uncertain")])
def test_what_a_dead_step_of_an_ended_run_held_ends_too(shipments, time, phase, ends):
    run = make_run()
    begin(run, planned("deliver:0", tolerated=True), planned("finish"))
    working = claim(run, "deliver:0")
    make_delivery(run, "a@example.com", status="sending", phase=phase, attempt_id=working.attempt_id)
    acts.cancel(run)
    time.passes(seconds=31)
    acts.heal()

    assert deliveries_of(run)["a@example.com"][0] == ends


def test_an_ended_run_stays_ended(shipments):
    run, _ = open_run()
    begin(run, planned("fetch"))
    working = claim(run, "fetch")
    acts.cancel(run)
    acts.succeed(working)

    assert acts.reread(run).status == RunStatus.CANCELLED


def test_the_story_of_a_run_can_be_added_to(shipments):
    run, _ = open_run()
    with transaction() as session:
        runs.note(session, run.id, "healed", "start: queued again")
    carry_out(run, "start")
    assert acts.reread(run).status == RunStatus.SUCCEEDED


# ---- programs and tasks


def test_a_program_takes_the_parameters_of_its_file_and_no_others():
    make_schedule(
        "rotate", report=None, recipients=None, command=["rotate.sh", "{keep}"], params={"keep": 7}, overlap="allow"
    )
    run, _ = open_run("rotate", params={"keep": "9"})
    assert (run.workflow, run.params) == ("command", {"keep": 9})
    with pytest.raises(Refused, match=r'there is no parameter "kep": did you mean keep'):
        open_run("rotate", params={"kep": "9"})


@pytest.mark.parametrize("narrowed", [{"keys": ["ACME"]}, {"to": ["me@x.example"]}, {"send": False}])
def test_a_program_is_run_as_a_whole_or_not_at_all(narrowed):
    make_schedule("rotate", report=None, recipients=None, command=["rotate.sh"])
    with pytest.raises(Refused, match=r"rotate runs a command, and that as a whole: .* \(--key, --to, --no-send\)"):
        open_run("rotate", **narrowed)
