"""The commands about people: who is subscribed to what, and to whom nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import By, Json, actor, check_database, looking, print_json

ScheduleArgument = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule: its file's name.")]
Address = Annotated[str, typer.Argument(metavar="ADDRESS")]
Why = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept on record, so name nobody.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for look in (subscriptions, suppressions):
        app.command(rich_help_panel="Look")(look)
    for command in (subscribe, unsubscribe, suppress, unsuppress, forget):
        app.command(rich_help_panel="Operate")(command)


def subscribe(
    schedule: ScheduleArgument,
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", help="Whom.")] = None,
    *,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Whose document, if split.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="How messages address them.")] = None,
    locale: Annotated[str | None, typer.Option("--locale", metavar="de_DE", help="Their language.")] = None,
    zone: Annotated[str | None, typer.Option("--zone", metavar="Europe/Berlin", help="Their time zone.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="Whom a CSV file lists: email, key, name, locale, zone, status."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would become of it.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out; else one stops all.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also who had unsubscribed: they ask for it now.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Subscribe somebody to a schedule's report, or all whom a file lists.

    Done again, it changes nothing, or the name, locale and zone. Who has
    unsubscribed stays so. Exits 1 when a file has bad rows, and nothing is done.
    """
    from pipeline.cli import subscribing

    check_database()
    if (address is None) == (file is None):
        from pipeline.errors import Refused

        raise Refused("say whom: ADDRESS or --import FILE")
    if file is not None:
        wish = subscribing.Import(file, dry_run=dry_run, skip_bad=skip_bad)
        done = subscribing.import_file(schedule, wish, actor(by), again=again)
    else:
        said = {"email": address, "key": key, "name": name, "locale": locale, "zone": zone}
        done = subscribing.one(schedule, said, actor(by), again=again, dry_run=dry_run)
    if as_json:
        print_json(done)
    else:
        subscribing.show(done)
    raise typer.Exit(1 if done.failed else 0)


def unsubscribe(
    schedule: ScheduleArgument,
    address: Address,
    *,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only this key's.")] = None,
    reason: Why = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Send somebody nothing more of a schedule, also what is planned and not yet sent.

    It counts for whoever lists the address: subscriptions, a query, the file.
    """
    from pipeline.adapters.messages.addresses import valid_address
    from pipeline.cli import subscribing
    from pipeline.db import transaction
    from pipeline.services import answers, schedules
    from pipeline.services import subscribing as verbs

    check_database()
    whom = valid_address(address)
    with transaction() as session:
        schedules.current(session, schedule)
        count = verbs.unsubscribe(session, actor(by), schedule, whom, key=key, reason=reason)
        session.flush()
        found = [one for one in answers.subscriptions(session, whom).subscriptions if one.schedule == schedule]
    if as_json:
        print_json({"address": whom, "schedule": schedule, "ended": count, "subscriptions": found})
    else:
        subscribing.show_ended(schedule, whom, key, count)


def suppress(
    address: Annotated[str | None, typer.Argument(metavar="[ADDRESS]", help="Whom.")] = None,
    *,
    reason: Why = None,
    file: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Whom a CSV file lists: email, reason.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out; else one stops all.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Send an address nothing more of any schedule, also what is planned and not yet sent.

    Or all that a file lists, each for its own reason or --reason.
    """
    from pipeline.cli import suppressing
    from pipeline.errors import Refused

    check_database()
    if (address is None) == (file is None):
        raise Refused("say whom: ADDRESS or --import FILE")
    if file is not None:
        raise typer.Exit(suppressing.import_file(file, reason, actor(by), skip_bad=skip_bad, as_json=as_json))
    if not reason:
        raise Refused("say why, with --reason: it is kept on record, so name nobody")
    suppressing.one(str(address), reason, actor(by), as_json=as_json)


def unsuppress(address: Address, *, reason: Why = None, by: By = None, as_json: Json = False) -> None:
    """Let mail go to an address again."""
    from pipeline.cli import suppressing

    check_database()
    suppressing.lift(address, reason, actor(by), as_json=as_json)


def subscriptions(
    text: Annotated[
        str | None, typer.Argument(metavar="[SCHEDULE|ADDRESS]", help="Only this schedule's, or this address's.")
    ] = None,
    *,
    status: Annotated[str | None, typer.Option("--status", help="Only those active, or unsubscribed.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most. Default: 100; for machines all.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="As CSV that can be imported; - prints it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List who is subscribed to what: since when, by whom, and who has ended it."""
    from pipeline.services import answers

    with looking() as session:
        found = answers.subscriptions(session, text, status, limit if limit or as_json or export else 100)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import subscribing

    if export:
        subscribing.export(found, export)
    else:
        subscribing.show_subscriptions(found)


def suppressions(
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="Part of an address or reason.")] = None,
    *,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="As CSV that can be imported; - prints it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the addresses that nothing is sent to, and why."""
    from pipeline.services import answers

    with looking() as session:
        found = answers.suppressions(session, text)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import suppressing

    if export:
        suppressing.export(found, export)
    else:
        suppressing.show(found)


def forget(
    address: Address,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Erase what is known of a person, for whom it is asked: says what would go, and asks.

    Rows and counts stay, without the address; nothing is sent to it again.
    With --json nothing is done without --yes.
    """
    from pipeline.cli import forgetting

    check_database()
    if yes:
        told = forgetting.forget(address, actor(by), wanted=True)
    else:
        told = forgetting.forget(address, actor(by), wanted=False)
        if not as_json:
            forgetting.show(told)
            if not forgetting.confirmed():
                raise typer.Exit(1)
            told = forgetting.forget(address, actor(by), wanted=True)
    if as_json:
        print_json(told)
    else:
        forgetting.show(told)
