"""Requests to a real server: what arrives, how a receiver believes it, and what each answer means."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.adapters import webhooks
from pipeline.adapters.mail_faults import RelayDown
from pipeline.destinations import Webhook
from pipeline.errors import DefinitionError, PermanentError, StaleClaim
from pipeline.replies import Kind
from tests.factories import MONDAY
from tests.ports import free_port
from tests.webhook import webhook

__all__ = ["webhook"]
VALUES = {"schedule": "weekly", "report": "weekly", "period": "2026-W46", "key": "A/B & Söhne"}
DOCUMENT = Path(__file__).parent.parent.parent.parent / "docs" / "deliver-to.md"
BODY = '{"key":"Söhne"}'.encode()


def made(url, at=None, **fields):
    return webhooks.request(Webhook(webhook=url, **fields), VALUES, "018f-1", BODY, at)


def post(request, before_last=lambda: None):
    return webhooks.post(request, before_last)


# ---- what arrives


def test_a_receiver_tells_by_the_signature_who_sent_it_and_when(home, webhook, monkeypatch):
    monkeypatch.setenv("SHOP_SECRET", "s3cret")
    verdict = post(made(webhook.url, secret="$SHOP_SECRET"))

    assert (verdict.kind, verdict.code, verdict.text) == (Kind.ACCEPTED, 200, "OK ok")
    (request,) = webhook.requests
    assert (request.method, request.body, request.headers["Content-Type"]) == ("POST", BODY, "application/json")
    assert request.headers["Idempotency-Key"] == "018f-1"
    assert believes(request.headers, request.body, "s3cret")
    assert not believes(request.headers, request.body + b" ", "s3cret")
    assert not believes({**request.headers, "X-Webhook-Timestamp": "1"}, request.body, "s3cret", at=1)
    assert not believes(request.headers, request.body, "s3cret", at=time.time() + 301)


def believes(headers, body, secret, at=None):
    """What docs/deliver-to.md has receivers do."""
    (shown,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    clock = SimpleNamespace(time=lambda: time.time() if at is None else at)
    found = {"hmac": hmac, "hashlib": hashlib, "time": clock}
    exec(shown, found)  # noqa: S102 - our own words
    return found["believes"](headers, body, secret)


def test_while_a_secret_changes_both_are_believed(home, webhook, monkeypatch):
    monkeypatch.setenv("SHOP_SECRET", "new, old")
    post(made(webhook.url, secret="$SHOP_SECRET"))

    (request,) = webhook.requests
    assert [believes(request.headers, BODY, one) for one in ("old", "new", "other")] == [True, True, False]


def test_words_in_braces_are_quoted_and_headers_take_values_from_the_environment(home, webhook, monkeypatch):
    monkeypatch.setenv("TOKEN", "abc")
    post(made(f"{webhook.url}/{{schedule}}/{{key}}?week={{period}}", headers={"Authorization": "Bearer $TOKEN"}))

    (request,) = webhook.requests
    assert request.path == "/weekly/A%2FB%20%26%20S%C3%B6hne?week=2026-W46"
    assert request.headers["Authorization"] == "Bearer abc"
    assert "X-Webhook-Signature" not in request.headers


def test_a_webhook_with_a_name_has_its_url_in_the_settings(home, webhook, monkeypatch):
    monkeypatch.setenv("PIPELINE_HOOK_SHOP_URL", f"{webhook.url}/t0ps3cret")
    request = made("hook:shop")
    post(request)

    assert webhook.requests[0].path == "/t0ps3cret"
    assert request.server == webhook.url
    assert "t0ps3cret" not in request.head
    monkeypatch.setenv("PIPELINE_HOOK_SHOP_URL", "https://me:hunter2@shop.example:8443/x")
    assert webhooks.server("hook:shop") == "https://shop.example:8443"


def test_a_variable_that_is_not_set_is_named(home):
    with pytest.raises(DefinitionError, match=r"webhook https://x\.example needs \$NOBODY: set NOBODY in the env"):
        made("https://x.example", secret="$NOBODY")
    with pytest.raises(DefinitionError, match='webhook "shop" is not known: set PIPELINE_HOOK_SHOP_URL'):
        made("hook:shop")


def test_the_fingerprint_changes_with_whatever_a_person_mends(home, monkeypatch):
    one = Webhook(webhook="hook:shop", secret="$SHOP_SECRET", headers={"Authorization": "$TOKEN"})
    found = {webhooks.fingerprint(one)}
    for name in ("PIPELINE_HOOK_SHOP_URL", "SHOP_SECRET", "TOKEN"):
        monkeypatch.setenv(name, "https://x.example")
        found.add(webhooks.fingerprint(one))
    assert len(found) == 4


# ---- what answers mean


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (200, Kind.ACCEPTED), (202, Kind.ACCEPTED), (204, Kind.ACCEPTED), (301, Kind.RECIPIENT_OTHER),
        (400, Kind.RECIPIENT_OTHER), (401, Kind.RECIPIENT_OTHER), (404, Kind.RECIPIENT_OTHER),
        (408, Kind.RECIPIENT_TRANSIENT), (409, Kind.RECIPIENT_OTHER), (413, Kind.RECIPIENT_OTHER),
        (429, Kind.THROTTLED), (500, Kind.RECIPIENT_TRANSIENT), (503, Kind.RECIPIENT_TRANSIENT),
        (502, Kind.UNKNOWN), (504, Kind.UNKNOWN),
    ],
)  # fmt: skip
def test_an_answer_is_taken_by_its_code(home, webhook, code, kind):
    webhook.answer(code, "why " * 500 if code != 204 else "", Retry_After="120")
    verdict = post(made(webhook.url))

    assert (verdict.kind, verdict.code, verdict.wait) == (kind, code, 120)
    assert len(verdict.text) <= webhooks.KEPT


def test_no_redirect_is_followed(home, webhook):
    webhook.answer(307, Location=f"{webhook.url}/elsewhere")

    assert "redirects are not followed" in post(made(webhook.url)).text
    assert len(webhook.requests) == 1


def test_an_answer_that_is_lost_leaves_a_doubt(home, webhook):
    webhook.answer(0)
    verdict = post(made(webhook.url))

    assert (verdict.kind, verdict.code) == (Kind.UNKNOWN, 0)
    assert verdict.text.startswith("no answer: ")
    assert len(webhook.requests) == 1


def test_no_answer_in_time_leaves_a_doubt(home, webhook, monkeypatch):
    webhook.slow = 30.0
    monkeypatch.setattr(webhooks, "ANSWER", 0.1)
    webhooks._client.cache_clear()

    assert post(made(webhook.url)).text == "no answer: timed out"
    webhooks._client.cache_clear()


def test_a_server_that_is_not_there_has_certainly_received_nothing(home):
    url = f"http://127.0.0.1:{free_port()}"
    announced = []
    with pytest.raises(RelayDown, match=rf"webhook {url} cannot be reached: .*refused"):
        post(made(url), lambda: announced.append(1))
    assert announced == []


def test_nothing_is_received_before_it_was_announced(home, webhook):
    def stale():
        raise StaleClaim("somebody else's by now")

    with pytest.raises(StaleClaim):
        post(made(webhook.url), stale)
    post(made(webhook.url))
    assert len(webhook.requests) == 1


def test_a_server_that_answers_before_it_has_read_all_is_heard(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=refuse_early, args=(server,), daemon=True).start()
        request = webhooks.request(
            Webhook(webhook=f"http://127.0.0.1:{server.getsockname()[1]}"), VALUES, "018f-1", b"x" * 30_000_000
        )
        try:
            verdict = post(request)
        except RelayDown:
            return  # its reset overtook its answer: nothing was received either
    assert (verdict.kind, verdict.code) == (Kind.RECIPIENT_OTHER, 413)


def refuse_early(server):
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def test_a_header_that_cannot_be_sent_is_not_repeated_in_the_error(home, monkeypatch, webhook):
    monkeypatch.setenv("TOKEN", "hunter2\r\nX-Other: 1")
    with pytest.raises(PermanentError, match=r"its URL or a header cannot be sent \(LocalProtocolError\)") as error:
        post(made(webhook.url, headers={"Authorization": "$TOKEN"}))
    assert "hunter2" not in str(error.value)


# ---- instead


def test_a_request_that_is_kept_is_one_file_without_secrets(home, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    monkeypatch.setenv("SHOP_SECRET", "s3cret")
    monkeypatch.setenv("PIPELINE_HOOK_SHOP_URL", "https://x.example/t0ps3cret")
    request = made("hook:shop", headers={"Authorization": "Bearer $TOKEN"}, secret="$SHOP_SECRET", at=1_764_000_000)
    announced = []
    for _ in range(2):
        verdict = webhooks.keep(request, "018f-1", MONDAY, lambda: announced.append(1))

    (path,) = (home / "var" / "outbox").iterdir()
    assert path.name == "20261116T060000Z-x.example-018f-1.http"
    assert (verdict.kind, verdict.text, announced) == (Kind.ACCEPTED, f"kept as {path.name}", [1, 1])
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    assert body == BODY
    assert head.decode().splitlines()[:3] == [
        "POST hook:shop", "Authorization: Bearer $TOKEN", "Content-Type: application/json",
    ]  # fmt: skip
    headers = dict(line.split(": ") for line in head.decode().splitlines()[1:])
    assert believes(headers, body, "s3cret", at=1_764_000_010)
