"""How single deliveries look, and what a person decides about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import typer
from rich.text import Text
from sqlalchemy.orm import Session

from pipeline.adapters.secret_keys import secret_keys
from pipeline.cli import tables
from pipeline.cli.options import print_json
from pipeline.db import transaction
from pipeline.models import Delivery, Run
from pipeline.services import answers, links, repeating, runs, settling
from pipeline.services.answers import Deliveries, DeliveryDetail, wording
from pipeline.services.audit import Actor
from pipeline.settings import settings


def show_deliveries(found: Deliveries) -> None:
    """Print the deliveries as a table, what somebody has to look at first."""
    out = tables.console()
    if not found.deliveries:
        out.print(tables.hint(f"No delivery fits; `pipeline deliveries {wording.short(found.run_id)}` lists all"))
        return
    out.print(
        tables.words(f"{found.schedule}, run {wording.short(found.run_id)}: ", "bold").append_text(
            tables.statuses(found.counts)
        )
    )
    out.print()
    made = tables.table("key", "to", "status", "when", "said", whole=("status", "when"))
    for one in found.deliveries:
        made.add_row(*_row(one, found.zone))
        for event in one.history or ():
            said = " ".join(filter(None, (event.relay, event.text)))
            made.add_row("", tables.words(event.event, "dim"), "", _at(event.at, found.zone), tables.words(said, "dim"))
    out.print(made)
    if found.more:
        out.print(
            tables.words(f"\n… and {found.more:,} more: --limit shows them, --status and --key narrow them", "dim")
        )
    if any(one.status == "uncertain" for one in found.deliveries):
        command = f"pipeline resolve {wording.short(found.run_id)}"
        out.print(
            tables.hint(
                f"\nWhether what is uncertain went out, the relay's log knows by the Message-ID (--json): "
                f"`{command} --sent` or `{command} --resend`"
            )
        )


def _row(one: DeliveryDetail, zone: str) -> Sequence[Text]:
    when = one.sent_at or one.not_before
    again = f" (repeat {one.repeat})" if one.repeat else ""
    said = one.reason if one.reason and one.reason != one.reply else one.reply
    return (
        tables.words(one.key),
        tables.words(f"{one.address}{again}"),
        tables.status(one.status),
        _at(when, zone) if when else Text(),
        tables.words(said or ""),
    )


def _at(at: object, zone: str) -> Text:
    return tables.words(wording.brief(at, zone), "dim")  # type: ignore[arg-type]  # an aware datetime


def resolve(text: str, addresses: Sequence[str], actor: Actor, *, sent: bool) -> Deliveries:
    return _act(text, lambda session, run: settling.resolve(session, actor, run, addresses, sent=sent))


def resend(text: str, keys: Sequence[str], actor: Actor, *, to: str | None, reason: str | None) -> Deliveries:
    return _act(text, lambda session, run: repeating.resend(session, actor, run, keys, to=to, reason=reason))


def skip(text: str, address: str, actor: Actor, reason: str | None) -> Deliveries:
    return _act(text, lambda session, run: settling.skip(session, actor, run, address, reason))


def withdraw(text: str, addresses: Sequence[str], actor: Actor, reason: str | None, *, link: bool) -> int:
    """Take back one link, or those in the messages of a run to the addresses, or all; in how many that is new."""
    with transaction() as session:
        if link:
            return int(links.withdraw(session, actor, secret_keys(settings()), text, reason))
        return links.withdraw_messages(session, actor, runs.find(session, text), addresses, reason)


def show_withdrawn(count: int, *, link: bool) -> None:
    """Say what leads nowhere now."""
    if not count:
        typer.echo("Nothing new: it had been taken back before.")
    elif link:
        typer.echo("It leads nowhere any more, and if it stands in a message, nor does any link beside it.")
    else:
        typer.echo(f"The links in {wording.counted(count, 'message')} lead nowhere any more.")


def _act(text: str, act: Callable[[Session, Run], list[Delivery]]) -> Deliveries:
    with transaction() as session:
        run = settling.lock(session, runs.find(session, text))
        touched: set[UUID] = {row.id for row in act(session, run)}
        session.flush()
        return answers.deliveries(session, run, only=touched)


def settled(found: Deliveries, *, as_json: bool) -> None:
    """Print what became of the deliveries."""
    if as_json:
        print_json(found)
        return
    show_deliveries(found)
