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
    """The run after that, and how many of its steps are still at work; `before`: when somebody was faster, and who."""

    run: RunSummary
    at_work: int
    new: bool
    before: str | None


def cancel(text: str | None, actor: Actor, reason: str | None) -> Ended:
    """Cancel the run that `text` names. Raises Refused or NotFound with a sentence."""
    with transaction() as session:
        run, before = cancelling.cancel(session, runs.find(session, text).id, actor, reason)
        session.flush()
        summary = answers.summarise(session, [run])[0]
        return Ended(summary, cancelling.at_work(session, run.id), before is None, before)


def show_cancelled(found: Ended) -> None:
    """Say whether it has ended, or what it still waits for, and what had gone out."""
    run, out = found.run, tables.console()
    name = f"Run {wording.short(run.id)} of {run.schedule}"
    if found.before:
        out.print(tables.words(f"{name} was ended before, {found.before}. Nothing was changed."))
    went = _went(run.deliveries["accepted"], run.deliveries["sending"] + run.deliveries["uncertain"])
    if run.over:
        out.print(tables.words(f"{name} is {run.status}. {went}"))
        return
    steps = f"{wording.counted(found.at_work, 'step')} at work will stop within seconds"
    rest = steps if found.at_work else "beat takes back what was to be sent, some at a time"
    out.print(tables.words(f"{name} is being cancelled: {rest}. {went}"))
    out.print(tables.hint(f"Next: `pipeline show {wording.short(run.id)}`"))


def _went(sent: int, perhaps: int) -> str:
    """What had gone out; of what is being handed over, or is uncertain, nobody can say that yet."""
    surely = f"{wording.counted(sent, 'delivery', 'deliveries')} had gone out" if sent else "Nothing had gone out"
    if not perhaps:
        return f"{surely}."
    return f"{surely}; {perhaps:,} more may have." if sent else f"{surely} for certain; {perhaps:,} may have."
