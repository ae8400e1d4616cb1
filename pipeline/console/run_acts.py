"""What people do with a run: cancel, rerun, resend, approve, reject, let it go on, settle what is uncertain."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Request, Response

from pipeline import tasks
from pipeline.console.pages import Page, said
from pipeline.console.visitors import Operating
from pipeline.db import transaction
from pipeline.errors import Refused
from pipeline.models import RunStatus
from pipeline.services import approvals, cancelling, rerunning, runs, settling
from pipeline.services import waiting as waits
from pipeline.services.answers import wording

router = APIRouter(include_in_schema=False, route_class=Page)


def back_to_the_run(request: Request, run_id: UUID) -> UUID:
    """What cannot be is said on the page of the run."""
    request.state.back = f"/runs/{run_id}"
    return run_id


RunId = Annotated[UUID, Depends(back_to_the_run)]


@router.post("/runs/{run_id}/cancel")
def cancel(request: Request, run_id: RunId, act: Operating) -> Response:
    """End it: at once, or as soon as what is at work has stopped."""
    with transaction() as session:
        run, before = cancelling.cancel(session, run_id, act.actor, act.form["reason"] or None)
        status = run.status
    if before:
        return said(request, f"/runs/{run_id}", f"It was ended before, {before}. Nothing was changed.")
    over = "It is cancelled." if status != RunStatus.CANCELLING else "It is being cancelled: what is at work stops now."
    return said(request, f"/runs/{run_id}", over)


@router.post("/runs/{run_id}/rerun")
def rerun(request: Request, run_id: RunId, act: Operating, later: BackgroundTasks) -> Response:
    """Do again what failed, or what the form says; the generation that was seen makes the same click twice one."""
    what = act.form["what"]
    seen = act.form["generation"]
    if what not in {"failed", "all", "from", "deliveries"}:
        raise Refused("say what is to be done again: what failed, everything, or from which step on")
    wish = rerunning.Wish(
        begin=act.form["begin"] if what == "from" else None,
        everything=what == "all",
        newest=bool(act.form["newest"]),
        failed_deliveries=what == "deliveries",
        reason=act.form["reason"] or None,
        generation=int(seen) if seen.isdecimal() else None,
    )
    with transaction() as session:
        run, new = rerunning.rerun(session, run_id, act.actor, wish)
        generation = run.generation
    # Once people have their answer: a broker that is away delays nobody.
    later.add_task(tasks.publish, run_id)
    text = (
        f"It runs again, as generation {generation}." if new else f"It runs again already, as generation {generation}."
    )
    return said(request, f"/runs/{run_id}", text)


@router.post("/runs/{run_id}/approve")
def approve(request: Request, run_id: RunId, act: Operating, later: BackgroundTasks) -> Response:
    """Let it send what it has made."""
    with transaction() as session:
        _, called = approvals.approve(session, act.actor, run_id, act.form["note"] or None)
    if called:
        later.add_task(tasks.publish, called)
    return said(request, f"/runs/{run_id}", "Approved: it is being sent.")


@router.post("/runs/{run_id}/reject")
def reject(request: Request, run_id: RunId, act: Operating) -> Response:
    """End it without sending anything."""
    with transaction() as session:
        approvals.reject(session, act.actor, run_id, act.form["note"] or None)
    return said(request, f"/runs/{run_id}", "Rejected: nothing of it was sent.")


@router.post("/runs/{run_id}/proceed")
def proceed(request: Request, run_id: RunId, act: Operating, later: BackgroundTasks) -> Response:
    """Let it go on without the data that it waits for."""
    with transaction() as session:
        called = waits.release(session, runs.find(session, str(run_id)), act.actor)
    if called:
        later.add_task(tasks.publish, called)
    return said(request, f"/runs/{run_id}", "It goes on with the data that is there.")


@router.post("/runs/{run_id}/resolve")
def resolve(request: Request, run_id: RunId, act: Operating) -> Response:
    """Settle what is uncertain: all of it, or what one address was to get."""
    sent = {"yes": True, "no": False}.get(act.form["sent"])
    if sent is None:
        raise Refused("say whether it went out")
    addresses = [one for one in act.form.many("address") if one]
    with transaction() as session:
        run = settling.lock(session, runs.find(session, str(run_id)))
        count = len(settling.resolve(session, act.actor, run, addresses, sent=sent))
    what = wording.counted(count, "delivery counts", "deliveries count")
    again = wording.counted(count, "delivery is", "deliveries are")
    return said(request, f"/runs/{run_id}", f"{what} as handed over." if sent else f"{again} sent again.")
