"""Stored files over HTTP: whole or in part, for whom they are meant, and never what lies outside the store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time
from sqlalchemy import select

from pipeline.adapters import storage
from pipeline.db import reading
from pipeline.models import Artifact, Audit, Scope
from pipeline.settings import settings
from tests.factories import make_document, make_file, make_run

DATA = bytes(range(256)) * 3000


@pytest.fixture
def run(http):
    """A run with the document of one key."""
    run = make_run()
    stored = storage.store().put(DATA, "document", ".pdf")
    make_file(run, make_document(run, "Zürich/1"), stored.uri, size=stored.size, sha256=stored.sha256)
    return run


def path(run, name="document:Zürich/1.pdf"):
    return f"/api/runs/{run.id}/artifacts/{name}"


def test_what_a_run_has_stored_is_listed_and_downloaded(as_, run):
    http = as_(Scope.READ)
    (one,) = http.get(f"/api/runs/{run.id}/artifacts", params={"key": "Zürich/1"}).json()["artifacts"]
    assert (one["name"], one["kind"], one["pages"], one["size"]) == ("document:Zürich/1.pdf", "document", 3, len(DATA))
    answer = http.get(path(run))
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''shipments-Z%C3%BCrich_1")
    assert answer.headers["Accept-Ranges"] == "bytes"
    head = http.head(path(run))
    assert (head.headers["Content-Length"], head.content) == (str(len(DATA)), b"")
    wrong = http.get(path(run, "document:Zurich.pdf"))
    assert (wrong.status_code, "did you mean document:Zürich/1.pdf?" in wrong.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-100", slice(-100, None)),
        ("bytes=767999-9999999", slice(-1, None)),
        ("bytes=-9999999", slice(None)),
    ],
)
def test_a_part_of_it_is_sent(as_, run, asked, part):
    answer = as_().get(path(run), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[part])
    begin = range(len(DATA))[part]
    assert answer.headers["Content-Range"] == f"bytes {begin[0]}-{begin[-1]}/{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,5-6", "lines=0-1", "bytes=-", "bytes=1", "bytes=٣-"])
def test_what_is_no_range_of_ours_gets_the_whole(as_, run, asked):
    answer = as_().get(path(run), headers={"Range": asked.encode()})
    assert (answer.status_code, len(answer.content)) == (200, len(DATA))


def test_beyond_its_end_there_is_nothing(as_, run):
    http = as_()
    for asked in ("bytes=768000-", "bytes=-0"):
        answer = http.get(path(run), headers={"Range": asked})
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


def test_what_is_had_already_is_not_sent_again(as_, run):
    http = as_()
    tag = http.get(path(run)).headers["ETag"]
    assert http.get(path(run), headers={"If-None-Match": f'"other", W/{tag}'}).status_code == 304
    assert http.get(path(run), headers={"Range": "bytes=0-1", "If-Range": tag}).status_code == 206
    assert http.get(path(run), headers={"Range": "bytes=0-1", "If-Range": '"older"'}).status_code == 200


def test_data_of_everybody_is_for_who_may_operate(as_, http):
    run = make_run()
    stored = storage.store().put(b"PAR1", "dataset", ".parquet")
    make_file(run, make_document(run, "rows"), stored.uri, kind="dataset", size=4, sha256=stored.sha256)
    refused = as_(Scope.READ).get(path(run, "document:rows.parquet"))
    assert (refused.status_code, "everybody's rows" in refused.json()["detail"]) == (403, True)
    assert as_(Scope.OPERATE).get(path(run, "document:rows.parquet")).content == b"PAR1"


def test_a_link_leads_to_the_file_without_a_token_until_it_ends(as_, run):
    http = as_()
    shared = http.post(f"{path(run)}/link", json={"days": 1})
    assert shared.status_code == 201
    url = shared.json()["url"].removeprefix("http://testserver")
    with reading() as session:
        assert session.scalars(select(Audit).where(Audit.action == "share")).one().by == "of scope operate"
    del http.headers["Authorization"]
    assert http.get(url, headers={"Range": "bytes=0-3"}).content == DATA[:4]
    assert http.get(url).headers["Cache-Control"] == "private, no-store"
    assert http.get(url[:9] + ("x" if url[9] != "x" else "y") + url[10:]).status_code == 410
    with freeze_time(datetime.now(UTC) + timedelta(days=2)):
        over = http.get(url)
    assert (over.status_code, "This link ended on" in over.text) == (410, True)
    assert http.get(url.replace("/f/", "/d/")).status_code == 410


def test_a_link_that_was_shared_is_taken_back_and_another_one_made(as_, run):
    http = as_()
    first, second = (http.post(f"{path(run)}/link").json()["url"] for _ in range(2))
    assert first != second
    assert http.post("/api/links/withdraw", json={"url": first, "reason": "to the wrong one"}).json() == {"new": True}
    assert http.post("/api/links/withdraw", json={"url": first}).json() == {"new": False}
    with reading() as session:
        assert (
            session.scalars(select(Audit).where(Audit.action == "withdraw")).one().detail["reason"]
            == "to the wrong one"
        )
    del http.headers["Authorization"]
    gone = http.get(first)
    assert (gone.status_code, "This link was taken back" in gone.text) == (410, True)
    assert http.get(second).content == DATA


@pytest.mark.parametrize("url", ["nonsense", "http://testserver/f/", "http://testserver/u/x", "http://testserver/d/x"])
def test_what_is_no_link_of_ours_cannot_be_taken_back(as_, url):
    answer = as_().post("/api/links/withdraw", json={"url": url})
    assert (answer.status_code, "not one of ours" in answer.json()["detail"]) == (409, True)


def _outside(store: Path, sha256: str) -> dict[str, str]:
    """URIs that lead out of the store, each in its way, to a file beside it."""
    (store.parent / "secret.txt").write_bytes(DATA)
    name = f"{sha256}.pdf"
    (store / "document" / "link").symlink_to(store.parent)
    (store / "linked" / sha256[:2]).mkdir(parents=True)
    (store / "linked" / sha256[:2] / name).symlink_to(store.parent / "secret.txt")
    folder = store.parent / "elsewhere" / sha256[:2]
    folder.mkdir(parents=True)
    (folder / name).write_bytes(DATA)
    (store / "other").symlink_to(store.parent / "elsewhere")
    return {
        "dots": "../secret.txt",
        "hidden dots": f"document/{sha256[:2]}/../../../secret.txt",
        "absolute": str(store.parent / "secret.txt"),
        "a URL": f"file://{store.parent}/secret.txt",
        "a folder that is a link": "document/link/secret.txt",
        "a file that is a link": f"linked/{sha256[:2]}/{name}",
        "a store's folder that is a link": f"other/{sha256[:2]}/{name}",
        "a NUL": f"document/{sha256[:2]}/{sha256}.pdf\0",
    }


def test_nothing_outside_the_store_is_ever_sent(as_, run):
    http = as_()
    with reading() as session:
        stored = session.scalars(select(Artifact)).one()
    storage.store().begin(None)
    store = Path(settings().storage_url)
    for number, (how, uri) in enumerate(_outside(store, stored.sha256).items()):
        other = make_run()
        make_file(other, make_document(other, f"K{number}"), uri, size=len(DATA))
        (one,) = http.get(f"/api/runs/{other.id}/artifacts").json()["artifacts"]
        answer = http.get(path(other, one["name"]))
        assert (answer.status_code, DATA[:100] in answer.content) == (404, False), how
