"""The commands about notices: what was told to whom, and whether they can be reached at all."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import Json, Since, earliest, looking, print_json


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel="Look")(notices)
    app.command(rich_help_panel="Look")(digest)
    app.command(rich_help_panel="Operate")(notify)


def notices(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this schedule's.")] = None,
    *,
    unsettled: Annotated[
        bool, typer.Option("--open", help="Only what goes on, or has still to reach somebody.")
    ] = False,
    kept_back: Annotated[
        bool, typer.Option("--all", help="Also what was kept back, since the same had just been told.")
    ] = False,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List what people were told, when, how that went; what is still to be told."""
    from pipeline.services.answers.notices import notices as ask

    after = earliest(since)
    with looking() as session:
        found = ask(session, name, after, limit, unsettled=unsettled, kept_back=kept_back)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import told

    told.show_notices(found, unsettled=unsettled, full=len(found) == limit)


def digest(since: Since = "1d", as_json: Json = False) -> None:
    """Say what ran since yesterday, what went wrong, what is open, what is due.

    The same as PIPELINE_DIGEST sends each morning.
    """
    from pipeline.db import clock
    from pipeline.services.notices.digest import digest as ask

    with looking() as session:
        now = clock(session)
        found = ask(session, earliest(since) or now, now)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import told

    told.show_digest(found)


def notify(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET]...", help="Addresses or webhooks. Default: whoever is named anywhere."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Send a test notice to each, and print the answer.")] = False,
    as_json: Json = False,
) -> None:
    """Say who is told of failures, and named by whom; try whether it reaches them.

    With --test it exits 1 if one of them cannot be reached.
    """
    from pipeline.cli import told

    results = told.tried(told.named(targets or []), test=test)
    if as_json:
        print_json(results)
    else:
        told.show_listeners(results)
    raise typer.Exit(1 if any(result.reached is False for result in results) else 0)
