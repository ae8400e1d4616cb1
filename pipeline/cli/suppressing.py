"""Suppressions from a terminal: what is read, done and said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import fingerprint
from pipeline.adapters import people
from pipeline.adapters.messages.addresses import valid_address
from pipeline.adapters.secret_keys import secret_keys
from pipeline.cli import subscribing, tables
from pipeline.cli.options import print_json
from pipeline.db import transaction
from pipeline.services import suppressing
from pipeline.services.answers import SuppressionDetail, wording
from pipeline.services.audit import Actor
from pipeline.settings import settings


def one(address: str, reason: str, actor: Actor, *, as_json: bool) -> None:
    """Suppress an address and say so."""
    whom = valid_address(address)
    with transaction() as session:
        new = suppressing.suppress(session, actor, whom, reason, fingerprint.of(secret_keys(settings()), whom))
    if as_json:
        print_json({"address": whom, "suppressed": True, "new": new})
    else:
        was = "" if new else " It was suppressed already; the first reason stays."
        tables.console().print(tables.words(f"Nothing is sent to {whom} any more.{was}"))


def import_file(file: Path, reason: str | None, actor: Actor, *, skip_bad: bool, as_json: bool) -> int:
    """Suppress all that the file lists, or with a bad row nobody, unless those are skipped; the exit code."""
    listed = people.read_unwanted(file, reason)
    bad = [{"line": line, "reason": why} for line, why in listed.bad]
    failed = bool(bad) and not skip_bad
    with transaction() as session:
        new = 0 if failed else suppressing.suppress_all(session, actor, listed.reasons, file.name)
    if as_json:
        print_json({"file": str(file), "listed": len(listed.reasons), "new": new, "failed": failed, "bad": bad})
        return int(failed)
    out = tables.console()
    for line in subscribing.lines(str(file), bad):
        out.print(tables.words(line, "red"), soft_wrap=True)
    if failed:
        count = wording.counted(len(bad), "line")
        said = f"Nobody was suppressed: {count} of the file cannot be meant (`--skip-bad` leaves them out)"
        out.print(tables.hint(said))
    else:
        known = len(listed.reasons) - new
        also = f"; {known:,} had been suppressed before" if known else ""
        out.print(tables.words(f"Nothing is sent to {new:,} more {'address' if new == 1 else 'addresses'}{also}."))
    return int(failed)


def lift(address: str, reason: str | None, actor: Actor, *, as_json: bool) -> None:
    """Take an address off the list and say so."""
    whom = valid_address(address)
    with transaction() as session:
        suppressing.unsuppress(session, actor, whom, fingerprint.every(secret_keys(settings()), whom), reason)
    if as_json:
        print_json({"address": whom, "suppressed": False})
    else:
        tables.console().print(tables.words(f"Mail goes to {whom} again; what it had unsubscribed from stays so."))


def export(found: Sequence[SuppressionDetail], file: Path) -> None:
    """Write them as CSV; of somebody who was forgotten there is no address to write."""
    rows = [[one.address, one.reason, one.source, one.since] for one in found if one.address]
    subscribing.write(file, rows, people.UNWANTED, "suppression")


def show(found: Sequence[SuppressionDetail]) -> None:
    """Print to whom nothing is sent."""
    out, zone = tables.console(), settings().timezone
    if not found:
        out.print(tables.words("Nobody is suppressed."))
        return
    made = tables.table("address", "since", "why", "by", whole=("since",))
    for one in found:
        made.add_row(
            tables.words(one.address or "(forgotten)"), tables.words(wording.brief(one.since, zone), "dim"),
            tables.words(one.reason), tables.words(one.source, "dim"),
        )  # fmt: skip
    out.print(made)
