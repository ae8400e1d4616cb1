"""The commands about single deliveries: how each stands, and what a person decides about it."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import By, Json, RunText, actor, check_database, looking, print_json, print_json_with

OneRun = Annotated[str, typer.Argument(metavar="RUN", help="As for `pipeline show`.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", metavar="KEY", help="Only this key's; several times for more.")
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with the delivery.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel="Look")(deliveries)
    for command in (resolve, resend, skip, withdraw):
        app.command(rich_help_panel="Operate")(command)


def deliveries(
    run: RunText = None,
    *,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="uncertain, failed …; several times for more."),
    ] = None,
    key: Keys = None,
    history: Annotated[bool, typer.Option("--history", help="All that happened to each.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most. Default: 100; with --json all.")] = None,
    as_json: Json = False,
) -> None:
    """List a run's deliveries: to whom, how each stands, what the server said last."""
    from pipeline.services import answers
    from pipeline.services import runs as rows

    most = limit if limit or as_json else 100
    with looking() as session:
        found_run = rows.find(session, run)
        if as_json and most is None:
            head, each = answers.each_delivery(session, found_run, status or [], key or [], history=history)
            print_json_with(head, "deliveries", each)
            return
        found = answers.deliveries(session, found_run, status or [], key or [], limit=most, history=history)
    if as_json:
        print_json(found)
        return
    from pipeline.cli import ledgers

    ledgers.show_deliveries(found)


def resolve(
    run: OneRun,
    addresses: Annotated[list[str] | None, typer.Argument(metavar="[ADDRESS]...", help="Default: all.")] = None,
    *,
    sent: Annotated[bool, typer.Option("--sent", help="They went out: the relay's log says so.")] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="They did not: send them, with the same Message-ID.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Settle uncertain deliveries, those of which nobody can say whether they went out."""
    from pipeline.cli import ledgers
    from pipeline.errors import Refused

    check_database()
    if sent == resend:
        raise Refused("say what became of them: either --sent or --resend")
    ledgers.settled(ledgers.resolve(run, addresses or [], actor(by), sent=sent), as_json=as_json)


def resend(
    run: OneRun,
    *,
    key: Annotated[
        list[str],
        typer.Option(
            "--key", metavar="KEY", help="Whose document (`all` where it is not split); several times for more."
        ),
    ],
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="Or a webhook; by default its recipients.")
    ] = None,
    reason: Reason = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Send a stored document once more, also long after its run.

    It is a delivery of its own, with a new Message-ID or Idempotency-Key, linked to the first one.
    """
    from pipeline.cli import ledgers

    check_database()
    ledgers.settled(ledgers.resend(run, key, actor(by), to=to, reason=reason), as_json=as_json)


def skip(
    run: OneRun,
    address: Annotated[str, typer.Argument(metavar="ADDRESS")],
    *,
    reason: Reason = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Send an address nothing more of a run that is still under way."""
    from pipeline.cli import ledgers

    check_database()
    ledgers.settled(ledgers.skip(run, address, actor(by), reason), as_json=as_json)


def withdraw(
    run: Annotated[str, typer.Argument(metavar="RUN|LINK", help="As for `pipeline show`; or one link, whole.")],
    addresses: Annotated[list[str] | None, typer.Argument(metavar="[ADDRESS]...", help="Of the run, to whom.")] = None,
    *,
    everybody: Annotated[bool, typer.Option("--all", help="The links in every message of the run.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept on record.")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Take back links to documents: they lead nowhere from then on.

    Also in messages that are still to go out. What was attached stays with whoever has it; what is resent later has
    links of its own.
    """
    from pipeline.cli import ledgers
    from pipeline.errors import Refused

    check_database()
    link = "/" in run
    if link and (addresses or everybody):
        raise Refused("a link is taken back alone: leave out ADDRESS and --all")
    if not link and bool(addresses) == everybody:
        raise Refused("say in which messages: ADDRESS … or --all")
    withdrawn = ledgers.withdraw(run, addresses or [], actor(by), reason, link=link)
    if as_json:
        print_json({"withdrawn": withdrawn})
    else:
        ledgers.show_withdrawn(withdrawn, link=link)
