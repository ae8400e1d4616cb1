"""Approving and rejecting from a terminal: what is said about it."""

from __future__ import annotations

import typer

from pipeline import log
from pipeline.db import reading, transaction
from pipeline.models import DeliveryStatus, Run
from pipeline.services import answers, approvals, runs
from pipeline.services.answers import RunSummary, wording
from pipeline.services.audit import Actor


def approve(text: str | None, actor: Actor, note: str | None) -> RunSummary:
    """Let the run that `text` names go on. Raises Refused or NotFound with a sentence."""
    from pipeline import tasks

    with transaction() as session:
        run, called = approvals.approve(session, actor, runs.find(session, text).id, note)
    if called:
        with log.silenced():  # a broker that is away costs time, and reconcile knows of it
            tasks.publish(called)
    with reading() as session:
        return answers.summarise(session, [session.get_one(Run, run.id)])[0]


def reject(text: str | None, actor: Actor, note: str | None) -> RunSummary:
    """End the run that `text` names. Raises Refused or NotFound with a sentence."""
    with transaction() as session:
        run = approvals.reject(session, actor, runs.find(session, text).id, note)
        session.flush()
        return answers.summarise(session, [run])[0]


def show_approved(run: RunSummary) -> None:
    """Say that it is being sent."""
    name = wording.short(run.id)
    count = wording.counted(run.deliveries_wanted - run.deliveries[DeliveryStatus.FAILED], "delivery", "deliveries")
    typer.echo(f"Run {name} of {run.schedule} is approved: {run.title}, {run.period['title']}; {count} to make.")
    typer.echo(f"Next: `pipeline show {name}` shows how far it is.")


def show_rejected(run: RunSummary) -> None:
    """Say that nothing is sent."""
    typer.echo(f"Run {wording.short(run.id)} of {run.schedule} is {run.status}: nothing of it is sent.")
