"""A run's deliveries: listed, saved as a table, and one by one with all that happened to it and what can be done."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from pipeline.api.deliveries import table
from pipeline.console.pages import HEADERS, Page, page, said
from pipeline.console.run_acts import RunId
from pipeline.console.runs import address
from pipeline.console.visitors import Looking, Operating
from pipeline.db import reading, transaction
from pipeline.errors import NotFound
from pipeline.models import OPEN_DELIVERY, Channel, DeliveryStatus
from pipeline.services import answers, links, repeating, runs, settling
from pipeline.services.answers import DeliveryFilter

router = APIRouter(include_in_schema=False, route_class=Page)
Text = Annotated[str, Query(max_length=500)]
Mark = Annotated[str | None, Query(max_length=1000)]


@router.get("/runs/{run_id}/deliveries")
def deliveries(
    request: Request, visitor: Looking, run_id: UUID, status: Text = "", q: Text = "", after: Mark = None
) -> Response:
    """The run's deliveries, by status and by address or key."""
    chosen, wanted = _filter(status, q)
    with reading() as session:
        run = runs.find(session, str(run_id))
        detail = answers.summarise(session, [run])[0]
        found = answers.delivery_page(session, run, wanted, after=after, counts=detail.deliveries)
    return page(
        request, "run_deliveries.html", visitor, zone=run.zone, run=detail, found=found, chosen=chosen,
        link=lambda **changes: address(request, **{"after": None, **changes}),
    )  # fmt: skip


@router.get("/runs/{run_id}/deliveries.csv")
def as_table(visitor: Looking, run_id: UUID, status: Text = "", q: Text = "") -> Response:
    """Those that the list would show, all pages of it, for a spreadsheet."""
    answer = table(str(run_id), _filter(status, q)[1])
    answer.headers.update(HEADERS)
    return answer


def _filter(status: str, text: str) -> tuple[str | None, DeliveryFilter]:
    chosen = status if status in set(DeliveryStatus) else None
    return chosen, DeliveryFilter((chosen,) if chosen else (), text=text.strip() or None)


@router.get("/runs/{run_id}/deliveries/{delivery_id}")
def one_delivery(request: Request, visitor: Looking, run_id: UUID, delivery_id: UUID) -> Response:
    """Whether they got it, and how often it was tried; sent once more from here."""
    with reading() as session:
        run = runs.find(session, str(run_id))
        found = answers.deliveries(session, run, only=[delivery_id], history=True).deliveries
        detail = answers.summarise(session, [run])[0]
        withdrawn = links.are_withdrawn(session, delivery_id)
    if not found:
        raise NotFound("this run has no such delivery")
    (one,) = found
    operates = visitor.may("operate")
    settled = one.status not in OPEN_DELIVERY and one.status != DeliveryStatus.UNCERTAIN
    return page(
        request, "delivery.html", visitor, zone=run.zone, run=detail, one=one,
        may_resend=operates and settled and one.channel in {Channel.EMAIL, Channel.WEBHOOK},
        may_skip=operates and one.status in OPEN_DELIVERY,
        withdrawn=withdrawn, may_withdraw=operates and one.sent_at and one.channel == Channel.EMAIL and not withdrawn,
        may_resolve=operates and one.status == DeliveryStatus.UNCERTAIN,
    )  # fmt: skip


@router.post("/runs/{run_id}/resend")
def resend(request: Request, run_id: RunId, act: Operating) -> Response:
    """A stored document once more, to the same address or another."""
    key, to = act.form["key"], act.form["to"] or None
    request.state.back = _back(run_id, act.form["delivery"])
    with transaction() as session:
        run = settling.lock(session, runs.find(session, str(run_id)))
        (made,) = repeating.resend(session, act.actor, run, [key], to=to, reason=act.form["reason"] or None)
        made_id, whom = made.id, made.address
    return said(request, _back(run_id, str(made_id)), f"It is sent to {whom} once more, as a delivery of its own.")


@router.post("/runs/{run_id}/skip")
def skip(request: Request, run_id: RunId, act: Operating) -> Response:
    """Nothing more of this run for an address."""
    whom = act.form["address"]
    request.state.back = back = _back(run_id, act.form["delivery"])
    with transaction() as session:
        run = settling.lock(session, runs.find(session, str(run_id)))
        settling.skip(session, act.actor, run, whom, act.form["reason"] or None)
    return said(request, back, f"Nothing more of this run is sent to {whom}.")


@router.post("/runs/{run_id}/withdraw")
def withdraw(request: Request, run_id: RunId, act: Operating) -> Response:
    """The links in the message lead nowhere any more."""
    whom = act.form["address"]
    request.state.back = back = _back(run_id, act.form["delivery"])
    with transaction() as session:
        run = runs.find(session, str(run_id))
        links.withdraw_messages(session, act.actor, run, [whom], act.form["reason"] or None)
    return said(request, back, f"The links in what this run sent to {whom} lead nowhere any more.")


def _back(run_id: UUID, delivery: str) -> str:
    try:
        return f"/runs/{run_id}/deliveries/{UUID(delivery)}"
    except ValueError:
        return f"/runs/{run_id}/deliveries"
