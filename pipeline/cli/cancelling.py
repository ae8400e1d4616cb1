"""Cancelling from a terminal: what is said about it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cli import tables
from pipeline.db import transaction
from pipeline.services import answers, cancelling, runs
from pipeline.services.answers import RunSummary, wording
from pipeline.services.audit import Actor


@dataclass(frozen=True)
class Ended:
    """The run after that, and how many of its steps are still at work."""

    run: RunSummary
    at_work: int


def cancel(text: str | None, actor: Actor, reason: str | None) -> Ended:
    """Cancel the run that `text` names. Raises Refused or NotFound with a sentence."""
    with transaction() as session:
        run = cancelling.cancel(session, runs.find(session, text).id, actor, reason)
        session.flush()
        return Ended(answers.summarise(session, [run])[0], cancelling.at_work(session, run.id))


def show_cancelled(found: Ended) -> None:
    """Say whether it has ended, or what it still waits for, and what had gone out."""
    run, out = found.run, tables.console()
    name = f"Run {wording.short(run.id)} of {run.schedule}"
    sent = run.deliveries["accepted"]
    went = f" {wording.counted(sent, 'delivery', 'deliveries')} had gone out." if sent else " Nothing had gone out."
    if run.over:
        out.print(tables.words(f"{name} is {run.status}.{went}"))
        return
    steps = wording.counted(found.at_work, "step")
    out.print(tables.words(f"{name} is being cancelled: {steps} at work will stop within seconds.{went}"))
    out.print(tables.hint(f"Next: `pipeline show {wording.short(run.id)}`"))
