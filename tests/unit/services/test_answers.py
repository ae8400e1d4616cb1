"""The questions that are asked of the rows, and what is answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.adapters.home import Loaded
from pipeline.db import reading, transaction
from pipeline.errors import DefinitionError, NotFound, Refused
from pipeline.models import DeliveryDocument, Schedule
from pipeline.services import answers, deliveries, optouts
from pipeline.services.answers import RunFilter
from tests import factories
from tests.factories import MONDAY, SECOND

pytestmark = pytest.mark.usefixtures("database")
# What depends on no database's ways is asked of one of the two.
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
WEEK = timedelta(days=7)


# ---- progress


def test_progress_of_a_finished_run_counts_everything_and_says_when():
    run = factories.finished_run()
    for number in range(3):
        factories.make_document(run, f"K{number}")
    factories.make_document(run, "K3", status="failed")
    factories.make_delivery(run)
    with reading() as session:
        found = answers.progress(session, run)
    assert json.loads(json.dumps(found)) == found
    assert found["documents"] == {"planned": 0, "rendered": 3, "failed": 1, "skipped": 0, "total": 4}
    assert (found["deliveries"]["accepted"], found["deliveries"]["total"]) == (1, 1)
    assert (found["steps"]["succeeded"], found["steps"]["total"]) == (1, 1)
    assert found["period"]["label"] == "2026-W46"
    assert found["finished_at"] == "2026-11-16T06:00:13.000Z"


@sqlite_only
def test_progress_of_a_new_run_is_all_zeros_with_the_same_keys():
    run = factories.make_run()
    with reading() as session:
        found = answers.progress(session, run)
    assert found["status"] == "queued"
    assert found["documents"] == {"planned": 0, "rendered": 0, "failed": 0, "skipped": 0, "total": 0}
    assert found["error"] is found["traceback"] is found["started_at"] is None


def test_progress_of_a_failed_run_brings_the_traceback_of_its_last_failure():
    run = factories.finished_run(status="failed", error="fetch:rows: it did not work")
    factories.make_step(run, "fetch:rows", status="failed", attempts=("retry", "failed"))
    with reading() as session:
        assert "TransientError" in answers.progress(session, run)["traceback"]


# ---- runs


def test_runs_are_listed_newest_first_with_what_arrived():
    old, new = factories.finished_run(due_at=MONDAY - WEEK), factories.finished_run(status="partial")
    factories.make_document(new, "ACME")
    factories.make_document(new, "Initech", status="skipped")
    factories.make_delivery(new, status="failed")
    with reading() as session:
        found = answers.run_page(session, RunFilter()).runs
    assert [one.id for one in found] == [new.id, old.id]
    assert (found[0].documents_wanted, found[0].deliveries_wanted, found[0].all_arrived) == (1, 1, False)
    assert found[1].all_arrived
    assert found[1].seconds == 12


# ---- schedules


@sqlite_only
def test_a_schedule_says_when_it_is_due_in_words_and_how_its_last_run_went():
    factories.make_schedule()
    factories.finished_run(due_at=MONDAY - WEEK, status="failed")
    last = factories.finished_run()
    with reading() as session:
        (found,) = answers.schedules(session, Loaded({"shipments": factories.schedule_file()}))
    assert found.title == "Your shipments"
    assert "Monday" in found.when
    assert "Europe/Berlin" in found.when
    assert found.next_due_at > datetime.now(UTC)
    assert (found.state, found.last_run.id) == ("active", last.id)


@sqlite_only
def test_every_state_of_a_schedule_is_told():
    for key in ("paused", "changed", "gone", "broken"):
        factories.make_schedule(key)
    with transaction() as session:
        session.get_one(Schedule, "paused").paused = True
        session.get_one(Schedule, "gone").retired_at = MONDAY
    files = {
        "paused": factories.schedule_file("paused"),
        "changed": factories.schedule_file("changed", when="0 8 * * *"),
        "new": factories.schedule_file("new", when=None),
    }
    error = DefinitionError("must be a mapping", place="schedules/broken.yaml")
    with reading() as session:
        found = answers.schedules(session, Loaded(files, {"schedules/broken.yaml": error}), retired=True)
    assert {one.key: one.state for one in found} == {
        "paused": "paused",
        "changed": "changed",
        "gone": "retired",
        "broken": "bad file",
        "new": "not loaded",
    }
    by_key = {one.key: one for one in found}
    assert "must be a mapping; its last good revision goes on" in by_key["broken"].note
    assert by_key["new"].when is None
    assert by_key["paused"].next_due_at is None


@sqlite_only
def test_a_retired_schedule_is_not_listed_unless_asked_for():
    factories.make_schedule()
    with transaction() as session:
        session.get_one(Schedule, "shipments").retired_at = MONDAY
    with reading() as session:
        assert answers.schedules(session, Loaded()) == []
        assert len(answers.schedules(session, Loaded(), retired=True)) == 1


# ---- show


def test_show_names_what_failed_and_leaves_out_what_went_well():
    run = factories.finished_run(status="partial", error="of the deliveries: 1 failed")
    factories.make_document(run, "ACME")
    factories.make_document(run, "Globex", status="failed", error="undefined variable late_count")
    factories.make_document(run, "Initech", status="skipped", error='no recipient has the key "Initech"')
    factories.make_delivery(run)
    factories.make_delivery(run, "bob@globex.example", "Globex", status="failed", reason="its document failed")
    factories.make_event(run.id, "healed", "render:0: its process died; queued again")
    with reading() as session:
        found = answers.show(session, run)
    assert [(one.key, one.status) for one in found.document_problems] == [("Globex", "failed"), ("Initech", "skipped")]
    assert [one.address for one in found.delivery_problems] == ["bob@globex.example"]
    assert [one.text for one in found.events] == ["render:0: its process died; queued again"]
    assert json.dumps(answers.as_json(found))


def test_show_counts_the_tries_of_a_step_without_those_that_were_not_its_fault():
    run = factories.make_run(status="running")
    due = MONDAY + 300 * SECOND
    outcomes = ("retry", "abandoned", "parked", "retry")
    factories.make_step(run, "fetch:rows", status="queued", attempts=outcomes, not_before=due, error="no answer")
    with reading() as session:
        found = answers.show(session, run)
    step = found.steps[-1]
    assert (step.tries, step.retry["attempts"], step.next_try_at) == (2, 5, due)
    assert len(found.attempts) == 4


def test_what_went_wrong_for_one_reason_is_told_once():
    run = factories.finished_run(status="failed")
    for number in range(5):
        factories.make_document(run, f"K{number}", status="failed", error="undefined variable late_count")
        factories.make_delivery(run, f"k{number}@x.example", f"K{number}", status="cancelled", reason="not sent: gate")
    with reading() as session:
        found, all_of_them = answers.show(session, run, stories=10), answers.show(session, run)
    assert [(one.key, one.others) for one in found.document_problems] == [("K0", 4)]
    assert [(one.address, one.others) for one in found.delivery_problems] == [("k0@x.example", 4)]
    assert len(all_of_them.document_problems) == len(all_of_them.delivery_problems) == 5


def test_what_waits_for_its_turn_is_no_problem_until_the_run_is_over():
    run = factories.make_run(status="running")
    factories.make_delivery(run, status="queued")
    factories.make_delivery(run, "bob@globex.example", "Globex", status="deferred", not_before=MONDAY)
    with reading() as session:
        assert [one.status for one in answers.show(session, run).delivery_problems] == ["deferred"]


# ---- what to do next


@sqlite_only
def test_what_holds_a_run_up_is_told_with_the_time_of_the_next_try():
    run = factories.make_run(status="running")
    due = MONDAY + 300 * SECOND
    factories.make_step(run, "deliver:0", status="queued", attempts=("parked",), not_before=due, error="no relay")
    with transaction() as session:
        session.query(factories.Step).filter_by(name="start").update({"status": "succeeded"})
    with reading() as session:
        found, progress = answers.show(session, run), answers.progress(session, run)
    assert found.next.startswith("mend what it says (no relay), or wait: it is tried again by itself on Mon 16 Nov")
    assert progress["held_up"] == {
        "step": "deliver:0", "error": "no relay", "next_try_at": "2026-11-16T06:05:00.000Z"
    }  # fmt: skip


@sqlite_only
def test_to_wait_for_a_rate_is_nothing_that_somebody_has_to_mend():
    run = factories.make_run(status="running")
    why = "waits for its turn: relay.example:25 20/s"
    due = MONDAY + 300 * SECOND
    factories.make_step(run, "deliver:0", status="queued", attempts=("parked",), not_before=due, error=why)
    with transaction() as session:
        session.query(factories.Step).filter_by(name="start").update({"status": "succeeded"})
    with reading() as session:
        assert answers.show(session, run).next.startswith(f"nothing to do: it {why}; it goes on by itself on Mon 16")


def whats_next(run):
    with reading() as session:
        return answers.show(session, run).next.replace(answers.wording.short(run.id), "RUN")


@sqlite_only
def test_after_a_failure_the_way_out_is_the_traceback_and_a_rerun_of_the_same_run():
    run = factories.finished_run(status="failed")
    factories.make_step(run, "fetch:rows", status="failed", attempts=("failed",))
    assert whats_next(run).startswith(
        "`pipeline show RUN --traceback` says where it failed; once that is mended, `pipeline rerun RUN` does it again"
    )


@sqlite_only
def test_a_run_that_was_cancelled_half_way_goes_on_and_is_not_triggered_anew():
    run = factories.finished_run(status="cancelled")
    factories.make_step(run, "deliver:1", status="cancelled")
    factories.make_delivery(run)
    factories.make_delivery(run, "bob@globex.example", "Globex", status="cancelled")
    assert whats_next(run) == "`pipeline rerun RUN` goes on where it stopped; nobody gets anything twice"


@sqlite_only
def test_documents_that_failed_are_made_by_the_same_run():
    run = factories.finished_run(status="partial")
    factories.make_step(run, "render:0")
    factories.make_delivery(run)
    bad = factories.make_document(run, "Globex", status="failed", error="its template is broken")
    factories.make_delivery(run, "bob@globex.example", "Globex", status="failed", document_id=bad.id)
    assert whats_next(run).startswith("once mended, `pipeline rerun RUN` makes just what is missing, with --newest")


@pytest.mark.parametrize("reached", [True, False])
def test_what_a_server_refused_is_sent_again_by_the_same_run_and_what_is_uncertain_is_settled_first(reached):
    run = factories.finished_run(status="partial" if reached else "failed")
    document = factories.make_document(run)
    for name, status in (
        ("bob", "failed"),
        ("cid", "expired"),
        *((("dan", "uncertain"), ("eva", "accepted")) * reached),
    ):
        factories.make_delivery(run, f"{name}@acme.example", status=status, document_id=document.id)
    with reading() as session:
        said = answers.show(session, run).next
    name = str(run.id)[:13]
    assert said.endswith(f"once mended, `pipeline rerun {name} --failed-deliveries` tries again just what failed")
    assert said.startswith(f"`pipeline deliveries {name} --status uncertain` lists") == reached


@sqlite_only
def test_what_has_no_key_or_address_is_not_to_be_sent_again():
    run = factories.finished_run(status="partial")
    document = factories.make_document(run)
    factories.make_delivery(run, document_id=document.id)
    factories.make_delivery(run, "bob@globex.example", "(no key)", status="failed", reason="the recipient has no key")
    factories.make_delivery(run, "bob", status="failed", document_id=document.id, batch=None, reason="no address")
    with reading() as session:
        said = answers.show(session, run).next
    name = str(run.id)[:13]
    assert (
        said == f"mend what names the recipients; `pipeline rerun {name} --from fetch` sends to those who are new then"
    )


@sqlite_only
@pytest.mark.parametrize("status", ["waiting", "partial"])
def test_what_waits_for_late_mailboxes_says_so_and_what_is_uncertain_meanwhile(status):
    run = factories.make_run(status=status, waiting_for="deferred", error="1 delivery was turned away for now")
    factories.make_delivery(run, status="deferred", not_before=MONDAY + 600 * SECOND)
    with reading() as session:
        assert "what was turned away is tried again by itself on Mon 16" in answers.show(session, run).next
    factories.make_delivery(run, "bob@acme.example", status="uncertain")
    with reading() as session:
        said = answers.show(session, run).next
    assert said.startswith(
        f"`pipeline deliveries {str(run.id)[:13]} --status uncertain` lists what the relay's log knows"
    )
    assert "what was turned away is tried again by itself on Mon 16" in said


@sqlite_only
def test_a_run_that_waits_says_until_when_by_the_clock_of_its_zone():
    run = factories.make_run(status="waiting", waiting_for="deferred")
    factories.make_delivery(run, status="deferred", not_before=MONDAY + 600 * SECOND)
    with reading() as session:
        assert answers.show(session, run).next.endswith("Mon 16 Nov 2026 at 07:10:00 Berlin time")


@sqlite_only
def test_a_run_that_nobody_takes_up_says_what_may_be_missing():
    run = factories.make_run()
    with reading() as session:
        assert "has not reached the broker" in answers.show(session, run).next
    with transaction() as session:
        for step in session.query(factories.Step):
            step.published_at = datetime.now(UTC)  # beat has seen just now that its message lies in the queue still
    with reading() as session:
        assert "no worker has taken it up" in answers.show(session, run).next


# ---- who


def said(text: str, **options) -> list[str]:
    with reading() as session:
        return [one.sentence for one in answers.who(session, text, **options).answers]


def test_who_is_found_by_key_name_address_and_domain():
    run = factories.finished_run()
    factories.make_delivery(run, context={"name": "Anna Miller"})
    factories.make_delivery(run, "bob@globex.example", "Globex")
    for text in ("ACME", "acme", "Anna Miller", "anna@acme.example", "acme.example", "@acme.example", "mill"):
        with reading() as session:
            found = answers.who(session, text)
        assert [one.address for one in found.answers] == ["anna@acme.example"], text


@sqlite_only
def test_who_is_found_by_the_address_as_the_relays_log_has_it():
    factories.make_delivery(factories.finished_run(), "ops@bücher.example")
    for text in ("ops@bücher.example", "ops@XN--bcher-kva.example", "xn--bcher-kva.example"):
        assert said(text), text
    with pytest.raises(Refused, match="say whom: a key, a name"):
        said(" ")


def test_what_they_get_nothing_more_of_is_said_besides():
    run = factories.finished_run()
    factories.make_delivery(run)
    with transaction() as session:
        optouts.opt_out(session, "anna@acme.example", run.schedule_key, "anna herself")
        deliveries.suppress(session, "gone@acme.example", "550 unknown user", "relay a")
    with reading() as session:
        anna, gone = (answers.who(session, text) for text in ("ACME", "gone@acme.example"))
    (sentence,) = anna.left_out
    assert sentence.startswith(f"anna@acme.example gets nothing more of {run.schedule_key}: unsubscribed on 20")
    assert gone.left_out == ["gone@acme.example gets nothing more at all: suppressed: 550 unknown user"]


def test_who_is_found_by_what_their_document_is_called():
    run = factories.finished_run()
    document = factories.make_document(run, "B6", context={"title": "JetBlue Airways"})
    factories.make_delivery(run, "ops@b6.example", "B6", document_id=document.id)
    factories.make_document(run, "UA", context={"title": "United Airlines"})
    for text, keys in (("JetBlue Airways", ["B6"]), ("jetblue", ["B6"]), ("united", ["UA"]), ("air", ["B6", "UA"])):
        with reading() as session:
            assert [one.key for one in answers.who(session, text).answers] == keys, text


def test_an_exact_name_wins_over_one_that_contains_it():
    run = factories.finished_run()
    factories.make_delivery(run, "a@x.example", "1")
    factories.make_delivery(run, "b@x.example", "17")
    with reading() as session:
        assert [one.key for one in answers.who(session, "1").answers] == ["1"]
        assert answers.who(session, "x.ex").match == "contains"


@sqlite_only
def test_handed_over_is_said_with_relay_time_and_answer_and_never_received():
    factories.make_delivery(factories.finished_run())
    assert said("ACME") == [
        (
            'ACME: "Your shipments" for 9–15 Nov 2026 was handed over to relay smtp.example '  # noqa: RUF001
            "on Mon 16 Nov 2026 at 07:03:11 Berlin time, for anna@acme.example; it answered 250 2.0.0 queued as 4F2A"
        )
    ]


@sqlite_only
def test_a_caught_message_is_not_said_to_have_left():
    relay = {
        "relay": "mail catcher 127.0.0.1:2525",
        "reply": "250 2.0.0 kept as 20261116T060311Z-anna@acme.example-9f.eml",
    }
    factories.make_delivery(factories.finished_run(), **relay)
    (sentence,) = said("ACME")
    assert "kept by the mail catcher as 20261116T060311Z-anna@acme.example-9f.eml" in sentence
    assert "nothing left this machine" in sentence
    assert "handed over" not in sentence


@sqlite_only
def test_a_redirected_message_is_not_said_to_have_gone_to_its_recipient():
    factories.make_delivery(factories.finished_run(), relay="smtp.example:25, redirected to me@example.com")
    (sentence,) = said("ACME")
    assert "handed over to relay smtp.example:25 on Mon" in sentence
    assert "for me@example.com instead of anna@acme.example" in sentence


@pytest.mark.parametrize(
    ("status", "values", "words"),
    [
        ("failed", {"reply": "550 5.1.1 unknown", "relay": "smtp.example"}, "refused by relay smtp.example"),
        ("failed", {"reason": "the address has a line break"}, "was not sent to anna@acme.example: the address has"),
        ("suppressed", {"reason": "suppressed: 5.1.1 unknown"}, "was not sent to anna@acme.example: suppressed"),
        (
            "skipped",
            {"reason": 'no rows for the key "ACME"'},
            'was not sent to anna@acme.example: no rows for the key "',
        ),
        ("cancelled", {"reason": "not sent: gate"}, "was not sent to anna@acme.example: not sent: gate"),
        ("uncertain", {"relay": "smtp.example", "reason": "no answer"}, "may or may not have been handed over"),
        ("expired", {"reply": "450 4.2.0 greylisted"}, "was given up to anna@acme.example: 450 4.2.0 greylisted"),
        (
            "deferred",
            {"relay": "smtp.example", "reply": "450 4.2.0 later", "not_before": MONDAY + 600 * SECOND},
            "tried again, next on Mon 16 Nov 2026 at 07:10:00 Berlin time: it answered 450 4.2.0 later",
        ),
        (
            "deferred",
            {"relay": "smtp.example", "reason": "its process died", "not_before": MONDAY + 600 * SECOND},
            "its process died; it is sent again, as on_uncertain says, next on Mon 16 Nov 2026 at 07:10:00 Berlin time",
        ),
        (
            "deferred",
            {"reason": "to be sent once more, says anna: asked by phone"},
            "for anna@acme.example is to be sent once more, says anna: asked by phone",
        ),
        (
            "accepted",
            {"relay": "smtp.example", "reply": None, "reason": "assumed to be sent: its process died"},
            "counts as handed over to relay smtp.example",
        ),
        (
            "failed",
            {"channel": "webhook", "address": "hook:shop", "reply": "404 Not Found", "relay": "https://shop.example"},
            "was refused by its webhook for hook:shop: it answered 404 Not Found",
        ),
    ],
)
@sqlite_only
def test_why_somebody_has_nothing_is_said(status: str, values: dict, words: str):
    factories.make_delivery(factories.finished_run(), status=status, **values)
    (sentence,) = said("ACME")
    assert words in sentence


@sqlite_only
def test_a_failed_document_is_the_reason_that_is_told():
    run = factories.finished_run(status="failed")
    document = factories.make_document(run, status="failed", error="undefined variable late_count")
    reason = "its document could not be rendered"
    factories.make_delivery(run, status="failed", document_id=document.id, reason=reason)
    (sentence,) = said("ACME")
    assert sentence.endswith("its document failed: undefined variable late_count")


def test_a_combined_message_is_found_by_each_of_its_keys():
    run = factories.finished_run()
    found = [factories.make_document(run, key) for key in ("ACME", "Globex")]
    delivery = factories.make_delivery(run, key="*")
    with transaction() as session:
        session.add_all(DeliveryDocument(delivery_id=delivery.id, document_id=one.id) for one in found)
    for text in ("globex", "ACME", "anna@acme.example"):
        with reading() as session:
            (answer,) = answers.who(session, text).answers
        assert answer.key == "ACME, Globex"
        assert answer.sentence.startswith('ACME, Globex: "Your shipments" for 9')


def test_somebody_whose_key_nobody_was_to_get_is_found_through_the_document():
    factories.make_document(factories.finished_run(), "Initech", status="skipped", error="no recipient has the key")
    assert said("initech") == [
        'Initech: "Your shipments" for 9–15 Nov 2026 was not made: no recipient has the key'  # noqa: RUF001
    ]


@sqlite_only
def test_what_is_still_to_come_is_said():
    factories.make_delivery(factories.make_run(status="running"), status="queued")
    (sentence,) = said("ACME")
    assert sentence.endswith("has not been sent to anna@acme.example yet: it is queued, and its run goes on")


def test_who_looks_back_as_far_as_asked_and_counts_what_it_leaves_out():
    for weeks in range(5):
        factories.make_delivery(factories.finished_run(due_at=MONDAY - weeks * WEEK))
    with reading() as session:
        assert len(answers.who(session, "ACME", since=MONDAY - WEEK).answers) == 2
        found = answers.who(session, "ACME", limit=2)
        assert (len(found.answers), found.more) == (2, 3)
        assert answers.who(session, "nobody").match == "none"


# ---- files


def test_files_are_listed_by_key_and_format():
    run = factories.finished_run()
    for key in ("Globex", "ACME"):
        document = factories.make_document(run, key)
        for kind in ("xlsx", "pdf"):
            factories.make_file(run, document, f"file:///store/{key}.{kind}")
    with reading() as session:
        found = answers.files(session, run)
        assert [(one.key, one.format) for one in found] == [
            ("ACME", "pdf"),
            ("ACME", "xlsx"),
            ("Globex", "pdf"),
            ("Globex", "xlsx"),
        ]
        assert {one.key for one in answers.files(session, run, ["ACME"])} == {"ACME"}


@sqlite_only
def test_a_key_without_a_file_is_refused_with_the_reason(database: Path):
    run = factories.finished_run()
    factories.make_document(run, "Globex", status="failed", error="undefined variable late_count")
    with reading() as session:
        with pytest.raises(NotFound, match="it is failed: undefined variable late_count"):
            answers.files(session, run, ["Globex"])
        with pytest.raises(NotFound, match="did you mean Globex"):
            answers.files(session, run, ["Globx"])
