"""What `pipeline purge` would delete, and deletes; how totals look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import typer

from pipeline.cli import filing, tables
from pipeline.db import clock, reading, transaction
from pipeline.mistakes import listed
from pipeline.services import artifacts, audit, retention
from pipeline.services.answers import MonthTotal, wording
from pipeline.services.audit import Actor
from pipeline.settings import settings


@dataclass(frozen=True)
class Part:
    """Runs that go by one rule: of a schedule, or of all that have none of their own (`schedule` is None)."""

    schedule: str | None
    why: str
    runs: int
    oldest: datetime | None
    newest: datetime | None


@dataclass(frozen=True)
class Purge:
    """What goes, or went: runs, and files that no run knows already; of what went, how many rows, by table.

    `unsettled`, by schedule: runs that stay, as a person has to say what became of their deliveries; the oldest first.
    """

    done: bool
    at: datetime
    runs: list[Part]
    files: int
    bytes: int
    unsettled: dict[str, Sequence[UUID]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def is_anything(self) -> bool:
        return bool(self.files) or any(part.runs for part in self.runs)


def look() -> Purge:
    """What would go now."""
    with reading() as session:
        at = clock(session)
        rules = retention.rules(session, at, settings().keep_days)
        parts = [Part(rule.schedule, _why(rule), *retention.expired_count(session, rule)) for rule in rules]
        stay = {str(rule.schedule): found for rule in rules if (found := retention.unsettled(session, rule))}
        files, size = artifacts.unreferred_size(session, at - artifacts.A_DAY)
    runs = [part for part in parts if part.runs]
    return Purge(done=False, at=at, runs=runs, files=files, bytes=size, unsettled=stay)


def _why(rule: retention.Rule) -> str:
    age = f"older than {wording.counted(rule.days, 'day')}"
    return f"{age}, or beyond the newest {rule.after_number}" if rule.after_number else age


def purge(found: Purge, actor: Actor) -> Purge:
    """Delete it, as the workflow does; who asked for that is on record before the first row goes."""
    from pipeline.workflows import retention as workflow

    with transaction() as session:
        for part in found.runs:
            of = part.schedule or "all others"
            said = {"runs": part.runs, "because": part.why}
            audit.record(session, actor, "purge", "schedule", of, schedule=part.schedule, at=found.at, **said)
        if found.files:
            audit.record(session, actor, "purge", "files", "that no run knows", at=found.at, files=found.files)
    rows = workflow.delete_runs(found.at, settings().keep_days, _go_on)
    stored = workflow.delete_artifacts(found.at, _go_on)
    workflow.delete_files(found.at, settings().keep_days, _go_on)
    return replace(found, done=True, rows=dict(rows), files=stored["artifacts"], bytes=stored["bytes"])


def _go_on() -> None:
    """Nobody takes this over; Ctrl-C ends it between two transactions."""


def confirmed() -> bool:
    """Ask; whoever pipes has to say --yes."""
    return typer.confirm("This cannot be undone. Delete it?", default=False, err=True)


def show(found: Purge) -> None:
    """Say what would go."""
    out, zone = tables.console(), settings().timezone
    for schedule, ids in found.unsettled.items():
        runs = listed(wording.shortest(ids).values())
        out.print(tables.words(f"Of {schedule} there stay, until `pipeline resolve RUN` says what was sent: {runs}."))
    if not found.is_anything:
        out.print("Nothing is older, or more, than is to be kept.")
        return
    made = tables.table("schedule", "runs", "due from", "to", "because they are", right=("runs",), whole=("runs",))
    for one in found.runs:
        span = [wording.day(at, zone) if at else "" for at in (one.oldest, one.newest)]
        made.add_row(tables.words(one.schedule or "all others", "bold"), f"{one.runs:,}", *span, tables.words(one.why))
    if found.runs:
        out.print(made)
    if found.files:
        files = wording.counted(found.files, "file")
        out.print(tables.words(f"{files} that no run knows: {filing.size(found.bytes)}."))
    out.print(tables.words("Slots and totals stay: `pipeline slots NAME`, `pipeline totals`.", "dim"))


def show_done(found: Purge) -> None:
    """Say what went."""
    said = wording.counts(found.rows) or "no rows"
    files = f"; {wording.counted(found.files, 'file')}, {filing.size(found.bytes)}" if found.files else ""
    tables.console().print(tables.words(f"Deleted: {said}{files}."))


def show_totals(found: Sequence[MonthTotal], name: str | None) -> None:
    """A line for each schedule and month, the newest first."""
    out = tables.console()
    if not found:
        out.print(tables.hint(f"No run yet{f' of {name}' if name else ''}: `pipeline runs` lists what there is"))
        return
    numbers = ("runs", "failed", "documents", "accepted", "of")
    made = tables.table("month", "schedule", *numbers, right=numbers, whole=("month", *numbers))
    for one in found:
        runs, sent = sum(one.runs.values()), sum(one.deliveries.values())
        failed = one.runs.get("failed", 0) + one.runs.get("partial", 0)
        documents, accepted = one.documents.get("rendered", 0), one.deliveries.get("accepted", 0)
        bad = tables.words(f"{failed:,}", "red" if failed else "dim")
        numbers_of = (f"{documents:,}", f"{accepted:,}", f"{sent:,}")
        made.add_row(tables.words(one.month), tables.words(one.schedule, "bold"), f"{runs:,}", bad, *numbers_of)
    out.print(made)
    out.print(tables.words("By the month, in UTC, that runs were due in. --json says all of each status.", "dim"))
