"""Mail goes over real sockets to a scripted server, whose log says what it owns: the mailer never claims otherwise."""

import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult

from pipeline.adapters import mailer
from pipeline.adapters.mailer import ConfigurationFault, RecipientRefused, Relay, RelayDown, Unknown
from pipeline.adapters.relay_address import Address, parse_url
from pipeline.errors import DefinitionError, PermanentError, StaleClaim, TransientError
from pipeline.replies import Kind, Stage
from pipeline.settings import Settings
from tests.ports import free_port
from tests.smtp_server import committing

SENDER = "reports@example.com"


def message(delivery="1", body="Good morning\r\n"):
    return f"Subject: Hello\r\nMessage-ID: <{delivery}@x>\r\nX-Delivery-ID: {delivery}\r\n\r\n{body}".encode()


def nothing():
    """What the ledger does before the dot, when nothing is at stake."""


@pytest.fixture
def connected():
    """Makes relays, and closes what they left open after the test."""
    made = []

    def make(url, **options):
        made.append(Relay(url, **{"timeout": 60, "dot_timeout": 60, **options}))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


@pytest.fixture
def relay(connected, smtp_server):
    return connected(smtp_server.url)


def test_a_message_is_handed_over_and_the_answer_holds_the_queue_id(relay, smtp_server):
    verdict = relay.send(SENDER, "ok@example.org", message("d-1"), nothing)
    assert (verdict.kind, verdict.code, verdict.text) == (Kind.ACCEPTED, 250, "2.0.0 Ok: queued as 00000001")
    (taken,) = smtp_server.taken()
    assert (taken["delivery"], taken["sender"], taken["recipient"]) == ("d-1", SENDER, "ok@example.org")
    assert smtp_server.contents == [message("d-1")]


def test_many_messages_share_one_connection_whose_small_writes_are_not_held_back(relay, smtp_server):
    for number in range(20):
        relay.send(SENDER, f"ok+{number}@example.org", message(str(number)), nothing)
    assert [line["delivery"] for line in smtp_server.taken()] == [str(number) for number in range(20)]
    assert smtp_server.connections == 1
    assert relay._connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_dots_and_line_ends_arrive_as_they_should(relay, smtp_server):
    sent = b"Subject: dots\n\n.\r\n..\n.leading\rend\n.\nlast line without an end"
    relay.send(SENDER, "ok@example.org", sent, nothing)
    assert smtp_server.contents == [
        b"Subject: dots\r\n\r\n.\r\n..\r\n.leading\r\nend\r\n.\r\nlast line without an end\r\n"
    ]


def test_before_the_dot_the_server_has_everything_but_owns_nothing(relay, smtp_server):
    seen = []
    relay.send(SENDER, "ok@example.org", message(), lambda: seen.append((time.sleep(0.1), smtp_server.taken())))
    assert seen == [(None, [])]
    assert len(smtp_server.taken()) == 1


def test_a_stale_claim_found_before_the_dot_keeps_the_message_from_going_out(relay, smtp_server):
    def taken_over():
        raise StaleClaim("somebody else's")

    with pytest.raises(StaleClaim):
        relay.send(SENDER, "ok@example.org", message("stale"), taken_over)
    relay.send(SENDER, "ok@example.org", message("next"), nothing)
    assert [line["delivery"] for line in smtp_server.taken()] == ["next"]
    assert smtp_server.connections == 2


@pytest.mark.parametrize(
    ("pipelining", "announced"), [(True, False), (False, False), (True, True)], ids=["at once", "by steps", "announced"]
)
@pytest.mark.parametrize(
    ("behaviour", "fault", "verdict"),
    [
        ("550", RecipientRefused, (Stage.RCPT, Kind.RECIPIENT_PERMANENT)),
        ("554", RecipientRefused, (Stage.RCPT, Kind.RECIPIENT_OTHER)),
        ("451x2", RecipientRefused, (Stage.RCPT, Kind.RECIPIENT_TRANSIENT)),
        ("530", ConfigurationFault, (Stage.RCPT, Kind.CONFIGURATION)),
        ("421", RecipientRefused, (Stage.RCPT, Kind.RECIPIENT_TRANSIENT)),
        ("drop-before-354", RecipientRefused, (Stage.DATA, Kind.RECIPIENT_TRANSIENT)),
        ("drop-mid-body", RecipientRefused, (Stage.DATA, Kind.RECIPIENT_TRANSIENT)),
        ("552-mid-body", RecipientRefused, (Stage.DATA, Kind.MESSAGE_TOO_LARGE)),
        ("dot-451", RecipientRefused, (Stage.DOT, Kind.THROTTLED)),
        ("dot-554", RecipientRefused, (Stage.DOT, Kind.CONTENT)),
        ("dot-nonsense", Unknown, (Stage.DOT, Kind.UNKNOWN)),
        ("store-then-drop", Unknown, (Stage.DOT, Kind.UNKNOWN)),
    ],
)
def test_whatever_goes_wrong_is_told_by_its_class_and_the_next_message_still_goes(
    relay, smtp_server, behaviour, fault, verdict, pipelining, announced
):
    smtp_server.pipelining = pipelining
    bad, good = (f"{behaviour}@example.org", message("bad")), ("ok@example.org", message("good"))
    stored = []
    if announced:
        relay.send(SENDER, "ok@example.org", message("first"), nothing, bad)
        stored.append("first")
    with pytest.raises(fault) as caught:
        relay.send(SENDER, *bad, committing(relay, behaviour), good if announced else None)
    assert (caught.value.verdict.stage, caught.value.verdict.kind) == verdict
    assert str(relay) in str(caught.value)
    stored += ["bad"] if behaviour == "store-then-drop" else []
    assert [line["delivery"] for line in smtp_server.taken()] == stored
    relay.send(SENDER, *good, nothing)
    assert [line["delivery"] for line in smtp_server.taken()] == [*stored, "good"]


def test_the_next_message_is_announced_with_the_dot_of_the_one_before(relay, smtp_server):
    messages = [(f"ok+{number}@example.org", message(str(number))) for number in range(3)]
    for number, one in enumerate(messages):
        relay.send(SENDER, *one, nothing, messages[number + 1] if number < 2 else None)
        assert (relay._connection.announced is not None) == (number < 2)
    assert smtp_server.contents == [data for _, data in messages]
    assert smtp_server.connections == 1


@pytest.mark.parametrize("comes", ["another", "none", "late"])
def test_a_server_that_waits_for_what_does_not_come_is_left_and_takes_nothing_for_it(relay, smtp_server, comes):
    relay.send(SENDER, "ok@example.org", message("1"), nothing, ("ok+2@example.org", message("2")))
    if comes == "none":
        relay.close()
    then = "3"
    if comes == "late":
        relay._connection.last_used -= 31
        then = "2"
    relay.send(SENDER, f"ok+{then}@example.org", message(then), nothing)
    assert [(line["recipient"], line["delivery"]) for line in smtp_server.taken()] == [
        ("ok@example.org", "1"),
        (f"ok+{then}@example.org", then),
    ]
    assert smtp_server.connections == 2


def test_who_leaves_a_relay_does_not_wait_for_the_message_that_another_thread_hands_over(relay, smtp_server):
    messages = [("ok@example.org", message(str(number))) for number in range(2)]
    relay.send(SENDER, *messages[0], nothing, messages[1])

    def amid_it():
        leaving = threading.Thread(target=relay.leave, daemon=True)
        leaving.start()
        leaving.join(30)
        assert not leaving.is_alive()

    relay.send(SENDER, *messages[1], amid_it)
    assert ([line["delivery"] for line in smtp_server.taken()], smtp_server.connections) == (["0", "1"], 1)


def test_only_what_the_server_will_take_is_announced(connected, smtp_server, monkeypatch):
    monkeypatch.setattr(mailer, "MESSAGES_PER_CONNECTION", 3)
    smtp_server.options["data_size_limit"] = 500
    relay = connected(smtp_server.url)
    for following in (
        ("ok@example.org", message(body="x" * 500 + "\r\n")),
        ("no address", message()),
        ("ok@example.org", message()),
    ):
        relay.send(SENDER, "ok@example.org", message(), nothing, following)
        assert relay._connection.announced is None
    assert smtp_server.connections == 1


def test_a_server_that_does_not_answer_two_at_once_is_told_of_each_alone_from_then_on(connected, smtp_server):
    smtp_server.flushes = True
    relay = connected(smtp_server.url)
    messages = [("ok@example.org", message(str(number))) for number in range(4)]
    relay.send(SENDER, *messages[0], nothing, messages[1])
    relay._connection._socket.settimeout(0.5)  # for the answer that does not come
    for one, following in pairwise(messages[1:]):
        relay.send(SENDER, *one, nothing, following)
    assert [line["delivery"] for line in smtp_server.taken()] == ["0", "1", "2"]
    assert smtp_server.connections == 2


def test_a_server_that_is_silent_after_a_dot_with_more_behind_it_is_told_of_no_more_at_once(connected, smtp_server):
    """It may look for the dot at the end of what it reads."""
    smtp_server.slow = 600
    relay = connected(smtp_server.url, dot_timeout=0.1)
    with pytest.raises(Unknown, match="timed out"):
        relay.send(SENDER, "slow-dot@example.org", message(), nothing, ("ok@example.org", message()))
    relay.dot_timeout = 60
    relay.send(SENDER, "ok@example.org", message(), nothing, ("ok@example.org", message("2")))
    assert relay._connection.announced is None


@pytest.mark.parametrize(("taken", "fault"), [([], RecipientRefused), ([3], Unknown)])
def test_a_dot_is_certainly_not_sent_only_where_the_system_took_none_of_it(relay, monkeypatch, taken, fault):
    """The server may have the dot without what follows it in the same write."""
    relay.connect()
    real = relay._connection._smtp.sock

    class Broken:
        def __getattr__(self, name):
            return getattr(real, name)

        def send(self, data):
            if taken:
                return real.send(data[: taken.pop()])
            raise ConnectionResetError

    monkeypatch.setattr(relay._connection._smtp, "sock", Broken())
    with pytest.raises(fault):
        relay.send(SENDER, "ok@example.org", message(), nothing, ("ok@example.org", message("2")))


def test_after_a_refused_dot_answers_are_waited_for_no_longer_than_before(connected, smtp_server):
    relay = connected(smtp_server.url, dot_timeout=600)
    with pytest.raises(RecipientRefused):
        relay.send(SENDER, "dot-554@example.org", message(), nothing, ("ok@example.org", message()))
    assert relay._connection._socket.gettimeout() == 60


def test_a_mailbox_that_was_busy_twice_takes_the_message_the_third_time(relay, smtp_server):
    for _ in range(2):
        with pytest.raises(RecipientRefused):
            relay.send(SENDER, "451x2+7@example.org", message(), nothing)
    relay.send(SENDER, "451x2+7@example.org", message(), nothing)
    assert len(smtp_server.taken()) == 1


def test_after_a_refusal_the_same_connection_goes_on_with_rset(relay, smtp_server):
    for address in ("550@example.org", "ok@example.org", "dot-554@example.org", "ok@example.org", "ok@example.org"):
        try:
            relay.send(SENDER, address, message(), nothing)
        except RecipientRefused:
            assert not address.startswith("ok")
    assert smtp_server.connections == 1
    assert smtp_server.commands["RSET"] == 2
    assert len(smtp_server.taken()) == 3


@contextmanager
def answering(*answers):
    """A server that offers PIPELINING and says each of `answers` after as many lines as that answer has."""
    listener, heard = socket.create_server(("127.0.0.1", 0)), []

    def serve():
        talk, _ = listener.accept()
        with talk, talk.makefile("rwb") as lines:
            for answer in (b"220 mx\r\n", b"250-mx\r\n250 PIPELINING\r\n", *answers):
                wanted = 0 if answer.startswith(b"220") else 1 if b"PIPELINING" in answer else answer.count(b"\r\n")
                heard.extend(lines.readline().strip() for _ in range(wanted))
                lines.write(answer)
                lines.flush()
            lines.readline()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"smtp://127.0.0.1:{listener.getsockname()[1]}", heard
    thread.join(5)
    listener.close()


def test_the_envelope_costs_one_round_trip_where_the_server_takes_that(connected):
    with answering(b"250 ok\r\n250 ok\r\n354 go on\r\n", b"250-queued\r\n250 as 1\r\n") as (url, heard):
        relay = connected(url)
        body = b"one line"
        relay.send(SENDER, "ann@example.org", body, nothing)
        relay.drop()
    assert heard[1:4] == [b"MAIL FROM:<reports@example.com>", b"RCPT TO:<ann@example.org>", b"DATA"]


def test_a_server_that_waits_for_a_message_to_nobody_gets_an_empty_one(connected):
    refused = b"250 ok\r\n550 5.1.1 unknown user\r\n354 go on\r\n"
    with answering(refused, b"554 no valid recipients\r\n") as (url, heard):
        relay = connected(url)
        with pytest.raises(RecipientRefused) as caught:
            relay.send(SENDER, "ann@example.org", message(), nothing)
        assert relay._connection is not None
        relay.drop()
    assert caught.value.verdict.kind is Kind.RECIPIENT_PERMANENT
    assert heard[-1] == b"."


@pytest.mark.parametrize("answers", [b"250 ok\r\nwhat?\r\n354 go on\r\n", b"451 not now\r\n250 ok\r\n354 go on\r\n"])
def test_a_server_that_may_have_taken_the_recipient_gets_no_empty_message(connected, answers):
    with answering(answers) as (url, heard):
        relay = connected(url)
        with pytest.raises((RecipientRefused, RelayDown)):
            relay.send(SENDER, "ann@example.org", message(), nothing)
        assert relay._connection.closed
    assert heard[-1] == b"DATA"


def test_a_refused_sender_is_what_counts_and_not_what_follows_from_it(connected):
    answers = b"550 5.7.60 you may not send as this\r\n503 need MAIL\r\n503 need RCPT\r\n"
    with answering(answers) as (url, _):
        relay = connected(url)
        with pytest.raises(ConfigurationFault) as caught:
            relay.send(SENDER, "ann@example.org", message(), nothing)
        relay.drop()
    assert (caught.value.verdict.stage, caught.value.verdict.code) == (Stage.MAIL, 550)


def test_a_slow_answer_is_waited_for_and_given_up_on_only_as_unknown(connected, smtp_server):
    patient, hasty = (connected(smtp_server.url, dot_timeout=seconds) for seconds in (60, 0.1))
    assert patient.send(SENDER, "slow-dot@example.org", message("1"), nothing).kind is Kind.ACCEPTED
    smtp_server.slow = 600
    with pytest.raises(Unknown, match="the final dot: timed out"):
        hasty.send(SENDER, "slow-dot@example.org", message("2"), nothing)
    deadline = time.monotonic() + 60
    while len(smtp_server.taken()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [line["delivery"] for line in smtp_server.taken()] == ["1", "2"]


def test_an_idle_connection_is_asked_first_and_an_old_one_replaced(relay, smtp_server, monkeypatch):
    relay.send(SENDER, "ok@example.org", message(), nothing)
    relay._connection.last_used -= 31
    relay.send(SENDER, "ok@example.org", message(), nothing)
    assert smtp_server.commands["NOOP"] == 1
    assert smtp_server.connections == 1
    monkeypatch.setattr(mailer, "MESSAGES_PER_CONNECTION", 2)
    relay.send(SENDER, "ok@example.org", message(), nothing)
    assert smtp_server.connections == 2


def test_a_server_that_came_back_is_reached_again_without_a_word(relay, smtp_server):
    relay.send(SENDER, "ok@example.org", message("before"), nothing)
    smtp_server.stop()
    smtp_server.start()
    relay.send(SENDER, "ok@example.org", message("after"), nothing)
    assert [line["delivery"] for line in smtp_server.taken()] == ["before", "after"]


def test_a_reused_connection_that_is_ended_with_421_is_tried_once_more_on_a_new_one(relay, smtp_server):
    relay.send(SENDER, "ok@example.org", message("1"), nothing)
    relay.send(SENDER, "421x1@example.org", message("2"), nothing)
    assert [line["delivery"] for line in smtp_server.taken()] == ["1", "2"]
    assert smtp_server.connections == 2


def test_nobody_there_is_a_dead_relay_or_a_catcher_that_was_not_started(connected):
    url = f"smtp://127.0.0.1:{free_port()}"
    with pytest.raises(RelayDown, match="cannot be reached: Connection refused") as caught:
        connected(url, timeout=1).send(SENDER, "ok@example.org", message(), nothing)
    assert isinstance(caught.value, TransientError)
    with pytest.raises(RelayDown, match=r"no mail catcher listens at 127.0.0.1:.*start `pipeline up`"):
        connected(url, timeout=1, catcher=True).connect()


@contextmanager
def greeting(words):
    """A server that says `words` to whoever connects, and no more."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve():
        try:
            accepted.append(listener.accept()[0])
            accepted[0].sendall(words)
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"smtp://127.0.0.1:{listener.getsockname()[1]}"
    thread.join(5)
    for each in (*accepted, listener):
        each.close()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (b"421 4.3.2 shutting down\r\n", RelayDown),
        (b"554 5.7.1 you are on our list\r\n", ConfigurationFault),
        (b"hello?\r\n", RelayDown),
        (b"", RelayDown),
    ],
)
def test_a_greeting_that_is_none(connected, words, fault):
    with greeting(words) as url, pytest.raises(fault) as caught:
        connected(url, timeout=60 if words else 0.3).connect()
    assert caught.value.verdict.stage is Stage.CONNECT


def test_a_message_beyond_the_relays_size_is_not_even_tried(connected, smtp_server):
    smtp_server.options["data_size_limit"] = 1000
    relay = connected(smtp_server.url)
    with pytest.raises(RecipientRefused, match="the message has 2055 bytes, the relay takes 1000") as caught:
        relay.send(SENDER, "ok@example.org", message(body="x" * 1998 + "\r\n"), nothing)
    assert caught.value.verdict.kind is Kind.MESSAGE_TOO_LARGE
    assert smtp_server.commands["RCPT"] == 0
    relay.send(SENDER, "ok@example.org", message(), nothing)
    assert smtp_server.connections == 1


def test_an_international_domain_travels_in_ascii_and_an_international_mailbox_only_where_offered(relay, smtp_server):
    relay.send(SENDER, "ok@bücher.example", message(), nothing)
    assert smtp_server.taken()[-1]["recipient"] == "ok@xn--bcher-kva.example"
    with pytest.raises(RecipientRefused, match=r'"käthe@example\.org" needs SMTPUTF8') as caught:
        relay.send(SENDER, "käthe@example.org", message(), nothing)
    assert caught.value.verdict.kind is Kind.POISON
    with pytest.raises(RecipientRefused, match="its Reply-To needs SMTPUTF8"):
        relay.send(SENDER, "ok@example.org", "Reply-To:\r\n büro@example.org\r\n".encode() + message(), nothing)
    relay.close()
    smtp_server.options["enable_SMTPUTF8"] = True
    relay.send(SENDER, "käthe@example.org", message(), nothing)
    relay.send(SENDER, "ok@example.org", message(), nothing)
    assert [line["recipient"] for line in smtp_server.taken()[1:]] == ["käthe@example.org", "ok@example.org"]


@pytest.mark.parametrize("address", ["ok@example.org\r\nRCPT TO:<all@example.org>", "no address", ""])
def test_an_address_that_is_none_never_reaches_the_server(relay, smtp_server, address):
    with pytest.raises(PermanentError, match=r"^recipient "):
        relay.send(SENDER, address, message(), nothing)
    assert smtp_server.connections == 0


def sign_in(_server, _session, _envelope, _mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"us:er", b"p@ss/word"), handled=False)


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
def test_credentials_are_percent_decoded_and_wrong_ones_block_everyone(connected, smtp_server):
    smtp_server.options |= {"auth_required": True, "auth_require_tls": False, "authenticator": sign_in}
    relay = connected(smtp_server.url.replace("//", "//us%3Aer:p%40ss%2Fword@"))
    relay.send(SENDER, "ok@example.org", message(), nothing)
    relay.close()
    with pytest.raises(ConfigurationFault, match="answered AUTH with 535"):
        connected(smtp_server.url.replace("//", "//us%3Aer:wrong@")).connect()
    relay = connected(smtp_server.url)
    with pytest.raises(ConfigurationFault, match="answered MAIL FROM with 530"):
        relay.send(SENDER, "ok@example.org", message(), nothing)
    relay.close()
    assert len(smtp_server.taken()) == 1


def test_a_user_for_a_relay_that_knows_no_sign_in_is_our_mistake(connected, smtp_server):
    with pytest.raises(ConfigurationFault, match="AUTH extension not supported"):
        connected(smtp_server.url.replace("//", "//user:password@")).connect()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key in one file, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "certificate"]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    whole = folder / "both.pem"
    whole.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return whole


@pytest.fixture
def trusted(certificate, monkeypatch):
    """Our side takes the certificate for good, by the variable that an operator would set."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_starttls_is_used_where_offered_verified_and_never_silently_left_out(
    connected, smtp_server, tls, certificate, monkeypatch
):
    with pytest.raises(ConfigurationFault, match="offers no STARTTLS"):
        connected(f"{smtp_server.url}?starttls=required").connect()
    smtp_server.options |= {"tls_context": tls, "require_starttls": True}
    with pytest.raises(RelayDown, match=r"certificate is not to be trusted.*SSL_CERT_FILE"):
        connected(smtp_server.url).connect()
    relay = connected(f"{smtp_server.url}?starttls=never")
    with pytest.raises(ConfigurationFault, match="530"):
        relay.send(SENDER, "ok@example.org", message(), nothing)
    relay.close()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    relay = connected(smtp_server.url)
    for _ in range(3):
        relay.send(SENDER, "ok@example.org", message(), nothing)
    assert isinstance(relay._connection._socket, ssl.SSLSocket)
    assert len(smtp_server.taken()) == 3


def test_a_relay_that_offers_starttls_and_cannot_is_down_and_says_so(connected, smtp_server):
    smtp_server.broken_tls = True
    with pytest.raises(RelayDown, match=r"answered STARTTLS with 454 TLS not available .*set starttls=never"):
        connected(smtp_server.url).connect()
    connected(f"{smtp_server.url}?starttls=never").connect()


@pytest.mark.parametrize("behaviour", ["drop-mid-body", "store-then-drop"])
def test_smtps_speaks_tls_from_the_start_and_knows_as_much_about_the_dot(
    connected, smtp_server, tls, trusted, behaviour
):
    with pytest.raises(RelayDown, match="speaks no TLS here"):
        connected(smtp_server.url.replace("smtp:", "smtps:")).connect()
    smtp_server.stop()
    smtp_server.smtps = tls
    smtp_server.start()
    relay = connected(smtp_server.url)
    relay.send(SENDER, "ok@example.org", message("1"), nothing)
    with pytest.raises(RecipientRefused if behaviour == "drop-mid-body" else Unknown):
        relay.send(SENDER, f"{behaviour}@example.org", message("2"), committing(relay, behaviour))
    relay.send(SENDER, "ok@example.org", message("3"), nothing)
    stored = ["1", "3"] if behaviour == "drop-mid-body" else ["1", "2", "3"]
    assert [line["delivery"] for line in smtp_server.taken()] == stored


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_process_has_one_relay_per_url_and_a_forked_child_its_own(home, smtp_server):
    relay = mailer.relay_for(smtp_server.url)
    assert mailer.relay_for(smtp_server.url) is relay
    relay.send(SENDER, "ok@example.org", message("parent"), nothing)
    child = os.fork()
    if child == 0:
        try:
            own = mailer.relay_for(smtp_server.url)
            own.send(SENDER, "ok@example.org", message("child"), nothing)
            os._exit(7 if own is not relay else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    relay.send(SENDER, "ok@example.org", message("parent again"), nothing)
    assert smtp_server.connections == 2
    assert [line["delivery"] for line in smtp_server.taken()] == ["parent", "child", "parent again"]
    mailer.close_relays()
    assert relay._connection is None


def test_the_server_runs_alone_for_tests_that_kill(connected, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.smtp_server", "0", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as server:
        relay = connected(server.stdout.readline().strip())
        relay.send(SENDER, "ok@example.org", message("alone"), nothing)
        relay.close()
        server.terminate()
    assert server.returncode == 0
    assert '"delivery": "alone"' in log.read_text()


def test_mail_goes_where_the_settings_say(home, monkeypatch):
    assert mailer.target(Settings(), "ann@example.org") == ("smtp://127.0.0.1:2525", "ann@example.org")
    relay = "smtp://relay.example.com"
    assert mailer.target(Settings(mail="catch", smtp_url=relay), "ann@example.org").relay_url == "smtp://127.0.0.1:2525"
    assert mailer.target(Settings(mail="live", smtp_url=relay), "ann@example.org") == (relay, "ann@example.org")
    redirected = Settings(mail="redirect:me@example.com", smtp_url=relay)
    assert mailer.target(redirected, "ann@example.org") == (relay, "me@example.com")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("smtp://mail", Address("mail", 25, False, "optional", None, "")),
        ("smtps://mail", Address("mail", 465, True, "optional", None, "")),
        ("smtp://u:p%40@mail", Address("mail", 587, False, "required", "u", "p@")),
        ("smtp://u:p@localhost:2525", Address("localhost", 2525, False, "optional", "u", "p")),
        ("smtp://u@mail?starttls=never", Address("mail", 587, False, "never", "u", "")),
    ],
)
def test_a_relays_url_says_how_it_is_spoken_to(url, address):
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url", ["http://mail", "smtp://", "smtp://mail?starttls=maybe", "smtp://mail?tls=1", "smtp://mail:70000"]
)
def test_a_relays_url_that_cannot_be_meant_is_named(url):
    with pytest.raises(DefinitionError, match=f'relay "{url.split("?")[0]}'):
        parse_url(url)


def test_a_secret_in_a_relays_url_is_not_shown():
    with pytest.raises(DefinitionError) as caught:
        parse_url("smtp://user:secret@mail?starttls=maybe")
    assert "secret" not in str(caught.value)


def test_a_fault_survives_the_way_to_another_process(relay):
    with pytest.raises(RecipientRefused) as caught:
        relay.send(SENDER, "421@example.org", message(), nothing)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(copy), copy.verdict) == (str(caught.value), caught.value.verdict)


def test_a_process_that_slept_between_announcing_a_message_and_its_dot_does_not_write_it(connected, smtp_server):
    relay = connected(smtp_server.url, longest_sleep=0.05)
    with pytest.raises(StaleClaim, match="this process slept"):
        relay.send(SENDER, "ok@example.org", message("slept"), lambda: time.sleep(0.1))
    relay.longest_sleep = 60
    relay.send(SENDER, "ok@example.org", message("awake"), nothing)
    assert [line["delivery"] for line in smtp_server.taken()] == ["awake"]
