"""`pipeline mail`: the emergency brake, and how mail goes out."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.group import Group
from pipeline.cli.options import By, Json, actor, check_database

RelayOption = Annotated[
    str | None, typer.Option("--relay", metavar="RELAY", help="Only this relay: its host, or host:port.")
]


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    mail = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode="rich")
    for command in (stop, start, status):
        mail.command()(command)
    app.add_typer(mail, name="mail", help="Stop all mail, let it go on, see how it goes.", rich_help_panel="Operate")


def stop(
    relay: RelayOption = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is told wherever something waits.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Stop all mail now, in every worker within a second.

    Nothing is lost: what waits stays queued until `pipeline mail start`, also over restarts.
    """
    from pipeline.cli import relaying, tables
    from pipeline.db import transaction
    from pipeline.services import braking

    check_database()
    name = relaying.known(relay)
    with transaction() as session:
        before = braking.stop(session, actor(by), name, reason or None)
    if before and not as_json:
        tables.console().print(tables.words(before))
    relaying.show(as_json=as_json)


def start(relay: RelayOption = None, by: By = None, as_json: Json = False) -> None:
    """Let mail go on, whatever had stopped or blocked it; blocked runs go on with it."""
    from pipeline.cli import relaying
    from pipeline.db import transaction
    from pipeline.services import braking

    check_database()
    name = relaying.known(relay)
    with transaction() as session:
        braking.start(session, actor(by), name)
    relaying.show(as_json=as_json)


def status(as_json: Json = False) -> None:
    """Say which relays are ready, down, blocked, stopped or slowed down, and which runs wait for a person."""
    from pipeline.cli import relaying

    relaying.show(as_json=as_json)
