"""The commands that ask: runs, show, schedules, slots, who, files, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Json, RunText, Since, earliest, looking, print_json
from pipeline.cli.upcoming import upcoming

PANEL = "Look"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (runs, show, schedules, slots, who, files, audit):
        app.command(rich_help_panel=PANEL)(command)
    app.command("next", rich_help_panel=PANEL)(upcoming)


def runs(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this schedule's.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those that are succeeded, failed, running …")] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List the latest runs: which period, how it went, how much arrived."""
    from pipeline.services import answers

    after = earliest(since)
    with looking() as session:
        wanted = answers.RunFilter(name, [status] if status else [], since=after)
        found = answers.run_page(session, wanted, limit=limit).runs
    if as_json:
        print_json(found)
        return
    from pipeline.cli import lists

    lists.show_runs(found, name, filtered=bool(status or since), full=len(found) == limit)


def show(
    run: RunText = None,
    attempts: Annotated[bool, typer.Option("--attempts", help="Every try of every step.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Where in the code each failed try failed.")] = False,
    output: Annotated[bool, typer.Option("--output", help="All that its programs wrote, in every try.")] = False,
    as_json: Json = False,
) -> None:
    """Show one run: its steps, what failed and why, what to do next."""
    from pipeline.cli import screens
    from pipeline.services import answers
    from pipeline.services import runs as rows

    with looking() as session:
        found = answers.show(session, rows.find(session, run), stories=None if as_json else screens.STORIES)
    if as_json:
        print_json(found)
    else:
        screens.show_run(found, attempts=attempts, traceback=traceback, output=output)


def schedules(
    retired: Annotated[bool, typer.Option("--retired", help="Also those whose files are gone.")] = False,
    as_json: Json = False,
) -> None:
    """List the schedules: what, when, next due, how the last run went."""
    from pipeline.adapters import home
    from pipeline.services import answers
    from pipeline.settings import settings

    loaded = home.load(settings().home)
    with looking() as session:
        found = answers.schedules(session, loaded, retired=retired)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import lists

    lists.show_schedules(found)


def slots(
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule: its file's name.")],
    *,
    since: Since = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DAY", help="Up to the end of that day.")] = None,
    decision: Annotated[str | None, typer.Option(help="Only those fired, skipped, coalesced, late or paused.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """Why did it not run on Sunday? Every due instant, what was decided, why, and what became of it.

    Days and times are local to the schedule.
    """
    from pipeline.cli import instants
    from pipeline.services import answers

    with looking() as session:
        zone = answers.zone(session, schedule)
        span = answers.Span(
            None if since is None else instants.read("--since", since, zone),
            None if until is None else instants.read("--until", until, zone, end=True),
        )
        found = answers.slots(session, schedule, span, decision, limit)
    if as_json:
        print_json(found.slots)
        return
    from pipeline.cli import histories

    histories.show_slots(found, full=len(found.slots) == limit)


def who(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A key, a name, an address or a domain.")],
    since: Since = "30d",
    limit: Annotated[int, typer.Option(min=1, help="How many answers at most.")] = 20,
    open_: Annotated[
        bool, typer.Option("--open", help="Write each message as it was sent to a file, and say where it all is.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Did they get theirs? Searches all runs and answers in sentences.

    What, for which period, handed over when, to which relay, and its answer; or why not. Exits 1 if nobody is found.
    """
    from pipeline.services import answers

    after = earliest(since)
    with looking() as session:
        found = answers.who(session, text, after, limit)
    opened = {}
    if open_:
        from pipeline.cli import reopening

        opened = reopening.reopen(found.answers)
    if as_json:
        print_json({**answers.as_json(found), "opened": list(opened.values())} if open_ else found)
    else:
        from pipeline.cli import lists

        lists.show_who(found, since, opened)
    raise typer.Exit(0 if found.answers else 1)


def files(
    run: RunText = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="Only this key's; may be given several times.")
    ] = None,
    copy: Annotated[
        Path | None, typer.Option("--copy", metavar="DIR", help="Copy them there under readable names.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say where a run's documents are, or copy them to a folder."""
    from pipeline.cli import filing
    from pipeline.services import answers
    from pipeline.services import runs as rows

    with looking() as session:
        found_run = rows.find(session, run)
        found = answers.files(session, found_run, key or [])
    placed = filing.place(found_run, found, copy)
    if as_json:
        print_json(filing.placed_as_json(placed))
    else:
        filing.show_files(found_run, placed, copy)


def audit(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[SUBJECT]", help="A schedule, or an id's beginning: only its acts."),
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """Say who triggered, paused, loaded or changed what, when and from where.

    The record only ever grows: the database refuses to change or delete it.
    """
    from pipeline.services import answers

    after = earliest(since)
    with looking() as session:
        found = answers.audit(session, subject, after, limit)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import histories

    histories.show_audit(found, subject, full=len(found) == limit)
