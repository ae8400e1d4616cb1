"""Lists over HTTP: filters and pages, and the same services behind them as behind the command line."""

import csv
import io
from datetime import timedelta

import pytest

from pipeline.models import Scope
from tests.factories import (
    MONDAY,
    finished_run,
    make_delivery,
    make_delivery_attempt,
    make_document,
    make_run,
    make_schedule,
)

WEEK = timedelta(days=7)


def test_runs_are_listed_page_by_page(as_):
    http = as_(Scope.READ)
    made = [str(finished_run(due_at=MONDAY - weeks * WEEK).id) for weeks in range(3)]
    failed = str(finished_run("nightly", status="failed").id)
    found, after = [], {}
    while after is not None:
        page = http.get("/api/runs", params={"schedule": "shipments", "limit": 2, **after}).json()
        found += [one["id"] for one in page["runs"]]
        after = {"after": page["next"]} if page["next"] else None
    assert found == made
    (one,) = http.get("/api/runs?status=failed&status=partial&since=2026-11-16T06:00:00Z").json()["runs"]
    assert (one["id"], one["deliveries"]["accepted"]) == (failed, 0)


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        ("runs?status=faild", "status", "did you mean failed?"),
        ("runs?after=nonsense", "after", "no mark of this list"),
        ("runs?limit=501", "limit", "limit must be 500 or less"),
        ("runs?since=2026-11-01", "since", "must say its zone, such as"),
        ("runs?since=yesterday", "since", "since must be an instant, such as 2026-11-01T00:00:00Z"),
        ("runs?statsu=failed", "statsu", "statsu is not a field here: did you mean status?"),
        ("audit?after=bnVsbA", "after", "no mark of this list"),
        ("backfills?after=bnVsbA", "after", "no mark of this list"),
        ("suppressions?after=bnVsbA", "after", "no mark of this list"),
        ("runs/{run}/deliveries?status=faild", "status", "did you mean failed?"),
        ("runs/{run}/deliveries.csv?status=faild", "status", "did you mean failed?"),
        ("schedules/shipments/slots?decision=fird", "decision", "did you mean fired?"),
        ("who", "text", "text is missing"),
        # At the ends of the calendar no zone can be reckoned with.
        ("runs?since=0001-01-01T00:00:00%2B14:00", "since", "must be between 1970 and 2200"),
        ("schedules/shipments/next?after=9999-12-31T23:59:59Z", "after", "must be between 1970 and 2200"),
    ],
)
def test_a_mistake_in_a_filter_names_it(as_, path, field, words):
    run = make_run()
    answer = as_(Scope.ADMIN).get(f"/api/{path.format(run=run.id)}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert words in answer.json()["detail"]


def test_deliveries_are_listed_worst_first_with_what_happened(as_):
    run = make_run()
    make_delivery(run)
    wrong = make_delivery(run, "bob@globex.example", "Globex", status="failed", reason="no such user")
    make_delivery_attempt(wrong, "failed", code=550, text="no such user")
    http = as_()
    found = http.get(f"/api/runs/{run.id}/deliveries", params={"history": True}).json()
    assert [one["status"] for one in found["deliveries"]] == ["failed", "accepted"]
    assert found["deliveries"][0]["history"][0]["code"] == 550
    assert found["counts"] == {"failed": 1, "accepted": 1}
    narrowed = http.get(f"/api/runs/{run.id}/deliveries", params={"text": "globex"}).json()
    assert [one["key"] for one in narrowed["deliveries"]] == ["Globex"]


def test_deliveries_are_a_table_that_no_spreadsheet_runs(as_, monkeypatch):
    monkeypatch.setattr("pipeline.api.deliveries.MOST", 2)
    run = make_run()
    for number in range(5):
        make_delivery(run, f"a{number}@acme.example", "=1+1")
    answer = as_().get(f"/api/runs/{run.id}/deliveries.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=utf-8''shipments-{run.id}-deliveries.csv"
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["address"] for row in rows] == [f"a{number}@acme.example" for number in range(5)]
    assert {row["key"] for row in rows} == {"'=1+1"}


def test_what_is_uncertain_is_settled_by_whom_knows(as_):
    run = finished_run(status="partial")
    make_delivery(run, status="uncertain", message_id="<1@example>")
    http = as_()
    nobody = http.post(f"/api/runs/{run.id}/deliveries/resolve", json={"sent": True, "addresses": ["x@y.example"]})
    assert (nobody.status_code, "nothing was changed" in nobody.json()["detail"]) == (409, True)
    found = http.post(f"/api/runs/{run.id}/deliveries/resolve", json={"sent": True}).json()
    assert [one["status"] for one in found["deliveries"]] == ["accepted"]


def test_somebody_is_skipped_while_the_run_is_under_way(as_):
    run = make_run(status="running")
    make_delivery(run, status="queued")
    wish = {"address": "anna@acme.example", "reason": "she left"}
    found = as_().post(f"/api/runs/{run.id}/deliveries/skip", json=wish).json()
    assert (found["deliveries"][0]["status"], "she left" in found["deliveries"][0]["reason"]) == ("skipped", True)


# ---- schedules


def test_schedules_are_listed_by_name_and_shown_in_full(as_):
    http = as_(Scope.READ)
    for key in ("b_weekly", "a_weekly", "nightly"):
        make_schedule(key)
    newest = finished_run("b_weekly")
    finished_run("b_weekly", due_at=MONDAY - WEEK)
    page = http.get("/api/schedules", params={"text": "WEEK", "limit": 1}).json()
    assert [one["key"] for one in page["schedules"]] == ["a_weekly"]
    page = http.get("/api/schedules", params={"text": "week", "after": page["next"]}).json()
    (one,) = page["schedules"]
    assert (one["key"], one["last_run"]["id"], page["next"]) == ("b_weekly", str(newest.id), None)
    whole = http.get("/api/schedules/b_weekly").json()
    assert (whole["summary"]["state"], whole["definition"]["report"]["params"]["region"]) == ("active", "eu")
    assert http.get("/api/schedules/b_weeky").status_code == 404


def test_the_next_slots_say_what_the_clocks_do_to_them(as_):
    make_schedule(when={"cron": "30 2 * * sun", "timezone": "Europe/Berlin"})
    http = as_(Scope.READ)
    found = http.get("/api/schedules/shipments/next?count=1&after=2027-03-27T00:00:00Z").json()
    (fire,) = found["fires"]
    assert (fire["local"], "does not exist" in fire["note"]) == ("2027-03-28T03:00:00+02:00", True)
    make_schedule("by_hand", when=None)
    assert "when somebody triggers it" in http.get("/api/schedules/by_hand/next").json()["detail"]


def test_a_schedule_is_paused_and_resumed(as_):
    http = as_()
    make_schedule()
    paused = http.post(
        "/api/schedules/shipments/pause", json={"note": "moving", "until": "2100-01-01T00:00:00Z"}
    ).json()
    assert (paused["paused_by"], paused["note"]) == ("http:of scope operate", "moving")
    assert http.get("/api/schedules/shipments").json()["summary"]["state"] == "paused"
    assert http.post("/api/schedules/shipments/resume").json()["next_due_at"]
    again = http.post("/api/schedules/shipments/resume", json={"catch_up": False})
    assert again.status_code == 409
    assert again.json()["detail"].startswith("shipments is not paused: http:of scope operate resumed it on ")
    past = http.post("/api/schedules/shipments/pause", json={"until": "2000-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["field"]) == (422, "until")


def test_slots_after_the_fact_are_looked_at_run_and_ended(as_, published):
    http = as_()
    make_schedule(when={"cron": "0 7 * * *", "timezone": "Europe/Berlin"})
    wish = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-04T00:00:00Z"}
    looked = http.post("/api/schedules/shipments/backfills/preview", json=wish).json()
    assert [slot["to_run"] for slot in looked["slots"]] == [True] * 3
    assert http.get("/api/backfills").json() == {"backfills": [], "next": None}
    days = {"from": "2026-11-01", "to": "2026-11-03"}  # by the schedule's clock, the last one with all of it
    assert http.post("/api/schedules/shipments/backfills/preview", json=days).json() == looked
    bad = http.post("/api/schedules/shipments/backfills/preview", json={"from": "2026-11-01T00:00:00"}).json()
    assert bad["detail"] == "from: must be a day, such as 2026-11-01, or an instant such as 2026-11-01T00:00:00Z"
    opened = http.post("/api/schedules/shipments/backfills", json=wish)
    assert opened.status_code == 202
    one = http.get(f"/api/backfills/{opened.json()['id']}").json()
    assert (one["status"], one["slots"], one["runs"]) == ("running", 3, {"queued": 1, "waiting": 2})
    assert len(published) == 1
    assert len(http.get("/api/runs", params={"backfill": one["id"]}).json()["runs"]) == 3
    twice = http.post("/api/schedules/shipments/backfills", json=wish)
    assert (twice.status_code, "is at work on slots of this range" in twice.json()["detail"]) == (409, True)
    assert http.post(f"/api/backfills/{one['id']}/cancel").json()["waiting"] == 2
    assert http.get("/api/backfills", params={"limit": 1}).json()["next"] is None
    assert [day["decisions"] for day in http.get("/api/schedules/shipments/days").json()] == [{"fired": 1}] * 3
    assert len(http.get("/api/schedules/shipments/slots").json()["slots"]) == 3


# ---- people


def test_did_they_get_theirs(as_):
    http = as_(Scope.READ)
    make_delivery(finished_run())
    found = http.get("/api/who", params={"text": "acme"}).json()
    assert "anna@acme.example" in found["answers"][0]["sentence"]
    assert http.get("/api/recipients").json() == {"recipients": [], "next": None}
    assert http.get("/api/audit").status_code == 403


def test_acts_are_listed_page_by_page(as_):
    http = as_(Scope.ADMIN)
    make_schedule()
    for _ in range(2):
        http.post("/api/schedules/shipments/pause")
        http.post("/api/schedules/shipments/resume")
    found, after = [], {}
    while after is not None:
        page = http.get("/api/audit", params={"subject": "shipments", "limit": 3, **after}).json()
        found += [one["action"] for one in page["acts"]]
        after = {"after": page["next"]} if page["next"] else None
    assert found == ["resume", "pause", "resume", "pause", "sync"]


def test_to_whom_nothing_is_sent_is_listed_and_changed(as_):
    http = as_()
    for number in range(3):
        said = {"address": f"anna{number}@ACME.example", "reason": "asked by phone"}
        answer = http.post("/api/suppressions", json=said)
        assert answer.json() == {"address": f"anna{number}@acme.example", "suppressed": True, "new": True}
    assert http.post("/api/suppressions", json={"address": "anna0@acme.example"}).json()["new"] is False
    first = http.get("/api/suppressions", params={"limit": 2}).json()
    rest = http.get("/api/suppressions", params={"limit": 2, "after": first["next"]}).json()
    assert [one["address"] for one in (*first["suppressions"], *rest["suppressions"])] == [
        f"anna{number}@acme.example" for number in (2, 1, 0)
    ]
    assert rest["next"] is None
    assert http.post("/api/suppressions/lift", json={"address": "anna1@acme.example"}).json()["suppressed"] is False
    again = http.post("/api/suppressions/lift", json={"address": "anna1@acme.example"})
    assert (again.status_code, again.json()["detail"][:37]) == (404, "anna1@acme.example is not suppressed:")
    assert len(http.get("/api/suppressions", params={"text": "phone"}).json()["suppressions"]) == 2
    assert http.post("/api/suppressions", json={"address": "nobody"}).status_code == 422


def test_a_stored_document_is_sent_once_more(as_):
    run = finished_run()
    first = make_delivery(run, document_id=make_document(run).id)
    http = as_()
    again = http.post(
        f"/api/runs/{run.id}/deliveries/resend",
        json={"keys": ["ACME"], "to": "boss@acme.example", "reason": "by phone"},
    )
    assert again.status_code == 202, again.text
    (one,) = again.json()["deliveries"]
    assert (one["address"], one["status"], one["repeat_of"]) == ("boss@acme.example", "deferred", str(first.id))
    unknown = http.post(f"/api/runs/{run.id}/deliveries/resend", json={"keys": ["ACNE"]})
    assert (unknown.status_code, "did you mean ACME?" in unknown.json()["detail"]) == (404, True)
