"""What runs have stored, over HTTP: listed, downloaded, and shared by links that end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pipeline.adapters.secret_keys import secret_keys
from pipeline.api.downloads import download
from pipeline.api.identity import Caller, Operator, Reader
from pipeline.api.parameters import After, Limit
from pipeline.api.problems import RESPONSES
from pipeline.api.urls import absolute
from pipeline.db import clock, reading, transaction
from pipeline.models import Scope, new_id
from pipeline.services import answers, audit, links, runs
from pipeline.services.answers import ArtifactPage
from pipeline.settings import settings

router = APIRouter(prefix="/api/runs", tags=["artifacts"], responses=RESPONSES)
# What documents are made of, of everybody at once: for who may operate.
INSIDE = frozenset({"dataset", "batch", "bundle"})
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"application/octet-stream": {"schema": {"type": "string"}}}},
    206: {"description": "The part of it that was asked for (`Range: bytes=0-1023`)"},
    304: {"description": "What `If-None-Match` names is what there is"},
    416: {"description": "There is nothing in that range"},
}


@router.get("/{run_id}/artifacts", summary="List what a run has stored")
def list_artifacts(
    run_id: str,
    caller: Reader,
    kind: Annotated[str | None, Query(max_length=100, description="Such as `document`.")] = None,
    key: Annotated[str | None, Query(max_length=1000, description="Only the documents of this key.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> ArtifactPage:
    """Documents, files that steps have put, and the data that they were made of."""
    with reading() as session:
        return answers.artifact_page(session, runs.find(session, run_id), kind=kind, key=key, limit=limit, after=after)


@router.head("/{run_id}/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/{run_id}/artifacts/{name:path}", summary="Download what a run has stored", response_class=Response, responses=FILE
)
def download_artifact(run_id: str, name: str, caller: Reader, request: Request) -> Response:
    """Whole, or a range of it. Datasets, batches and bundles want the scope operate."""
    with reading() as session:
        run = runs.find(session, run_id)
        found = answers.artifact(session, run, name)
        _refuse_inside(found.kind, caller)
        file = links.stored_file(session, run, found.name)
    return download(request, file)


def _refuse_inside(kind: str, caller: Caller) -> None:
    if kind in INSIDE and not caller.may(Scope.OPERATE):
        raise HTTPException(403, f"what is of kind {kind} holds everybody's rows: it needs a token of scope operate")


class Sharing(BaseModel):
    """For how long a link leads to a file."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"days": 7}]})

    days: float = Field(7, gt=0, le=90)


class Shared(BaseModel):
    """A link that whoever has it may follow, until it ends."""

    id: UUID
    url: str
    expires_at: datetime


@router.post("/{run_id}/artifacts/{name:path}/link", summary="A link to a file that ends", status_code=201)
def share(run_id: str, name: str, caller: Operator, request: Request, sharing: Sharing | None = None) -> Shared:
    """Whoever has it can download the file without a token, until then. `POST /api/links/withdraw` takes it back."""
    days = (sharing or Sharing()).days
    with transaction() as session:
        run = runs.find(session, run_id)
        found = answers.artifact(session, run, name)
        expires_at = (clock(session) + timedelta(days=days)).replace(microsecond=0)
        link_id = new_id()
        token = links.file_token(secret_keys(settings()), run.id, found.id, link_id, expires_at)
        audit.record(
            session, caller.actor, "share", "run", run.id, schedule=run.schedule_key,
            artifact=str(found.id), link=str(link_id), until=expires_at.isoformat(),
        )  # fmt: skip
    return Shared(id=link_id, url=absolute(request, f"/f/{token}"), expires_at=expires_at)
