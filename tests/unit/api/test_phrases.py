"""Refusals over HTTP: in the words of whoever has no command line."""

import re
from pathlib import Path

import pytest

import pipeline.services
from pipeline.api.phrases import CALLS, OPTIONS, in_http
from pipeline.errors import Occupied
from tests.factories import finished_run, make_run, make_schedule

SERVICES = Path(pipeline.services.__file__).parent


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "wait for its end, or `pipeline cancel 01a2` first",
            "wait for its end, or `POST /api/runs/01a2/cancel` first",
        ),
        (
            "--from, --all and --failed exclude each other",
            "`from`, `all` and a rerun of what failed exclude each other",
        ),
        ("`pipeline trigger nightly --period PERIOD`", "`POST /api/runs`"),
        ("`pipeline backfill --list` shows them", "`GET /api/backfills` shows them"),
        ("`pipeline resolve` settles it", "`POST /api/runs/RUN/deliveries/resolve` settles it"),
        ("`pipeline runs ../x` lists them", "`GET /api/runs?schedule=..%2Fx` lists them"),
        # Nobody does these over HTTP.
        ("`pipeline user link` prints another", "`pipeline user link` prints another"),
        ('the key "a--all" is not there', 'the key "a--all" is not there'),
    ],
)
def test_commands_and_options_become_calls_and_fields(said, told):
    assert in_http(said) == told


def test_every_option_that_a_service_names_is_known():
    """What is refused over HTTP never names what a body has no field for."""
    loads = {"loading.py"}  # files of the home, from the command line alone
    for file in SERVICES.glob("*.py"):
        if file.name in loads:
            continue
        for sentence in re.findall(r"(?:Refused|NotFound|Occupied)\((.*?)\n", file.read_text()):
            left = in_http(sentence)
            assert not re.search(r"(?<![\w`-])--[a-z]", left), (file.name, left)


def test_a_run_that_is_active_is_refused_in_the_words_of_http(as_):
    make_schedule()
    run = make_run(status="running")
    http = as_()
    said = http.post(f"/api/runs/{run.id}/rerun").json()["detail"]
    assert said.endswith(f"`POST /api/runs/{run.id}/cancel` first")
    done = finished_run()
    said = http.post(f"/api/runs/{done.id}/rerun", json={"all": True, "failed_deliveries": True}).json()["detail"]
    assert said.startswith("`from`, `all` and `failed_deliveries` exclude each other")


def test_what_is_translated_is_there(http):
    paths = http.get("/api/openapi.json").json()["paths"]
    for call in CALLS.values():
        method, path = call.partition("?")[0].split()
        shape = re.sub(r"{}|RUN", "X", path)
        assert any(re.sub(r"{\w+}", "X", known) == shape and method.lower() in paths[known] for known in paths), call
    assert all(name.startswith("--") for name in OPTIONS)


def test_the_error_can_be_made_anew_from_its_text():
    """As Celery does for whoever asks for the result of a task that was refused."""
    assert str(Occupied("another run is at work")) == "another run is at work"
