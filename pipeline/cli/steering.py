"""The commands that steer schedules: pause and resume."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import By, Json, actor, check_database, print_json

PANEL = "Run"
ScheduleArgument = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule: its file's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (pause, resume):
        app.command(rich_help_panel=PANEL)(command)


def pause(
    schedule: ScheduleArgument,
    *,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; shown wherever the schedule is.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Resume by itself then: 2h, 2026-12-01 or 2026-12-01T18:00.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let a schedule fire nothing for a while; its slots are recorded as paused.

    Runs that are open go on, and it can be triggered by hand. TIME is local to the schedule.
    """
    from pipeline.cli import pauses

    check_database()
    found = pauses.pause(schedule, actor(by), note=note, until=until)
    if as_json:
        print_json(found)
    else:
        pauses.show_paused(found)


def resume(
    schedule: ScheduleArgument,
    *,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Make up for what was due meanwhile, as its file says for a downtime.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let a paused schedule fire again, from now on."""
    from pipeline.cli import pauses

    check_database()
    found = pauses.resume(schedule, actor(by), catch_up=catch_up)
    if as_json:
        print_json(found)
    else:
        pauses.show_resumed(found)
