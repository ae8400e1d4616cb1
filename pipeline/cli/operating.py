"""The commands that act: up, trigger, and what keeps an installation going."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import By, Json, RunText, actor, check_database, print_json

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The schedule: its file's name.")]
Period = Annotated[
    str | None, typer.Option(metavar="PERIOD", help="last_week, 2026-Q3, 2026-07-01..2026-10-01 … Default: as of now.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    panels: dict[str, tuple[Callable[..., None], ...]] = {
        "Run": (up, trigger, proceed),
        "Operate": (doctor, sync, migrate, reconcile, catcher),
    }
    for panel, commands in panels.items():
        for command in commands:
            app.command(rich_help_panel=panel)(command)


def up(
    run: Annotated[
        str | None, typer.Option("--run", metavar="NAME", help="Run this once, wait, and stop again.")
    ] = None,
    period: Period = None,
    logs: Annotated[bool, typer.Option("--logs", help="Show what the processes write to var/log.")] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start worker, beat and web again when code or templates change.")
    ] = False,
) -> None:
    """Start everything, until Ctrl-C; with --run NAME for one run.

    Broker, database, worker, beat and mail catcher are one tree of processes. Whatever has a URL in the settings is
    used instead of being started. With --run, exits 0 only if everything arrived.
    """
    from pipeline.cli import standing
    from pipeline.errors import Refused

    if run and reload:
        raise Refused("--reload is for a pipeline that stays up: leave out --run")
    if run is None:
        standing.stay_up(follow=logs, reload=reload)
    elif not standing.run_once(run, period, follow=logs):
        raise typer.Exit(1)


def trigger(
    name: NameArgument,
    *,
    params: Annotated[list[str] | None, typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter.")] = None,
    period: Period = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="Only this key; may be given several times.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="ADDRESS", help="To this address instead.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Without waiting for its data (ready_when, after).")] = False,
    no_send: Annotated[bool, typer.Option("--no-send", help="Make the documents, send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; exit 0 only if it succeeded.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however many people it mails.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key opens no second run.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Run a schedule now.

    The run is kept in the database before this returns; a broker that is away only delays it.
    """
    from pipeline.cli import triggering

    check_database()
    request = triggering.request(
        name,
        params or [],
        period=period,
        keys=key or [],
        to=to or [],
        send=not no_send,
        at_once=now,
        idempotency_key=idempotency_key,
        by=by,
    )
    opened = triggering.trigger(request, ask=not (yes or as_json))
    if not wait:
        triggering.show_opened(opened, as_json=as_json)
    elif not triggering.wait_for(opened, as_json=as_json):
        raise typer.Exit(1)


def proceed(run: RunText = None, by: By = None, as_json: Json = False) -> None:
    """Have a run that waits for its data (ready_when, after) go on without it."""
    from pipeline.cli import triggering

    check_database()
    triggering.show_proceeding(triggering.proceed(run, actor(by)), as_json=as_json)


def doctor(
    source: Annotated[
        str | None, typer.Argument(metavar="[SOURCE]", help="A database that reports name: who we are there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for faults, and say what to do about each; exits 1 if there is one."""
    from pipeline import doctor as doctors
    from pipeline.cli import upkeep
    from pipeline.settings import settings

    checks = [doctors.examine_source(source)] if source else doctors.examine(settings())
    if as_json:
        print_json(checks)
    else:
        upkeep.show_checks(checks)
    if any(check.verdict == doctors.Verdict.FAULT for check in checks):
        raise typer.Exit(1)


def sync(
    force: Annotated[bool, typer.Option("--force", help="Retire what is gone, however much it is.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Load the home's schedule files, as every deployment does.

    A file that is wrong is named, its last good revision goes on, and this exits 1; the others are loaded. So does a
    schedule whose file is gone when more than half of all are, in case the folder is the wrong one.
    """
    from pipeline.cli import loading, upkeep

    check_database()
    synced, errors = loading.sync(force=force, actor=actor(by))
    if as_json:
        print_json({**vars(synced), "errors": {place: str(error) for place, error in errors.items()}})
    else:
        upkeep.show_synced(synced, errors)
    if errors or synced.withheld:
        raise typer.Exit(1)


def migrate() -> None:
    """Bring the database's tables to this version."""
    from pipeline.cli import upkeep

    upkeep.migrate()


def reconcile(as_json: Json = False) -> None:
    """Heal once what beat heals every two seconds.

    Steps whose process died, messages that were lost, stages that nobody began, late deliveries that are due.
    """
    from pipeline.cli import upkeep

    check_database()
    healed = upkeep.reconcile()
    if as_json:
        print_json(healed)
    else:
        upkeep.show_healed(healed)


def catcher(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 2525,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    folder: Annotated[Path | None, typer.Option(help="Where messages are kept. Default: var/outbox.")] = None,
) -> None:
    """Catch mail: an SMTP server that keeps messages and delivers none."""
    from pipeline.adapters import catcher as catching
    from pipeline.settings import settings

    catching.run(folder or settings().var / "outbox", catching.listen(host, port))
