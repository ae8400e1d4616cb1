"""`pipeline web` on a socket: a run is opened, watched to its end and downloaded; and it ends when it is told to."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.functional.running import PIPELINE, Running
from tests.ports import free_port

PUBLIC = "https://reports.example.net"


# As long as the pipeline: a process may come back to these tests.
@pytest.fixture(scope="session")
def client(postgresql_pipeline: Running) -> Iterator[httpx.Client]:
    """One with a token of scope operate, for a server on a port of its own."""
    token = postgresql_pipeline.command("token", "create", "shop", "--scope", "operate", check=True).stdout.strip()
    head = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.7"}
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port()}", headers=head, timeout=60) as made:
        yield made


@pytest.fixture
def web(postgresql_pipeline: Running, client: httpx.Client) -> tuple[Running, httpx.Client, subprocess.Popen[bytes]]:
    """The pipeline, the client, and the process that serves: started where none does, and ended with the pipeline."""
    running = postgresql_pipeline
    if "web" not in running.processes or running.processes["web"].poll() is not None:
        environment = {**running.environment, "PIPELINE_WEB_PROXIES": "127.0.0.1"}
        with (running.home / "web.log").open("wb") as log:
            running.processes["web"] = subprocess.Popen(
                [PIPELINE, "web", "--port", str(client.base_url.port)], cwd=running.home, env=environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
    running.until(lambda: answers(client), 60)
    return running, client, running.processes["web"]


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False


def events(answer: httpx.Response) -> Iterator[tuple[str, dict]]:
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        if line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_a_run_is_opened_watched_to_its_end_and_its_documents_are_shared(web):
    running, http, _ = web
    name = running.schedule("over_http")
    assert running.command("sync", check=True)
    assert running.until(lambda: http.get("/readyz").json()["status"] == "ready" or None, 60), http.get("/readyz").text
    opened = http.post("/api/runs", json={"schedule": name}, headers={"Idempotency-Key": "order-7"})
    assert (opened.status_code, opened.headers["Location"].startswith(PUBLIC)) == (202, True)
    path = opened.json()["status_url"].removeprefix(PUBLIC)
    with http.stream("GET", f"{path}/events") as answer:
        heard = list(events(answer))
    assert heard[-1][0] == "end"
    assert heard[-1][1]["deliveries"]["accepted"] == 3
    assert http.get(path).json()["status"] == "succeeded"
    acts = running.command("audit", name, "--json").stdout
    assert [one["address"] for one in json.loads(acts) if one["action"] == "trigger"] == ["203.0.113.7"]

    (one,) = http.get(f"{path}/artifacts", params={"key": "BETA"}).json()["artifacts"]
    link = http.post(f"{path}/artifacts/{one['name']}/link").json()["url"].removeprefix(PUBLIC)
    head, tail = (http.get(link, headers={"Range": part}).content for part in ("bytes=0-99", "bytes=100-"))
    assert (head[:5], len(head + tail)) == (b"%PDF-", one["size"])


def test_a_command_that_is_cancelled_says_so(web):
    running, http, _ = web
    running.schedule("sleeper", "command: [sleep, '60']\n")
    assert running.command("sync", check=True)
    path = http.post("/api/runs", json={"schedule": "sleeper"}).json()["status_url"].removeprefix(PUBLIC)
    running.until(lambda: http.get(path).json()["steps"]["running"] or None, 60)
    again = http.post("/api/runs", json={"schedule": "sleeper"})
    assert (again.status_code, again.json()["status_url"]) == (409, f"{PUBLIC}{path}")
    http.post(f"{path}/cancel", json={"reason": "too long"})
    running.until(lambda: http.get(path).json()["over"] or None, 60)
    assert http.get(path).json()["error"] == "cancelled by http:shop: too long"


def test_it_listens_on_this_machine_only_and_lets_those_go_who_watch_when_it_ends(web):
    running, http, process = web
    running.schedule("watched", "command: [sleep, '60']\n")
    assert running.command("sync", check=True)
    listening = {line.split()[1] for line in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]}
    port = f"{http.base_url.port:04X}"
    assert f"0100007F:{port}" in listening
    assert f"00000000:{port}" not in listening
    path = http.post("/api/runs", json={"schedule": "watched"}).json()["status_url"].removeprefix(PUBLIC)
    with http.stream("GET", f"{path}/events") as answer:
        heard = events(answer)
        assert next(heard)[0] == "progress"
        process.send_signal(signal.SIGTERM)
        assert "end" not in [kind for kind, _ in heard]
    assert process.wait(60) in {0, -signal.SIGTERM}
    log = (running.home / "web.log").read_text()
    assert "Traceback" not in log
    assert "rpt_" not in log
    running.command("cancel", path.rpartition("/")[2])
