"""The example applications as somebody starts them: each starts runs of a real pipeline, follows them, ends them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from redis import Redis

from tests.functional.running import PIPELINE, Running
from tests.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
# A web application's own environment: of the pipeline it knows an address, and nothing of its settings or home.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")}
NAMES = ("flask", "django", "fastapi")
each_app = pytest.mark.parametrize("name", NAMES)
BAD = """
report: {title: Bad, period: 2026-W46, database: warehouse, sql: select a from nowhere}
recipients: [ok@example.org]
"""


def broker_of(pipeline: Running) -> str:
    return f"redis+socket://{pipeline.home / 'var' / 'broker.sock'}"


def call(url, method="GET", body=None):
    """The status, the body's JSON and the headers of any answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - http
    try:
        answer = urlopen(request, timeout=60)  # noqa: S310 - http
    except HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.load(answer), answer.headers


def in_flask_app(script, broker, seconds=60, patience="25"):
    """What a script prints that imports the file which the Flask and Django applications share."""
    environment = CLEAN | {"PIPELINE_BROKER_URL": broker, "SHOP_PATIENCE": patience}
    return subprocess.run([sys.executable, "-B", "-c", script], cwd=EXAMPLES / "flask_app", env=environment,
                          capture_output=True, text=True, timeout=seconds, check=True).stdout  # fmt: skip


def ready_broker(pipeline: Running) -> str:
    """The broker's URL once it has our queues: what is sent to the exchange of a new one before is nobody's."""
    url = broker_of(pipeline)
    with Redis.from_url(url.replace("redis+socket", "unix")) as broker:
        pipeline.until(lambda: broker.exists("_kombu.binding.pipeline"), 60)
    return url


# As long as the pipeline: test processes take tests from each other, and then come back to these.
@pytest.fixture(scope="session")
def apps(sqlite_pipeline: Running, tmp_path_factory):
    """The addresses of the three applications by name; all start at once, beside `pipeline web`."""
    broker = broker_of(sqlite_pipeline)
    for name in NAMES:
        sqlite_pipeline.schedule(f"slow_{name}", "command: [sleep, '60']\n")
        sqlite_pipeline.schedule(f"good_{name}")
        sqlite_pipeline.schedule(f"bad_{name}", BAD)
    sqlite_pipeline.command("sync", check=True)
    ports = {name: free_port() for name in ("web", *NAMES)}
    token = sqlite_pipeline.command("token", "create", "shop", "--scope", "operate", check=True).stdout.strip()
    # Steps of other tests may be at work: an application that waits five seconds only would tell so.
    python, celery = [sys.executable, "-B", "-m"], {"PIPELINE_BROKER_URL": broker, "SHOP_PATIENCE": "25"}
    api = {"PIPELINE_API_URL": f"http://127.0.0.1:{ports['web']}", "PIPELINE_API_TOKEN": token}
    started = {
        "web": ([PIPELINE, "web", "--port"], sqlite_pipeline.home, sqlite_pipeline.environment),
        "flask": ([*python, "flask", "run", "--port"], EXAMPLES / "flask_app", CLEAN | celery),
        "django": ([*python, "django", "runserver", "--noreload"], EXAMPLES / "django_app", CLEAN | celery
                   | {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": "."}),
        "fastapi": ([*python, "uvicorn", "app:app", "--port"], EXAMPLES / "fastapi_app", CLEAN | api),
    }  # fmt: skip
    log = (tmp_path_factory.mktemp("apps") / "log").open("w+")
    processes = [
        subprocess.Popen([*words, str(ports[name])], cwd=folder, env=environment, stdout=log, stderr=log)
        for name, (words, folder, environment) in started.items()
    ]
    try:
        for port in ports.values():
            sqlite_pipeline.until(lambda port=port: answers(port), 60, lambda: Path(log.name).read_text())
        yield {name: f"http://127.0.0.1:{port}/reports" for name, port in ports.items()}
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)
        log.close()


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def ended(url: str) -> dict:
    for _ in range(600):
        status, run, _ = call(url)
        assert status == 200, run
        if run["status"] in {"succeeded", "failed", "cancelled"}:
            return run
        time.sleep(0.1)
    raise AssertionError(run)


@each_app
def test_an_application_starts_a_run_shows_it_and_refuses_a_second_until_it_is_cancelled(apps, sqlite_pipeline, name):
    slow = f"slow_{name}"
    status, first, headers = call(f"{apps[name]}/{slow}", "POST", {})
    assert (status, headers["Location"]) == (202, first["status_url"])
    sqlite_pipeline.until(lambda: call(first["status_url"])[1]["status"] == "running" or None, 60)
    status, refused, _ = call(f"{apps[name]}/{slow}", "POST", {})
    assert (status, refused["run"], refused["status_url"]) == (409, first["id"], first["status_url"])
    assert f"run {first['id']} of {slow} is" in refused["error"]
    status, run, _ = call(f"{first['status_url']}/cancel", "POST", {})
    assert status == 200
    assert run["status"] in {"cancelling", "cancelled"}, "at once where its step is not at work yet"
    assert ended(first["status_url"])["error"].endswith("ended in the shop")
    assert call(f"{apps[name]}/{slow}", "POST")[0] == 202
    assert call(f"{apps[name]}/{slow}/cancel", "POST", {})[0] == 200


@each_app
def test_an_application_shows_what_came_of_a_run_or_why_nothing_did(apps, sqlite_pipeline, name):
    good = f"good_{name}"
    key = "keys" if name == "fastapi" else "key"
    run = ended(call(f"{apps[name]}/{good}", "POST", {key: ["ACME"], "period": "2026-W46"})[1]["status_url"])
    assert (run["status"], run["documents"]["rendered"], run["deliveries"]["accepted"]) == ("succeeded", 1, 2)
    run = ended(call(f"{apps[name]}/bad_{name}", "POST", {})[1]["status_url"])
    assert run["status"] == "failed"
    assert "nowhere" in run["error"]
    assert run["traceback"].startswith("Traceback")


@each_app
def test_what_does_not_exist_or_cannot_be_is_told_in_the_pipelines_words(apps, name):
    for method, path in (("GET", "/nothing"), ("POST", "/nothing/cancel"), ("POST", "/nothing")):
        status, said, _ = call(apps[name] + path, method, {} if method == "POST" else None)
        assert (status, "nothing" in said["error"]) == (404, True), said
    for field in ("colour", "task_id", "task"):
        status, said, _ = call(f"{apps[name]}/good_{name}", "POST", {field: "red"})
        assert status == 422
        assert field in said["error"]
    for half in (b'{"period": ', b"[]", b"period=2026-W46"):
        assert 400 <= call(f"{apps[name]}/good_{name}", "POST", half)[0] <= 422, "it would run for everybody"


@pytest.mark.parametrize("task", ["run.status", "run.cancel"])
def test_a_task_about_an_unknown_run_ends_as_failure_with_a_sentence(sqlite_pipeline, task):
    script = f"""
import time, reports
sent = reports.celery.send_task("{task}", kwargs={{"run": "nothing"}}, exchange="pipeline", routing_key="default")
while not sent.ready(): time.sleep(.02)
print(sent.state, sent.result)
"""
    assert in_flask_app(script, ready_broker(sqlite_pipeline)).startswith('FAILURE there is no run "nothing"')


def test_what_is_refused_after_the_application_has_answered_is_its_status(sqlite_pipeline):
    script = """
import time, reports
reports.PATIENCE, late = 0, None
while late is None:
    try: late = reports.start("nothing", {})
    except reports.NotFound: pass  # a worker was quicker
reports.PATIENCE = 20
reports.celery.AsyncResult(late).get(propagate=False)
try: reports.status(late)
except reports.NotFound as error: print(error)
"""
    assert in_flask_app(script, ready_broker(sqlite_pipeline)).startswith('there is no schedule "nothing"')


def test_a_run_that_no_worker_has_time_for_is_queued_and_one_that_was_never_started_is_not():
    script = """
import os
os.environ["PIPELINE_RESULT_URL"] = "cache+memory://"
import reports
reports.PATIENCE = 0.1
run = reports.start("monthly", {})
assert reports.status(run) == {"id": run, "status": "queued"}
try: reports.status("nothing")
except TimeoutError as error: print(error)
"""
    assert in_flask_app(script, "memory://") == "no worker has taken run.status within 0.1 s\n"


@pytest.mark.parametrize("hangs", [False, True])
def test_an_application_whose_broker_is_away_or_hangs_says_so_within_seconds(hangs):
    script = "import reports\ntry: reports.start('x', {})\nexcept reports.NoAnswer as error: print(error)"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if hangs else free_port()
        said = in_flask_app(script, f"redis://127.0.0.1:{port}/0", seconds=30, patience="1")
    assert said.startswith("the broker does not answer: ")


def test_both_have_the_same_file_and_each_folder_is_whole_when_it_is_copied():
    flask, django = EXAMPLES / "flask_app" / "reports.py", EXAMPLES / "django_app" / "shop" / "reports.py"
    assert flask.read_text() == django.read_text()
    assert not django.is_symlink()
