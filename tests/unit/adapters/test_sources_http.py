"""HTTP sources, against a real server on this machine that does what its path says."""

from __future__ import annotations

import gzip
import json
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import SimpleNamespace

import pytest

from pipeline.adapters.sources import files
from pipeline.errors import PermanentError, TransientError

ROWS = [{"id": 1}, {"id": 2}]
BODY = json.dumps(ROWS).encode()
JSON = {"Content-Type": "application/json; charset=utf-8"}
ANSWERS = {
    "/json": (200, JSON, BODY),
    "/api": (200, {"Content-Type": "application/vnd.api+json"}, b'{"data": [{"id": 1}]}'),
    "/csv": (200, {"Content-Type": "text/csv"}, b"id\n1\n2\n"),
    "/lines": (200, {"Content-Type": "application/x-ndjson"}, b'{"id": 1}\n{"id": 2}\n'),
    "/gzip": (200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(BODY)),
    "/cut-gzip": (200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(BODY)[:-4]),
    "/bad-gzip": (200, {**JSON, "Content-Encoding": "gzip"}, b"no gzip at all"),
    "/bomb": (200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)),
    "/brotli": (200, {**JSON, "Content-Encoding": "br"}, b"\x00"),
    "/untyped": (200, {}, BODY),
    "/file.csv": (200, {"Content-Type": "application/octet-stream"}, b"id\n1\n2\n"),
    "/moved": (302, {"Location": "/json"}, b""),
    "/loop": (302, {"Location": "/loop"}, b""),
    "/elsewhere": (302, {"Location": "http://localhost:9/json?token=secret"}, b""),
    "/downgraded": (301, {"Location": "https://127.0.0.1/json"}, b""),
    "/no-content": (204, {}, b""),
    "/not-found": (404, {}, b"<p>no such   report</p>" + b"x" * 5000),
    "/forbidden": (403, {"Content-Encoding": "gzip"}, gzip.compress(b"the token has expired")),
    "/busy-seconds": (429, {"Retry-After": "120"}, b""),
    "/busy-date": (
        503, {"Date": "Mon, 16 Nov 2026 07:00:00 GMT", "Retry-After": "Mon, 16 Nov 2026 07:02:00 GMT"}, b""
    ),
    "/busy-past": (503, {"Retry-After": "Mon, 16 Nov 2015 07:02:00 GMT"}, b""),
    "/busy-nonsense": (500, {"Retry-After": "soon"}, b""),
    "/timeout": (408, {}, b""),
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    requests: list[tuple[str, dict[str, str]]]

    def do_GET(self):
        self.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"on_{self.path[1:]}", self.on_table)()

    def on_table(self):
        status, headers, body = ANSWERS[self.path.partition("?")[0]]
        self.answer(status, {"Content-Length": str(len(body)), **headers})
        self.wfile.write(body)

    def answer(self, status, headers):
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def on_endless(self):
        self.answer(200, {"Content-Type": "text/csv"})
        self.wfile.write(b"id\n")
        while True:
            self.wfile.write(b"1\n" * 10_000)

    def on_announced(self):
        self.answer(200, {**JSON, "Content-Length": "5000000000"})

    def on_cut(self):
        self.answer(200, {**JSON, "Content-Length": "100"})
        self.wfile.write(BODY)

    def on_silent(self):
        self.server.stopped.wait()

    def on_dripping(self):
        self.answer(200, JSON)
        while not self.server.stopped.wait(0.05):
            self.wfile.write(b" ")

    def on_hangup(self):
        self.connection.close()

    def log_message(self, *_):
        pass


@pytest.fixture
def site() -> Iterator[str]:
    Handler.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.stopped = threading.Event()
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stopped.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["/json", "/csv", "/lines", "/gzip", "/file.csv", "/moved"])
def test_rows_come_as_json_or_csv_as_the_answer_says(fetch, site, path):
    assert fetch({"url": site + path}).rows == ROWS


def test_the_format_of_the_source_goes_before_the_answers(fetch, site):
    assert fetch({"url": f"{site}/untyped", "format": "json"}).rows == ROWS
    assert fetch({"url": f"{site}/api", "rows_at": "data"}).rows == [{"id": 1}]
    with pytest.raises(
        PermanentError, match=r"/untyped\): neither its ending nor its type tells the format: set format"
    ):
        fetch({"url": f"{site}/untyped"})
    with pytest.raises(PermanentError, match="is not JSON"):
        fetch({"url": f"{site}/csv", "format": "json"})


def test_the_address_is_given_the_period_and_parameters_and_they_cannot_change_it(fetch, site):
    url = site + "/json?from={start}&to={end_date}&region={region}&none={none}"
    found = fetch({"url": url}, region="a&b=/c?#ü", none=None)
    assert Handler.requests[0][0] == (
        "/json?from=2026-11-08T23%3A00%3A00Z&to=2026-11-16&region=a%26b%3D%2Fc%3F%23%C3%BC&none="
    )
    assert found.dataset.bound == {
        "start": "2026-11-08T23:00:00Z", "end_date": "2026-11-16", "region": "a&b=/c?#ü", "none": "NULL",
    }  # fmt: skip
    with pytest.raises(PermanentError, match=r"\{regoin\} is not known: there are .*; did you mean region"):
        fetch({"url": site + "/json?{regoin}"}, region="eu")


def test_headers_take_secrets_from_the_environment(fetch, site, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "s3cret")
    headers = {"Authorization": "Bearer $SHOP_TOKEN", "X-Shop": "${SHOP_TOKEN}-eu", "Accept": "application/json"}
    fetch({"url": f"{site}/json", "headers": headers})
    sent = Handler.requests[0][1]
    assert (sent["authorization"], sent["x-shop"], sent["accept"]) == ("Bearer s3cret", "s3cret-eu", "application/json")
    assert sent["user-agent"].startswith("report-pipeline/")
    with pytest.raises(PermanentError, match=r"its headers need \$MISSING_TOKEN: set MISSING_TOKEN in the environment"):
        fetch({"url": f"{site}/json", "headers": {"X": "$MISSING_TOKEN"}})
    monkeypatch.setenv("SHOP_TOKEN", "s3cret\nX-Evil: 1")
    with pytest.raises(PermanentError, match="the address or a header cannot be sent") as refused:
        fetch({"url": f"{site}/json", "headers": headers})
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))


def test_errors_show_no_password_and_no_query(fetch, site):
    secret = site.replace("http://", "http://user:s3cret@") + "/not-found?token=s3cret"
    with pytest.raises(PermanentError) as refused:
        fetch({"url": secret})
    sentence = str(refused.value)
    assert sentence.startswith(
        f'source "shipments" ({site}/not-found): answered 404 Not Found: <p>no such report</p>xxx'
    )
    assert "s3cret" not in sentence
    assert len(sentence.partition("Found: ")[2]) == 200


def test_a_refusal_is_permanent(fetch, site):
    with pytest.raises(PermanentError, match="answered 403 Forbidden: the token has expired"):
        fetch({"url": f"{site}/forbidden"})
    with pytest.raises(PermanentError, match="the file is empty"):
        fetch({"url": f"{site}/no-content", "format": "json"})


@pytest.mark.parametrize(
    ("path", "status", "seconds"),
    [
        ("/busy-seconds", "429 Too Many Requests", 120),
        ("/busy-date", "503 Service Unavailable", 120),
        ("/busy-past", "503 Service Unavailable", 0),
        ("/busy-nonsense", "500 Internal Server Error", None),
        ("/timeout", "408 Request Timeout", None),
    ],
)
def test_trouble_may_pass_and_the_servers_wish_is_told(fetch, site, path, status, seconds):
    with pytest.raises(TransientError, match=f"answered {status}$") as failed:
        fetch({"url": site + path})
    assert failed.value.retry_after == seconds


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/cut", "peer closed connection"),
        ("/hangup", "Server disconnected"),
        ("/cut-gzip", "the answer is incomplete"),
        ("/bad-gzip", "the answer is damaged"),
    ],
)
def test_a_broken_answer_may_be_tried_again(fetch, site, path, sentence):
    with pytest.raises(TransientError, match=sentence):
        fetch({"url": site + path})


def test_a_server_that_is_not_there_may_come_back(fetch):
    with pytest.raises(TransientError, match=r"\(http://127\.0\.0\.1:1/x\): .*refused"):
        fetch({"url": "http://127.0.0.1:1/x"})


def test_a_server_that_does_not_answer_is_waited_for_so_long(fetch, site):
    with pytest.raises(TransientError, match=r"no answer within 0\.3 s"):
        fetch({"url": site + "/silent"}, timeout=0.3)


def test_time_is_limited_also_for_an_answer_that_drips(fetch, site, monkeypatch):
    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=count(step=20).__next__))
    with pytest.raises(TransientError, match="was not complete after 60 s, the limit that PIPELINE_SOURCE"):
        fetch({"url": site + "/dripping"}, timeout=60)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/endless", "sends more than 1,000,000 bytes, the limit that PIPELINE_SOURCE_MAX_BYTES sets"),
        ("/bomb", "sends more than 1,000,000 bytes"),
        ("/announced", "announces 5,000,000,000 bytes, more than the 1,000,000 of PIPELINE_SOURCE_MAX_BYTES"),
        ("/brotli", "answered in the encoding br, though only gzip was asked for"),
    ],
)
def test_size_is_limited_also_for_what_a_small_answer_unpacks_to(fetch, site, path, sentence):
    with pytest.raises(PermanentError, match=sentence):
        fetch({"url": site + path}, max_bytes=1_000_000)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/elsewhere", r"redirects to http://localhost:9/json, another host: name that address"),
        ("/downgraded", r"redirects to https://127\.0\.0\.1/json, another host"),
        ("/loop", "redirects more than 5 times"),
    ],
)
def test_redirects_stay_with_the_server(fetch, site, path, sentence):
    with pytest.raises(PermanentError, match=sentence) as refused:
        fetch({"url": site + path})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "https://exa mple.org/"])
def test_an_address_that_is_none_is_refused(fetch, url):
    with pytest.raises((PermanentError, TransientError)):
        fetch({"url": url, "format": "json"})
