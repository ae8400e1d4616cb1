"""Backfills from a terminal: what would be run, the question before it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import typer

from pipeline import log
from pipeline.cli import instants, loading, reach, tables, triggering
from pipeline.cli.lists import WIDE
from pipeline.cli.options import print_json
from pipeline.db import clock, reading, transaction
from pipeline.errors import NotFound, Refused
from pipeline.models import Backfill
from pipeline.services import answers, backfills, ranges
from pipeline.services.answers import BackfillSummary, wording
from pipeline.services.audit import Actor
from pipeline.services.backfills import Cancelled
from pipeline.services.ranges import Known, Preview, RangeSlot, Wish
from pipeline.services.runs import Request
from pipeline.settings import settings

# Backfills that are listed at most.
LISTED = 50
# Slots of a preview that are shown at its beginning, and at its end.
HEAD, TAIL = 20, 5
SAID = {
    Known.OPEN: "no run of it has succeeded",
    Known.SUCCEEDED: "has a successful run: {}",
    Known.IN_PROGRESS: "in progress: {}",
    Known.PURGED: "it was run; that run is purged",
}


def wish(schedule: str, since: str | None, until: str | None, actor: Actor, **how: Any) -> Wish:
    """The range that the texts mean in the schedule's zone; without an end up to now. Raises Refused or NotFound."""
    if since is None:
        raise Refused("--from is missing: say where the range begins, such as --from 2026-11-01 --to 2026-11-15")
    loading.refresh(schedule, actor)
    with reading() as session:
        try:
            zone = answers.zone(session, schedule)
        except NotFound as error:
            raise NotFound(f"{error}{loading.unloaded(schedule)}") from None
        end = clock(session) if until is None else instants.read("--to", until, zone, end=True)
    return Wish(schedule, instants.read("--from", since, zone), end, **how)


def look(wanted: Wish) -> Preview:
    with reading() as session:
        return ranges.preview(session, wanted)


def show_preview(found: Preview) -> None:
    """Print the slots of the range in their order, each with what will become of it."""
    out = tables.console()
    made = tables.table(f"due ({wording.time_of(found.zone)})", "period", "will be", "", whole=("will be",))
    shown = found.slots if len(found.slots) <= HEAD + TAIL else [*found.slots[:HEAD], *found.slots[-TAIL:]]
    for number, slot in enumerate(shown):
        if number == HEAD and len(shown) < len(found.slots):
            made.add_row(tables.words(f"… {len(found.slots) - len(shown):,} more", "dim"))
        made.add_row(*_row(slot, found.zone))
    out.print(made)


def _row(slot: RangeSlot, zone: str) -> Sequence[Any]:
    day, at = wording.day(slot.due_at, zone), wording.clock_time(slot.due_at, zone).removesuffix(":00")
    run = wording.short(slot.run_id) if slot.run_id else ""
    will_be = tables.words("run", "cyan") if slot.to_run else tables.words("skipped", "dim")
    return (
        tables.words(f"{day} {at}"),
        tables.words(slot.period.label),
        will_be,
        tables.words(SAID[slot.known].format(run)),
    )


def confirm(wanted: Wish, found: Preview, *, ask: bool) -> None:
    """Ask on a terminal; elsewhere go on, unless more than ten people would be mailed for real. Raises Refused."""
    number = len(found.to_run)
    newest = max(slot.due_at for slot in found.to_run)
    each = reach.of(Request(wanted.schedule_key), newest)
    runs = wording.counted(number, "run")
    in_all = f", {each.people * number:,} in all" if each.people and number > 1 else ""
    mailing = f"{'each' if number > 1 else 'it'} mails {each.said} for real{in_all}"
    if ask and reach.on_terminal():
        said = f"This opens {runs}{f', and {mailing}' if each.many(number) else ''}. Go on?"
        if not typer.confirm(said, err=True):
            raise Refused("nothing was opened")
    elif each.many(number):
        raise Refused(f"this opens {runs}, and {mailing}: nothing was opened; --yes does it")


def start(wanted: Wish, actor: Actor) -> BackfillSummary:
    """Open the backfill, give all its slots their rows, and publish the runs that start first."""
    from pipeline import tasks

    with transaction() as session:
        backfill = backfills.open_backfill(session, wanted, actor)
    more = True
    with log.silenced():  # a broker that is away is told by us, in a sentence
        while more:
            with transaction() as session:
                filled = backfills.fill(session, backfill.id)
            more = filled.more
            for run_id in filled.begun:
                tasks.publish(run_id)
    return _summary(backfill.id)


def _summary(backfill_id: UUID) -> BackfillSummary:
    with reading() as session:
        return answers.summarise_backfills(session, [session.get_one(Backfill, backfill_id)])[0]


def show_started(found: BackfillSummary) -> None:
    """Say what was opened, and what comes next."""
    number = found.slots - found.skipped
    skipped = f", {wording.counted(found.skipped, 'slot')} skipped" if found.skipped else ""
    out = tables.console()
    short = wording.short(found.id)
    opened = f"Backfill {short} of {found.schedule}: {wording.counted(number, 'run')}{skipped}"
    out.print(tables.words(f"{opened}; {found.concurrency} at a time, the {found.first} first."))
    out.print(tables.words(f"Mail is {triggering.mail(settings())}.", "dim"))
    out.print(tables.hint(f"Next: `pipeline backfill --list`, `pipeline slots {found.schedule}`"))


def every(schedule: str | None) -> list[BackfillSummary]:
    """The newest backfills, or a schedule's. Raises NotFound."""
    with reading() as session:
        return answers.backfills(session, schedule, limit=LISTED).backfills


def show_list(found: Sequence[BackfillSummary]) -> None:
    """Print the backfills as a table, the newest first."""
    out = tables.console()
    if not found:
        out.print(tables.hint("There is no backfill yet: `pipeline backfill SCHEDULE --from DAY --to DAY` makes one"))
        return
    wide = out.width >= WIDE
    by = ("by",) if wide else ()
    made = tables.table("backfill", "schedule", "from", "to", "status", "runs", *by, whole=("backfill", "status"))
    for one in found:
        skipped = f", {one.skipped:,} skipped" if one.skipped else ""
        cells = [
            tables.words(wording.short(one.id), "cyan"),
            tables.words(one.schedule),
            *(tables.words(wording.brief(at, one.zone).strip()) for at in (one.since, one.until)),
            tables.status(one.status),
            tables.statuses(one.runs).append_text(tables.words(skipped, "dim")),
        ]
        made.add_row(*cells, *([tables.words(one.triggered_by)] if wide else []))
    out.print(made)


def cancel(text: str, actor: Actor) -> Cancelled:
    """Cancel the backfill whose id begins with `text`. Raises Refused or NotFound with a sentence."""
    with transaction() as session:
        return backfills.cancel(session, backfills.find(session, text).id, actor)


def show_cancelled(found: Cancelled) -> None:
    """Say what never starts, and what is being stopped."""
    waiting = f"{wording.counted(found.waiting, 'run')} will not start"
    at_work = f", {wording.counted(found.at_work, 'run')} at work {'is' if found.at_work == 1 else 'are'} cancelled"
    stopped = at_work if found.at_work else ""
    name = f"Backfill {wording.short(found.backfill_id)} of {found.schedule}"
    tables.console().print(tables.words(f"{name} is cancelled: {waiting}{stopped}. What was sent stays sent."))


def run(wanted: Wish, actor: Actor, *, only_look: bool, yes: bool, as_json: bool) -> None:
    """Show what a backfill would do, ask, and do it."""
    found = look(wanted)
    if not as_json:
        show_preview(found)
    if only_look or not found.to_run:
        if as_json:
            print_json({"schedule": found.schedule, "slots": found.slots, "backfill": None})
        elif not found.to_run:
            tables.console().print(tables.hint("Nothing to run; --again also runs what has succeeded."))
        return
    if not yes:
        confirm(wanted, found, ask=not as_json)
    started = start(wanted, actor)
    if as_json:
        print_json({"schedule": found.schedule, "slots": found.slots, "backfill": started})
    else:
        show_started(started)
