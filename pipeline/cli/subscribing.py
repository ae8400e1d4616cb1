"""Subscriptions from a terminal: what is read, done and said."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.adapters import people
from pipeline.cli import tables
from pipeline.db import transaction
from pipeline.schedule import Person
from pipeline.services import subscribing
from pipeline.services.answers import Subscriptions, wording
from pipeline.services.audit import Actor
from pipeline.services.subscribing import Done
from pipeline.settings import settings

# So many lines of a kind are told; --json has all.
MOST = 10


@dataclass(frozen=True)
class Import:
    """A file to import, and how."""

    file: Path
    dry_run: bool
    skip_bad: bool


@dataclass(frozen=True)
class Told:
    """What became of it, or with `dry_run` would. `failed`: the person stays out, or bad rows stopped the import."""

    outcome: Done
    failed: bool
    dry_run: bool
    bad: list[dict[str, Any]] = field(default_factory=list)
    merged: list[dict[str, Any]] = field(default_factory=list)
    ignored_columns: list[str] = field(default_factory=list)
    file: str | None = None


def one(schedule: str, said: Mapping[str, str | None], actor: Actor, *, again: bool, dry_run: bool) -> Told:
    """Subscribe one person. Raises Refused for what cannot be meant."""
    with transaction() as session:
        plan = subscribing.plan_of(session, schedule)
        person = people.checked(Person.model_validate(said), plan.split_by)
        done = subscribing.subscribe(session, actor, plan, [person], str(actor), again=again)
        if dry_run:
            session.rollback()
    return Told(done, failed=bool(done.kept_out), dry_run=dry_run)


def import_file(schedule: str, wish: Import, actor: Actor, *, again: bool) -> Told:
    """Subscribe whom the file lists, in one transaction: all, or with a bad row nobody, unless those are skipped."""
    with transaction() as session:
        plan = subscribing.plan_of(session, schedule)
        listed = people.read(wish.file, plan.split_by)
        source = f"{wish.file.name}, imported by {actor}"
        done = subscribing.subscribe(session, actor, plan, listed.people, source, again=again)
        subscribing.keep_out(session, actor, done, listed.unsubscribed, source)
        failed = bool(listed.bad) and not wish.skip_bad
        if failed or wish.dry_run:
            session.rollback()
    return Told(
        done,
        failed,
        wish.dry_run,
        bad=[{"line": line, "reason": why} for line, why in listed.bad],
        merged=[{"line": line, "reason": why} for line, why in listed.merged],
        ignored_columns=listed.ignored,
        file=str(wish.file),
    )


def show(told: Told) -> None:
    """Say what became of it, or would."""
    out, found = tables.console(), told.outcome
    for line in lines(told.file or "", told.bad):
        out.print(tables.words(line, "red"), soft_wrap=True)
    for line in lines(told.file or "", told.merged):
        out.print(tables.words(line, "yellow"), soft_wrap=True)
    if told.ignored_columns:
        out.print(tables.words(f"Columns that mean nothing here: {', '.join(told.ignored_columns)}.", "yellow"))
    if told.bad and told.failed:
        bad = wording.counted(len(told.bad), "line")
        out.print(
            tables.hint(f"Nobody was subscribed: {bad} of the file cannot be meant (`--skip-bad` leaves them out)")
        )
        return
    for one in found.kept_out[:MOST]:
        out.print(tables.words(f"{one['address']} stays out ({one['key']}): {one['reason']}.", "yellow"))
    if len(found.kept_out) > MOST:
        out.print(tables.words(f"… and {len(found.kept_out) - MOST:,} more: --json has all", "dim"))
    if found.kept_out:
        out.print(tables.hint("If they ask for it now: `--again`"))
    counts = {
        "new": found.new,
        "changed": found.changed,
        "subscribed again": found.again,
        "unchanged": found.unchanged,
        "unsubscribed": found.unsubscribed,
    }
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing to do"
    would = "Nothing was changed; it would be: " if told.dry_run else ""
    out.print(tables.words(f"{would}Subscriptions to {found.schedule}: {said}."))
    if found.suppressed:
        few = ", ".join(list(found.suppressed)[:MOST])
        out.print(tables.hint(f"Suppressed, and sent nothing until `pipeline unsuppress`: {few}"))
    if not found.sends:
        where = f"schedules/{found.schedule}.yaml"
        out.print(tables.hint(f"{where} does not send to subscribers yet: it needs `recipients: subscriptions`"))


def lines(file: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of lines of a file, of many the first ones."""
    more = [f"… and {len(rows) - MOST:,} more lines: --json has all"] if len(rows) > MOST else []
    return [f"{file}:{row['line']}: {row['reason']}" for row in rows[:MOST]] + more


def show_ended(schedule: str, address: str, key: str | None, count: int) -> None:
    """Say what has ended."""
    what = f"the key {key} of {schedule}" if key else schedule
    had = wording.counted(count, "subscription")
    tables.console().print(tables.words(f"{address} gets nothing more of {what}; {had} ended."))


def show_subscriptions(found: Subscriptions) -> None:
    """Print subscriptions as a table."""
    out, zone = tables.console(), settings().timezone
    if not found.subscriptions:
        out.print(tables.hint("Nobody: `pipeline subscribe SCHEDULE ADDRESS`, or --import a file"))
        return
    out.print(tables.words("Subscriptions: ", "bold").append_text(tables.statuses(found.counts)))
    out.print()
    made = tables.table("schedule", "address", "key", "status", "since", "", whole=("status", "since"))
    for one in found.subscriptions:
        since = wording.brief(one.ended_at or one.since, zone)
        said = one.ended_by or (f"suppressed: {one.suppressed}" if one.suppressed else one.source)
        status = tables.status("suppressed" if one.suppressed and one.status == people.ACTIVE else one.status)
        made.add_row(
            tables.words(one.schedule), tables.words(one.address), tables.words(one.key), status,
            tables.words(since, "dim"), tables.words(said, "dim"),
        )  # fmt: skip
    out.print(made)
    if found.more:
        out.print(tables.words(f"\n… and {found.more:,} more: --limit shows them, --export writes all", "dim"))


def export(found: Subscriptions, file: Path) -> None:
    """Write subscriptions as CSV, and say how many."""
    columns = ("address", *people.READ[1:], *people.TOLD)
    rows = [[getattr(one, name) for name in columns] for one in found.subscriptions]
    write(file, rows, (*people.READ, *people.TOLD), "subscription")


def write(file: Path, rows: Sequence[Sequence[object]], columns: Sequence[str], what: str) -> None:
    """Write rows as CSV, to the terminal where `file` is -, and say how many."""
    if str(file) == "-":
        people.write(sys.stdout, rows, columns)
        return
    with file.open("w", encoding="utf-8", newline="") as out:
        people.write(out, rows, columns)
    tables.console().print(tables.words(f"{wording.counted(len(rows), what)} in {tables.near(file)}."), soft_wrap=True)
