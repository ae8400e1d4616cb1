"""What keeps an installation going, and how it tells: checks, loaded files, migrations, healed runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from pipeline import log, migrating
from pipeline.cli import tables
from pipeline.db import clock, reading
from pipeline.doctor import Check, Verdict
from pipeline.errors import DefinitionError
from pipeline.models import Run, RunEvent
from pipeline.services.answers import wording
from pipeline.services.loading import Synced
from pipeline.settings import masked, settings

# Schedules that a line names.
NAMED = 50
MARKS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.FAULT: "✗"}


def show_checks(checks: Sequence[Check]) -> None:
    """Print what was found, and under each fault what to do about it; then the sum."""
    from rich.table import Table

    out = tables.console()
    made = Table.grid(padding=(0, 1))
    for _ in range(3):
        made.add_column(overflow="fold")
    for check in checks:
        style = tables.STYLES[check.verdict]
        found = tables.words(check.found)
        if check.advice:
            found.append("\n→ ").append_text(tables.hint(check.advice))
        made.add_row(tables.words(MARKS[check.verdict], style), tables.words(check.name, "bold"), found)
    out.print(made)
    out.print()
    out.print(_sum(checks))


def _sum(checks: Sequence[Check]) -> object:
    faults = sum(check.verdict == Verdict.FAULT for check in checks)
    warnings = sum(check.verdict == Verdict.WARNING for check in checks)
    if faults:
        return tables.words(f"{wording.counted(faults, 'fault')}: reports will not go out until mended.", "red")
    if warnings:
        return tables.words(f"No fault, {wording.counted(warnings, 'warning')}.", "yellow")
    return tables.words("All is well.", "green")


def show_synced(synced: Synced, errors: Mapping[str, DefinitionError]) -> None:
    """Print what loading changed, and every bad file with its error."""
    out, err = tables.console(), tables.console(stderr=True)
    rows = [(what, _few(getattr(synced, what))) for what in ("added", "changed", "retired")]
    if any(keys for _, keys in rows):
        out.print(tables.pairs(rows))
    else:
        out.print("Nothing has changed.")
    for error in errors.values():
        err.print(tables.words(str(error), "red"))
    if synced.warning:
        err.print(tables.hint(synced.warning))


def _few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - NAMED:,} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def migrate() -> None:
    """Migrate, and say whether there was anything to do."""
    log.configure(settings())
    where = masked(settings().database_url)
    if migrating.is_migrated():
        tables.console().print(tables.words(f"{where} is at the newest migration already."))
        return
    migrating.migrate()
    tables.console().print(tables.words(f"{where} is at the newest migration now."))


@dataclass(frozen=True)
class Healed:
    """A run that was healed: what was done to it, in sentences, and whether the broker has its messages."""

    run_id: UUID
    schedule: str
    status: str
    done: list[str]
    published: bool


def reconcile() -> list[Healed]:
    """One pass: heal, each run in a transaction of its own, and publish."""
    from pipeline import healing, tasks

    with reading() as session:
        began = clock(session)
    run_ids = healing.heal()
    with log.silenced():  # a broker that is away is told by us, in a sentence
        published = {run_id: tasks.publish(run_id) for run_id in run_ids}
    with reading() as session:
        runs = session.scalars(select(Run).where(Run.id.in_(run_ids)).order_by(Run.created_at)).all()
        events = select(RunEvent).where(RunEvent.run_id.in_(run_ids), RunEvent.at >= began).order_by(RunEvent.at)
        said: dict[UUID, list[str]] = {}
        for event in session.scalars(events):
            said.setdefault(event.run_id, []).append(event.text)
        return [Healed(run.id, run.schedule_key, run.status, said.get(run.id, []), published[run.id]) for run in runs]


def show_healed(healed: Sequence[Healed]) -> None:
    """Print a line for each run, or that there was nothing to do."""
    out = tables.console()
    if not healed:
        out.print("Nothing to heal.")
    for one in healed:
        messages = (
            "its messages were published again"
            if one.published
            else "nothing is left to publish, or the broker is away"
        )
        said = "; ".join([*one.done, messages])
        out.print(tables.words(f"{wording.short(one.run_id)} {one.schedule}: {said}"))
