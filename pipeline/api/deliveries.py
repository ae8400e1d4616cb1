"""A run's deliveries over HTTP: listed, saved as a table, and settled where a person has to."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from pipeline.adapters.documents.delimited import neutralised
from pipeline.api.identity import Operator, Reader
from pipeline.api.parameters import MOST, After, Limit
from pipeline.api.problems import RESPONSES
from pipeline.db import reading, transaction
from pipeline.models import Delivery, Run
from pipeline.services import answers, links, repeating, runs, settling
from pipeline.services.answers import Deliveries, DeliveryDetail, DeliveryFilter, DeliveryPage, plain

router = APIRouter(prefix="/api/runs", tags=["deliveries"], responses=RESPONSES)
COLUMNS = (
    "key",
    "address",
    "channel",
    "status",
    "sent_at",
    "relay",
    "reply",
    "reason",
    "not_before",
    "message_id",
    "repeat",
    "id",
)
Statuses = Annotated[list[str] | None, Query(description="`failed`, `uncertain` …; several times for more.")]
Keys = Annotated[list[str] | None, Query(alias="key", description="Only of these keys; several times for more.")]
Text = Annotated[str | None, Query(max_length=320, description="A part of an address or a key.")]


@router.get("/{run_id}/deliveries", summary="List a run's deliveries")
def list_deliveries(
    run_id: str,
    caller: Reader,
    status: Statuses = None,
    keys: Keys = None,
    text: Text = None,
    history: Annotated[bool, Query(description="Also all that happened to each.")] = False,
    limit: Limit = 100,
    after: After = None,
) -> DeliveryPage:
    """To whom, how each stands, what the server said last; what somebody has to look at comes first."""
    wanted = DeliveryFilter(status or [], keys or [], text)
    with reading() as session:
        return answers.delivery_page(
            session, runs.find(session, run_id), wanted, limit=limit, after=after, history=history
        )


@router.get(
    "/{run_id}/deliveries.csv",
    summary="A run's deliveries as a table",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def deliveries_as_table(
    run_id: str, caller: Reader, status: Statuses = None, keys: Keys = None, text: Text = None
) -> StreamingResponse:
    """All that fit, however many: they are read, and sent, some hundred at a time."""
    return table(run_id, DeliveryFilter(status or [], keys or [], text))


def table(run_id: str, wanted: DeliveryFilter) -> StreamingResponse:
    """The deliveries that fit as a file to save."""
    with reading() as session:
        run = runs.find(session, run_id)
        # A mistake in the filters is told now: later the answer has begun.
        first = answers.delivery_page(session, run, wanted, limit=MOST)
    name = quote(f"{run.schedule_key}-{run.id}-deliveries.csv", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{name}"}
    return StreamingResponse(_lines(run, wanted, first), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(run: Run, wanted: DeliveryFilter, page: DeliveryPage) -> Iterator[str]:
    yield "\ufeff" + _csv([COLUMNS])  # Excel reads UTF-8 only behind a byte order mark
    while True:
        yield _csv([[_cell(one, name) for name in COLUMNS] for one in page.deliveries])
        if page.next is None:
            return
        with reading() as session:
            page = answers.delivery_page(session, run, wanted, limit=MOST, after=page.next)


def _csv(rows: object) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)  # type: ignore[arg-type]  # rows of cells
    return out.getvalue()


def _cell(one: DeliveryDetail, name: str) -> object:
    value = plain.as_json(getattr(one, name))
    return neutralised(value) if isinstance(value, str) else value


class Resolution(BaseModel):
    """What became of deliveries of which nobody could say whether they went out."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"sent": True, "addresses": ["ops@ua.example"]}]}
    )

    sent: bool = Field(description="true: they went out, the relay's log says so. false: send them, the same message.")
    addresses: list[str] = Field([], max_length=10_000, description="Only those to these; default: all.")


@router.post("/{run_id}/deliveries/resolve", summary="Settle uncertain deliveries")
def resolve(run_id: str, resolution: Resolution, caller: Operator) -> Deliveries:
    """The deliveries that were settled, as they stand now."""
    return _act(
        run_id,
        lambda session, run: settling.resolve(session, caller.actor, run, resolution.addresses, sent=resolution.sent),
    )


class Resending(BaseModel):
    """Stored documents that somebody is to get once more."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"keys": ["UA"], "to": "boss@ua.example", "reason": "by phone"}]},
    )

    keys: list[str] = Field(min_length=1, max_length=1000, description="The keys of the documents.")
    to: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="To this address, or webhook of the run; default: as the first time.",
    )
    reason: str | None = Field(None, max_length=1000)


@router.post("/{run_id}/deliveries/resend", summary="Send stored documents once more", status_code=202)
def resend(run_id: str, resending: Resending, caller: Operator) -> Deliveries:
    """Also long after the run, each as a delivery of its own linked to the first; not while one is under way."""
    said = resending
    return _act(
        run_id,
        lambda session, run: repeating.resend(session, caller.actor, run, said.keys, to=said.to, reason=said.reason),
    )


class Withdrawing(BaseModel):
    """Messages whose links are to lead nowhere."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"addresses": ["ops@ua.example"]}]})

    addresses: list[str] = Field([], max_length=10_000, description="Only in those to these; default: all.")
    reason: str | None = Field(None, max_length=1000)


class Withdrawn(BaseModel):
    """In how many messages that is new."""

    withdrawn: int


@router.post("/{run_id}/deliveries/withdraw", summary="Take back the links in a run's messages")
def withdraw(run_id: str, caller: Operator, withdrawing: Withdrawing | None = None) -> Withdrawn:
    """Also in those that are still to go out; what was attached stays with whoever has it."""
    said = withdrawing or Withdrawing()
    with transaction() as session:
        run = runs.find(session, run_id)
        return Withdrawn(withdrawn=links.withdraw_messages(session, caller.actor, run, said.addresses, said.reason))


class Skipping(BaseModel):
    """Somebody who is to get nothing more of a run."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"address": "ops@ua.example"}]})

    address: str = Field(min_length=1, max_length=320)
    reason: str | None = Field(None, max_length=1000)


@router.post("/{run_id}/deliveries/skip", summary="Send an address nothing more of a run")
def skip(run_id: str, skipping: Skipping, caller: Operator) -> Deliveries:
    """As long as the run is under way; what is out already stays out."""
    return _act(
        run_id,
        lambda session, run: settling.skip(session, caller.actor, run, skipping.address, skipping.reason),
    )


def _act(run_id: str, act: Callable[[Session, Run], list[Delivery]]) -> Deliveries:
    with transaction() as session:
        run = settling.lock(session, runs.find(session, run_id))
        touched: set[UUID] = {row.id for row in act(session, run)}
        session.flush()
        return answers.deliveries(session, run, only=touched)
