"""A link in a message leads to one file, for a while."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from pipeline.db import reading
from pipeline.errors import NotFound, Refused
from pipeline.services import links, optouts
from tests.factories import make_delivery, make_document, make_file, make_run

pytestmark = pytest.mark.usefixtures("sqlite_database")
KEYS = [b"k" * 32]
LATER = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture
def story():
    run = make_run()
    document = make_document(run, "ACME")
    make_file(run, document, "document/00.pdf", sha256="ab" * 32)
    return run, document, make_delivery(run, document_id=document.id)


def opened(token):
    with reading() as session:
        return links.shared_file(session, KEYS, token)


def test_it_names_the_file_as_an_attachment_would_be_named(story):
    _, document, delivery = story
    file = opened(links.document_token(KEYS, delivery.id, document.id, "pdf", LATER))
    assert (file.name, file.media_type) == ("shipments-ACME-2026-W46.pdf", "application/pdf")
    assert (file.size, file.sha256, file.uri) == (12_345, "ab" * 32, "document/00.pdf")


def test_it_ends(story):
    _, document, delivery = story
    with pytest.raises(Refused, match="this link ended on 2020-01-01"):
        opened(links.document_token(KEYS, delivery.id, document.id, "pdf", datetime(2020, 1, 1, tzinfo=UTC)))


def test_what_is_not_kept_any_more_is_said_to_be_gone(story):
    _, document, delivery = story
    for ids in ((delivery.id, uuid4(), "pdf"), (uuid4(), document.id, "pdf"), (delivery.id, document.id, "xlsx")):
        with pytest.raises(NotFound, match="this document is not kept any more"):
            opened(links.document_token(KEYS, *ids, LATER))


def test_a_link_to_unsubscribe_opens_no_document(story):
    with pytest.raises(Refused, match="not one of ours"):
        opened(optouts.unsubscribe_token(KEYS, story[2].id))
