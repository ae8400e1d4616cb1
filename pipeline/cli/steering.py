"""The commands that steer schedules and runs: cancel, approve, reject, rerun, pause, resume, backfill."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pipeline.cli.options import By, Json, RunText, actor, check_database, print_json

PANEL = "Run"
ScheduleArgument = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule: its file's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (cancel, approve, reject, rerun, pause, resume, backfill):
        app.command(rich_help_panel=PANEL)(command)


def cancel(
    run: RunText = None,
    *,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept with the run.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """End a run: nothing of it begins any more, what is at work stops within seconds.

    What was sent stays sent, and on record.
    """
    from pipeline.cli import cancelling

    check_database()
    found = cancelling.cancel(run, actor(by), reason)
    if as_json:
        print_json(found)
    else:
        cancelling.show_cancelled(found)


def rerun(
    run: RunText = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="From where it first went wrong; the default.")] = False,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="From this step on: render:3, or render for all of them."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="From its first step on, with fresh data.")] = False,
    newest: Annotated[
        bool, typer.Option("--newest-definition", help="As the schedule and its templates say today.")
    ] = False,
    failed_deliveries: Annotated[
        bool, typer.Option("--failed-deliveries", help="Only what could not be delivered.")
    ] = False,
    force: Annotated[
        list[str] | None,
        typer.Option("--force", metavar="ADDRESS", help="Send once more what this one had; several times for more."),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept with the run.")] = None,
    generation: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The one you have seen: the same rerun twice is one.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Reopen a run that has ended, and do again what went wrong, or more.

    Nobody who had theirs gets it twice, unless --force says so.
    """
    from pipeline.cli import rerunning
    from pipeline.errors import Refused

    check_database()
    if failed and (begin or everything or failed_deliveries):
        raise Refused("--failed, --from, --all and --failed-deliveries exclude each other: say one of them")
    found = rerunning.rerun(
        run, actor(by), begin=begin, everything=everything, newest=newest, failed_deliveries=failed_deliveries,
        force=tuple(force or ()), reason=reason, generation=generation,
    )  # fmt: skip
    if as_json:
        print_json(found)
    else:
        rerunning.show_rerun(found)


OneRun = Annotated[str, typer.Argument(metavar="RUN", help="As for `pipeline show`.")]
NoteOption = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; kept with the run.")]


def approve(run: OneRun, *, note: NoteOption = None, by: By = None, as_json: Json = False) -> None:
    """Let a run that waits for an approval send what it has made."""
    from pipeline.cli import approving

    check_database()
    found = approving.approve(run, actor(by), note)
    if as_json:
        print_json(found)
    else:
        approving.show_approved(found)


def reject(run: OneRun, *, note: NoteOption = None, by: By = None, as_json: Json = False) -> None:
    """End a run that waits for an approval: nothing of it is sent."""
    from pipeline.cli import approving

    check_database()
    found = approving.reject(run, actor(by), note)
    if as_json:
        print_json(found)
    else:
        approving.show_rejected(found)


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


def backfill(
    schedule: Annotated[str | None, typer.Argument(metavar="[SCHEDULE]", help="The schedule: its file's name.")] = None,
    *,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="Slots from this day, or instant, on.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY", help="To the end of this day, or this instant. Default: now."),
    ] = None,
    order: Annotated[Literal["oldest", "newest"], typer.Option(help="Which slots come first.")] = "oldest",
    concurrency: Annotated[int, typer.Option(metavar="N", help="How many runs at a time.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Also slots that have a successful run.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be run.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however many people it mails.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show the backfills, and how far they are.")] = False,
    cancel: Annotated[str | None, typer.Option("--cancel", metavar="ID", help="End a backfill, and its runs.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Run the slots of a range that have no successful run, each about its own period.

    Shows them and asks first. Days are local to the schedule.
    """
    from pipeline.cli import backfills
    from pipeline.errors import Refused

    check_database()
    if list_all:
        found = backfills.every(schedule)
        print_json(found) if as_json else backfills.show_list(found)
    elif cancel is not None:
        ended = backfills.cancel(cancel, actor(by))
        print_json(ended) if as_json else backfills.show_cancelled(ended)
    elif schedule is None:
        raise Refused(
            "SCHEDULE is missing: `pipeline backfill SCHEDULE --from DAY --to DAY`, or --list, or --cancel ID"
        )
    else:
        who = actor(by)
        wanted = backfills.wish(schedule, since, until, who, first=order, concurrency=concurrency, again=again)
        backfills.run(wanted, who, only_look=preview, yes=yes, as_json=as_json)
