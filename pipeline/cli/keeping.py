"""The commands about what is kept: what there was by month, and what goes for good."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import By, Json, actor, check_database, looking, print_json


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel="Look")(totals)
    app.command(rich_help_panel="Operate")(purge)


def totals(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One schedule. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Count runs, documents and deliveries by schedule and month, those that were purged among them."""
    from pipeline.cli import purging
    from pipeline.services import answers, schedules

    with looking() as session:
        found = answers.totals(session, name)
        if name and not found:
            schedules.current(session, name)  # one that there is none of is told as such
    if as_json:
        print_json(found)
    else:
        purging.show_totals(found, name)


def purge(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Delete runs that are older, or more, than is to be kept, and files that no run knows: says what, and asks.

    The workflow retention does the same by its schedule. Slots and totals stay.
    With --json nothing is done without --yes.
    """
    from pipeline.cli import purging

    check_database()
    found = purging.look()
    if not as_json:
        purging.show(found)
    if not (dry_run or (as_json and not yes)) and found.is_anything:
        if not yes and not purging.confirmed():
            raise typer.Exit(1)
        found = purging.purge(found, actor(by))
        if not as_json:
            purging.show_done(found)
    if as_json:
        print_json(found)
