"""The documents of a run as files, and small pictures of their first pages."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Request, Response

from pipeline.adapters import storage
from pipeline.adapters.documents.pictures import first_page
from pipeline.api.downloads import download
from pipeline.console.pages import HEADERS, Page
from pipeline.console.visitors import Looking
from pipeline.db import reading
from pipeline.errors import NotFound
from pipeline.models import Document, Run
from pipeline.services import artifacts
from pipeline.services import documents as rows
from pipeline.services.links import SharedFile

router = APIRouter(include_in_schema=False, route_class=Page)
# A picture is drawn of files up to this size; they are read whole.
DRAWN = 20_000_000
# What browsers show in place. HTML is a document, too, but in a box of its own that may do nothing.
SHOWN = {
    "pdf": "frame-ancestors 'none'",  # what forbids everything forbids the browser's own viewer, too
    "html": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
}


@router.get("/runs/{run_id}/documents/{document_id}/page.png")
def picture(_: Looking, run_id: UUID, document_id: UUID) -> Response:
    """The first page, small; it changes only with its address."""
    file = _file(run_id, document_id, "pdf")
    if file.size > DRAWN:
        raise NotFound(f"{file.name} is too large to be drawn")
    headers = {**HEADERS, "Cache-Control": "private, max-age=31536000, immutable"}
    return Response(_drawn(file.uri), media_type="image/png", headers=headers)


@router.get("/runs/{run_id}/documents/{document_id}/{kind}")
def document(request: Request, _: Looking, run_id: UUID, document_id: UUID, kind: str) -> Response:
    """The document: shown in place where a browser can, else to be saved."""
    file = _file(run_id, document_id, kind)
    answer = download(request, file)
    if kind in SHOWN:
        answer.headers["Content-Disposition"] = f"inline; filename*=utf-8''{quote(file.name, safe='')}"
        answer.headers["Content-Security-Policy"] = SHOWN[kind]
    return answer


def _file(run_id: UUID, document_id: UUID, kind: str) -> SharedFile:
    """The document in one format. Raises NotFound for what is none, or is not kept any more."""
    with reading() as session:
        found = session.get(Document, document_id)
        file = artifacts.of_documents(session, [document_id]).get(document_id, {}).get(kind)
        if found is None or found.run_id != run_id or file is None:
            raise NotFound("there is no such document, or it is not kept any more")
        name = rows.file_name(session.get_one(Run, run_id), found.key, kind)
        return SharedFile(name, file.media_type, file.size, file.sha256, file.uri)


@lru_cache(maxsize=128)
def _drawn(uri: str) -> bytes:
    """The place contains the sha256: another document has another."""
    try:
        return first_page(storage.store().read(uri))
    except ValueError as error:
        raise NotFound(str(error)) from None
