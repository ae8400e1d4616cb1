"""The commands for what comes before a run: check, preview, schema, init, new, import-crontab."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import Json, parameters, print_json
from pipeline.errors import PipelineError, Refused

if TYPE_CHECKING:
    from pipeline.authoring.preview import Preview
    from pipeline.authoring.rehearsal import Wish

PANEL = "Write"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (new, preview, check, init, schema, import_crontab):
        app.command(rich_help_panel=PANEL)(command)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its schedule file: lower-case letters, digits and _.")],
    *,
    title: Annotated[str | None, typer.Option(help="Shown on the document and in the subject.")] = None,
    database: Annotated[str | None, typer.Option(help="The database that it reads, by its name in .env.")] = None,
    file: Annotated[str | None, typer.Option(help="Instead: a CSV, Parquet or JSON file, or its address.")] = None,
    query: Annotated[str | None, typer.Option(help="The query, or a .sql file with it.")] = None,
    period: Annotated[str | None, typer.Option(help="What :start and :end mean: yesterday, last_week …")] = None,
    split_by: Annotated[str | None, typer.Option(metavar="COLUMN", help="One document for each of its values.")] = None,
    to: Annotated[str | None, typer.Option(help="ADDRESS, …; split: KEY=ADDRESS, …; a query; or a file.")] = None,
    recipients_database: Annotated[str | None, typer.Option(help="Of the query in --to. Default: --database.")] = None,
    when: Annotated[str | None, typer.Option(help="daily, weekdays, weekly, monthly, or a cron expression.")] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help="pdf, xlsx, csv, html. Default: pdf.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; what is not said has its default.")] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the preview where there is a desktop.")] = True,
) -> None:
    """Write a new report: asks four questions and tries the query.

    What it is called, where its rows are, the query, who gets it; then, if
    you like, one document for each of what, and when. Enter takes the
    default. Every option answers a question in advance.
    """
    from pipeline.authoring import reports
    from pipeline.cli import authoring_new as questions

    reports.refuse_name(name)
    said = questions.Said(
        title, database, file, query, period, split_by, to, recipients_database, when, formats or ("pdf",), ask=not yes
    )
    answers = questions.answered(name, said)
    written = reports.write(answers)
    _finish(name, written, show=show)


def _finish(name: str, written: list[Path], *, show: bool) -> None:
    """Check the new report and show its first document; a report without rows for now is a good one, too."""
    from pipeline.authoring.check import check as checked
    from pipeline.authoring.rehearsal import Wish
    from pipeline.cli import authoring_new as questions
    from pipeline.cli import authoring_output as output
    from pipeline.cli import authoring_previews as previews
    from pipeline.cli import tables
    from pipeline.cli.group import told

    out = tables.console()
    found = checked([name])
    if found.faults:
        output.show_checked(found)
    else:
        try:
            made = previewed(Wish(name))
        except PipelineError as error:
            out.print(tables.words(f"No preview: {told(error)}", "yellow"), soft_wrap=True)
        else:
            previews.show_preview(made)
            if show:
                previews.open_first(made)
    out.print()
    for line in questions.next_steps(name, written):
        out.print(tables.hint(line), soft_wrap=True)
    if found.faults:
        raise typer.Exit(1)


def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Schedules. Default: all.")] = None,
    *,
    against: Annotated[
        str | None, typer.Option(metavar="REF", help="Also what has changed since a Git revision, or `deployed`.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=1000, help="With --against: how many slots to compare.")] = 10,
    as_json: Json = False,
) -> None:
    """Find everything that is wrong in the home, without running any of it.

    Schedules, reports, templates, queries, recipients: names the file, the
    field and the way out of each fault, and exits with 1 if there is one.
    With --against also what a change does: to slots, recipients (whose
    sources are asked), documents and policies.
    """
    from pipeline.authoring.check import check as checked
    from pipeline.cli import authoring_output as output

    found = checked(names or [])
    said = output.checked_as_json(found) if as_json else {}
    if against is not None:
        from pipeline.cli import authoring_changes as changes

        compared = changes.compared(against, names or [], slots)
        said["changes"] = changes.as_json(compared)
    if as_json:
        print_json(said)
    elif against is not None:
        output.show_faults(found)
        changes.show(compared)
    else:
        output.show_checked(found)
    if found.faults:
        raise typer.Exit(1)


def preview(
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="The name of its file.")],
    *,
    key: Annotated[str | None, typer.Option(help="Whose document. Default: the first.")] = None,
    period: Annotated[str | None, typer.Option(help="Default: the schedule's own, as of now.")] = None,
    params: Annotated[list[str] | None, typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter.")] = None,
    one_format: Annotated[str | None, typer.Option("--format", help="Default: all of the report's.")] = None,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Mail it to this address, and nobody else.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Make it anew whenever a file of the home changes.")] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it where there is a desktop.")] = True,
    as_json: Json = False,
) -> None:
    """Make one document now, without a run; nothing is sent.

    It is made as a run would make it, and nothing needs to be up. Prints
    where it is, the values bound, the message and its recipients.
    """
    from pipeline.authoring import watching
    from pipeline.authoring.posting import post
    from pipeline.cli import authoring_previews as output
    from pipeline.settings import settings

    wish = _wish(schedule, key, period, params or [], one_format)
    if watch:
        if to or as_json:
            raise Refused("--watch goes with neither --to nor --json: watch first, then mail the one you like")
        # Ctrl-C is how a watch ends, and no failure.
        with suppress(KeyboardInterrupt):
            output.show_watched(watching.previews(wish, watching.changes(settings().home)), show=show)
        return
    made = previewed(wish)
    posted = post(made, to) if to else None
    if as_json:
        print_json(output.preview_as_json(made, posted))
        return
    output.show_preview(made, posted)
    if show:
        output.open_first(made)


def _wish(schedule: str, key: str | None, period: str | None, params: list[str], one_format: str | None) -> Wish:
    from pipeline.authoring.rehearsal import Wish

    return Wish(schedule, key=key, period=period, params=parameters(params), format=one_format)


def previewed(wish: Wish) -> Preview:
    """Fetch and render once."""
    from pipeline.authoring.preview import render
    from pipeline.authoring.rehearsal import rehearsal

    with rehearsal(wish) as (run, fetched):
        return render(run, fetched, wish.key, wish.format)


def schema() -> None:
    """Print the JSON Schema of a schedule file, for editors."""
    from pipeline.authoring import schema as schemas

    sys.stdout.write(schemas.text())


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where: empty, or not there yet.")],
) -> None:
    """Make a home of your own, with a small example that works at once."""
    from pipeline.authoring import homes
    from pipeline.cli import authoring_output as output

    homes.create(folder.expanduser())
    output.show_home(folder)


def import_crontab(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `crontab -l` prints; - reads it from there.")],
    *,
    into: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to. Default: the home's schedules/.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Its sixth field is a user, as in /etc/crontab.")] = False,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="cron's. Default: this machine's.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a crontab's lines into schedule files that run the same commands at the same times.

    Says of each line which file it became, and what of it has no counterpart
    and why; exits with 1 if a line became none. No file is overwritten.
    """
    from pipeline.cli import importing

    found = importing.imported(file, into, timezone, system=system, dry_run=dry_run)
    if as_json:
        print_json(found.lines)
    else:
        importing.show_imported(found, file, into, dry_run=dry_run)
    if any(line.why for line in found.lines):
        raise typer.Exit(1)
