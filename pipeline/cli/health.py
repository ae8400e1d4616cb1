"""`pipeline health`: whether the process that a container is there for does its work."""

from __future__ import annotations

import socket
from enum import StrEnum
from typing import Annotated

import typer

PONG_SECONDS = 10


class Part(StrEnum):
    BEAT = "beat"
    WORKER = "worker"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operate")(health)


def health(part: Annotated[Part, typer.Argument(help="beat or worker, on this host.")]) -> None:
    """Ask this host's beat or worker whether it is well; exits 1 if it is not. For health checks."""
    trouble = _beat() if part == Part.BEAT else _worker()
    typer.echo(trouble or f"{part} on {socket.gethostname()} is well", err=bool(trouble))
    raise typer.Exit(1 if trouble else 0)


def _beat() -> str | None:
    """Beat's sign of life is a row: a beat that runs but cannot reach the database is not well."""
    from pipeline.db import reading
    from pipeline.services.health import beat_trouble

    with reading() as session:
        return beat_trouble(session)


def _worker() -> str | None:
    from kombu.exceptions import OperationalError

    from pipeline.celery import app
    from pipeline.settings import masked, settings

    name = f"celery@{socket.gethostname()}"
    try:
        answers = app.control.ping(destination=[name], timeout=PONG_SECONDS, limit=1)
    except OperationalError as error:
        return f"the broker at {masked(settings().broker_url)} does not answer: {error}"
    return None if answers else f"worker {name} does not answer within {PONG_SECONDS} s"
