"""Stored bytes as rows: a run knows them by name, and what no run knows can be found."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from pipeline.db import reading, transaction
from pipeline.models import Artifact, new_id
from pipeline.services import artifacts, documents
from pipeline.services.artifacts import StoredFile
from tests.factories import MONDAY, make_document, make_run


@pytest.fixture
def run(time):
    return make_run()


def stored(name, sha256="a" * 64, **values):
    return StoredFile(name, sha256, 12, f"file:///store/{sha256}.pdf", "document", "application/pdf", **values)


def record(run, *files, now=MONDAY):
    with transaction() as session:
        artifacts.record(session, run.id, files, now)


def uri(run, name):
    with reading() as session:
        return artifacts.uri(session, run.id, name)


def count():
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Artifact))


def test_a_run_knows_its_files_by_name(run):
    record(run, stored("bundle"), stored("dataset:rows", "b" * 64))

    assert uri(run, "bundle") == f"file:///store/{'a' * 64}.pdf"
    assert uri(run, "dataset:rows") == f"file:///store/{'b' * 64}.pdf"
    assert uri(run, "dataset:other") is None


def test_the_same_bytes_are_one_artifact_under_many_names_and_in_many_runs(run):
    record(run, stored("a"), stored("b"))
    record(make_run(), stored("a"))

    assert count() == 1


def test_a_step_tried_again_points_the_name_to_the_newest_bytes(run):
    record(run, stored("dataset:rows"))
    record(run, stored("dataset:rows", "b" * 64))

    assert uri(run, "dataset:rows") == f"file:///store/{'b' * 64}.pdf"


def test_nothing_is_recorded_for_no_files(run):
    record(run)
    assert count() == 0


def test_documents_have_a_file_a_format(run):
    acme, globex = make_document(run, "ACME"), make_document(run, "Globex")
    record(
        run,
        stored("document:ACME.pdf", document_id=acme.id, format="pdf"),
        stored("document:ACME.xlsx", "b" * 64, document_id=acme.id, format="xlsx"),
        stored("document:Globex.pdf", document_id=globex.id, format="pdf"),
    )

    with reading() as session:
        found = artifacts.of_documents(session, [acme.id, globex.id])
    assert {kind: file.sha256[0] for kind, file in found[acme.id].items()} == {"pdf": "a", "xlsx": "b"}
    assert list(found[globex.id]) == ["pdf"]


@pytest.mark.postgresql
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_share_of_combined_messages_may_carry_more_documents_than_a_statement_takes_values(run):
    acme = make_document(run, "ACME")
    record(run, stored("document:ACME.pdf", document_id=acme.id, format="pdf"))

    many = [acme.id, *(new_id() for _ in range(70_000))]
    with reading() as session:
        assert list(documents.by_id(session, many)) == list(artifacts.of_documents(session, many)) == [acme.id]


def test_what_no_run_knows_is_found_when_it_is_old_enough(run):
    record(run, stored("dataset:rows"))
    record(run, stored("dataset:rows", "b" * 64))

    with transaction() as session:
        assert artifacts.unreferred(session, MONDAY, 10) == []
        (orphan,) = artifacts.unreferred(session, MONDAY + timedelta(seconds=1), 10)
        assert orphan.sha256 == "a" * 64
        assert artifacts.forget(session, [orphan.id]) == 1
    assert count() == 1


def test_bytes_that_are_stored_again_are_young_again(run):
    record(run, stored("dataset:rows"))
    record(run, stored("dataset:rows", "b" * 64))
    record(make_run(), stored("other"), now=MONDAY + timedelta(days=9))
    record(run, stored("dataset:rows", "b" * 64), now=MONDAY + timedelta(days=9))

    with reading() as session:
        assert set(session.scalars(select(Artifact.created_at))) == {MONDAY + timedelta(days=9)}
