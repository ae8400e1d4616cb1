"""The `pipeline` command: what is typed to run, look at and write reports."""

from __future__ import annotations

from functools import cache
from typing import Annotated

try:
    import typer
except ModuleNotFoundError:
    raise SystemExit(
        "report-pipeline is installed here without the packages that it needs (--no-deps), as for an application that "
        "imports pipeline.client; the command `pipeline` needs them: `pip install 'report-pipeline[worker]'`"
    ) from None

from pipeline.cli.group import Group

# The order in which `pipeline --help` shows its commands.
PANELS = ("Run", "Look", "Write", "Operate")


@cache
def application() -> typer.Typer:
    """The command line with all its commands; what a command needs is imported when it is called."""
    from pipeline.cli import (
        authoring,
        delivering,
        health,
        keeping,
        looking,
        mailing,
        operating,
        people,
        pools,
        serving,
        steering,
        telling,
        users,
    )

    app = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(pipeline)
    for module in (
        operating,
        steering,
        looking,
        telling,
        delivering,
        people,
        authoring,
        health,
        keeping,
        mailing,
        pools,
        serving,
        users,
    ):
        module.register(app)
    known = {panel: number for number, panel in enumerate(PANELS)}
    app.registered_commands.sort(key=lambda command: known.get(str(command.rich_help_panel), len(known)))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline import __version__

        typer.echo(__version__)
        raise typer.Exit


def pipeline(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Scheduled report delivery: what ran, when, why, who got what, what is next.

    RUN is an id's beginning, a task id, NAME (its latest) or NAME@2026-11-16;
    nothing is the latest of all. Exit codes: 0 done, 1 it went wrong, 2 refused.
    """


def main() -> None:
    """The entry point `pipeline`."""
    import atexit
    import gc

    # Most commands live for a second, a fifth of which would go into collecting what their imports leave for good.
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    application()()
