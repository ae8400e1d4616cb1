"""`pipeline flower` and `pipeline web` say where they cannot be, before anything starts."""

import socket

import pytest

from pipeline.embedded import flower
from tests.ports import free_port


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield str(one.getsockname()[1])


@pytest.mark.parametrize("command", ["flower", "web"])
def test_a_port_that_is_taken_is_told_with_the_way_out(database, typed, taken, command):
    done = typed(command, "--host", "127.0.0.1", "--port", taken)
    assert done.exit_code == 2
    assert f"127.0.0.1:{taken} cannot be listened on (Address already in use): name another with --port" in done.stderr


def test_an_image_without_flower_says_where_it_comes_from(home, typed, monkeypatch):
    monkeypatch.setattr(flower, "is_installed", lambda: False)
    done = typed("flower")
    assert (done.exit_code, "it comes with the extra `worker`" in done.stderr) == (2, True)


def test_the_password_is_told_by_the_file_that_has_it_and_given_to_flower_alone(home, typed, monkeypatch):
    served = []
    monkeypatch.setattr(flower, "serve", lambda *said: served.append(said))
    port = free_port()
    done = typed("flower", "--port", port)
    password = (home / "var" / "flower.password").read_text().strip()
    assert served[0][1:] == ("127.0.0.1", port)
    assert "flower.password" in done.stderr
    assert password not in done.output
