"""One run: how it stands, what took how long, what went wrong, its documents and who got them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from pipeline.api import watching
from pipeline.console import changes, timeline
from pipeline.console.filters import lasted, local, tone
from pipeline.console.pages import HEADERS, Page, fragment, page
from pipeline.console.runs import address
from pipeline.console.timeline import Piece, Scale, Timeline
from pipeline.console.visitors import Looking, Visitor
from pipeline.db import clock, reading
from pipeline.models import DeliveryStatus, DocumentStatus, Outcome, Run, RunStatus, StepStatus, WaitingFor
from pipeline.services import answers, rerunning, runs
from pipeline.services.answers import DeliveryFilter
from pipeline.services.answers.detail import AttemptDetail, RunDetail

router = APIRouter(include_in_schema=False, route_class=Page)
Text = Annotated[str, Query(max_length=500)]
Mark = Annotated[str | None, Query(max_length=1000)]
RunText = Annotated[str, Path(max_length=200)]
# Reasons that are told apart, attempts that are told in full, and the end of a traceback that is shown.
STORIES, TOLD, TRACE = 8, 6, 6000
# Rows of the page of attempts: it stays light.
ATTEMPTS = 100
# More steps than these are drawn as one lane for each kind.
SINGLE = 12
EVENTS = 30
# Documents that are shown: two rows of a wide page.
CARDS = 14
WRONG = {Outcome.FAILED, Outcome.RETRY, Outcome.ABANDONED}


@dataclass(frozen=True)
class Possible:
    """What somebody may do with the run as it stands."""

    cancel: bool
    rerun: bool
    resend: int
    answer: bool
    proceed: bool
    resolve: int

    @classmethod
    def of(cls, detail: RunDetail, lost: int, visitor: Visitor) -> Possible:
        """`lost` deliveries have a document, and could not be made."""
        run = detail.run
        over = run.over and run.waiting_for is None
        operates = visitor.may("operate")
        return cls(
            cancel=operates and not over and run.status != RunStatus.CANCELLING,
            rerun=operates and over and bool(detail.steps),
            resend=lost if operates and over and any(step.kind == "deliver" for step in detail.steps) else 0,
            answer=operates and run.waiting_for == WaitingFor.APPROVAL,
            proceed=operates and run.waiting_for == WaitingFor.DATA,
            resolve=run.deliveries[DeliveryStatus.UNCERTAIN] if operates else 0,
        )


@router.get("/runs/{run_id}")
def show(request: Request, visitor: Looking, run_id: RunText) -> Response:
    """Everything about one run on one page; lists that are long begin here and go on elsewhere."""
    with reading() as session:
        run = runs.find(session, run_id)
        if str(run.id) != run_id:
            return RedirectResponse(f"/runs/{run.id}", 303, headers=HEADERS)
        context = seen(session, run, visitor)
        context["deliveries"] = answers.delivery_page(
            session, run, DeliveryFilter(), limit=12, counts=context["run"].deliveries
        )
        context["history"] = answers.audit(session, str(run.id), limit=EVENTS)
    return page(request, "run.html", visitor, zone=context["detail"].run.zone, **context)


@router.get("/runs/{run_id}/live")
def live(request: Request, visitor: Looking, run_id: UUID) -> Response:
    """The part of the page that moves, for the script that keeps it current."""
    with reading() as session:
        run = runs.find(session, str(run_id))
        context = seen(session, run, visitor)
    text = fragment("run_live.html", visitor=visitor, zone=run.zone, **context)
    return HTMLResponse(text, headers=HEADERS)


@router.get("/runs/{run_id}/events")
async def events(
    request: Request,
    visitor: Looking,
    run_id: UUID,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
) -> Response:
    """What tells the script that something has changed: the events of the API, for whoever is logged in."""
    return watching.answer(request, run_id, last)


@router.get("/runs/{run_id}/documents")
def documents(
    request: Request, visitor: Looking, run_id: UUID, status: Text = "", q: Text = "", after: Text = ""
) -> Response:
    """The run's documents with their first pages."""
    chosen = status if status in set(DocumentStatus) else None
    with reading() as session:
        run = runs.find(session, str(run_id))
        found = answers.document_page(
            session, run, status=chosen, text=q.strip() or None, after=after or None, limit=48
        )
        files = files_of(session, run, found.documents)
        detail = answers.summarise(session, [run])[0]
    return page(
        request, "run_documents.html", visitor, zone=run.zone, run=detail, found=found, files=files, chosen=chosen,
        link=lambda **changes: address(request, **{"after": None, **changes}),
    )  # fmt: skip


@router.get("/runs/{run_id}/attempts")
def attempts(request: Request, visitor: Looking, run_id: UUID) -> Response:
    """Every attempt of every step, the newest first."""
    with reading() as session:
        run = runs.find(session, str(run_id))
        detail = answers.show(session, run, stories=1)
    newest = sorted(detail.attempts, key=lambda one: one.started_at, reverse=True)
    return page(
        request,
        "run_attempts.html",
        visitor,
        zone=run.zone,
        run=detail.run,
        attempts=newest[:ATTEMPTS],
        trace=TRACE // 2,
    )


def files_of(
    session: Session, run: Run, found: Sequence[answers.DocumentRow]
) -> dict[UUID, dict[str, answers.DocumentFile]]:
    """The files of the documents on a page, by document and format."""
    by_document: dict[UUID, dict[str, answers.DocumentFile]] = {}
    for file in answers.files(session, run, of=[one.id for one in found]):
        by_document.setdefault(file.document_id, {})[file.format] = file
    return by_document


def seen(session: Session, run: Run, visitor: Visitor) -> dict[str, Any]:
    """What the moving part of the page shows."""
    detail = answers.show(session, run, stories=STORIES)
    now = clock(session)
    shown = worst_documents(session, run, detail.run.documents[DocumentStatus.FAILED])
    counts, many = detail.run.deliveries, Counter(step.status for step in detail.steps)
    worst = next((status for status in answers.WORST_FIRST if counts[status] and status in PROBLEMS), None)
    return {
        "detail": detail,
        "run": detail.run,
        "may": Possible.of(detail, rerunning.lost(session, run) if detail.run.over else 0, visitor),
        "changed": changes.since(session, run) if detail.run.over else [],
        "drawn": picture(detail, now),
        "troubles": troubles(detail.attempts),
        "kinds": list(dict.fromkeys(step.kind for step in detail.steps)),
        "steps": {status: many[status] for status in StepStatus},
        "documents": shown,
        "files": files_of(session, run, shown),
        "worst": worst,
        "events": detail.events[-EVENTS:],
        "now": now,
        "trace": TRACE,
        "took": took(detail, now),
    }


def worst_documents(session: Session, run: Run, failed: int) -> list[answers.DocumentRow]:
    """The first of the run's documents, those that failed before the others."""
    lost = answers.document_page(session, run, status=DocumentStatus.FAILED, limit=CARDS).documents if failed else []
    others = answers.document_page(session, run, limit=CARDS).documents
    return [*lost, *(one for one in others if one.status != DocumentStatus.FAILED)][:CARDS]


PROBLEMS = {DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN, DeliveryStatus.EXPIRED, DeliveryStatus.DEFERRED}


def took(detail: RunDetail, now: datetime) -> timedelta | None:
    """How long it has been at work, or was."""
    run = detail.run
    return None if run.started_at is None else (run.finished_at or now) - run.started_at


def troubles(found: Sequence[AttemptDetail]) -> list[AttemptDetail]:
    """The newest attempt that went wrong of each step, the newest first; those are told in full."""
    newest: dict[str, AttemptDetail] = {}
    for one in found:
        if one.outcome in WRONG:
            newest[one.step] = one
    return sorted(newest.values(), key=lambda one: one.started_at, reverse=True)[:TOLD]


def picture(detail: RunDetail, now: datetime) -> Timeline | None:
    """The steps as bars over time: one for each attempt; None before anything has begun."""
    tries = [one for one in detail.attempts if one.generation == detail.generation] or detail.attempts
    if not tries:
        return None
    kinds = {step.name: step.kind for step in detail.steps}
    by_kind = len(detail.steps) > SINGLE
    order = {(step.kind if by_kind else step.name): number for number, step in enumerate(detail.steps)}
    pieces = [
        Piece(
            lane=kinds.get(one.step, one.step) if by_kind else one.step,
            start=one.started_at,
            end=one.finished_at or (None if one.outcome == Outcome.RUNNING else one.started_at),
            tone=tone(one.outcome),
            words=f"{one.step}, attempt {one.number}: {one.outcome}, {_long(one, now)}",
        )
        for one in tries
    ]
    pieces.sort(key=lambda piece: (order.get(piece.lane, 0), piece.start))
    end = max(now if piece.end is None else piece.end for piece in pieces)
    start = min(piece.start for piece in pieces)
    end = max(end, start + timedelta(seconds=1))
    scale = Scale(start - (end - start) * 0.01, end + (end - start) * 0.01)
    return timeline.draw(pieces, scale, now, local(now, detail.run.zone), _notes(detail, now, by_kind=by_kind))


def _long(one: AttemptDetail, now: datetime) -> str:
    return lasted((one.finished_at or now) - one.started_at)


def _notes(detail: RunDetail, now: datetime, *, by_kind: bool) -> dict[str, str]:
    """What stands at the end of each lane: how long it took, or how many of its steps are done."""
    found: dict[str, str] = {}
    groups: dict[str, list[Any]] = {}
    for step in detail.steps:
        groups.setdefault(step.kind if by_kind else step.name, []).append(step)
    for name, steps in groups.items():
        begun = [step.started_at for step in steps if step.started_at]
        if not begun:
            continue
        ended = [step.finished_at or now for step in steps if step.started_at]
        done = sum(step.status == StepStatus.SUCCEEDED for step in steps)
        many = f"{done}/{len(steps)} · " if len(steps) > 1 else ""
        found[name] = f"{many}{lasted(max(ended) - min(begun))}"
    return found
