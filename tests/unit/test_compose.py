"""What compose.yaml and the Dockerfiles say can be carried out: no engine is needed to know."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from celery.bin.celery import celery

from pipeline.cli import application
from pipeline.settings import Settings, settings

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = {name: said for name, said in SERVICES.items() if "build" in said}
# Programs of the images that are not ours.
THEIRS = ("valkey-server", "valkey-cli", "pg_isready")


def said() -> Iterator[tuple[str, list[str]]]:
    """Every command that is to be carried out, with who says it."""
    for name, service in SERVICES.items():
        if command := service.get("command"):
            yield name, command
        if check := service.get("healthcheck", {}).get("test"):
            kind, *words = check
            yield f"{name}, healthcheck", words if kind == "CMD" else ["sh", "-c", *words]
    for path in sorted(ROOT.glob("*.Dockerfile")):
        for words in re.findall(r"^(?:HEALTHCHECK .*)?CMD (\[.*\])$", path.read_text(), re.MULTILINE):
            yield path.name, json.loads(words)


def commands() -> Iterator[tuple[str, list[str]]]:
    for who, words in said():
        if words[:2] == ["sh", "-c"]:
            yield from ((who, shlex.split(part)) for part in words[2].split("&&"))
        else:
            yield who, words


@pytest.mark.parametrize(("who", "words"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_started_and_asked_is_there_with_its_options(who, words):
    program, *rest = words
    if program == "pipeline":
        group = typer.main.get_command(application())
        assert group.commands[rest[0]].make_context(rest[0], rest[1:]).params is not None
    elif program == "celery":
        assert rest[:2] == ["-A", "pipeline"]
        assert celery.commands[rest[2]].make_context(rest[2], rest[3:], resilient_parsing=True)
    elif program == "python":
        assert rest[0] == "-c"
        compile(rest[1], who, "exec")
    else:
        assert program in THEIRS, f"{who}: {shlex.join(words)}"


def test_workers_take_every_queue():
    from pipeline.celery import QUEUES

    taken = [words[words.index("-Q") + 1] for _, words in commands() if "worker" in words and "-Q" in words]
    assert taken == [",".join(QUEUES)]


def test_every_setting_is_one_and_they_fit_together(tmp_path, monkeypatch):
    """As in a container of the web: what nobody has set is as good as not there."""
    told = OURS["web"]["environment"]
    assert told.keys() <= {f"PIPELINE_{name.upper()}" for name in Settings.model_fields}
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    for name, value in told.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value))
    settings.cache_clear()
    configured = settings()
    assert not configured.embedded_broker
    assert configured.database_url.startswith("postgresql")
    assert (configured.mail, configured.flower_url) == ("catch", "http://127.0.0.1:5555")


def test_services_wait_for_what_there_is_and_keep_what_is_declared():
    for name, service in SERVICES.items():
        for other, how in dict(service.get("depends_on") or {}).items():
            healthy = how["condition"] == "service_healthy"
            assert not healthy or SERVICES[other]["healthcheck"], f"{name} waits for the health of {other} for ever"
            assert healthy or SERVICES[other]["restart"] == "no", f"{name} waits for {other}, which never ends"
        for volume in service.get("volumes", []):
            place = volume.split(":")[0]
            assert place in COMPOSE["volumes"] or (ROOT / place).exists(), f"{name}: {volume}"
        if name in OURS:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_what_speaks_to_people_listens_on_this_machine_alone_where_it_is_looked_for():
    for name in ("web", "flower"):
        (published,) = SERVICES[name]["ports"]
        address, outer, inner = published.split(":")
        assert (address, outer) == ("127.0.0.1", inner)
        words = SERVICES[name]["command"]
        assert words[words.index("--port") + 1] == inner
        assert f"127.0.0.1:{inner}/" in SERVICES[name]["healthcheck"]["test"][-1]
    _, _, port = OURS["web"]["environment"]["PIPELINE_CATCHER_URL"].rpartition(":")
    assert port in SERVICES["catcher"]["command"]


def test_a_worker_is_given_the_time_that_it_needs_to_stop(home):
    given = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert given > settings().stop_within
