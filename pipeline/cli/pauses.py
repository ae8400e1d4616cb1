"""Pausing and resuming from a terminal: what is said about it."""

from __future__ import annotations

from pipeline.cli import instants, tables
from pipeline.db import transaction
from pipeline.services import answers, pausing
from pipeline.services.answers import wording
from pipeline.services.audit import Actor
from pipeline.services.pausing import Paused, Resumed


def pause(schedule: str, actor: Actor, *, note: str | None, until: str | None) -> Paused:
    """Pause it. Raises Refused or NotFound with a sentence."""
    with transaction() as session:
        zone = answers.zone(session, schedule)
        end = None if until is None else instants.read("--until", until, zone, ahead=True)
        return pausing.pause(session, schedule, actor, note=note, until=end)


def show_paused(found: Paused) -> None:
    """Say until when, and what ends it."""
    end = f"until {wording.moment(found.paused_until, found.zone)}" if found.paused_until else "until it is resumed"
    out = tables.console()
    if found.before:
        out.print(tables.words(f"It was {found.before}. {'That is replaced' if found.new else 'Nothing was changed'}."))
    out.print(tables.words(f"{found.schedule} is paused {end}. What is due meanwhile does not fire, and is recorded."))
    out.print(tables.hint(f"Next: `pipeline resume {found.schedule}`, or with --catch-up"))


def resume(schedule: str, actor: Actor, *, catch_up: bool) -> Resumed:
    """Resume it. Raises Refused or NotFound with a sentence."""
    with transaction() as session:
        return pausing.resume(session, schedule, actor, catch_up=catch_up)


def show_resumed(found: Resumed) -> None:
    """Say when it fires next, and what became of the slots of the pause."""
    out = tables.console()
    next_due = f"next: {wording.moment(found.next_due_at, found.zone)}" if found.next_due_at else "it is not due again"
    out.print(tables.words(f"{found.schedule} fires again; {next_due}."))
    if not found.missed:
        return
    missed = f"{wording.counted(found.missed, 'slot was', 'slots were')} due while it was paused"
    if found.made_up:
        counts = wording.listed(f"{count:,} {decision}" for decision, count in sorted(found.made_up.items()))
        out.print(tables.hint(f"{missed}: {counts}. `pipeline slots {found.schedule}` says why."))
    else:
        since = f"{found.paused_at:%F}"
        out.print(
            tables.hint(f"{missed}, and did not fire: `pipeline backfill {found.schedule} --from {since}` runs them.")
        )
