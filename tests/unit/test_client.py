"""The client of the HTTP API, against the real API on a port of its own, and against servers that misbehave."""

import json
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from uuid import UUID

import pytest
import uvicorn

from pipeline import client
from pipeline.adapters import storage
from pipeline.client import Conflict, Invalid, NotAllowed, NotThere, Pipeline, Run, TookTooLong, Unreachable
from pipeline.db import reading, transaction
from pipeline.models import Run as RunRow
from pipeline.models import Scope
from pipeline.services import api_tokens
from pipeline.services.audit import Actor
from tests.factories import finished_run, make_document, make_file, make_run, make_schedule
from tests.ports import free_port
from tests.webhook import webhook

__all__ = ["webhook"]

ONE = json.dumps({"id": "1f", "status": "queued", "new": True})
DONE = json.dumps({"id": "1f", "status": "succeeded", "documents": {"rendered": 2, "total": 2}})


def token(scope):
    with transaction() as session:
        return api_tokens.create(session, f"shop-{scope}", scope, Actor("anna", "cli"))[1]


@pytest.fixture
def api(app, database):
    """The address of the API, served from a thread of this process; there is no broker, and nothing is carried out."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(60)


@pytest.fixture
def pipeline(api):
    return Pipeline(api, token(Scope.OPERATE))


@pytest.fixture
def quick(monkeypatch):
    """Pauses between attempts and looks take no time; they are noted instead."""
    slept = []
    monkeypatch.setattr(client, "time", SimpleNamespace(sleep=slept.append, monotonic=time.monotonic))
    return slept


def ended(run_id, status="succeeded"):
    with transaction() as session:
        session.get_one(RunRow, run_id).status = status


def test_a_run_is_triggered_looked_at_and_cancelled(pipeline):
    make_schedule()
    run = pipeline.trigger("shipments", params={"region": "us"}, keys=["ACME"], send=False)
    assert (run.status, run.new, run.is_over) == ("queued", True, False)
    with reading() as session:
        row = session.get_one(RunRow, UUID(run.id))
        assert (row.params["region"], row.scope["keys"], row.scope["send"]) == ("us", ["ACME"], False)
    assert pipeline.status("shipments").id == run.id
    assert pipeline.cancel(run.id, "a mistake").status == "cancelled"
    assert pipeline.cancel(run.id).error.endswith("a mistake"), "what is cancelled stays so"
    assert pipeline.wait(run.id).is_over


def test_one_key_or_address_may_be_said_without_a_list(pipeline):
    make_schedule()
    run = pipeline.trigger("shipments", keys="ACME", to="me@example.com")
    with reading() as session:
        scope = session.get_one(RunRow, UUID(run.id)).scope
    assert (scope["keys"], scope["to"]) == (["ACME"], ["me@example.com"])


def test_a_token_may_come_from_a_file_and_what_is_none_is_told_without_repeating_it(api):
    make_schedule()
    with pytest.raises(NotThere):
        Pipeline(api, f"{token(Scope.READ)}\n").status("shipments")
    for wrong in ("rpt_\nx: y", "rpt_ü"):
        with pytest.raises(ValueError, match="characters that no token has") as refused:
            Pipeline(api, wrong)
        assert wrong not in str(refused.value)


def test_each_call_opens_a_run_of_its_own_unless_a_key_says_that_they_are_one(pipeline):
    make_schedule()
    first = pipeline.trigger("shipments", idempotency_key="order-7")
    again = pipeline.trigger("shipments", idempotency_key="order-7")
    assert (again.id, again.new) == (first.id, False)
    ended(UUID(first.id))
    assert pipeline.trigger("shipments").id != first.id
    with pytest.raises(Conflict, match="is queued, and its runs do not overlap") as second:
        pipeline.trigger("shipments")
    assert second.value.status == 409
    assert second.value.run == pipeline.status("shipments").id


def test_what_the_api_refuses_is_an_error_of_its_own_kind_with_the_apis_sentence(api, pipeline):
    make_schedule()
    with pytest.raises(NotThere, match=r"did you mean shipments\?"):
        pipeline.trigger("shipmets")
    with pytest.raises(Invalid) as wrong:
        pipeline.call("POST", "/api/runs", {"schedule": "shipments", "parms": {}})
    assert (wrong.value.field, wrong.value.status) == ("parms", 422)
    with pytest.raises(NotAllowed, match="this needs a token of scope operate"):
        Pipeline(api, token(Scope.READ)).trigger("shipments")
    with pytest.raises(NotAllowed, match="unknown, revoked or expired"):
        Pipeline(api, "rpt_guess").status("shipments")


def test_a_rerun_whose_answer_is_lost_is_still_one(pipeline):
    run = finished_run(status="failed")
    first = pipeline.rerun(str(run.id), all=True, generation=1)
    again = pipeline.rerun(str(run.id), all=True, generation=1)
    assert (first.new, again.new, again.said["generation"]) == (True, False, 2)
    other = finished_run("another", status="failed")
    with pytest.raises(Invalid, match='has no step "nothing"'):
        pipeline.rerun(str(other.id), from_="nothing")


def test_a_runs_documents_are_listed_and_saved_whole_or_not_at_all(pipeline, tmp_path):
    run, data = make_run(), {key: b"%PDF-" + key.encode() * 20_000 for key in ("ACME", "Zürich/1")}
    for key, content in data.items():
        stored = storage.store().put(content, "document", ".pdf")
        make_file(run, make_document(run, key), stored.uri, size=stored.size, sha256=stored.sha256)
    listed = {file.key: file for file in pipeline.files(str(run.id))}
    assert list(listed) == ["ACME", "Zürich/1"]
    assert (listed["ACME"].pages, listed["ACME"].size) == (3, len(data["ACME"]))
    assert [file.key for file in pipeline.files("shipments", key="ACME")] == ["ACME"]
    saved = pipeline.download(str(run.id), listed["Zürich/1"], tmp_path)
    assert saved.parent == tmp_path, "a key with a slash leads nowhere else"
    assert saved.read_bytes() == data["Zürich/1"]
    assert pipeline.download(str(run.id), "document:ACME.pdf", tmp_path / "mine.pdf").read_bytes() == data["ACME"]
    with pytest.raises(NotThere, match=r"did you mean document:ACME\.pdf"):
        pipeline.download(str(run.id), "document:ACNE.pdf", tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.pdf")) == sorted([saved.name, "mine.pdf"])


def test_a_download_that_breaks_off_begins_again_and_leaves_nothing_half(webhook, quick, tmp_path):
    webhook.answer(200, "half", Content_Length="8")
    webhook.answer(200, "complete")
    assert Pipeline(webhook.url).download("1f", "file:a.txt", tmp_path).read_text() == "complete"
    webhook.answer(200, "half", Content_Length="8")
    with pytest.raises(Unreachable):
        Pipeline(webhook.url, attempts=1).download("1f", "file:b.txt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_waiting_ends_with_the_run_or_where_a_person_is_needed_or_when_time_is_up(pipeline):
    running = make_run(status="running")
    with pytest.raises(TookTooLong, match=r"is still running after 0\.05 s") as late:
        pipeline.wait(str(running.id), timeout=0.05)
    assert late.value.run.status == "running"
    threading.Timer(0.4, ended, [running.id, "partial"]).start()
    assert pipeline.wait(str(running.id), timeout=60).status == "partial"
    asks = make_run(status="waiting", waiting_for="approval")
    assert pipeline.wait(str(asks.id)).needs_somebody


def test_waiting_outlives_an_api_that_is_being_deployed(webhook, quick):
    webhook.answer(200, json.dumps({"id": "1f", "status": "running"}))
    for _ in range(9):
        webhook.answer(502)
    webhook.answer(200, DONE)
    assert Pipeline(webhook.url, attempts=2).wait("shipments").is_over
    webhook.answer(502)
    with pytest.raises(client.Problem, match="answers 502"):
        Pipeline(webhook.url, attempts=1).wait("shipments")
    webhook.answer(200, json.dumps({"id": "1f", "status": "running"}))
    webhook.answer(404, json.dumps({"detail": "there is no run 1f"}))
    with pytest.raises(NotThere):
        Pipeline(webhook.url).wait("1f")


def test_what_gets_no_answer_is_sent_again_under_the_same_key(webhook, quick):
    webhook.answer(503, json.dumps({"detail": "the database does not answer"}), Retry_After="7")
    webhook.answer(202, ONE[:10], Content_Length="999")  # cut off in the middle
    webhook.answer(502, "<html>a proxy</html>")
    webhook.answer(202, ONE)
    assert Pipeline(webhook.url, "rpt_secret").trigger("shipments").new
    assert len({one.headers["Idempotency-Key"] for one in webhook.requests}) == 1
    assert [one.headers["Authorization"] for one in webhook.requests] == ["Bearer rpt_secret"] * 4
    assert quick[0] == 7
    assert quick[1] < quick[2] < 3


def test_an_api_that_stays_away_is_told_as_such(webhook, quick):
    for _ in range(2):
        webhook.answer(503, json.dumps({"detail": "the database does not answer"}))
    with pytest.raises(client.Problem, match="the database does not answer"):
        Pipeline(webhook.url, attempts=2).status("shipments")
    with pytest.raises(Unreachable, match="Connection refused"):
        Pipeline(f"http://127.0.0.1:{free_port()}").status("shipments")
    assert len(quick) == 4


def test_a_call_that_might_count_twice_is_sent_once(webhook, quick):
    webhook.answer(503)
    with pytest.raises(client.Problem, match="answers 503"):
        Pipeline(webhook.url).call("POST", "/api/elsewhere", {})
    webhook.answer(503)
    webhook.answer(200, '{"items": []}')
    assert Pipeline(webhook.url).call("GET", "/api/runs", status=["failed", "partial"], before=None) == {"items": []}
    assert webhook.requests[-1].path == "/api/runs?status=failed&status=partial"


def test_the_token_goes_to_no_other_server(webhook):
    webhook.answer(302, Location=f"{webhook.url}/elsewhere")
    with pytest.raises(client.Problem, match="answers 302"):
        Pipeline(webhook.url, "rpt_secret").status("shipments")
    assert len(webhook.requests) == 1


def test_another_server_and_an_address_that_is_none_are_told(webhook):
    webhook.answer(200, "<html>a shop</html>")
    with pytest.raises(client.ClientError, match="is it another server"):
        Pipeline(webhook.url).status("shipments")
    with pytest.raises(ValueError, match=r'"reports\.example" is not an address'):
        Pipeline("reports.example")
    with pytest.raises(ValueError, match="name a run"):
        Pipeline(webhook.url).status("")


def test_a_runs_name_cannot_reach_another_endpoint(webhook):
    webhook.answer(200, DONE)
    assert Pipeline(webhook.url).status("../tokens?x=1") == Run(
        "1f", "succeeded", documents={"rendered": 2, "total": 2}
    )
    assert webhook.requests[0].path == "/api/runs/..%2Ftokens%3Fx%3D1"


def test_it_imports_nothing_but_the_standard_library():
    look = "import sys, pipeline.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-I", "-c", look], capture_output=True, text=True, check=True)
    # Editable installs bring a finder of their own.
    found = {name for name in done.stdout.split() if not name.startswith(("_", "__editable"))}
    assert found - set(sys.stdlib_module_names) <= {"pipeline", "sitecustomize"}
