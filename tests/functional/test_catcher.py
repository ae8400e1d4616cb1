"""The mail catcher as a process of its own, asked over real SMTP."""

import re
import signal
import smtplib
import socket
import subprocess
import sys

import pytest

MESSAGE = b"From: reports@example.com\r\nSubject: Flights\r\n\r\n"


@pytest.fixture(scope="module")
def catcher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outbox")
    command = [sys.executable, "-m", "pipeline.adapters.catcher", "--port", "0", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(re.search(r":(\d+),", process.stdout.readline())[1])
        yield folder, port
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


@pytest.fixture
def client(catcher):
    with smtplib.SMTP("127.0.0.1", catcher[1], timeout=60) as connected:
        connected.ehlo()
        yield connected


@pytest.fixture
def kept(catcher):
    """The new message in the outbox."""
    before = set(catcher[0].iterdir())

    def find():
        (new,) = set(catcher[0].iterdir()) - before
        return new

    return find


def send(client, content, *recipients, options=()):
    client.mail("reports@example.com", options)
    for recipient in recipients or ("ann@example.com",):
        assert client.rcpt(recipient)[0] == 250
    return client.data(content)


def test_the_reply_names_the_file(client, kept):
    code, text = send(client, MESSAGE + b"On time.\r\n", "ann@example.com", "bo@example.com")

    assert (code, text.decode()) == (250, f"2.0.0 kept as {kept().name}")
    assert kept().read_bytes().endswith(MESSAGE + b"On time.\r\n")


@pytest.mark.parametrize(
    "body", [b"", b".\r\n", b"..\r\n.a\r\n.\r\nb\r\n", b"a\r\n.b\r\n", b"\r\n\r\n", b"x" * 998 + b"\r\n"]
)
def test_every_byte_comes_through(client, kept, body):
    assert send(client, MESSAGE + body)[0] == 250

    assert kept().read_bytes().endswith(b"ann@example.com\r\n" + MESSAGE + body)


def test_an_empty_message_and_the_next_command_in_one_packet(catcher, kept):
    with (
        socket.create_connection(("127.0.0.1", catcher[1]), timeout=60) as connection,
        connection.makefile("rb") as reader,
    ):
        for command in (
            b"",
            b"HELO x\r\n",
            b"MAIL FROM:<a@example.com>\r\n",
            b"RCPT TO:<b@example.com>\r\n",
            b"DATA\r\n",
        ):
            connection.sendall(command)
            reader.readline()
        connection.sendall(b".\r\nNOOP\r\nQUIT\r\n")

        assert [reader.readline()[:3] for _ in range(3)] == [b"250", b"250", b"221"]
    assert kept().read_bytes() == b"X-Envelope-From: <a@example.com>\r\nX-Envelope-To: b@example.com\r\n"


def test_an_address_in_another_alphabet(client, kept):
    assert client.has_extn("smtputf8")
    client.mail("reports@example.com", ["SMTPUTF8"])
    client.command_encoding = "utf-8"
    assert client.docmd("RCPT TO:<jörg@example.com>")[0] == 250

    code, text = client.data(MESSAGE)

    assert code == 250
    assert text.isascii()
    assert "jörg" in kept().name
    assert "X-Envelope-To: jörg@example.com\r\n".encode() in kept().read_bytes()


def test_a_line_that_real_relays_refuse_is_refused(client):
    code, text = send(client, MESSAGE + b"x" * 999 + b"\r\n")

    assert code == 500
    assert b"longer than 998 octets" in text
    assert client.noop()[0] == 250


def test_a_message_over_the_limit_is_refused_before_and_after_it_is_sent(client):
    assert client.esmtp_features["size"] == str(50 * 1024 * 1024)
    line = b"x" * 900 + b"\r\n"

    assert client.mail("reports@example.com", ["SIZE=99999999"])[0] == 552
    client.rset()
    code, text = send(client, MESSAGE + line * (51 * 1024 * 1024 // len(line)))

    assert code == 552
    assert text.startswith(b"5.3.4 larger than")
    assert send(client, MESSAGE)[0] == 250


def test_a_folder_that_cannot_be_written_is_a_transient_failure(catcher, client):
    folder = catcher[0]
    moved = folder.rename(folder.with_name("moved"))
    try:
        code, text = send(client, MESSAGE)
    finally:
        moved.rename(folder)

    assert code == 452
    assert b"No such file" in text
