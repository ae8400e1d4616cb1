"""The command that looks ahead: next."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import Json, print_json


def upcoming(
    what: Annotated[
        list[str], typer.Argument(metavar="EXPR|SCHEDULE", help='"0 7 * * mon", every 15m, {cron: …} or a name.')
    ],
    *,
    zone: Annotated[
        str | None, typer.Option(metavar="Z", help="Default: the schedule's, or PIPELINE_TIMEZONE.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="T", help="2026-11-01T18:00, local unless it ends in Z or +02:00; 30d ahead.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many fires.")] = 5,
    dst_gap: Annotated[
        str | None, typer.Option(metavar="P", help="A time that does not exist: shift, or skip.")
    ] = None,
    dst_overlap: Annotated[
        str | None, typer.Option(metavar="P", help="A time that comes twice: first, second, or both.")
    ] = None,
    as_json: Json = False,
) -> None:
    """When does it fire next? A schedule, or an expression to be tried out; told in plain English, too.

    In local time and UTC, with a word on what a change of the clocks or a calendar moves or drops.
    A schedule is read from its file, or from the database where there is no such file.
    """
    from datetime import UTC, datetime

    from pipeline.cli import ahead, instants
    from pipeline.services import answers
    from pipeline.settings import settings

    asked = ahead.asked(" ".join(what)).with_options(zone, dst_gap, dst_overlap)
    default = settings().timezone
    if asked.when is None:
        found = None
    else:
        local = asked.when.timezone or default
        moment = datetime.now(UTC) if after is None else instants.read("--after", after, local, ahead=True)
        found = answers.upcoming(asked.when, default, moment, count)
    if as_json:
        print_json(found.fires if found else [])
    else:
        ahead.show(asked, found, count)
